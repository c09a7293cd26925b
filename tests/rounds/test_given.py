"""What a test is given, and a round of it changes or consumes, is put back: every round, block and process begins alike."""

from __future__ import annotations

import json

import parity
import pytest

#: Tests that a round of their own would fail if it met what the one before left.
GIVEN = """
import array, collections, dataclasses, functools, io, itertools, random, threading
import unittest.mock
import pytest

class Counted(list):
    def __getitem__(self, index): raise AssertionError("a method of a foreign class was called")
    __setitem__ = __iter__ = __eq__ = __copy__ = __deepcopy__ = __getitem__

@dataclasses.dataclass
class Point:
    x: int
    trail: list = dataclasses.field(default_factory=list)

@dataclasses.dataclass
class Slots:
    __slots__ = ("x", "y")
    x: int

class Odd:
    def __init__(self): self.open = 1
    def __eq__(self, other): raise AssertionError("a method of a foreign class was called")
    __hash__ = __copy__ = __deepcopy__ = __reduce_ex__ = __eq__

class Connection:
    def __init__(self): self.lock, self.made = threading.Lock(), 0

SHARED = [3]
LIST, CONNECTION = [1, 2], Connection()

def test_held_elsewhere():
    assert LIST == [1, 2]

@pytest.mark.parametrize("value, change, first", [
    (LIST, lambda v: v.pop(), [1, 2]),
    ({"a": [1]}, lambda v: v.pop("a").append(2), {"a": [1]}),
    ({1, 2}, lambda v: v.pop(), {1, 2}),
    (([1],), lambda v: v[0].append(2), ([1],)),
    (collections.deque([1, 2], maxlen=2), lambda v: v.append(3), collections.deque([1, 2])),
    (collections.OrderedDict(a=1, b=2), lambda v: v.move_to_end("a"), collections.OrderedDict(a=1, b=2)),
    (collections.Counter("aab"), lambda v: v.update("b"), collections.Counter("aab")),
    (collections.defaultdict(list), lambda v: v["new"].append(1), {}),
    (bytearray(b"ab"), lambda v: v.extend(b"c"), b"ab"),
    (array.array("i", [1, 2]), lambda v: v.append(3), array.array("i", [1, 2])),
    (Point(1), lambda v: (v.trail.append(v.x), setattr(v, "x", 2), setattr(v, "z", 3)), Point(1)),
    ([Point(1)], lambda v: setattr(v[0], "x", 2), [Point(1)]),
    (Slots(1), lambda v: (setattr(v, "x", 2), setattr(v, "y", 2)), None),
    (unittest.mock.Mock(), lambda v: (v(), v.method(1)), None),
    (functools.partial(SHARED.append, 4), lambda v: v(), None),
    (random.Random(7), lambda v: v.random(), None),
    (Odd(), lambda v: setattr(v, "open", v.open + 1), None),
    (Counted([1]), lambda v: list.append(v, 2), None),
])
def test_parameter(value, change, first):
    match value:
        case Slots(): assert value.x == 1 and not hasattr(value, "y")
        case unittest.mock.Mock(): assert not value.called and not value.method.called
        case functools.partial(): assert SHARED == [3]
        case random.Random(): assert value.getstate() == random.Random(7).getstate()
        case Odd(): assert vars(value) == {"open": 1}
        case Counted(): assert list.__len__(value) == 1
        case _: assert value == first
    change(value)

def test_what_one_run_leaves_is_left():
    assert LIST == [1]

@pytest.mark.parametrize("file", [io.StringIO("one\\ntwo"), io.BytesIO(b"one\\ntwo")])
def test_file_in_memory(file):
    assert len(file.readline()) == 4
    file.write(file.read(0) + file.getvalue()[:1])

def raised():
    try: raise ValueError
    except ValueError as error: return error
@pytest.mark.parametrize("error", [raised()])
def test_exception_carries_no_frames_of_other_rounds(error):
    depth, trace = 0, error.__traceback__
    while trace: depth, trace = depth + 1, trace.tb_next
    assert depth == 1
    with pytest.raises(ValueError): raise error

@pytest.mark.parametrize("items", [iter([1, 2]), iter((1, 2)), iter(range(1, 3)), iter("12"), itertools.count(1), [iter([1, 2])]])
def test_iterator(items):
    items = items[0] if isinstance(items, list) else items
    assert [int(next(items)), int(next(items))] == [1, 2]

def make(values, once):
    def test():
        nonlocal once
        assert values.pop() == 1
        once += 1
        assert once == 1
    return test
test_closure = make([1], 0)

NUMBERS = itertools.count(1)
WORDS = iter(["first", "second"])
def number(): return next(NUMBERS)
def test_number_1(): assert number() == 1
def test_number_2(): assert (number(), next(WORDS)) == (2, "first")
def test_word(): assert next(WORDS) == "second"

class TestIt:
    letters = iter("ab")
    def test_a(self): assert next(self.letters) == "a"
    def test_b(self): assert next(self.letters) == "b"

@pytest.fixture(scope="module", params=[[]])
def wide(request):
    request.param.append(1)
    yield request.param
FILLED = {}
@pytest.fixture(scope="module")
def filled():
    FILLED["wide"] = 1
@pytest.mark.parametrize("table", [FILLED])
def test_what_a_wider_fixture_did_stays(filled, wide, table):
    assert (table, wide) == ({"wide": 1}, [1])
    table["narrow"] = 1

@pytest.mark.parametrize("connection", [CONNECTION])
def test_what_is_in_use_is_left_alone(connection):
    connection.made += 1
"""

