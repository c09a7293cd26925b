"""How often what is run."""

from __future__ import annotations

import json

import loaded  # noqa: F401 - so that runs in this process need not import it all each time
import pytest
from telling import ENERGY, ROUNDS, make, told

# Fixtures


def test_scopes(pytester):
    make(
        pytester,
        """
        for scope in ("session", "module", "class", "function"):
            def fixture(request, scope=scope):
                tell(f"{scope} up")
                yield
                tell(f"{scope} down")
            globals()[scope] = pytest.fixture(scope=scope, name=scope)(fixture)

        class TestOne:
            def test_a(self, session, module, function): tell("a")
            def test_b(self, function):
                tell("b")
            @pytest.fixture(autouse=True)
            def automatic(self, request):
                tell("auto up")
                request.addfinalizer(lambda: tell("auto down"))
            @pytest.fixture(scope="class", autouse=True)
            def whole(self):
                tell("whole up")
                yield
                tell("whole down")

        def test_c(module): tell("c")
        """,
    )
    pytester.runpytest_inprocess(*ROUNDS, "--energy-rounds=2", "--energy-warmup=0").assert_outcomes(passed=3)
    assert told(pytester) == [
        *("session up", "module up", "whole up"),
        *("auto up", "function up", "a", "function down", "auto down"),
        *("auto up", "function up", "a", "function down", "auto down"),
        *("auto up", "function up", "b", "function down", "auto down"),
        *("auto up", "function up", "b", "function down", "auto down"),
        *("whole down", "c", "c", "module down", "session down"),
    ]


def test_parametrised_module_fixtures(pytester):
    make(
        pytester,
        """
        @pytest.fixture(scope="module", params=[1, 2])
        def outer(request):
            tell(f"outer {request.param} up")
            yield request.param
            tell(f"outer {request.param} down")

        @pytest.fixture(scope="module", params="ab")
        def inner(outer, request):
            tell(f"inner {outer}{request.param} up")
            yield
            tell(f"inner {outer}{request.param} down")

        def test_a(inner): pass
        def test_b(outer): pass
        """,
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=6)
    plain = told(pytester)
    (pytester.path / "told").unlink()
    pytester.runpytest_inprocess(*ROUNDS).assert_outcomes(passed=6)
    assert told(pytester) == plain


def test_hooks_once_a_test(pytester):
    make(pytester, "def test_a(): tell('run')\nclass TestB:\n    def test_b(self): tell('run')")
    pytester.makeconftest(
        """
        from teller import tell
        def pytest_runtest_logstart(nodeid): tell("start")
        def pytest_runtest_logreport(report): tell(report.when)
        def pytest_runtest_logfinish(nodeid): tell("finish")
        """
    )
    pytester.runpytest_inprocess(*ROUNDS, "--energy-warmup=0", "--energy-rounds=2").assert_outcomes(passed=2)
    assert told(pytester) == ["start", "setup", "run", "run", "call", "teardown", "finish"] * 2


# How often


@pytest.mark.parametrize(
    ("marker", "runs"),
    [
        ("rounds=3, warmup=1", 4),
        ("rounds=3, warmup=0", 3),
        ("rounds=1, warmup=0", 1),
        ("rounds=2, warmup=3", 5),
        ("rounds=2, warmup=1, iterations=5", 15),
        ("skip=True", 1),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        "{mark}\ndef test(): tell('run')",
        "class TestIt:\n    {mark}\n    def test(self): tell('run')",
        "import unittest\nclass It(unittest.TestCase):\n    {mark}\n    def test(self): tell('run')",
        "{mark}\n@pytest.mark.asyncio\nasync def test(): tell('run')",
        "import unittest\nclass It(unittest.IsolatedAsyncioTestCase):\n    {mark}\n    async def test(self): tell('run')",
    ],
    ids=["function", "method", "TestCase", "async", "async TestCase"],
)
def test_runs(pytester, marker, runs, body):
    make(pytester, body.format(mark=f"@pytest.mark.energy({marker})"))
    options = ("-p", "no:cacheprovider", "--strict-markers", "-p", "pytest_asyncio.plugin")
    pytester.runpytest_inprocess(*ENERGY, *options, "-o", "asyncio_default_fixture_loop_scope=function").assert_outcomes(passed=1)
    assert told(pytester) == ["run"] * runs


def test_auto_rounds(pytester):
    make(pytester, "def test(): tell('run')")
    pytester.runpytest_inprocess(*ENERGY, "-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert 6 <= len(told(pytester)) <= 41


def test_iterations_share_fixtures(pytester):
    make(
        pytester,
        """
        class TestIt:
            @pytest.mark.energy(iterations=3, rounds=2, warmup=0)
            @pytest.mark.parametrize("number", [1, 2])
            def test(self, tmp_path, request, number):
                self.calls = getattr(self, "calls", 0) + 1
                tell(f"{number} {self.calls}")
        """,
    )
    pytester.runpytest_inprocess(*ENERGY, "-p", "no:cacheprovider").assert_outcomes(passed=2)
    assert told(pytester) == [f"{number} {call}" for number in (1, 2) for _ in range(2) for call in (1, 2, 3)]


def test_failure_in_an_iteration(pytester):
    make(
        pytester,
        """
        @pytest.mark.energy(iterations=3)
        def test(tmp_path):
            (tmp_path / "made").mkdir()
        """,
    )
    result = pytester.runpytest_inprocess(*ENERGY, "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *FileExistsError*"])
    result.stdout.no_fnmatch_line("*repeat.py*")


