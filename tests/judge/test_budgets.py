"""A test over its energy budget fails as a test does; what nobody can vouch for does not."""

import pytest
from inner import TICKING

from pytest_joules.judge.budget import excess, judge_budget
from pytest_joules.model import Measurement
from pytest_joules.settings.budgets import Budget

TWO = "def test_a(): draw(128_000)\ndef test_b(): draw(50_000)\n"

# The verdict


def measured(values=(1.0, 1.0, 1.0, 1.0, 1.0, 1.0), **other):
    from pytest_joules import stats

    fields = {
        "nodeid": "t.py::t",
        "source": "rapl",
        "provenance": "measured",
        "resolution": "ok",
        "rounds": len(values),
        "iterations": 1,
        "samples": [],
        "energy": stats.summarise(values),
        "duration": None,
        "power": None,
        "tsc": None,
        "domains": {},
    }
    return Measurement(**(fields | other))


def verdict_of(measurement, limit=0.5, *, trust_estimates=False, random=False):
    return judge_budget(measurement, Budget(limit, "test"), trust_estimates=trust_estimates, random=random)


def test_the_lower_bound_decides():
    values = [0.9, 0.95, 1.0, 1.05, 1.1, 1.2]  # from 6 values on the interval is that of the order statistics: all of them
    assert verdict_of(measured(values), 0.89).verdict == "over budget"
    assert verdict_of(measured(values), 0.9).verdict == "ok"
    assert verdict_of(measured(values), 0.95).verdict == "ok"


@pytest.mark.parametrize(
    ("measurement", "options", "verdict", "says"),
    [
        (measured(), {}, "over budget", "2 times the limit"),
        (measured(resolution="apportioned"), {}, "over budget", ""),
        (measured(provenance="estimated"), {}, "cannot tell", "--energy-trust-estimates"),
        (measured(provenance="estimated"), {"trust_estimates": True}, "over budget", ""),
        (measured(provenance="shared"), {}, "cannot tell", "--energy-trust-estimates"),
        (measured(provenance="shared"), {"trust_estimates": True}, "over budget", ""),
        (measured(), {"random": True}, "cannot tell", "derandomize"),
        (measured([1.0]), {}, "cannot tell", "more rounds"),
        (measured([0.4]), {}, "ok", ""),
        (measured([0.4] * 6, provenance="estimated"), {}, "ok", ""),
        (measured(energy=None, provenance="unavailable", notes=["it vanished"]), {}, "cannot tell", "it vanished"),
        (measured(energy=None, provenance="unavailable"), {"trust_estimates": True}, "cannot tell", "nothing was measured"),
        (measured(energy=None, resolution="below", provenance="unavailable"), {}, "cannot tell", "iterations="),
    ],
)
def test_verdicts(measurement, options, verdict, says):
    judged = verdict_of(measurement, **options)
    assert judged.verdict == verdict
    assert says in (judged.why or "")


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.0001, "less than 0.1 % over"),
        (1.0014, "0.1 % over"),
        (1.0123, "1.2 % over"),
        (1.0994, "9.9 % over"),
        (1.0996, "10 % over"),
        (1.28, "28 % over"),
        (1.9999, "100 % over"),
        (2.0, "2 times the limit"),
        (2.5, "2.5 times the limit"),
        (156.9, "157 times the limit"),
        (1.6912e7, "16,900,000 times the limit"),
    ],
)
def test_by_how_much(ratio, text):
    assert excess(ratio) == text


# Whole runs


