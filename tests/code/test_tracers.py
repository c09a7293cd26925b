"""What recording costs the rounds that are measured, and that tracers of others are left alone."""

from __future__ import annotations

import sys

import pytest
from executed import counts, executed, executed_by, outside

MODERN = sys.version_info >= (3, 12)


@pytest.mark.skipif(MODERN, reason="before Python 3.12")
def test_no_tracer_is_active_in_measured_rounds(inner):
    inner.file(
        test_a="import sys, threading\nseen = []\n"
        "def test_a():\n    draw(1000)\n    seen.append((sys.gettrace(), threading._trace_hook, sys.gettrace.__name__))\n"
        "def test_b():\n    draw(1000)\n    assert seen[0][1] is not None and {entry[0] for entry in seen} == {None}\n"
        "    assert set(seen[1:]) == {(None, None, 'gettrace')}\n"
    )
    inner.run("--energy-rounds=3").assert_outcomes(passed=2)


@pytest.mark.skipif(MODERN, reason="before Python 3.12")
def test_another_tracer_is_left_alone_and_only_calls_are_counted(inner):
    inner.conftest("import sys\ndef other(*_): pass\nsys.settrace(other)\ndef pytest_unconfigure(): sys.settrace(None)\n")
    inner.file(test_a="import sys\ndef test_a():\n    draw(1000)\n    assert sys.gettrace().__name__ == 'other'\n")
    assert executed(inner) == {"test_a": {"test_a.py::test_a"}}
    assert counts(inner)["test_a"]["test_a.py::test_a"] == [1]


@pytest.mark.skipif(MODERN, reason="before Python 3.12")
def test_another_tracer_and_profiler_are_left_alone(inner):
    inner.conftest(
        "import sys\ndef other(*_): pass\nsys.settrace(other)\nsys.setprofile(other)\n"
        "def pytest_unconfigure():\n    sys.setprofile(None)\n    sys.settrace(None)\n"
    )
    inner.file(test_a="import sys\ndef test_a():\n    draw(1000)\n    assert sys.getprofile().__name__ == 'other'\n")
    inner.run("--energy-rounds=3").assert_outcomes(passed=1)
    assert inner.tests()["test_a"]["code"] == {"fingerprint": None, "unknown": ["another profiler is active"]}


DEAR = """
import pytest_joules.code.recording_cost as bounds
left = bounds.Bound.left
bounds.Bound.left = lambda self, spent: {}
def pytest_unconfigure(): bounds.Bound.left = left
"""


def test_recording_that_is_too_dear_ends_and_that_is_said(inner):
    """What one call of the recorder costs is no matter of the clock here: the second look finds it too much."""
    inner.conftest(DEAR.format("-1.0 if spent > 0 else 1.0"))
    inner.file(
        test_a="def f(): pass\ndef late(): pass\ndef test_a():\n    draw(1000)\n    for _ in range(2000): f()\n    late()\n"
        "def test_b(): draw(1000)\n"
    )
    assert executed(inner)["test_b"] == {"test_a.py::test_b"}
    tests, found = inner.tests(), counts(inner)
    assert tests["test_b"]["code"]["unknown"] == [] and found["test_b"]["test_a.py::test_b"] == [1, 1]
    # Counts that are not all there would be taken for all there are.
    assert found["test_a"] == {}
    path = executed_by(inner)["test_a"]
    if MODERN:
        assert path == {"test_a.py::test_a", "test_a.py::f", "test_a.py::late"}
        assert tests["test_a"]["code"]["unknown"] == []
        assert tests["test_a"]["notes"][-1] == "its calls are not counted: that takes longer than they do"
    else:
        assert "test_a.py::late" not in path
        assert tests["test_a"]["code"]["unknown"] == ["too many calls to record them all before Python 3.12"]
    # Both are measured as ever.
    assert {name: test["energy"]["median"] for name, test in tests.items()} == pytest.approx({"test_a": 1e-3, "test_b": 1e-3})


@pytest.mark.skipif(sys.version_info < (3, 11), reason="calls are timed from Python 3.11 on")
def test_calls_that_are_too_dear_are_timed_no_more_and_their_number_is_known(inner):
    inner.conftest(DEAR.format("0.7 if spent > 0 else 1.0"))
    inner.file(
        test_a="def f(k): return k\n"
        "def test_a():\n    draw(1000)\n    for k in range(5000):\n        str(k)\n        f(k)\n    late()\n"
        "def late():\n    len('a')\n"
    )
    executed(inner)
    found = outside(inner)["test_a"]
    calls, spent, returned = found["test_a.py::test_a"]["str"]
    assert calls == pytest.approx(5000, rel=0.01) and spent > 0 and returned == 0
    assert "test_a.py::late" not in found
    assert counts(inner)["test_a"]["test_a.py::test_a"] == [1, 1, 5001, 5000, 5000, 1]


