"""What is recorded of a test, what that costs the rounds that are measured, and what is said of it."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from inner import Inner

from pytest_joules import machine
from pytest_joules.code import changed
from pytest_joules.code.graph import Graph
from pytest_joules.code.project import Project
from pytest_joules.model import OTHER
from pytest_joules.store import open_store

MODERN = sys.version_info >= (3, 12)


def executed(inner: Inner, *args: str) -> dict[str, set[str]]:
    """The functions in each test's path, by the name of the test."""
    result = inner.run("--energy-rounds=3", *args)
    assert result.ret == 0, result.stdout.str()
    inner.report()  # it fits its schema
    return executed_by(inner)


def executed_by(inner: Inner) -> dict[str, set[str]]:
    """The same from the history."""
    store = open_store(inner.path / ".pytest_cache/d/joules/history.db", write=False)
    known = store.latest_code(machine.fingerprint()["id"], "rapl")
    store.close()
    # What the inner project has for its counters is not what these tests are about.
    return {
        nodeid.partition("::")[2]: {
            key
            for key in record["code"]["functions"]
            if "::" in key and "<module>" not in key and not key.startswith(("counter.py", "quiet.py"))
        }
        for nodeid, record in known.items()
    }


def counts(inner: Inner) -> dict[str, dict[str, list[int]]]:
    """How often each function was called and each of its statements ran, by the name of the test."""
    store = open_store(inner.path / ".pytest_cache/d/joules/history.db", write=False)
    known = store.latest_code(machine.fingerprint()["id"], "rapl")
    store.close()
    return {nodeid.partition("::")[2]: record["code"]["counts"] for nodeid, record in known.items()}


COUNTED = """
def work(n):
    '''Why.'''
    total = 0
    for k in range(n):
        if k % 3 == 0:
            total += helper(k)
        else:
            pass
    while total > 10:
        total -= 5
    return [helper(x) for x in range(4)]

def helper(x):
    return x

def generate(n):
    for k in range(n):
        yield k

def fails():
    raise ValueError
    return 1
"""


def test_how_often_each_statement_runs(inner):
    (inner.path / "lib.py").write_text(COUNTED)
    inner.file(
        test_a="import lib\n"
        "def test_work():\n    draw(1000)\n    for _ in range(3):\n        lib.work(9)\n"
        "def test_many():\n    draw(1000)\n    for _ in range(1000):\n        lib.work(9)\n"
        "def test_generate():\n    draw(1000)\n    list(lib.generate(7))\n"
        "def test_fails():\n    draw(1000)\n    try:\n        lib.fails()\n    except ValueError:\n        pass\n"
    )
    executed(inner)
    found = counts(inner)
    # total, for, if, +=, while, -=, return: k is 0, 3, 6, so total is 9 and the while loop never runs.
    call, times = found["test_work"]["lib.py::work"][0], found["test_work"]["lib.py::work"][1:]
    assert call == 3
    assert times[:6] == [3, 3 * (9 + 1), 27, 9, 3, 0]
    assert 3 <= times[6] <= 3 * (4 + 2)  # the statement once, or its comprehension's four turns
    assert found["test_work"]["lib.py::helper"] == [9 + 12, 9 + 12]
    assert found["test_work"]["test_a.py::test_work"] == [1, 1, 4, 3]
    many = found["test_many"]
    assert many["lib.py::helper"] == [7000, 7000]
    assert many["lib.py::work"][0] == 1000
    assert many["lib.py::work"][1:6] == [1000, 10000, 9000, 3000, 1000]
    assert found["test_generate"]["lib.py::generate"] == [1, 8, 7]
    assert found["test_fails"]["lib.py::fails"] == [1, 1, 0]


def test_what_a_fixture_of_many_tests_calls_is_none_of_the_test_s_body(inner):
    (inner.path / "lib.py").write_text("def load():\n    return 1\n")
    inner.file(
        test_a="import lib, pytest\n"
        "@pytest.fixture(scope='module')\ndef shared():\n    return [lib.load() for _ in range(50)]\n"
        "@pytest.fixture\ndef own():\n    return lib.load()\n"
        "def test_a(shared, own):\n    draw(1000)\n    lib.load()\n"
    )
    assert "lib.py::load" in executed(inner)["test_a"]
    assert counts(inner)["test_a"]["lib.py::load"] == [2, 2]