def test_over_budget(inner):
    inner.file(test_a="@pytest.mark.energy_budget(joules='100 mJ')\n" + TWO)
    result = inner.run("--energy-rounds=6", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "test_a.py J. *",
            "*__ test_a __*",
            "128 mJ > 100 mJ: over energy budget, 28 % over (95 % interval 128 mJ to 128 mJ,",
            "6 rounds, rapl)",
            "*- energy budget -*",
            "limit     100 mJ  (marker energy_budget)",
            "measured  128 mJ  median of 6 samples",
            "interval  128 mJ to 128 mJ  (95 %)",
            "rounds    6",
            "source    rapl, measured, resolution ok",
            "over by   28.0 mJ  (28 % over)",
            "test_a.py::test_a * 128 mJ * over budget",
            "OVER BUDGET test_a.py::test_a 128 mJ > 100 mJ",
            "OVER BUDGET test_a.py::test_a - 128 mJ > 100 mJ: over*",
        ]
    )
    tests = inner.tests()
    assert tests["test_a"]["budget"]["verdict"] == "over budget"
    assert tests["test_a"]["budget"]["joules"] == pytest.approx(0.1)
    assert tests["test_a"]["outcome"] == "failed"
    assert tests["test_b"]["budget"] is None
    case = inner.junit()["test_a"]
    assert "128 mJ > 100 mJ: over energy budget" in case.find("failure").get("message")
    assert {entry.get("name"): entry.get("value") for entry in case.iter("property")} == {
        "energy_joules": "0.128",
        "energy_source": "rapl",
        "energy_provenance": "measured",
        "energy_rounds": "6",
    }
    assert inner.history()[0] == ("test_a.py::test_a", "failed", pytest.approx(0.128))


def test_verbose_says_it_in_words(inner):
    inner.file(test_a="@pytest.mark.energy_budget(joules='100 mJ')\n" + TWO)
    inner.run("-v").stdout.fnmatch_lines(["test_a.py::test_a OVER BUDGET*"])


def test_the_rest_of_pytest_sees_a_failed_test(inner):
    inner.file(test_a="@pytest.mark.energy_budget(joules='100 mJ')\n" + TWO)
    inner.run("-x").assert_outcomes(failed=1)
    inner.run("--maxfail=1").assert_outcomes(failed=1)
    inner.run("--lf").assert_outcomes(failed=1)
    inner.run("--lf", "--energy-budget=*=1 kJ").assert_outcomes(passed=1)


def test_within(inner):
    inner.file(test_a="@pytest.mark.energy_budget(joules='129 mJ')\n" + TWO)
    result = inner.run()
    result.assert_outcomes(passed=2)
    assert inner.tests()["test_a"]["budget"] == {"joules": pytest.approx(0.129), "verdict": "ok", "why": None}
    assert "budget" not in result.stdout.str()


def test_without_energy_nothing(inner):
    inner.file(test_a="@pytest.mark.energy_budget(joules='1 nJ')\n" + TWO)
    inner.ini("energy_budgets = * = 1 nJ")
    inner.run("--strict-markers", energy=False).assert_outcomes(passed=2)


PARAMETERS = """
@pytest.mark.parametrize("value", ["x=1", "[y]", "a-b", "*"])
def test_p(value):
    draw(128_000)
"""


@pytest.mark.parametrize(
    ("args", "failed"),
    [
        (["test_a.py::test_p[x=1]=100 mJ"], {"x=1"}),
        (["test_a.py::test_p[[y]]=0.1 J"], {"[y]"}),
        (["test_a.py::test_p[a-b] = 100 mJ"], {"a-b"}),
        (["test_a.py::test_p[*]=100 mJ"], {"x=1", "[y]", "a-b", "*"}),
        # An exact node id beats the longer pattern, a special pattern a general one, the last of equals the others.
        (["test_a.py::test_p[x=1]=1 J", "*test_a.py::test_p[[]x=1]=100 mJ"], set()),
        (["*=1 J", "*x=1*=100 mJ"], {"x=1"}),
        (["*x=1*=100 mJ", "*=1 J"], {"x=1"}),
        (["*x=1*=1 J", "*x=1*=100 mJ"], {"x=1"}),
        (["other::*=1 nJ"], set()),
    ],
)
def test_patterns(inner, args, failed):
    inner.file(test_a=PARAMETERS)
    inner.run(*(f"--energy-budget={arg}" for arg in args))
    over = {name for name, test in inner.tests().items() if test["outcome"] == "failed"}
    assert over == {f"test_p[{value}]" for value in failed}


