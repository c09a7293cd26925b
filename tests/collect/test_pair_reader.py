"""Reading pairs of releases: what is there comes out typed, what is damaged is one message with file and line."""

import json

import pytest

from pytest_joules.collect import pair_reader as reader
from pytest_joules.collect import pair_records as writer

HEAD = {
    "kind": "pair",
    "schema": reader.SCHEMA,
    "package": "thing",
    "older": "1.0",
    "newer": "2.0",
    "tests": 1,
    "changed_lines": 7,
}
FUNCTIONS = [
    {"kind": "function", "id": 0, "place": "thing.py::f", "hash": "a", "source": "def f(): ...\n"},
    {"kind": "function", "id": 1, "place": "thing.py::f", "hash": "b", "source": "def f(): return 1\n"},
    {"kind": "function", "id": 2, "place": "<python>", "hash": "c", "source": None},
]


def side(first, **changed):
    found = {"functions": [[first, first], [2, 2]], "counts": {str(first): [3, 1]}, "other_calls": 4, "outside": None}
    found |= {"code_unknown": [], "seconds": [0.5, 0.25], "seconds_median": [0.6, 0.3], "joules": [2.0, None]}
    found |= {"joules_median": [2.5, None], "pace": [1.0, 0.5], "instructions": 1000, "rounds": [5, 5], "iterations": 1}
    return found | {"provenance": "estimated"} | changed


def test(older=None, newer=None, **changed):
    found = {"kind": "test", "nodeid": "t.py::a", "affected": True, "changed": ["thing.py::f"]}
    return found | {"older": side(0, **(older or {})), "newer": side(1, **(newer or {}))} | changed


test.__test__ = False


@pytest.fixture
def read(tmp_path):
    def write_and_read(*lines):
        path = tmp_path / "records" / "thing-1.0-2.0.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
        return reader.read(path)

    return write_and_read


def test_the_same_schema_on_both_ends():
    assert reader.SCHEMA == writer.SCHEMA


def test_what_is_there(read, tmp_path):
    outside = {"thing.py::f": {"re.compile": [2, 1500, 1]}}
    found = read(HEAD, *FUNCTIONS, test(newer={"instructions": 1500, "outside": outside}))
    assert (found.package, found.older, found.newer, found.changed_lines) == ("thing", "1.0", "2.0", 7)
    assert found.sources == {("thing.py::f", "a"): "def f(): ...\n", ("thing.py::f", "b"): "def f(): return 1\n"}
    (one,) = found.tests
    assert one.older.functions == {"thing.py::f": "a", "<python>": "c"} and one.older.counts == {"thing.py::f": [3, 1]}
    assert one.newer.outside == {"thing.py::f": {"re.compile": reader.Calls(2, 1500, 1)}} and one.older.outside is None
    assert one.ratio == 1.5
    assert reader.read_all(tmp_path) == [found]


def test_without_instructions_the_ratio_is_of_seconds_by_their_pace(read):
    slow = {"instructions": None, "seconds": [1.0, 4.0], "pace": [1.0, 4.0]}
    (one,) = read(HEAD, *FUNCTIONS, test(newer=slow)).tests
    assert one.older.paced_seconds == 0.5 and one.newer.paced_seconds == 1.0 and one.ratio == 2.0
    (one,) = read(HEAD, *FUNCTIONS, test(older={"pace": [None, None]}, newer=slow)).tests
    assert one.older.paced_seconds == 0.375


@pytest.mark.parametrize(
    ("lines", "number", "words"),
    [
        ([], 0, "does not begin with a pair"),
        ([{**HEAD, "schema": "pytest-joules-dataset/1"}], 1, "does not begin with a pair"),
        (["no JSON"], 1, "is no JSON object"),
        (["{"], 1, "ends too early"),
        ([HEAD, {"kind": "other"}], 2, "unknown kind"),
        ([HEAD, *FUNCTIONS[1:]], 2, "has the function 1 where 0 should be"),
        ([HEAD, *FUNCTIONS], 4, "has 0 of 1 tests: it was cut short"),
        ([HEAD, *FUNCTIONS, test(older={"functions": [[0, 3]]})], 5, "that are not there"),
        ([HEAD, *FUNCTIONS, test(older={"functions": [[0]]})], 5, "is no line of joules collect"),
        ([HEAD, *FUNCTIONS, test(older={"counts": {"7": [1]}})], 5, "is no line of joules collect"),
        ([HEAD, *FUNCTIONS, test(older={"counts": {"0": [-1]}})], 5, "has -1 for a count"),
        ([HEAD, *FUNCTIONS, test(newer={"seconds": [0.5]})], 5, "columns of unequal length"),
        ([HEAD, *FUNCTIONS, test(newer={"seconds": [0.5, None]})], 5, "has None seconds"),
        ([HEAD, *FUNCTIONS, test(newer={"joules": [1.0, "x"]})], 5, "in joules"),
        ([HEAD, *FUNCTIONS, test(newer={"pace": []})], 5, "has no pace"),
        ([HEAD, *FUNCTIONS, test(newer={"outside": {"f": {"g": [1]}}})], 5, "is no line of joules collect"),
        ([HEAD, *FUNCTIONS, test(newer={"outside": 3})], 5, "for the calls out of the project"),
        ([HEAD, *FUNCTIONS, test(affected=False)], 5, "says affected False"),
        ([HEAD, *FUNCTIONS, test(older=None) | {"older": None}], 5, "'older'"),
    ],
)
def test_what_is_damaged(read, lines, number, words):
    with pytest.raises(reader.PairError) as failed:
        read(*lines)
    said = str(failed.value)
    assert f"thing-1.0-2.0.jsonl, line {number}: " in said and words in said and said.count("\n") == 0


def test_where_nothing_is(tmp_path):
    with pytest.raises(reader.PairError, match="make some with joules collect --pairs"):
        reader.read_all(tmp_path)
    with pytest.raises(reader.PairError, match="cannot be read"):
        reader.read(tmp_path / "nothing.jsonl")