CACHED = """
from functools import lru_cache

@lru_cache
def table(n):
    total = 0
    for k in range(n):
        total += k
    return total

def use(n):
    return [table(n) + step(k) for k in range(100)]

def step(k):
    if k:
        return 1
    return 0
"""


@pytest.mark.parametrize(("rounds", "runs", "filled"), [("auto", 22, 0), ("20", 22, 0), ("5", 6, 1)])
def test_with_many_rounds_counts_are_of_warm_caches(inner, rounds, runs, filled):
    (inner.path / "lib.py").write_text(CACHED)
    inner.file(
        test_a="import lib\nruns = []\n"
        "def test_a():\n    runs.append(1)\n    draw(1000 + 100 * len(runs))\n    lib.use(500)\n"
        f"def test_runs():\n    assert len(runs) == {runs}\n"
    )
    inner.run(f"--energy-rounds={rounds}").assert_outcomes(passed=2)
    found = counts(inner)["test_a"]
    # What only the first round ran is still what the test depends on.
    assert found.get("lib.py::table", [0])[0] == filled
    assert found["lib.py::step"][:2] == [100, 100]
    assert "lib.py::table" in executed_by(inner)["test_a"]


def test_exactly_what_runs(inner):
    (inner.path / "lib.py").write_text(
        "def used(): return [helper(x) for x in (1, 2)]\n"
        "def helper(x): return (lambda: x)()\n"
        "def unused(): return helper(1)\n"
        "class Thing:\n"
        "    @property\n    def size(self): return 1\n"
        "    def never(self): return 2\n"
        "def generate():\n    yield 1\n    yield used()\n"
    )
    inner.file(
        test_a="import lib\n"
        "def test_used():\n    draw(1000)\n    lib.used()\n"
        "def test_thing():\n    draw(1000)\n    lib.Thing().size\n"
        "def test_generate():\n    draw(1000)\n    list(lib.generate())\n"
        "def test_nothing():\n    draw(1000)\n    from os import path\n    path.join('a', 'b')\n"
    )
    assert executed(inner) == {
        "test_used": {"test_a.py::test_used", "lib.py::used", "lib.py::helper"},
        "test_thing": {"test_a.py::test_thing", "lib.py::Thing.size"},
        "test_generate": {"test_a.py::test_generate", "lib.py::generate", "lib.py::used", "lib.py::helper"},
        "test_nothing": {"test_a.py::test_nothing"},
    }


def test_each_test_has_its_own_though_all_call_the_same(inner):
    # What fired once is off until the next test begins.
    (inner.path / "lib.py").write_text("def both(): pass\n")
    inner.file(test_a="import lib\n" + "".join(f"def test_{n}():\n    draw(1000)\n    lib.both()\n" for n in range(4)))
    assert executed(inner) == {f"test_{n}": {f"test_a.py::test_{n}", "lib.py::both"} for n in range(4)}


def test_methods_of_unittest_and_their_setup(inner):
    inner.file(
        test_a="import unittest\n"
        "def prepare(): pass\n"
        "class TestIt(unittest.TestCase):\n"
        "    def setUp(self): prepare()\n"
        "    def test_it(self): draw(1000)\n"
        "    def test_other(self): draw(1000)\n"
    )
    found = executed(inner)
    assert found["TestIt::test_it"] == {"test_a.py::prepare", "test_a.py::TestIt.setUp", "test_a.py::TestIt.test_it"}


def test_a_src_layout_and_the_environment_inside_the_project(inner):
    for path, text in {
        "src/pkg/__init__.py": "from .core import work\n",
        "src/pkg/core.py": "def work():\n    import foreign\n    return foreign.do()\n",
        "env/pyvenv.cfg": "",
        "env/lib/foreign.py": "def do(): return 1\n",
    }.items():
        (inner.path / path).parent.mkdir(parents=True, exist_ok=True)
        (inner.path / path).write_text(text)
    inner.ini("pythonpath = src env/lib .")
    inner.file(test_a="import pkg\ndef test_a():\n    draw(1000)\n    pkg.work()\n")
    assert executed(inner) == {"test_a": {"test_a.py::test_a", "src/pkg/core.py::work"}}