def test_who_is_heard(inner):
    """The command line before the marker before the ini file, whatever is more specific."""
    inner.ini("energy_budgets =", "  test_a.py::test_ini = 100 mJ", "  test_a.py::* = 2 J", "  test_a.py::test_marked = 1 nJ")
    inner.file(
        test_a="""
def test_ini(): draw(128_000)
def test_other(): draw(128_000)
@pytest.mark.energy_budget(joules=3)
def test_marked(): draw(128_000)
@pytest.mark.energy_budget(joules="1 nJ")
class TestClass:
    @pytest.mark.energy_budget(joules=4)
    def test_closest(self): draw(128_000)
"""
    )
    inner.run().assert_outcomes(passed=3, failed=1)
    limits = {name: test["budget"]["joules"] for name, test in inner.tests().items()}
    assert limits == {"test_ini": 0.1, "test_other": 2, "test_marked": 3, "TestClass::test_closest": 4}
    inner.run("--energy-budget=*=5 J", "--energy-budget=*marked=100 mJ").assert_outcomes(passed=3, failed=1)
    limits = {name: test["budget"]["joules"] for name, test in inner.tests().items()}
    assert limits == {"test_ini": 5, "test_other": 5, "test_marked": 0.1, "TestClass::test_closest": 5}
    assert inner.tests()["test_marked"]["outcome"] == "failed"


BUSY = "@pytest.mark.energy_budget(joules='1 nJ')\ndef test_a():\n    sum(range(100_000))\n"


def test_an_estimate_fails_only_when_trusted(inner):
    inner.file(test_a=BUSY)
    result = inner.run("--energy-source=estimate")
    result.assert_outcomes(passed=1)
    said = " ".join(line.strip() for line in result.outlines)
    assert said.count("budget of 1.00 nJ for test_a.py::test_a: cannot tell: would be over energy budget:") == 1
    assert "estimated, so it fails only with --energy-trust-estimates" in said
    assert inner.tests()["test_a"]["budget"]["verdict"] == "cannot tell"
    inner.run("--energy-source=estimate", "--energy-trust-estimates").assert_outcomes(failed=1)
    inner.ini("energy_trust_estimates = true")
    inner.run("--energy-source=estimate").assert_outcomes(failed=1)
    test = inner.tests()["test_a"]
    assert (test["provenance"], test["budget"]["verdict"]) == ("estimated", "over budget")


def test_a_shared_machine_fails_only_when_trusted(inner):
    inner.conftest(shared=True)
    inner.file(test_a="@pytest.mark.energy_budget(joules='100 mJ')\n" + TWO)
    result = inner.run()
    result.assert_outcomes(passed=2)
    test = inner.tests()["test_a"]
    assert (test["provenance"], test["budget"]["verdict"]) == ("shared", "cannot tell")
    assert test["energy"]["median"] == pytest.approx(0.128)
    assert "shared, so it fails only with --energy-trust-estimates" in " ".join(line.strip() for line in result.outlines)
    result.stdout.fnmatch_lines(["test_a.py::test_a * shared", "shared: other processes used the machine meanwhile *"])
    inner.run("--energy-trust-estimates").assert_outcomes(passed=1, failed=1)


def test_apportioned_can_be_judged(inner):
    inner.conftest(TICKING)
    inner.file(
        test_a="""
@pytest.mark.energy_budget(joules='1 nJ')
def test_over(): sum(range(2_000))
@pytest.mark.energy_budget(joules='1 kJ')
def test_within(): sum(range(2_000))
"""
    )
    inner.run().assert_outcomes(passed=1, failed=1)
    tests = inner.tests()
    assert {test["resolution"] for test in tests.values()} == {"apportioned"}
    assert tests["test_over"]["budget"]["verdict"] == "over budget"
    assert tests["test_within"]["budget"]["verdict"] == "ok"


def test_below_cannot_tell(inner):
    inner.conftest(TICKING)
    inner.file(
        test_a="""
@pytest.mark.energy_budget(joules='1 nJ')
@pytest.mark.energy(max_time=0.000001)
def test_a(): pass
"""
    )
    result = inner.run()
    result.assert_outcomes(passed=1)
    test = inner.tests()["test_a"]
    assert (test["resolution"], test["energy"], test["provenance"]) == ("below", None, "unavailable")
    assert test["budget"]["verdict"] == "cannot tell"
    assert "iterations=" in test["budget"]["why"]
    assert "not measured: 1 below what the source can tell" in result.stdout.str()


