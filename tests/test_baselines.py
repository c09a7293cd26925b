"""Baselines: what is saved comes back, what is damaged is said, what is accepted is accepted for these tests alone."""

import dataclasses
import itertools
import json
import math
import os
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_joules import stats
from pytest_joules.baseline import baselines
from pytest_joules.baseline import file as baseline_file
from pytest_joules.baseline.baselines import BaselineError
from pytest_joules.model import DISTURBED, Report, empty_record
from pytest_joules.report import json_file

calmly = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

FACTS = {"CPU": "Some CPU", "logical CPUs": "8", "memory": "about 16 GiB", "governor": "performance", "turbo": "on"}
MACHINE = {
    "id": "0a1b",
    "cpu": "Some CPU",
    "cores": 8,
    "os": "Linux",
    "python": "CPython 3.12.1",
    "virtual": False,
    "facts": FACTS,
}
OTHER = {**MACHINE, "id": "ffff", "cpu": "Other CPU", "facts": {**FACTS, "CPU": "Other CPU"}}
RAPL = {
    "name": "rapl",
    "provenance": "measured",
    "domains": ["package-0"],
    "resolution_s": 0.001,
    "uncertainty": None,
    "why": "read",
}


def record_of(nodeid, *joules, seconds=0.01, **other):
    """A test that passed with these joules."""
    record = empty_record(nodeid)
    record.update(
        outcome="passed",
        source="rapl",
        provenance="measured",
        resolution="ok",
        rounds=len(joules),
        energy=stats.summarise(joules),
        duration=stats.summarise([seconds] * len(joules)),
        samples=[{"energy": value, "duration": seconds, "tsc": None, "domains": {"package-0": value}} for value in joules],
    )
    record.update(other)
    return record


def around(joules, spread=0.01, n=10):
    return [joules * (1 + spread * (step - (n - 1) / 2) / n) for step in range(n)]


def report_of(*tests, machine=MACHINE, created="2026-11-20T10:30:00+00:00", commit="1a2b3c4d5e6f", **options):
    head = {"id": commit, "dirty": False} if commit else None
    return Report(created, machine, head, {"rounds": 20, "threshold": 0.05, **options}, [RAPL], list(tests))


def saved(folder, *tests, name="main", functions=None, **options):
    report = report_of(*tests, **options)
    baselines.save(report, functions or {}, folder, name)
    return baselines.find(folder, report.machine["id"], name)


