"""What is damaged is said in one message each."""

import dataclasses
import json
import tracemalloc
from pathlib import Path

import pytest
from baseline_data import COUNT, around, calmly, good_text, record_of, report_of, saved
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules import baseline as baselines
from pytest_joules.baseline import BaselineError, from_json


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
            file.truncate(from_json.MOST_BYTES + 1)
        with pytest.raises(BaselineError, match="more than 64 MiB"):
            baselines.load(path)

    def test_a_small_file_does_not_grow_in_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(from_json, "MOST_FUNCTIONS", 5)
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
