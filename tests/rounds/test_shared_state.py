"""What comes of a round that does not pass."""

from __future__ import annotations

import textwrap

import loaded  # noqa: F401 - so that runs in this process need not import it all each time
import pytest
from telling import ENERGY, ROUNDS, make, told

# Rounds that do not pass

SHARED = {
    "call": """
        seen = []
        def test(record_property, record_testsuite_property):
            print("said")
            record_property("said", "once")
            record_testsuite_property("suite", "once")
            tell("run")
            seen.append(1)
            assert len(seen) < 2
        """,
    "setup": """
        seen = []
        @pytest.fixture
        def fixture():
            seen.append(1)
            assert len(seen) < 2
        def test(fixture): tell('run')
        """,
    "teardown": """
        seen = []
        @pytest.fixture
        def fixture():
            yield
            seen.append(1)
            assert len(seen) < 2
        @pytest.fixture(scope="class")
        def wide():
            yield
            print("wide down")
            tell("wide down")
        class TestIt:
            def test(self, wide, fixture): tell('run')
        def test_next(): tell('next')
        """,
}


@pytest.mark.parametrize("where", ["option", "ini"])
@pytest.mark.parametrize("phase", SHARED)
def test_shared_state_fails_where_that_is_wanted(pytester, phase, where):
    make(pytester, SHARED[phase])
    wanted = ["--energy-repeat-failures=fail"] if where == "option" else ["-o", "energy_repeat_failures=fail"]
    result = pytester.runpytest_inprocess(*ROUNDS, "--junitxml=junit.xml", *wanted)
    result.stdout.fnmatch_lines(["*passed in round 1, did not pass in round 2: shared state?*"])
    result.stdout.fnmatch_lines(["*@pytest.mark.energy(rounds=1, warmup=0)*"])
    if phase == "call":
        result.assert_outcomes(failed=1)
        assert result.stdout.str().count("\nsaid\n") == 1
        assert (pytester.path / "junit.xml").read_text().count('name="said"') == 1
        assert (pytester.path / "junit.xml").read_text().count('name="suite"') == 1
    elif phase == "setup":
        result.assert_outcomes(errors=1)
    else:
        result.assert_outcomes(passed=2, errors=1)
        assert told(pytester) == ["run", "run", "wide down", *["next"] * 4]
        assert result.stdout.str().count("\nwide down\n") == 1
    junit = (pytester.path / "junit.xml").read_text()
    assert junit.count("<testcase") == (2 if phase == "teardown" else 1)


def test_shared_state_is_allowed_to_who_says_so(pytester):
    make(pytester, "pytestmark = pytest.mark.energy(rounds=1, warmup=0)\n" + textwrap.dedent(SHARED["call"]))
    pytester.runpytest_inprocess(*ENERGY, "-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_wider_teardown_is_no_shared_state(pytester):
    make(
        pytester,
        """
        @pytest.fixture(scope="module")
        def wide():
            yield
            raise RuntimeError("wide")
        def test(wide): pass
        """,
    )
    result = pytester.runpytest_inprocess(*ROUNDS)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.no_fnmatch_line("*shared state*")


def test_both_teardowns_fail_between_rounds(pytester):
    make(
        pytester,
        """
        @pytest.fixture(scope="module")
        def wide():
            yield
            raise RuntimeError("the wide one")
        @pytest.fixture
        def narrow(wide):
            yield
            raise RuntimeError("the narrow one")
        def test(narrow): pass
        """,
    )
    result = pytester.runpytest_inprocess(*ROUNDS)
    result.stdout.fnmatch_lines(["E *RuntimeError: the narrow one", "E *RuntimeError: the wide one"])