@pytest.mark.parametrize("file", ["test_doc.py", "test_items.yaml"])
def test_iterations_need_a_function(pytester, file):
    make(pytester, "def test_first(): tell('run')")
    pytester.path.joinpath("test_doc.py").write_text("'''\n>>> 1\n1\n'''\n")
    pytester.path.joinpath("test_items.yaml").write_text("one")
    pytester.makeconftest(
        f"""
        import pytest
        class File(pytest.File):
            def collect(self):
                yield Item.from_parent(self, name="one")
        class Item(pytest.Item):
            def runtest(self): pass
        def pytest_collect_file(file_path, parent):
            return File.from_parent(parent, path=file_path) if file_path.suffix == ".yaml" else None
        @pytest.hookimpl(tryfirst=True)
        def pytest_collection_modifyitems(items):
            for item in items:
                if "{file}" in item.nodeid:
                    item.add_marker(pytest.mark.energy(iterations=5))
        """
    )
    result = pytester.runpytest_inprocess(*ENERGY, "--doctest-modules", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{file}::*iterations= needs a test function*"])
    assert not told(pytester)


def test_disk(pytester):
    make(
        pytester,
        """
        def test(tmp_path, request):
            (tmp_path / "big").write_text("x")
        def test_elsewhere(tmp_path):
            import os
            os.getcwd()
            os.chdir(tmp_path)
        def test_back():
            import os
            os.chdir(os.path.dirname(__file__))
        """,
    )
    base = pytester.path / "base"
    pytester.runpytest_subprocess(*ROUNDS, "--energy-rounds=6", f"--basetemp={base}").assert_outcomes(passed=3)
    # The first one stays, as whoever keeps its name from the first run expects, and the last.
    assert len([path for path in base.glob("test0") if path.is_dir()]) == 1
    assert len([path for path in base.glob("test[0-9]*") if path.is_dir()]) == 2


# Without --energy


def test_inert(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_PLUGINS")
    make(
        pytester,
        """
        import sys
        @pytest.mark.energy(rounds=7, nonsense=1)
        @pytest.mark.energy_budget(joules="no energy at all")
        def test(energy):
            tell("run")
            with energy.measure("part"):
                energy.work(tokens=1)
            energy.score(right=0.5)
            ours = sorted(name for name in sys.modules if name.startswith("pytest_joules"))
            assert ours == ["pytest_joules", "pytest_joules.plugin"]
            assert not {"numpy", "scipy", "sqlalchemy", "psutil", "pyRAPL", "pynvml", "tabulate"} & set(sys.modules)
        """,
    )
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config")
    result = pytester.runpytest_subprocess("-W", "error", "-p", "pytest_joules.plugin")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*energy*")
    assert told(pytester) == ["run"]


def test_disable_beats_addopts(pytester):
    make(pytester, "def test(): tell('run')")
    pytester.makeini("[pytest]\naddopts = --energy\nenergy = true")
    pytester.runpytest_inprocess("-p", "pytest_joules.plugin", "--energy-disable").assert_outcomes(passed=1)
    assert told(pytester) == ["run"]


# What is said of a test that was not repeated


def test_said(pytester):
    make(
        pytester,
        """
        @pytest.mark.xfail
        def test_xfail(): assert 0
        @pytest.mark.skip
        def test_skip(): pass
        @pytest.mark.energy(skip=True)
        def test_marked(): pass
        def test_measured(): pass
        def test_marks_itself(request):
            tell("run")
            request.applymarker(pytest.mark.xfail)
        @pytest.mark.elsewhere
        def test_elsewhere(): pass
        """,
    )
    pytester.makeconftest(
        """
        from _pytest.runner import runtestprotocol
        def pytest_runtest_protocol(item, nextitem):
            if item.get_closest_marker("elsewhere"):
                runtestprotocol(item, nextitem=nextitem)
                return True
        """
    )
    pytester.runpytest_inprocess(*ROUNDS, "--energy-json=report.json").assert_outcomes(passed=3, skipped=1, xfailed=1, xpassed=1)
    assert told(pytester) == ["run"]
    tests = {
        entry["nodeid"].rpartition("::")[2]: entry for entry in json.loads((pytester.path / "report.json").read_text())["tests"]
    }
    assert tests["test_measured"]["rounds"] == 3
    assert tests["test_measured"]["notes"] == []
    assert {name: entry["outcome"] for name, entry in tests.items()} == {
        "test_xfail": "xfailed",
        "test_marks_itself": "xpassed",
        "test_skip": "skipped",
        "test_marked": "passed",
        "test_measured": "passed",
        "test_elsewhere": "passed",
    }
    assert all(entry["energy"] is None for name, entry in tests.items() if name != "test_measured")
    assert "marked skip" in tests["test_marked"]["notes"][0]
    assert "another plugin" in tests["test_elsewhere"]["notes"][0]
