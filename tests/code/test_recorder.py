"""What is recorded of a test."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from executed import counts, executed, executed_by

from pytest_joules.code.graph import Graph
from pytest_joules.code.project import Project

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


def test_the_report_has_the_fingerprint_and_the_history_the_functions(inner):
    inner.file(test_a="def test_a(): draw(1000)\n")
    inner.run("--energy-rounds=3")
    assert inner.tests()["test_a"]["code"].keys() == {"fingerprint", "unknown"}
    with closing(sqlite3.connect(inner.path / ".pytest_cache/d/joules/history.db")) as connection:
        assert connection.execute("SELECT count(*) FROM functions").fetchone()[0] > 1
