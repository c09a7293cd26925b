"""What calls out of the project cost: names, numbers, and times whose order of magnitude is known."""

from __future__ import annotations

import sys

import pytest
from executed import counts, executed, outside

from pytest_joules.code.callees import UNNAMED, by_instruction, call_places, callees

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="calls are timed from Python 3.11 on")

MODERN = sys.version_info >= (3, 12)

LIB = """
import collections, functools, json, math, operator, re, threading, time
import os.path as p
from re import compile

def names(text):
    re.compile("a+b"); compile("a+c"); p.join(text, text)
    text.upper().split(); [str][0](1)
    {}.get("a")
    return dict(a=1, **{"b": 2})

def sleeps():
    time.sleep(0.002)

def dear():
    values = list(range(100000, 0, -1))
    sorted(values)
    len(values)

class Own:
    def __init__(self):
        self.size = 1
    def method(self):
        return self.other(2)
    def other(self, k):
        return abs(k)

def project(k):
    return k

def comes_back(function):
    Own().method()
    project(1); function(1)
    sorted([3, 1, 2], key=lambda k: math.floor(k))
    functools.reduce(project_too, [1, 2, 3])
    next(made())

def project_too(a, b):
    return operator.add(a, b)

def made():
    yield 1

def loops(times):
    total = 0
    for k in range(times):
        total += len("abc")
        if k % 2:
            str(k)
    while total > 0: total -= max(1, 3)
    return [hex(k) for k in range(times)]

def generates(times):
    for k in range(times):
        yield math.sqrt(k)

def uses():
    begun = generates(5)
    next(begun); next(begun)
    return list(begun), sum(generates(3))

def fails():
    json.loads("{")

def handles():
    try:
        int("a")
    except ValueError:
        pass
    try:
        json.loads("[")
    except ValueError:
        pass
    try:
        fails()
    except ValueError:
        time.sleep(0.001)

def recurses(depth):
    math.sqrt(depth)
    return list(map(recurses, [depth - 1])) if depth else time.sleep(0.001)

def in_threads():
    threads = [threading.Thread(target=sleeps) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def with_and_decorators():
    with open(__file__) as file, open(__file__):
        file.readline()
    @functools.lru_cache(maxsize=2)
    def inner():
        return 1
    return inner()

def often(k):
    return math.floor(k)
"""

TESTS = """
import lib

def test_names():
    draw(1000)
    lib.names("a b")

def test_times():
    draw(1000)
    lib.sleeps()
    lib.dear()

def test_comes_back():
    draw(1000)
    lib.comes_back(lib.project)

def test_loops():
    draw(1000)
    lib.loops(1500)

def test_often():
    draw(1000)
    for k in range(500):
        lib.often(k)

def test_generates():
    draw(1000)
    lib.uses()

def test_handles():
    draw(1000)
    lib.handles()

def test_recurses():
    draw(1000)
    lib.recurses(3)

def test_threads():
    draw(1000)
    lib.in_threads()

def test_syntax():
    draw(1000)
    lib.with_and_decorators()
"""

#: What recording may cost is no matter here.
GENEROUS = """
import pytest_joules.code.recording_cost as bounds
left = bounds.Bound.left
bounds.Bound.left = lambda self, spent: 1.0
def pytest_unconfigure(): bounds.Bound.left = left
"""


def _numbers(found):
    """Without the time."""
    return {callee: (calls, back) for callee, (calls, _, back) in found.items()}


