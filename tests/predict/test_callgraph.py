"""The path of a test that never ran: it holds what the test executes when it does run."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from pytest_joules.code.graph import Graph
from pytest_joules.code.project import Project
from pytest_joules.predict.facts import callgraph
from pytest_joules.predict.facts.callgraph import CallGraph
from pytest_joules.predict.facts.executed import executed


@pytest.fixture
def project(tmp_path):
    def write(**files: str) -> CallGraph:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return CallGraph(Graph(Project(tmp_path)))

    return write


def functions(graph: CallGraph, nodeid: str) -> set[str]:
    return {place for place in graph.facts(nodeid).sources if "<module>" not in place}


def test_names_are_followed_through_imports(project):
    graph = project(
        pkg__in____init__="from .core import work\nfrom . import other\n",
        pkg__in__core="""
            from pkg.deep import *
            SIZE = 30
            def work(n): return starred(n) + here(SIZE)
            def here(n):
                def inner(): return far.away()
                import pkg.far as far
                return inner()
            def unused(): return 1
        """,
        pkg__in__deep="def starred(n): return n\ndef never(): pass\n",
        pkg__in__far="def away(): return near()\ndef near(): return 1\ndef not_named(): return 1\n",
        pkg__in__other="def by_module(): pass\ndef never(): pass\n",
        test_a="import pkg\nimport os.path\ndef test_a():\n    pkg.work(1)\n    pkg.other.by_module()\n    os.path.join('a')\n",
    )
    found = graph.facts("test_a.py::test_a")
    assert functions(graph, "test_a.py::test_a") == {
        *("test_a.py::test_a", "pkg/core.py::work", "pkg/core.py::here", "pkg/core.py::here.<locals>.inner"),
        *("pkg/deep.py::starred", "pkg/far.py::away", "pkg/far.py::near", "pkg/other.py::by_module"),
    }
    assert found.sources["pkg/core.py::<module> SIZE"] == "SIZE = 30\n"
    assert found.counts == {}
    assert found.test == "test_a.py::test_a"


def test_methods_of_classes_in_reach(project):
    graph = project(
        lib="""
            class Base:
                def __init__(self): self.start()
                def start(self): pass
                def shared(self): pass
            class Thing(Base):
                def __init__(self):
                    super().__init__()
                def grow(self): return self.shared()
                def idle(self): pass
                def __repr__(self): return ""
                @property
                def size(self): return helper()
            class Elsewhere:
                def grow(self): pass
            default = Thing()
            def helper(): return 1
            def make(): return Thing()
        """,
        test_a="""
            from lib import default, make
            def test_made(): make().grow()
            def test_default(): default.size
        """,
    )
    made = {"test_a.py::test_made", "lib.py::make", "lib.py::Thing.__init__", "lib.py::Base.__init__", "lib.py::Base.start"}
    assert functions(graph, "test_a.py::test_made") == made | {"lib.py::Thing.grow", "lib.py::Base.shared"}
    assert functions(graph, "test_a.py::test_default") == {
        *("test_a.py::test_default", "lib.py::Thing.size", "lib.py::helper"),
        *("lib.py::Thing.__init__", "lib.py::Base.__init__", "lib.py::Base.start"),
    }


def test_fixtures_and_what_surrounds_a_test(project):
    graph = project(
        conftest="""
            import pytest
            @pytest.fixture(autouse=True)
            def always(): begin()
            def begin(): pass
            @pytest.fixture
            def data(other): return 1
            @pytest.fixture(name="other")
            def with_another_name(): return 2
            @pytest.fixture
            def unused(): return 3
        """,
        sub__in__conftest="import pytest\n@pytest.fixture\ndef data(): return near()\ndef near(): return 1\n",
        shared="import pytest\n@pytest.fixture\ndef imported(): return 5\n",
        sub__in__test_a="""
            import pytest
            from shared import imported
            class TestX:
                def setup_method(self): self.x = 1
                @pytest.fixture
                def mine(self): return 4
                @pytest.mark.usefixtures("mine")
                def test_b(self, data, imported): pass
                def test_other(self): pass
            class TestY(TestX): pass
        """,
        test_top="def test_t(data): pass\n",
    )
    expected = {
        *("sub/test_a.py::TestX.test_b", "sub/test_a.py::TestX.setup_method", "sub/test_a.py::TestX.mine", "conftest.py::always"),
        *("conftest.py::begin", "sub/conftest.py::data", "sub/conftest.py::near", "shared.py::imported"),
    }
    assert functions(graph, "sub/test_a.py::TestX::test_b[1]") == expected
    assert functions(graph, "sub/test_a.py::TestY::test_b") == expected
    assert graph.facts("sub/test_a.py::TestY::test_b").test == "sub/test_a.py::TestX.test_b"
    top = {
        "test_top.py::test_t",
        "conftest.py::always",
        "conftest.py::begin",
        "conftest.py::data",
        "conftest.py::with_another_name",
    }
    assert functions(graph, "test_top.py::test_t") == top


def test_how_often_follows_from_loops_and_parameters(project):
    graph = project(
        lib="""
            ROUNDS = 20
            def outer(n):
                for i in range(n):
                    inner(i)
            def inner(i):
                for _ in range(ROUNDS):
                    print(i)
        """,
        test_a="""
            import pytest
            from lib import outer
            @pytest.mark.parametrize("n", [5, 700])
            def test_a(n): outer(n)
            def test_b():
                for k in range(30): outer(3)
        """,
    )
    small, large = (executed(graph.facts(f"test_a.py::test_a[{n}]")) for n in (5, 700))
    # Each function once; that outer's n is the test's is by its name.
    assert (small["called:inner"], large["called:inner"]) == (5, 700)
    assert large["called:print"] == 20
    assert executed(graph.facts("test_a.py::test_b"))["called:outer"] == 30


def test_a_path_has_a_bound(project, monkeypatch):
    monkeypatch.setattr(callgraph, "MOST_FUNCTIONS", 20)
    chain = "".join(f"def f{n}(): return f{n + 1}()\n" for n in range(100)) + "def f100(): return f0()\n"
    wide = (
        "def test_wide():\n" + "".join(f"    g{n}()\n" for n in range(100)) + "".join(f"def g{n}(): pass\n" for n in range(100))
    )
    around = "from test_b import *\nfrom test_a import loop\ndef test_c(): loop()\n"
    graph = project(test_a=f"from test_b import loop\n{chain}def test_a(): f0()\n{wide}", test_b=around)
    assert functions(graph, "test_a.py::test_a") == {"test_a.py::test_a", *(f"test_a.py::f{n}" for n in range(callgraph.DEEPEST))}
    assert len(functions(graph, "test_a.py::test_wide")) == 20
    assert functions(graph, "test_b.py::test_c") == {"test_b.py::test_c"}


def test_what_is_not_there_has_no_path(project):
    graph = project(test_a="def test_a(: pass\n", test_b="x = 1\n")
    for nodeid in ("test_a.py::test_a", "test_b.py::test_b", "nowhere.py::test_c[1]", "README.md::README.md", "test_b.py"):
        found = graph.facts(nodeid)
        assert found.sources == {}
        assert found.test is None
        executed(found)


def test_it_holds_what_really_runs():
    """Of a part of this project, followed with the interpreter's profile function."""
    root = Path(__file__).parents[2]
    from pytest_joules import stats

    ran = set()

    def see(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename == stats.__file__ and not code.co_name.startswith("<"):
            ran.add(f"pytest_joules/stats.py::{code.co_qualname if sys.version_info >= (3, 11) else code.co_name}")

    import test_stats

    names = ["test_a_cost_is_never_below_zero_however_few_and_wild_its_values", "test_a_common_uncertainty_widens_the_interval"]
    graph = CallGraph(Graph(Project(root)))
    for name in names:
        ran.clear()
        sys.setprofile(see)
        try:
            getattr(test_stats, name)()
        finally:
            sys.setprofile(None)
        assert ran
        assert ran <= functions(graph, f"tests/test_stats.py::{name}")