def test_lines_that_are_too_dear_are_given_up_then(inner):
    inner.conftest(DEAR.format("0.4 if spent > 0 else 1.0"))
    inner.file(test_a="def f(): return 1\ndef test_a():\n    draw(1000)\n    for _ in range(9000):\n        f()\n")
    executed(inner)
    found = counts(inner)["test_a"]
    assert found["test_a.py::f"] == [9000, 9000] and found["test_a.py::test_a"] == [1]
    assert inner.tests()["test_a"]["code"]["unknown"] == []


@pytest.mark.skipif(not MODERN, reason="sys.monitoring came with Python 3.12")
@pytest.mark.parametrize("scope", ["function", "class", "module"])
def test_no_event_fires_in_measured_rounds(inner, scope):
    # A callback of our own on top of the recorder's: it is told of every event that fires. Three calls in two warm-up rounds.
    # A fixture of a class is set up in every round of a function that is in none (pytest-django has one for all tests).
    inner.conftest(
        "import pytest, sys\nfired = []\n"
        f"@pytest.fixture(scope={scope!r}, autouse=True)\ndef around(): yield\n"
        "def pytest_collection_finish(session):\n"
        "    from pytest_joules.code import recorder\n"
        "    tracking = session.config.pluginmanager.get_plugin('joules-tracking')\n"
        "    tool, monitoring = tracking.recorder._armed.tool, sys.monitoring\n"
        "    assert monitoring.get_tool(tool) == 'pytest-joules'\n"
        "    usual = monitoring.register_callback(tool, monitoring.events.PY_START, None)\n"
        "    def started(code, offset):\n"
        "        fired.append(code.co_name)\n"
        "        return usual(code, offset)\n"
        "    monitoring.register_callback(tool, monitoring.events.PY_START, started)\n"
        "    assert monitoring.get_events(tool) == 0\n"
    )
    inner.file(
        test_a="import conftest\ndef work(): pass\n"
        "def test_a():\n    draw(1000)\n    work()\n    work()\n"
        "def test_b():\n    draw(1000)\n    work()\n"
        "def test_fired():\n    assert conftest.fired.count('work') == 3\n    assert conftest.fired.count('test_a') == 1\n"
    )
    inner.run("--energy-rounds=5").assert_outcomes(passed=3)
    assert all(sys.monitoring.get_tool(tool) != "pytest-joules" for tool in range(6))


@pytest.mark.skipif(not MODERN, reason="sys.monitoring came with Python 3.12")
def test_nor_does_any_that_times_calls(inner):
    inner.conftest(
        "import sys\nfired, late = [], []\n"
        "def pytest_collection_finish(session):\n"
        "    recorder = session.config.pluginmanager.get_plugin('joules-tracking').recorder\n"
        "    tool, monitoring = recorder._armed.tool, sys.monitoring\n"
        "    def watch(event):\n"
        "        usual = monitoring.register_callback(tool, event, None)\n"
        "        def told(code, *rest):\n"
        "            (fired if recorder._recording else late).append((event, code.co_name))\n"
        "            return usual(code, *rest)\n"
        "        monitoring.register_callback(tool, event, told)\n"
        "    for name in ('LINE', 'JUMP', 'CALL', 'C_RETURN', 'PY_RETURN', 'PY_YIELD', 'PY_RESUME'):\n"
        "        watch(getattr(monitoring.events, name))\n"
    )
    inner.file(
        test_a="import conftest\n"
        "def make():\n    for k in range(3):\n        yield [len(str(k)) for k in range(3)]\n"
        "def test_a():\n    draw(1000)\n    assert sum(map(len, make())) == 9\n"
        "def test_fired():\n"
        "    assert {name for _, name in conftest.fired} >= {'test_a', 'make'}\n"
        "    assert len({event for event, _ in conftest.fired}) == 7\n"
        "    assert not {name for _, name in conftest.late} & {'test_a', 'make'}\n"
    )
    inner.run("--energy-rounds=5").assert_outcomes(passed=2)


@pytest.mark.skipif(not MODERN, reason="sys.monitoring came with Python 3.12")
def test_other_tools_keep_their_ids(inner):
    for tool in (3, 4):
        sys.monitoring.use_tool_id(tool, "another")
    try:
        inner.file(test_a="def test_a(): draw(1000)\n")
        inner.run("--energy-rounds=3").assert_outcomes(passed=1)
        assert inner.tests()["test_a"]["code"]["unknown"] == ["no free tool id: other tools use sys.monitoring"]
        assert {sys.monitoring.get_tool(tool) for tool in (3, 4)} == {"another"}
    finally:
        for tool in (3, 4):
            sys.monitoring.free_tool_id(tool)
