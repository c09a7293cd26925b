"""Rounds beside options and hooks of pytest."""

from __future__ import annotations

import loaded  # noqa: F401 - so that runs in this process need not import it all each time
import pytest
from telling import ENERGY, ROUNDS, make, told

# Options of pytest


FAILING = """
def test_a(): tell("a")
def test_b():
    tell("b")
    assert 0
def test_c():
    tell("c")
    assert 0
def test_d(): tell("d")
"""


@pytest.mark.parametrize(
    "options",
    [
        ["-x"],
        ["--maxfail=2"],
        ["-k", "a or d"],
        ["--sw"],
        ["--lf"],
        ["--ff", "-q"],
        ["--deselect", "test_options.py::test_b"],
        ["--setup-show"],
        ["--setup-only"],
        ["--setup-plan"],
        ["--collect-only"],
        ["-qq"],
        ["-v", "--durations=3", "--durations-min=0"],
        ["-p", "no:terminal"],
        ["-p", "no:capture"],
        ["-p", "no:warnings"],
        ["-p", "no:logging"],
        ["-p", "no:skipping"],
        ["-p", "no:doctest"],
        ["-p", "no:unittest"],
        ["-p", "no:tmpdir"],
        ["-p", "no:junitxml"],
        ["-p", "no:faulthandler"],
        ["-s"],
        ["--tb=native"],
        ["-W", "error"],
        ["--strict-markers", "--strict-config"],
        ["--runxfail"],
        ["-o", "log_cli=true"],
    ],
    ids=" ".join,
)
def test_options(pytester, options):
    make(pytester, FAILING)
    seen = []
    cached = options[0] in ("--sw", "--lf", "--ff")
    cache = () if cached else ("-p", "no:cacheprovider")  # without it, no history that takes time to open
    for measuring in (cache, [*ENERGY, "--energy-rounds=2", "--energy-warmup=0", *cache]):
        if cached:
            pytester.runpytest_inprocess(*options, *measuring)  # to have something to begin from
        (pytester.path / "told").unlink(missing_ok=True)
        result = pytester.runpytest_inprocess(*options, *measuring)
        outcomes = result.parseoutcomes() if "no:terminal" not in options and "-qq" not in options else None
        tests = list(dict.fromkeys(told(pytester)))
        seen.append((result.ret, outcomes, tests))
        assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
        assert "Traceback" not in result.stderr.str()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("end", ["pytest.exit('enough')", "raise KeyboardInterrupt"])
def test_stops(pytester, end):
    make(pytester, f"def test_a(): tell('a')\ndef test_b(): {end}\ndef test_c(): tell('c')")
    results = [pytester.runpytest_inprocess(*options, no_reraise_ctrlc=True) for options in ((), ROUNDS)]
    assert results[0].ret == results[1].ret == pytest.ExitCode.INTERRUPTED
    assert results[0].parseoutcomes().get("passed") == results[1].parseoutcomes().get("passed") == 1
    assert "c" not in told(pytester)


def test_debugger_is_entered_after_the_report(pytester):
    make(pytester, "def test(): assert 0")
    pytester.makeconftest(
        """
        from teller import tell
        def pytest_runtest_logreport(report): tell(f"report {report.when}")
        def pytest_exception_interact(node, call, report): tell("interact")
        """
    )
    pytester.runpytest_inprocess(*ROUNDS).assert_outcomes(failed=1)
    assert told(pytester) == ["report setup", "report call", "interact", "report teardown"]


def test_reports_of_a_hook_for_every_round(pytester):
    make(pytester, "def test(): pass")
    pytester.makeconftest(
        """
        import pytest
        from teller import tell
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            tell(report.when)
            return report
        """
    )
    pytester.runpytest_inprocess(*ROUNDS, "--energy-rounds=2", "--energy-warmup=0").assert_outcomes(passed=1)
    assert told(pytester) == ["setup", "call", "teardown"] * 2


def test_longest_setup_is_the_one_reported(pytester):
    """``--durations`` and the JUnit file show what wide fixtures took, as in a plain run; only the first round sets them up."""
    make(
        pytester,
        """
        import time
        @pytest.fixture(scope="module")
        def slow(): time.sleep(0.2)
        def test(slow): pass
        """,
    )
    result = pytester.runpytest_inprocess(*ROUNDS, "--durations=1")
    result.stdout.fnmatch_lines(["0.2*s setup *::test"])


@pytest.mark.parametrize("options", [("-p", "pytest_joules.plugin"), ROUNDS], ids=["plain", "measured"])
@pytest.mark.parametrize("where", ["conftest.py", "mine.py"])
def test_hooks_of_ours_may_be_implemented(pytester, options, where):
    make(pytester, "def test(): pass")
    source = """
        from teller import tell
        def pytest_joules_quiesce(config): pass
        def pytest_joules_sources(config): return []
        def pytest_joules_update_report(config, report): tell(report["schema"])
    """
    pytester.makepyfile(**{where.removesuffix(".py"): source})
    more = () if where == "conftest.py" else ("-p", "mine")
    result = pytester.runpytest_subprocess(*options, *more)
    result.assert_outcomes(passed=1)
    assert told(pytester) == (["pytest-joules/1"] if options is ROUNDS else [])