#: Where a copy is told to come from: the folder, an archive as tox builds one, an index of packages.
@pytest.mark.parametrize(
    "source", [{"url": "{root}", "dir_info": {}}, {"url": "file:///a/shop-1.0.whl", "archive_info": {}}, None]
)
def test_a_project_installed_as_a_copy(tmp_path, monkeypatch, source):
    root, site = tmp_path / "project", tmp_path / "site"
    (root / "src").mkdir(parents=True)
    (site / "shop").mkdir(parents=True)
    (site / "shop/__init__.py").write_text("RATE = 1\n")
    (site / "shop/cart.py").write_text("from shop import RATE\ndef total(): return RATE\n")
    info = site / "shop-1.0.dist-info"
    info.mkdir()
    if source is not None:
        (info / "direct_url.json").write_text(json.dumps(source).replace("{root}", root.as_uri()))
    (root / "setup.cfg").write_text("[metadata]\nversion = 1\nname = Shop\n")
    (info / "RECORD").write_text("shop/__init__.py,,\nshop/cart.py,,\nshop-1.0.dist-info/RECORD,,\n")
    monkeypatch.syspath_prepend(str(site))
    project = Project(root)
    assert project.relative(str(site / "shop/cart.py")) == "installed/shop/cart.py"
    assert project.relative(str(site / "other.py")) is None
    graph = Graph(project)
    found = graph.closure(graph.roots(["installed/shop/cart.py::total"]))
    assert found.keys() == {
        "installed/shop/cart.py::total",
        "installed/shop/cart.py::<module> RATE",
        "installed/shop/__init__.py::<module> RATE",
    }
    # Its own version is no other distribution's.
    before = project.distributions()
    info.rename(site / "shop-1.1.dist-info")
    assert Project(root).distributions() == before


def test_the_same_code_on_a_line_of_its_own_elsewhere_has_the_same_fingerprint(inner):
    inner.file(test_a="def test_a():\n    draw(1000)\n")
    executed(inner)
    before = inner.tests()["test_a"]["code"]
    inner.file(test_a="# moved\n\n\ndef test_a():\n    '''Why.'''\n    draw(1000)\n")
    executed(inner)
    assert inner.tests()["test_a"]["code"] == before
    inner.file(test_a="def test_a():\n    draw(2000)\n")
    executed(inner)
    assert inner.tests()["test_a"]["code"]["fingerprint"] != before["fingerprint"]


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
import pytest_joules.code.bounds as bounds
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


def test_lines_that_are_too_dear_are_given_up_first(inner):
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
        "    tool, monitoring = tracking.recorder._tool, sys.monitoring\n"
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


def test_random_examples_are_not_wholly_known(inner):
    pytest.importorskip("hypothesis")
    inner.file(
        test_a="from hypothesis import given, settings, strategies as st\n"
        "@settings(database=None, deadline=None, derandomize=False)\n@given(st.integers())\ndef test_a(n): draw(1000)\n"
        "@settings(database=None, deadline=None, derandomize=True)\n@given(st.integers())\ndef test_b(n): draw(1000)\n"
    )
    inner.run("--energy-rounds=3").assert_outcomes(passed=2)
    assert inner.tests()["test_a"]["code"]["unknown"] == ["random examples"]
    assert inner.tests()["test_b"]["code"]["unknown"] == []


def test_a_test_that_runs_once_says_why(inner):
    inner.file(test_a="def test_a(): draw(1000)\n")
    inner.run("--energy-rounds=3", "--energy-warmup=0").assert_outcomes(passed=1)
    assert inner.tests()["test_a"]["code"] == {"fingerprint": None, "unknown": ["it was not warmed up: nothing was recorded"]}


# Without running anything


def code(root: Path, *keys: str) -> dict:
    graph = Graph(Project(root))
    return {"fingerprint": "x", "functions": graph.closure(graph.roots(keys)), "unknown": []}


