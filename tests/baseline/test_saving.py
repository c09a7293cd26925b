"""What is saved comes back, and is found by name, date and machine."""

import math
import os
import random

import pytest
from baseline_data import COUNT, MACHINE, OTHER, RAPL, around, calmly, record_of, report_of, saved
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules import baseline as baselines
from pytest_joules.baseline import BaselineError
from pytest_joules.model import empty_record


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
        assert (found.tests["t.py::a"].fingerprint, found.tests["t.py::a"].functions) == ("f00d", functions["t.py::a"])
        assert found.tests["t.py::c"].fingerprint is None

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
        assert [test.record[key] for key in ("provenance", "resolution", "iterations")] == [provenance, resolution, iterations]
        assert (test.functions, test.created) == (functions, cached)