def test_random_examples_are_not_judged(inner):
    (inner.path / "pytest.ini").write_text("[pytest]\naddopts = -p no:asyncio\n")
    inner.file(
        test_a="""
from hypothesis import given, seed, settings, strategies as st

settings.load_profile("default")  # on CI Hypothesis derandomizes by itself

@pytest.mark.energy_budget(joules='1 nJ')
@settings(max_examples=2, database=None, deadline=None)
@given(st.integers())
def test_random(n): draw(1000)

@pytest.mark.energy_budget(joules='1 nJ')
@settings(max_examples=2, database=None, deadline=None, derandomize=True)
@given(st.integers())
def test_fixed(n): draw(1000)
"""
    )
    inner.run().assert_outcomes(passed=1, failed=1)
    budget = inner.tests()["test_random"]["budget"]
    assert budget["verdict"] == "cannot tell" and "derandomize or seed" in budget["why"]
    assert inner.tests()["test_fixed"]["budget"]["verdict"] == "over budget"


def test_one_round_cannot_tell(inner):
    inner.file(test_a="@pytest.mark.energy_budget(joules='100 mJ')\n" + TWO)
    result = inner.run("--energy-rounds=1", "--energy-budget=*test_b=60 mJ")
    result.assert_outcomes(passed=2)
    tests = inner.tests()
    assert tests["test_a"]["budget"]["verdict"] == "cannot tell"
    assert "more rounds" in tests["test_a"]["budget"]["why"]
    assert tests["test_b"]["budget"]["verdict"] == "ok"
    result.stdout.fnmatch_lines(["test_a.py::test_a * one round"])


def test_a_test_that_fails_by_itself_keeps_its_reason(inner):
    inner.file(
        test_a="""
@pytest.mark.energy_budget(joules='1 nJ')
def test_a():
    draw(1000)
    assert 1 == 2

@pytest.mark.energy_budget(joules='1 nJ')
@pytest.mark.xfail
def test_x():
    assert 0

@pytest.mark.energy_budget(joules='1 nJ')
def test_s(): pytest.skip("no")
"""
    )
    result = inner.run("--energy-warmup=0")
    result.assert_outcomes(failed=1, xfailed=1, skipped=1)
    result.stdout.fnmatch_lines(["test_a.py Fxs*", "E * assert 1 == 2", "FAILED test_a.py::test_a - assert 1 == 2"])
    assert inner.tests()["test_a"]["budget"]["verdict"] == "cannot tell"
    assert "over energy budget" not in result.stdout.str()


def test_many_undecided_budgets_do_not_flood(inner):
    inner.file(test_a="@pytest.mark.parametrize('n', range(30))\ndef test_a(n): pass\n")
    result = inner.run("--energy-source=tsc", "--energy-budget=*=1 J")
    assert result.stdout.str().count("budget of 1.00 J for ") == 20
    assert "… and 10 more such budgets" in result.stdout.str()


def test_the_numbers_are_seen_whatever_the_id_and_in_pytests_colours(inner, monkeypatch):
    for name in ("CI", "BUILD_NUMBER", "NO_COLOR", "FORCE_COLOR", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    name = f"test_{'of_a_very_long_name_' * 2}"
    inner.file(**{name: "def test_a(): draw(128_000)\n"})
    result = inner.run("--energy-budget=*=1 mJ", "--energy-rounds=3", "--energy-csv=report.csv")
    result.stdout.fnmatch_lines([f"OVER BUDGET {name}.py::test_a", "  128 mJ > 1.00 mJ"])
    result.stdout.fnmatch_lines([f"OVER BUDGET 128 mJ > 1.00 mJ {name}.py::test_a*"])
    assert "\x1b" not in result.stdout.str()
    coloured = inner.run("--energy-budget=*=1 mJ", "--energy-rounds=3", "--energy-csv=report.csv", "--color=yes").stdout.str()
    assert f"\x1b[31m\x1b[1mOVER BUDGET\x1b[0m {name}.py::test_a\n" in coloured
    assert not any("\x1b" in (inner.path / file).read_text("utf-8") for file in ("report.json", "report.csv"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in inner.run("--energy-budget=*=1 mJ", "--energy-rounds=3").stdout.str()