def test_still_valid_is_told_from_the_source_alone(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("raise SystemExit\nLIMIT = 1\ndef f(): return LIMIT\ndef g(): return 2\n")
    known = code(tmp_path, "a.py::f")
    assert known["functions"].keys() == {"a.py::f", "a.py::<module> LIMIT", "a.py::<module>"}
    assert changed.still_valid(known, tmp_path)
    assert not changed.still_valid({**known, "unknown": ["starts a process"]}, tmp_path)
    assert not changed.still_valid({"fingerprint": None, "functions": {}, "unknown": []}, tmp_path)
    before = file.read_text()
    for other in (before.replace("LIMIT = 1", "LIMIT = 2"), before.replace("def f", "def h"), "this is no Python", None):
        file.unlink() if other is None else file.write_text(other)
        assert not changed.still_valid(known, tmp_path), other
    file.write_text(before.replace("return 2", "return 3"))
    assert changed.still_valid(known, tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "from b import *\nfrom a import *\ndef f(): return X\n",
        "import a, b\ndef f(): return a.b.a.f, b.f\n",
        "def f(): return f\n",
    ],
)
def test_modules_that_import_each_other_come_to_an_end(tmp_path, source):
    (tmp_path / "a.py").write_text(source)
    (tmp_path / "b.py").write_text("from a import *\nimport a\nX = a.f()\n")
    assert changed.still_valid(code(tmp_path, "a.py::f"), tmp_path)


def test_blame_names_what_changed_in_the_tests_path_the_most_suspicious_first():
    before = {
        "slow_1": {"a.py::slow": "1", "a.py::common": "1", "a.py::same": "1"},
        "slow_2": {"a.py::slow": "1", "a.py::common": "1", "a.py::gone": "1"},
        "fine_1": {"a.py::common": "1"},
        "fine_2": {"a.py::common": "1"},
    }
    now = {
        "slow_1": {"a.py::slow": "2", "a.py::common": "2", "a.py::same": "1"},
        "slow_2": {"a.py::slow": "2", "a.py::common": "2", "a.py::new": "1"},
        "fine_1": {"a.py::common": "2"},
        "fine_2": {"a.py::common": "2"},
        "unknown_before": {"a.py::slow": "2"},
    }
    assert changed.blame(before, now, ["slow_1", "slow_2", "unknown_before"]) == {
        # Ochiai: slow 2 / sqrt(2 * 2), common 2 / sqrt(2 * 4), gone and new 1 / sqrt(2 * 1)
        "slow_1": ["a.py::slow", "a.py::common"],
        "slow_2": ["a.py::slow", "a.py::common", "a.py::new"],
        "unknown_before": [],
    }
    assert changed.blame(before, before, ["slow_1"]) == {"slow_1": []}
    assert changed.blame({}, now, ["slow_1"]) == {"slow_1": []}


def test_a_function_or_else_a_statement_or_else_an_upgrade():
    before = {"<distributions>": "1", "a.py::<module> RATE": "1", "z.py::f": "1"}
    now = {"<distributions>": "2", "a.py::<module> RATE": "2", "z.py::f": "2"}
    for named in ("z.py::f", "a.py::<module> RATE", "<distributions>"):
        assert changed.blame({"t": before}, {"t": now}, ["t"]) == {"t": [named]}
        now[named] = before[named]


def test_what_most_of_a_test_may_come_from_is_named_first():
    before, now = ({"t": {"a.py::rare": text, "a.py::often": text, "z.py::once": text}} for text in "12")
    counts = {"t": {"a.py::rare": [2, 2], "z.py::once": [1, 1, 900], "a.py::often": [90, 90], OTHER: [5000]}}
    assert changed.blame(before, now, ["t"], counts=counts) == {"t": ["z.py::once", "a.py::often", "a.py::rare"]}


def test_the_report_has_the_fingerprint_and_the_history_the_functions(inner):
    inner.file(test_a="def test_a(): draw(1000)\n")
    inner.run("--energy-rounds=3")
    assert inner.tests()["test_a"]["code"].keys() == {"fingerprint", "unknown"}
    with closing(sqlite3.connect(inner.path / ".pytest_cache/d/joules/history.db")) as connection:
        assert connection.execute("SELECT count(*) FROM functions").fetchone()[0] > 1