#: Tests whose parameters can be read once.
ONCE = """
import pytest

class Reader:
    def __init__(self): self.left = [1, 2]
    def __iter__(self): return self
    def __next__(self):
        if not self.left: raise StopIteration
        return self.left.pop()

LINES = (number for number in [1, 2])

@pytest.mark.parametrize("items", [(x for x in [1, 2]), map(int, "12"), zip([1, 2]), Reader(), [x for x in [1, 2]]],
    ids=["generator", "map", "zip", "reader", "list"])
def test_items(items):
    assert len(list(items)) == 2

@pytest.mark.parametrize("pull", [map(int, "12").__next__])
def test_method(pull):
    assert (pull(), pull()) == (1, 2)

def test_global():
    assert sum(LINES) == 3
"""


def measured_of(pytester):
    tests = json.loads((pytester.path / "report.json").read_text())["tests"]
    return {test["nodeid"].rpartition("::")[2]: test for test in tests}


MEASURED = (*parity.ENERGY, "--energy-rounds=3", "--energy-json=report.json")


@pytest.mark.parametrize("more", [(), ("-n2", "-p", "xdist.plugin")], ids=["", "xdist"])
def test_rounds_begin_alike(pytester, more):
    """Where they did not, a repeat would not pass, and there would be a note."""
    pytester.makepyfile(GIVEN)
    pytester.runpytest_subprocess().assert_outcomes(passed=37)
    # Tests of one file share what it has: one worker runs them.
    options = (*more, "--dist=loadfile") if more else ()
    result = pytester.runpytest_subprocess(*MEASURED, *options)
    result.assert_outcomes(passed=37)
    for name, test in measured_of(pytester).items():
        assert (test["rounds"], [note for note in test["notes"] if "round" in note]) == (3, []), name


def test_blocks_and_processes_begin_alike(pytester, monkeypatch):
    """In companions a test runs in several blocks; suspects run in another process several times."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    pytester.makepyfile(test_given=GIVEN, test_once=ONCE)
    for command in (
        ("init", "-q"),
        ("add", "test_given.py", "test_once.py"),
        ("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "one"),
    ):
        assert pytester.run("git", *command).ret == 0
    result = pytester.runpytest_subprocess(*MEASURED, "--energy-against=HEAD", "--energy-fail-on=none")
    result.assert_outcomes(passed=44)
    for name, test in measured_of(pytester).items():
        assert not any("did not pass" in note for note in test["notes"]), name
        assert (test["rounds"] > 1) == all("one round" not in note for note in test["notes"]), name


def test_what_can_be_read_once_has_one_round(pytester):
    pytester.makepyfile(ONCE)
    pytester.runpytest_subprocess(*MEASURED).assert_outcomes(passed=7)
    tests = measured_of(pytester)
    assert {name: test["rounds"] for name, test in tests.items()} == {
        **dict.fromkeys(tests, 1),
        "test_items[list]": 3,
    }
    assert "one round: parameter 'items' (generator) can be read once only" in tests["test_items[generator]"]["notes"]
    assert "one round: 'LINES' of its module (generator) can be read once only" in tests["test_global"]["notes"]
    assert tests["test_items[reader]"]["energy"] is not None


def test_arrays(pytester):
    pytest.importorskip("numpy")
    pytester.makepyfile(
        """
        import numpy, pytest
        @pytest.mark.parametrize("values", [numpy.ones(3)])
        def test_it(values):
            assert values.sum() == 3
            values += 1
        """
    )
    pytester.runpytest_subprocess(*MEASURED).assert_outcomes(passed=1)
    assert measured_of(pytester)["test_it[values0]"]["rounds"] == 3