def test_what_calls_out_of_the_project_cost(inner):
    (inner.path / "lib.py").write_text(LIB)
    inner.conftest(GENEROUS)
    inner.file(test_a=TESTS)
    executed(inner)
    found = outside(inner)

    names = _numbers(found["test_names"]["lib.py::names"])
    once = ("re.compile", "compile", "p.join", ".upper", ".split", ".get", "dict", UNNAMED)
    assert names == dict.fromkeys(once, (1, 0))

    slept = found["test_times"]["lib.py::sleeps"]["time.sleep"]
    assert slept[0] == 1 and 2e6 <= slept[1] < 2e9
    dear = found["test_times"]["lib.py::dear"]
    assert dear["sorted"][1] > dear["len"][1] and dear["list"][1] > dear["len"][1]

    back = found["test_comes_back"]
    assert _numbers(back["lib.py::comes_back"]) == {
        "Own": (0, 1),
        "sorted": (0, 1),
        "math.floor": (3, 0),
        "functools.reduce": (0, 1),
        "next": (0, 1),
    }
    assert _numbers(back["lib.py::project_too"]) == {"operator.add": (2, 0)}
    assert _numbers(back["lib.py::Own.other"]) == {"abs": (1, 0)}
    # Nothing but calls of the project's own.
    assert not back.keys() & {"lib.py::Own.method", "lib.py::project", "lib.py::Own.__init__"}

    loops = found["test_loops"]["lib.py::loops"]
    assert {callee: calls for callee, (calls, _, _) in loops.items() if callee != "range"} == {
        callee: pytest.approx(calls, rel=0.02) for callee, calls in {"len": 1500, "str": 750, "max": 1500, "hex": 1500}.items()
    }
    assert counts(inner)["test_loops"]["lib.py::loops"][:4] == [1, 1, 1501, 1500]

    assert _numbers(found["test_often"]["lib.py::often"]) == {"math.floor": (500, 0)}

    generates = found["test_generates"]
    assert _numbers(generates["lib.py::uses"]) == {"next": (0, 2), "list": (0, 1), "sum": (0, 1)}
    assert _numbers(generates["lib.py::generates"]) == {"range": (2, 0), "math.sqrt": (8, 0)}

    handles = found["test_handles"]
    assert _numbers(handles["lib.py::handles"]) == {"int": (1, 0), "json.loads": (1, 0), "time.sleep": (1, 0)}
    assert _numbers(handles["lib.py::fails"]) == {"json.loads": (1, 0)}
    # What comes after it is no part of it.
    assert handles["lib.py::fails"]["json.loads"][1] < 1e6 + handles["lib.py::handles"]["time.sleep"][1]

    recurses = found["test_recurses"]["lib.py::recurses"]
    assert _numbers(recurses) == {"math.sqrt": (4, 0), "map": (3, 0), "list": (0, 3), "time.sleep": (1, 0)}

    threads = found["test_threads"]
    slept = threads["lib.py::sleeps"]["time.sleep"]
    assert slept[0] == 3 and 6e6 <= slept[1] < 6e9
    assert _numbers(threads["lib.py::in_threads"])["threading.Thread"] == (3, 0)

    syntax = _numbers(found["test_syntax"]["lib.py::with_and_decorators"])
    assert syntax["open"] == (2, 0) and syntax[".readline"] == (1, 0) and syntax["functools.lru_cache"] == (1, 0)


def test_what_a_function_of_the_project_waits_for_is_none_of_its_callee(inner):
    inner.ini("asyncio_mode = auto")
    inner.file(
        test_a="import asyncio, time\n"
        "async def waits():\n    await asyncio.sleep(0.01)\n    await nothing()\n    return str(1)\n"
        "async def nothing(): pass\n"
        "def test_a():\n    draw(1000)\n    asyncio.run(waits())\n"
    )
    executed(inner)
    found = outside(inner)["test_a"]
    assert _numbers(found["test_a.py::waits"]) == {"asyncio.sleep": (1, 0), "str": (1, 0)}
    assert _numbers(found["test_a.py::test_a"])["asyncio.run"] == (0, 1)


def test_a_fixture_that_is_asked_for_is_not_timed(inner):
    inner.file(
        test_a="import pytest\n@pytest.fixture(scope='module')\ndef shared():\n    return len('a')\n"
        "def test_a(request):\n    draw(1000)\n    request.getfixturevalue('shared')\n    str(1)\n"
    )
    executed(inner)
    found = outside(inner)["test_a"]["test_a.py::test_a"]
    assert [found[".getfixturevalue"][place] for place in (0, 2)] == [0, 1]
    assert found["str"][0] == 1


def test_another_tracer_has_the_calls_for_itself(inner):
    if MODERN:
        pytest.skip("before Python 3.12")
    inner.conftest("import sys\ndef other(*_): pass\nsys.settrace(other)\ndef pytest_unconfigure(): sys.settrace(None)\n")
    inner.file(test_a="def test_a():\n    draw(1000)\n    len('a')\n")
    executed(inner)
    assert outside(inner) == {"test_a": {}}


def test_names_in_the_source():
    source = b"import a.b, c as d\nfrom e import f, g as h\na.b.x(); d.y(); f(); h.z(1)(2); i.j.k(); (lambda: 1)()\n"
    assert sorted(callees(source).values()) == sorted(("a.b.x", "d.y", "f", "h.z", UNNAMED, ".k", UNNAMED))


def test_only_what_is_written_as_a_call_has_a_name():
    source = (
        "def f(x):\n    with x(1) as y: pass\n    @x(2)\n    @x.z\n    def g(): pass\n    return [v(w, a=1) for v in y], f(*x)\n"
    )
    space: dict[str, object] = {}
    exec(compile(source, "s.py", "exec"), space)
    code = space["f"].__code__  # type: ignore[attr-defined]  # the text defines a function
    known = callees(source.encode())
    found = by_instruction(code, known)
    inner = [name for part in code.co_consts if hasattr(part, "co_code") for name, _ in by_instruction(part, known).values()]
    assert sorted([*(name for name, _ in found.values()), *inner]) == ["f", "v", "x", "x"]
    assert len(call_places(code)) > len(found)