class TestSaving:
    def test_what_was_saved_comes_back(self, tmp_path):
        tests = [
            record_of("t.py::a", *around(1.5), code={"fingerprint": "f00d", "unknown": []}),
            record_of('t.py::b[é\udc80 "x"]', *around(2e-6), iterations=100, notes=["one note"], resolution="apportioned"),
            record_of("t.py::c", *around(3.0), provenance="estimated", source="estimate"),
        ]
        functions = {"t.py::a": {"src/shop/cart.py::total": "aa", "src/shop/tax.py::rate": "bb"}}
        said = baselines.save(report_of(*tests), functions, tmp_path / ".joules", "main")
        path = tmp_path / ".joules" / "0a1b" / "main.json"
        assert str(path) in said[0] and "3 tests" in said[0]
        found = baselines.load(path)
        assert (found.name, found.created) == ("main", "2026-11-20T10:30:00+00:00")
        assert found.machine == MACHINE and found.commit == {"id": "1a2b3c4d5e6f", "dirty": False} and found.sources == [RAPL]
        assert list(found.tests) == sorted(test["nodeid"] for test in tests)
        for test in tests:
            back = found.tests[test["nodeid"]]
            assert back.samples == pytest.approx([sample["energy"] for sample in test["samples"]], rel=5e-6)
            assert back.energy["median"] == pytest.approx(test["energy"]["median"], rel=1e-5)
            assert back.energy["ci95"] == pytest.approx(test["energy"]["ci95"], rel=1e-5)
            for name in ("source", "provenance", "resolution", "rounds", "iterations", "notes"):
                assert back.record[name] == test[name]
        assert found.tests["t.py::a"].code == {"fingerprint": "f00d", "functions": functions["t.py::a"]}
        assert found.tests["t.py::c"].code is None

    def test_it_is_read_by_people_and_small(self, tmp_path):
        chance = random.Random(1)
        names = [f"tests/test_module.py::TestSomething::test_name_{number:03}" for number in range(100)]
        tests = [record_of(name, *(chance.lognormvariate(0, 0.1) for _ in range(20)), seconds=1 / 3) for name in names]
        functions = {name: {f"src/p/m.py::f{n}": f"{n:016x}" for n in range(60)} for name in names}
        path = saved(tmp_path, *tests, functions=functions)
        text = path.read_text("utf-8")
        for name in names:
            assert sum(name in line for line in text.splitlines()) == 1
        assert text.count("Some CPU") == 2 and text.count("rapl") == 2, "what tests share is said once"
        assert path.stat().st_size / len(names) < 900

    def test_the_same_session_is_the_same_file_in_whatever_order_it_ran(self, tmp_path):
        tests = [record_of(f"t.py::{name}", *around(2.0)) for name in "abc"]
        functions = {f"t.py::{name}": {f"m.py::{name}": "1", "m.py::x": "2"} for name in "abc"}
        first = saved(tmp_path / "1", *tests, functions=functions)
        second = saved(tmp_path / "2", *reversed(tests), functions=dict(reversed(functions.items())))
        assert first.read_bytes() == second.read_bytes()

    def test_only_tests_that_passed_with_joules(self, tmp_path):
        over = {"joules": 1.0, "verdict": "over budget", "why": "x"}
        regressed = {"verdict": "regressed"}
        tests = [
            record_of("t.py::passed", 1.0, 1.1),
            record_of("t.py::over", 2.0, 2.1, outcome="failed", budget=over),
            record_of("t.py::dearer", 2.0, 2.1, outcome="failed", comparison=regressed),
            record_of("t.py::failed", 1.0, 1.1, outcome="failed"),
            record_of("t.py::teardown", 1.0, 1.1, outcome="error", budget=over),
            empty_record("t.py::nothing") | {"outcome": "passed"},
            empty_record("t.py::skipped") | {"outcome": "skipped"},
        ]
        said = baselines.save(report_of(*tests), {}, tmp_path, "main")
        assert set(baselines.load(tmp_path / "0a1b" / "main.json").tests) == {"t.py::passed", "t.py::over", "t.py::dearer"}
        assert any("2 tests that failed" in line for line in said)

    def test_a_session_without_joules_replaces_nothing(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", 1.0, 1.1))
        before = path.read_bytes()
        with pytest.raises(BaselineError, match="no test passed with joules"):
            baselines.save(report_of(record_of("t.py::a", 1.0, outcome="failed")), {}, tmp_path, "main")
        assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1

    def test_a_name_is_made_up_that_sorts_and_is_free(self, tmp_path):
        for _ in range(2):
            baselines.save(report_of(record_of("t.py::a", 1.0)), {}, tmp_path)
        baselines.save(report_of(record_of("t.py::a", 1.0), commit=None), {}, tmp_path, None)
        names = [entry.name for entry in baselines.entries(tmp_path)]
        assert names == ["2026-11-20T1030", "2026-11-20T1030-1a2b3c4d", "2026-11-20T1030-1a2b3c4d-2"]

    @pytest.mark.parametrize(
        "name", ["../main", "a/b", "a\\b", ".hidden", "", "x" * 101, "a b", "a\n", "é", "main.previous", "m.previous-2"]
    )
    def test_names_are_no_paths(self, tmp_path, name):
        report = report_of(record_of("t.py::a", 1.0))
        if not name:
            with pytest.raises(BaselineError, match="letters, digits"):
                baselines.path_of(tmp_path, "0a1b", name)
            return
        with pytest.raises(BaselineError, match=r"letters, digits|\.previous"):
            baselines.save(report, {}, tmp_path / "deep", name)
        assert not list(tmp_path.iterdir())

    def test_a_part_of_the_tests_does_not_lose_the_others(self, tmp_path):
        everything = [record_of(f"t.py::{name}", *around(1.0)) for name in "abcd"]
        path = saved(tmp_path, *everything)
        whole = baselines.load(path).tests
        said = baselines.save(report_of(record_of("t.py::a", *around(2.0))), {}, tmp_path, "main")
        assert "3 tests more" in said[1] and "main.previous.json" in said[1]
        assert set(baselines.load(path).tests) == {"t.py::a"}
        assert baselines.load(path.with_name("main.previous.json")).tests == whole
        # Another part: what was set aside first is not written over by less.
        baselines.save(report_of(record_of("t.py::b", *around(2.0))), {}, tmp_path, "main")
        assert baselines.load(path.with_name("main.previous.json")).tests == whole
        assert set(baselines.load(path.with_name("main.previous-2.json")).tests) == {"t.py::a"}
        # The same tests or more: nothing is lost, so nothing is kept.
        before = sorted(path.parent.iterdir())
        saved(tmp_path, *everything)
        assert sorted(path.parent.iterdir()) == before
        assert baselines.find(tmp_path, "0a1b", None) == path, "what was set aside is never the latest"
        assert baselines.find(tmp_path, "0a1b", "main.previous") == path.with_name("main.previous.json")

    def test_what_cannot_be_read_is_kept_too(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", 1.0))
        path.write_text('{"schema": "pytest-joules-baseline/2", "tests": "of the future é"}', "utf-8")
        said = baselines.save(report_of(record_of("t.py::a", 1.0)), {}, tmp_path, "main")
        assert "newer version" in said[1]
        assert "of the future é" in path.with_name("main.previous.json").read_text("utf-8")
        assert set(baselines.load(path).tests) == {"t.py::a"}

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / ".joules").write_text("a file")
        with pytest.raises(BaselineError, match=r"cannot write the baseline to .*main\.json"):
            baselines.save(report_of(record_of("t.py::a", 1.0)), {}, tmp_path / ".joules", "main")

    def test_a_full_disk_leaves_the_old_one(self, tmp_path, monkeypatch):
        path = saved(tmp_path, record_of("t.py::a", 1.0))
        before = path.read_bytes()

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(BaselineError, match="No space left"):
            baselines.save(report_of(record_of("t.py::a", 2.0)), {}, tmp_path, "main")
        assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


class TestFinding:
    def test_the_latest_by_what_it_says_not_by_the_files_date(self, tmp_path):
        first = saved(tmp_path, record_of("t.py::a", 1.0), name="b", created="2026-11-21T10:30:00+00:00")
        second = saved(tmp_path, record_of("t.py::a", 1.0), name="a", created="2026-11-20T10:30:00+00:00")
        os.utime(first, (1, 1))  # as after a fresh checkout
        for nothing in (None, ""):
            assert baselines.find(tmp_path, "0a1b", nothing) == first
        assert baselines.find(tmp_path, "0a1b", "a") == second

    def test_this_machines_before_anothers(self, tmp_path):
        own = saved(tmp_path, record_of("t.py::a", 1.0), created="2026-11-01T10:30:00+00:00")
        other = saved(tmp_path, record_of("t.py::a", 1.0), machine=OTHER)
        assert own != other
        for name in ("main", None):
            assert baselines.find(tmp_path, "0a1b", name) == own
            assert baselines.find(tmp_path, "another", name) == other, "the newest there is: it says what differs"

    def test_what_is_not_there_says_what_is(self, tmp_path):
        with pytest.raises(BaselineError, match="--energy-save=main"):
            baselines.find(tmp_path, "0a1b", None)
        saved(tmp_path, record_of("t.py::a", 1.0))
        saved(tmp_path, record_of("t.py::a", 1.0), name="release", machine=OTHER)
        with pytest.raises(BaselineError) as error:
            baselines.find(tmp_path, "0a1b", "mian")
        for words in ("'mian'", "main of this machine", "release of machine ffff (Other CPU)", "--energy-save"):
            assert words in str(error.value)

    def test_a_damaged_file_is_not_the_latest_but_what_is_asked_for(self, tmp_path):
        good = saved(tmp_path, record_of("t.py::a", 1.0))
        damaged = good.with_name("zzz.json")
        damaged.write_bytes(b"")
        (good.parent / ".joules-1-ff.tmp").write_text("left by a crash")
        (good.parent / "my notes.json").write_text("{}")
        assert baselines.find(tmp_path, "0a1b", None) == good
        assert baselines.find(tmp_path, "0a1b", "zzz") == damaged
        assert len(baselines.entries(tmp_path)) == 2

    def test_control_characters_in_a_file_do_not_reach_the_terminal(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", 1.0), machine=OTHER)
        path.write_text(path.read_text().replace('"cpu": "Other CPU"', '"cpu": "\x1b[31m"'))
        with pytest.raises(BaselineError) as error:
            baselines.find(tmp_path, "0a1b", "x")
        assert "\x1b" not in str(error.value)


def good_text(folder):
    functions = {"t.py::a": {f"m.py::f{n}": f"{n:x}" for n in range(5)}, "t.py::b": {"m.py::f1": "1"}}
    tests = [record_of("t.py::a", *around(1.0)), record_of("t.py::b", *around(2.0), iterations=3, notes=["n"])]
    return saved(folder, *tests, functions=functions).read_text("utf-8")


class TestBadFiles:
    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ("pytest-joules-baseline/1", "pytest-joules-baseline/2", "newer version; update pytest-joules"),
            ("pytest-joules-baseline/1", "pytest-joules-baseline/0", "of schema"),
            ("pytest-joules-baseline/1", "something else", "is not a baseline"),
            ('"schema": "pytest-joules-baseline/1",', "", "its schema is None"),
            ('"functions": [', '"functions": 7, "x": [', "'functions' is 7"),
            ('"0-4"', '"0-5"', "not in the list"),
            ('"0-4"', '"4-0"', "not in the list"),
            ('"0-4"', '"-1"', "not in the list"),
            ('"0-4"', '"0-4 0-4"', "more functions than there can be"),
            ('"0-4"', '"0-99999999999"', "not in the list"),
            ('"t.py::b"', '"t.py::a"', "'t.py::a' twice"),
            ('"median": 2.0', '"median": NaN', "NaN"),
            ('"median": 2.0', '"median": -2.0', "'t.py::b': 'median' holds -2.0"),
            ('"median": 2.0', '"median": null', "samples without a median"),
            ('"median": 2.0', '"median": "2"', "'median' holds '2'"),
            ('"joules": [0.9', '"joules": [-0.9', "'t.py::a': 'joules' holds -0.9"),
            ('"joules": [', '"joules": [0, ', "'joules' holds 0"),
            ('"joules": [', '"joules": [1e999, ', "'joules' holds inf"),
            ('"joules": [', '"joules": [true, ', "'joules' holds True"),
            ('"joules": [', '"joules": [1.5, ', "11 joules and 10 seconds"),
            ('"seconds": [', '"seconds": ["x", ', "'seconds' holds 'x'"),
            ('"rounds": 10', '"rounds": "ten"', "'rounds' is 'ten'"),
            ('"rounds": 10', '"rounds": ' + "9" * 4000, "'rounds' is 999"),
            ('"rounds": 10', '"rounds": ' + "9" * 9000, "'rounds' is|no program of ours"),
            ('"iterations": 3', '"iterations": 0', "'iterations' is 0"),
            ('"provenance": "measured", "resolution"', '"provenance": "guessed", "resolution"', "'guessed'"),
            ('"notes": ["n"]', '"notes": [7]', "'notes' holds 7"),
            ('"created": "2026', '"created": 1, "was": "2026', "'created' is 1"),
            ('"cpu": "Some CPU"', '"cpu": [1, 2]', r"'cpu' is \[1, 2\]"),
            ('"python": "', f'"python": "{"x" * 5000}', "'python' has 5014 characters: 'xxx"),
            ('"why": "read"', f'"why": "{"x" * 5000}"', "'why' has 5000 characters"),
            ('"machine": {', '"machine": null, "was": {', "'machine' is None"),
            ('"governor": "performance"', '"governor": ["performance"]', "'governor' is"),
            ('"tests": {', '"tests": [], "was": {', r"'tests' is \[\]"),
            ('"t.py::b": {', '"t.py::b": 1, "c": {', "'t.py::b': is not an object"),
            ('"usual"', '<<<<<<< HEAD\n=======\n>>>>>>> main\n"usual"', "unfinished merge"),
            ("{\n", "[" * 100_000, "no program of ours|ends too early|not a baseline|not JSON"),
            ("{\n", "not JSON", "is not JSON"),
        ],
    )
    def test_one_message_each(self, tmp_path, old, new, says):
        text = good_text(tmp_path)
        assert old in text
        path = tmp_path / "bad.json"
        path.write_text(text.replace(old, new, 1), "utf-8")
        with pytest.raises(BaselineError, match=says) as error:
            baselines.load(path)
        assert str(path) in str(error.value) and "--energy-save" in str(error.value)
        assert "\n" not in str(error.value) and len(str(error.value)) < 500 + len(str(path))

    def test_files_that_are_none(self, tmp_path):
        with pytest.raises(BaselineError, match="no such file"):
            baselines.load(tmp_path / "nowhere.json")
        with pytest.raises(BaselineError, match=r"Is a directory|Permission"):
            baselines.load(tmp_path)
        with pytest.raises(BaselineError, match="null"):
            baselines.load(Path("a\0b"))
        path = tmp_path / "x.json"
        for data, says in (
            (b"", "ends too early"),
            (b"\xff\xfe{}", "not UTF-8"),
            (b"[]", "not a baseline"),
            (b"null", "not a baseline"),
        ):
            path.write_bytes(data)
            with pytest.raises(BaselineError, match=says):
                baselines.load(path)

    def test_every_way_to_cut_it_short(self, tmp_path):
        text = good_text(tmp_path).rstrip()
        path = tmp_path / "short.json"
        for length in range(0, len(text), 7):
            path.write_text(text[:length], "utf-8")
            with pytest.raises(BaselineError):
                baselines.load(path)

    def test_a_huge_file_is_not_read(self, tmp_path, monkeypatch):
        path = tmp_path / "huge.json"
        with path.open("wb") as file:
            file.truncate(baseline_file.MOST_BYTES + 1)
        with pytest.raises(BaselineError, match="more than 64 MiB"):
            baselines.load(path)

    def test_a_small_file_does_not_grow_in_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(baseline_file, "MOST_FUNCTIONS", 5)
        path = saved(
            tmp_path,
            *(record_of(f"t.py::{name}", 1.0) for name in "abc"),
            functions={f"t.py::{name}": {f"m.py::{n}": "x" for n in (*range(3), name)} for name in "abc"},
        )
        with pytest.raises(BaselineError, match="more functions than there can be"):
            baselines.load(path)

    def test_functions_of_many_tests_take_no_memory(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", 1.0), functions={"t.py::a": {"m.py::f": "x"}})
        data = json.loads(path.read_text())
        data["functions"] = [[f"m.py::f{number}", "x"] for number in range(50_000)]
        line = data["tests"].pop("t.py::a")
        data["tests"] = {f"t.py::{number}": {**line, "functions": f"{number}-49999"} for number in range(300)}
        path.write_text(json.dumps(data))
        tracemalloc.start()
        try:
            tests = baselines.load(path).tests
            assert tracemalloc.get_traced_memory()[1] < 60e6  # of 15 million there would be 600 MB
        finally:
            tracemalloc.stop()
        assert len(tests["t.py::299"].functions) == 49_701
        assert tests["t.py::299"].functions == {f"m.py::f{number}": "x" for number in range(299, 50_000)}

    @pytest.mark.parametrize("text", ["[]", '""', '{"":0}'])
    def test_little_text_that_comes_to_much(self, tmp_path, text):
        path = tmp_path / "much.json"
        path.write_text(f'{{"a": [{",".join([text] * 5_000_000)}]}}')
        with pytest.raises(BaselineError, match=r"would take \d+ MiB of memory, and no more than 400 are given to it"):
            baselines.load(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["rapl", "0-4", "ok"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def places(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def tried(path, text):
    """Loading it yields a baseline that can be written and is the same then, or one sentence."""
    path.write_text(text, "utf-8", errors="surrogatepass")
    try:
        found = baselines.load(path)
    except BaselineError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    again = dataclasses.replace(found, path=path.with_name("again.json"))
    baselines.put(again, path.parent)
    back = baselines.load(again.path)
    assert (back.tests, back.machine, back.created) == (found.tests, found.machine, found.created)


@calmly
@given(st.data())
def test_whatever_stands_in_its_place(tmp_path, data):
    value = json.loads(good_text(tmp_path / str(next(COUNT))))
    path = data.draw(st.sampled_from(list(places(value))))
    other = data.draw(JSON)
    if not path:
        value = other
    else:
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = other
    tried(tmp_path / "mangled.json", json.dumps(value))


@calmly
@given(st.integers(0, 3000), st.integers(0, 30), st.text('{}[]",:0123456789.-eE\\nulltrue \n\ud800é', max_size=10))
def test_whatever_is_written_into_it(tmp_path, at, length, text):
    whole = good_text(tmp_path / str(next(COUNT)))
    tried(tmp_path / "mangled.json", whole[:at] + text + whole[at + length :])


@calmly
@given(JSON)
def test_reports_of_any_content(tmp_path, value):
    record = record_of("t.py::a", *around(1.0))
    for key in record:
        report = report_of({**record, key: value}).as_record()
        tried(tmp_path / "mangled.json", json.dumps(report))


COUNT = itertools.count()
NODEIDS = st.text(max_size=30) | st.sampled_from(["t.py::test[\ud800]", "t.py::é", '"', "\\", "\n"])


@calmly
@given(
    st.dictionaries(
        NODEIDS,
        st.tuples(
            st.lists(st.floats(1e-12, 1e9), min_size=1, max_size=25),
            st.sampled_from(["measured", "estimated", "shared"]),
            st.sampled_from(["ok", "apportioned"]),
            st.integers(1, 10**6),
            st.dictionaries(NODEIDS, st.sampled_from(["a1", "b2"]), max_size=6),
            st.none() | st.just("2026-01-01T00:00:00+00:00"),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_save_and_load_are_inverse(tmp_path, tests):
    folder = tmp_path / str(next(COUNT))
    records = [
        record_of(nodeid, *joules, provenance=provenance, resolution=resolution, iterations=iterations, cached=cached)
        for nodeid, (joules, provenance, resolution, iterations, _, cached) in tests.items()
    ]
    path = saved(folder, *records, functions={nodeid: values[4] for nodeid, values in tests.items()})
    back = baselines.load(path).tests
    assert back.keys() == tests.keys()
    for nodeid, (joules, provenance, resolution, iterations, functions, cached) in tests.items():
        test = back[nodeid]
        assert all(math.isclose(a, b, rel_tol=5.1e-6) for a, b in zip(test.samples, joules, strict=True))
        assert (test.provenance, test.resolution, test.iterations) == (provenance, resolution, iterations)
        assert (test.functions, test.created) == (functions, cached)


class TestReports:
    def test_a_report_is_read_as_a_baseline(self, tmp_path):
        tests = [record_of("t.py::a", *around(1.0)), record_of("t.py::b", *around(2.0), outcome="failed")]
        report = report_of(*tests)
        json_file.write(report, tmp_path / "report.json")
        assert baselines.load(tmp_path / "report.json").tests == baselines.load(saved(tmp_path, *tests)).tests

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"energy": -1.0}, "'energy' holds -1.0"),
            ({"duration": "x"}, "'duration' holds 'x'"),
        ],
    )
    def test_one_that_was_tampered_with(self, tmp_path, change, says):
        record = record_of("t.py::a", *around(1.0))
        record["samples"][0].update(change)
        json_file.write(report_of(record), tmp_path / "report.json")
        with pytest.raises(BaselineError, match=f"'t.py::a': {says}"):
            baselines.load(tmp_path / "report.json")


class TestOtherMachines:
    def test_an_estimate_by_another_model(self):
        def estimate(watts):
            why = f"model: {watts} W TDP, ±40 %; rapl not taken: no counters"
            return {"name": "estimate", "provenance": "estimated", "why": why}

        assert baselines.other_models([RAPL, estimate(65)], [RAPL, estimate(65) | {"why": "model: 65 W TDP, ±40 %"}]) == []
        assert baselines.other_models([RAPL, estimate(65)], [RAPL, estimate(15)]) == [
            "model: 65 W TDP, ±40 %, now model: 15 W TDP, ±40 %"
        ]
        assert baselines.other_models([RAPL], [{**RAPL, "why": "through another library"}]) == []

    def test_another_python_is_said_but_forbids_nothing(self, tmp_path):
        baseline = baselines.load(saved(tmp_path, record_of("t.py::a", 1.0)))
        assert baselines.remarks(baseline, MACHINE) == []
        (remark,) = baselines.remarks(baseline, {**MACHINE, "python": "CPython 3.13.0"})
        assert "CPython 3.12.1, now CPython 3.13.0" in remark
        assert baselines.differences(MACHINE, {**MACHINE, "python": "CPython 3.13.0"}) == []


class TestRatchet:
    def test_what_moved_is_said_and_the_rest_stays(self, tmp_path):
        names = ("dearer", "cheaper", "same", "gone", "failed", "beside")
        code = {"fingerprint": "f", "unknown": []}
        functions = {f"t.py::{name}": {"m.py::x": "1", f"m.py::{name}": "1"} for name in names}
        path = saved(tmp_path, *(record_of(f"t.py::{name}", *around(2.0), code=code) for name in names), functions=functions)
        before = path.read_text("utf-8").splitlines()
        changed = {**functions, "t.py::dearer": {"m.py::a_new_one": "2", "m.py::x": "1"}}
        now = report_of(
            record_of("t.py::dearer", *around(2.24), code=code),
            record_of("t.py::cheaper", *around(1.0)),
            record_of("t.py::same", *around(2.06)),
            record_of("t.py::failed", *around(9.0), outcome="failed"),
            record_of("t.py::beside", *around(9.0), provenance="shared"),
            record_of("t.py::fresh", *around(0.5)),
            empty_record("t.py::skipped") | {"outcome": "skipped"},
            created="2026-11-21T08:00:00+00:00",
            commit="ffee",
        )
        assert baselines.update(path, now, changed) == [
            "loosened   t.py::dearer  2.00 J -> 2.24 J (+12 %)",
            "tightened  t.py::cheaper  2.00 J -> 1.00 J (-50 %)",
            "new        t.py::fresh  500 mJ",
            "unchanged  1 within 5 %, which keep their values",
            "left       2 that did not pass, were measured beside others, below the resolution or not at all",
        ]
        found = baselines.load(path)
        medians = {nodeid.partition("::")[2]: round(test.energy["median"], 3) for nodeid, test in found.tests.items()}
        assert medians == {"dearer": 2.24, "cheaper": 1.0, "same": 2.0, "gone": 2.0, "failed": 2.0, "beside": 2.0, "fresh": 0.5}
        assert found.created == "2026-11-20T10:30:00+00:00" and found.commit["id"] == "1a2b3c4d5e6f"
        assert (found.tests["t.py::dearer"].created, found.tests["t.py::dearer"].commit) == ("2026-11-21T08:00:00+00:00", "ffee")
        assert found.tests["t.py::dearer"].functions == changed["t.py::dearer"]
        assert found.tests["t.py::same"].created is None
        after = path.read_text("utf-8").splitlines()
        kept = [
            line.rstrip(",") for line in before if any(f"t.py::{name}" in line for name in ("same", "gone", "failed", "beside"))
        ]
        assert len(kept) == 4
        assert all(line in [text.rstrip(",") for text in after] for line in kept), "other tests' lines stay as they were"

    def test_small_steps_do_not_creep(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        kinds = []
        for step in range(1, 6):
            lines = baselines.update(path, report_of(record_of("t.py::a", *around(1.04**step))), {})
            kinds += [line.split()[0] for line in lines]
        assert kinds == ["unchanged", "loosened", "unchanged", "loosened", "unchanged"], "two steps of 4 % are said: 8 %"

    def test_nothing_to_accept_writes_nothing(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        os.utime(path, (1, 1))
        baselines.update(path, report_of(record_of("t.py::a", *around(1.0)), created="2027-01-01T00:00:00+00:00"), {})
        assert path.stat().st_mtime == 1

    def test_what_was_not_measured_now_is_not_accepted(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        cached = record_of("t.py::a", *around(2.0), cached="2026-01-01T00:00:00+00:00")
        assert [line.split()[0] for line in baselines.update(path, report_of(cached), {})] == ["cached"]
        below = record_of("t.py::a", *around(2.0), resolution="below")
        assert [line.split()[0] for line in baselines.update(path, report_of(below), {})] == ["left"]

    def test_what_nobody_can_tell_keeps_its_value(self, tmp_path):
        """Beside others an estimate is anything, and what the comparison cannot tell is nothing to accept."""
        names = ("busy", "undecided", "dearer", "alike")
        old = [record_of(f"t.py::{name}", *around(1.0)) for name in names]
        few = record_of("t.py::few", *around(1.0, n=3))
        noisy = record_of("t.py::noisy", *around(1.0), provenance="estimated", notes=[DISTURBED])
        path = saved(tmp_path, *old, few, noisy)

        def judged(name, joules, verdict, **other):
            return record_of(f"t.py::{name}", *around(joules), comparison={"verdict": verdict, "held": None}, **other)

        now = report_of(
            judged("busy", 0.6, "improved", provenance="estimated", notes=[DISTURBED]),
            judged("undecided", 0.6, "cannot tell"),
            judged("dearer", 1.5, "regressed"),
            judged("alike", 1.08, "ok"),  # over the level of all sessions it is no change
            judged("few", 0.9, "cannot tell"),
            judged("noisy", 0.9, "cannot tell"),
            record_of("t.py::new", *around(1.0), provenance="estimated", notes=[DISTURBED]),
        )
        assert baselines.update(path, now, {}) == [
            "loosened   t.py::dearer  1.00 J -> 1.50 J (+50 %)",
            "replaced   t.py::few  1.00 J (rapl, 3 samples) -> 900 mJ (rapl)",
            "replaced   t.py::noisy  1.00 J (rapl, beside others) -> 900 mJ (rapl)",
            "unchanged  1 within 5 %, which keep their values",
            "undecided  1 of which nothing could be told, which keep their values",
            "left       2 that did not pass, were measured beside others, below the resolution or not at all",
        ]
        medians = {nodeid: round(test.energy["median"], 2) for nodeid, test in baselines.load(path).tests.items()}
        assert medians == dict.fromkeys(("t.py::busy", "t.py::undecided", "t.py::alike"), 1.0) | {
            "t.py::dearer": 1.5,
            "t.py::few": 0.9,
            "t.py::noisy": 0.9,
        }

    def test_another_source_is_no_step(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        lines = baselines.update(path, report_of(record_of("t.py::a", *around(3.0), source="perf")), {})
        assert lines == ["replaced   t.py::a  1.00 J (rapl) -> 3.00 J (perf)"]

    @pytest.mark.parametrize(
        ("machine", "says"),
        [(OTHER, "CPU: Some CPU, now Other CPU"), ({**MACHINE, "facts": {**FACTS, "turbo": "off"}}, "turbo: on, now off")],
    )
    def test_not_with_the_values_of_another_machine(self, tmp_path, machine, says):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        before = path.read_bytes()
        with pytest.raises(BaselineError, match=says):
            baselines.update(path, report_of(record_of("t.py::a", *around(3.0)), machine=machine), {})
        assert path.read_bytes() == before


class TestInARun:
    """As users do it: the counters are simulated, and the joules of the tests are known."""

    TESTS = "def test_a():\n    draw(2_000_000)\ndef test_b():\n    draw(3_000_000)\n"

    @pytest.fixture
    def kept(self, inner):
        """A run that was kept as ``main``; the file of it."""
        inner.file(test_t=self.TESTS)
        assert inner.run("--energy-save=main", "--energy-rounds=6").ret == 0
        (path,) = (inner.path / ".joules").glob("*/*.json")
        return path

    def test_what_a_run_keeps(self, inner, kept):
        assert (kept.parent.name, kept.name) == (inner.report()["machine"]["id"], "main.json")
        found = baselines.load(kept)
        assert {nodeid: test.energy["median"] for nodeid, test in found.tests.items()} == {
            "test_t.py::test_a": pytest.approx(2.0, rel=1e-5),
            "test_t.py::test_b": pytest.approx(3.0, rel=1e-5),
        }
        assert found.tests["test_t.py::test_a"].samples == pytest.approx([2.0] * 6, rel=1e-5)
        assert found.tests["test_t.py::test_a"].functions, "what it executes, for the blame"

    def test_the_same_again_is_ok(self, inner, kept):
        result = inner.run("--energy-compare", "--energy-rounds=6")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["compared with main (*): 2 ok"])

    @pytest.mark.parametrize(
        ("fact", "says"), [("governor", "governor: performance, now powersave"), ("CPU", "CPU: performance, now powersave")]
    )
    def test_another_machine_or_governor_is_no_verdict_and_no_failure(self, inner, kept, fact, says):
        machine = "\nimport pytest_joules.machine as found\nwas = found.fingerprint\n"
        machine += f"found.fingerprint = lambda: {{**was(), 'facts': {{**was()['facts'], {fact!r}: 'powersave'}}}}\n"
        machine += "def pytest_unconfigure(config):\n    found.fingerprint = was\n"
        data = json.loads(kept.read_text("utf-8"))
        data["machine"]["facts"][fact] = "performance"
        kept.write_text(json.dumps(data), "utf-8")
        inner.conftest(machine)
        inner.file(test_t=self.TESTS.replace("2_000_000", "9_000_000"))
        result = inner.run("--energy-compare=main", "--energy-rounds=6")
        assert result.ret == 0
        assert says in " ".join(result.stdout.str().split())
        assert [test["comparison"]["verdict"] for test in inner.report()["tests"]] == ["cannot tell"] * 2

    def test_a_damaged_one_is_refused_before_anything_runs(self, inner, kept):
        kept.write_text(kept.read_text("utf-8")[:-200], "utf-8")
        (inner.path / "report.json").unlink()
        inner.refused("--energy-compare=main", says=["--energy-compare=main", "main.json", "--energy-save"])

    def test_a_missing_one_too(self, inner, kept):
        (inner.path / "report.json").unlink()
        inner.refused("--energy-compare=mian", says=["no baseline 'mian'", "main of this machine"])

    def test_the_ratchet(self, inner, kept):
        inner.file(test_t=self.TESTS.replace("2_000_000", "4_000_000"))
        result = inner.run("--energy-compare=main", "--energy-update", "--energy-rounds=6", "-k", "test_a")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["loosened   test_t.py::test_a  2.00 J -> 4.00 J (2×)"])
        tests = baselines.load(kept).tests
        assert tests["test_t.py::test_a"].energy["median"] == pytest.approx(4.0, rel=1e-5)
        assert tests["test_t.py::test_b"].energy["median"] == pytest.approx(3.0, rel=1e-5)
        assert inner.run("--energy-compare=main", "--energy-rounds=6").ret == 0
