"""What is asked for happens, or the run says in a line that it did not, whatever is quiet."""

import json

import pytest

ONE = "def test_a(): draw(128_000)\n"


@pytest.fixture
def oven(inner):
    """A test of 128 mJ, counters that are found without an option, and no option that measures."""
    inner.file(test_a=ONE)
    inner.ini(f"energy_powercap = {inner.powercap}")
    return inner


def asked(inner, *args, **options):
    return inner.run(*args, energy=False, **options)


def said(result):
    """All of it on one line."""
    return " ".join(line.strip() for line in (*result.outlines, *result.errlines))


def measured(inner):
    """How often each test was measured, by the history."""
    return [entry[0] for entry in inner.history()] if (inner.path / ".pytest_cache/d/joules/history.db").exists() else []


# Options that make sense only when measuring


@pytest.mark.parametrize(
    "option",
    [
        "--energy-json=asked.json",
        "--energy-csv=asked.csv",
        "--energy-save=first",
        "--energy-budget=*=1 kJ",
        "--energy-changed-only",
        "--energy-quick",
        "--energy-rounds=2",
        "--energy-source=rapl",
        "--energy-trust-estimates",
        "--energy-fail-on=budget",
    ],
)
def test_an_option_means_energy(oven, option):
    asked(oven, option, "-q").assert_outcomes(passed=1)
    assert measured(oven) == ["test_a.py::test_a"]
    if "asked" in option:
        assert (oven.path / option.partition("=")[2]).stat().st_size > 0
    if "save" in option:
        assert list(oven.path.glob(".joules/*/first.json"))


@pytest.mark.parametrize("where", ["ini", "environment"])
def test_addopts_are_the_command_line(oven, where, monkeypatch):
    if where == "ini":
        (oven.path / "pytest.ini").write_text(
            f"[pytest]\naddopts = -p no:asyncio --energy-rounds=2\nenergy_powercap = {oven.powercap}\n"
        )
    else:
        monkeypatch.setenv("PYTEST_ADDOPTS", "--energy-rounds=2")
    asked(oven).assert_outcomes(passed=1)
    assert measured(oven) == ["test_a.py::test_a"]
    asked(oven, "--energy-disable").assert_outcomes(passed=1)
    assert measured(oven) == ["test_a.py::test_a"]


def test_ini_keys_and_places_ask_for_nothing(oven):
    oven.ini("energy_json = asked.json", "energy_save = a", "energy_changed_only = true", "energy_budgets = * = 1 nJ")
    asked(oven, f"--energy-powercap={oven.powercap}", "--energy-store=kept.db").assert_outcomes(passed=1)
    assert not measured(oven) and not (oven.path / "asked.json").exists() and not (oven.path / "kept.db").exists()


# A first look


def test_quick_is_three_rounds_and_records_nothing(oven):
    oven.file(test_b="@pytest.mark.energy(rounds=9)\ndef test_b(): draw(1000)\n")
    asked(oven, "--energy-quick", "--energy-json=report.json").assert_outcomes(passed=2)
    assert {name: (test["rounds"], test["code"]) for name, test in oven.tests().items()} == {
        "test_a": (3, None),
        "test_b": (3, None),
    }
    assert oven.report()["settings"]["quick"] is True


def test_quick_gives_way_to_what_is_said(oven):
    oven.file(test_a="@pytest.mark.energy(rounds=4)\ndef test_a(): draw(128_000)\ndef test_b(): draw(128_000)\n")
    oven.ini(f"energy_powercap = {oven.powercap}", "energy_quick = true")
    asked(oven, "--energy", "--energy-json=report.json").assert_outcomes(passed=2)
    assert {name: test["rounds"] for name, test in oven.tests().items()} == {"test_a": 4, "test_b": 3}
    asked(oven, "--energy-rounds=2", "--energy-quick", "--energy-json=report.json").assert_outcomes(passed=2)
    assert {test["rounds"] for test in oven.tests().values()} == {2}
    # The ini file's wish for every run yields to one that needs more.
    asked(oven, "--energy-save=first", "--energy-json=report.json").assert_outcomes(passed=2)
    assert oven.tests()["test_b"]["rounds"] >= 5 and oven.tests()["test_b"]["code"]


@pytest.mark.parametrize("other", ["--energy-save", "--energy-compare", "--energy-against=HEAD", "--energy-changed-only"])
def test_quick_decides_nothing(oven, other):
    oven.refused("--energy-quick", other, says=["--energy-quick", other.partition("=")[0], "Leave --energy-quick out"])


def test_compare_and_update_without_energy(oven):
    asked(oven, "--energy-save=first", "-q")
    result = asked(oven, "--energy-compare=first", "-q")
    result.assert_outcomes(passed=1)
    assert "energy: compared with first" in result.stdout.str()
    assert asked(oven, "--energy-update").ret == pytest.ExitCode.USAGE_ERROR


def test_predicting_alone_stays_alone(oven):
    asked(oven, "--energy-rounds=2")
    asked(oven, "--energy-predict", "--energy-json=asked.json", "--energy-threshold=9%").assert_outcomes(passed=1)
    assert measured(oven) == ["test_a.py::test_a"]
    record = json.loads((oven.path / "asked.json").read_text())
    assert record["tests"][0]["energy"] is None
    asked(oven, "--energy-predict", "--energy-csv=asked.csv").assert_outcomes(passed=1)
    assert measured(oven) == ["test_a.py::test_a"] * 2 and (oven.path / "asked.csv").exists()


def test_predictions_of_a_collection_are_written(oven):
    asked(oven, "--energy-rounds=2")
    for more in ((), ("--energy",)):
        result = asked(oven, "--energy-predict", "--collect-only", "--energy-json=report.json", "-q", *more)
        assert result.ret == 0
        assert [test["energy"] for test in oven.report()["tests"]] in ([], [None])
        (oven.path / "report.json").unlink()


# What is not made, and what is not judged


def test_a_collection_says_what_is_not_made(oven):
    result = asked(oven, "--collect-only", "-q", "--energy-json=asked.json", "--energy-save")
    assert result.ret == 0 and not (oven.path / "asked.json").exists()
    assert "energy: --energy-json and --energy-save: nothing is written, as --collect-only runs no test" in said(result)
    assert "nothing is written" not in asked(oven, "--collect-only", "-q").stdout.str()


SPOILING = """
import os, shutil
def test_cleans_up():
    draw(1000)
    if os.path.isdir("results"): shutil.rmtree("results")
    open("results", "w").close()
"""


@pytest.mark.parametrize("option", ["--energy-json=results/r.txt", "--energy-csv=results/r.txt"])
@pytest.mark.parametrize("quiet", [(), ("-q", "--no-summary"), ("-n2",)])
@pytest.mark.inner_plugins("xdist")
def test_a_report_that_cannot_be_written_fails_the_run(oven, option, quiet):
    oven.file(test_a=SPOILING)
    (oven.path / "results").mkdir()
    result = asked(oven, option, *quiet)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert f"{option.partition('=')[0]}: cannot write the report to " in said(result)
    assert "exit status 1: all tests passed, but what was asked for could not be written" in said(result)
    assert [name for name, _, _ in oven.history()] == ["test_a.py::test_cleans_up"]


def test_a_baseline_of_nothing_fails_the_run(oven):
    oven.file(test_a="@pytest.mark.energy(skip=True)\ndef test_a(): pass\n")
    result = asked(oven, "--energy-save=first", "-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["energy: no baseline was saved: no test passed with joules that were measured"])


@pytest.mark.parametrize("quiet", ["-q", "-qq", "-q --no-header --no-summary --tb=no", "-p no:terminal", "-q -n2"])
@pytest.mark.inner_plugins("xdist")
def test_what_would_have_failed_is_one_line(oven, quiet):
    oven.ini(f"energy_powercap = {oven.powercap}", "energy_source = estimate", "energy_budgets = * = 1 nJ")
    oven.file(test_a="def test_a(): sum(range(200_000))\n")
    result = asked(oven, "--energy-rounds=3", *quiet.split())
    assert result.ret == 0
    assert "energy: OVER BUDGET test_a.py::test_a " in said(result)
    assert " > 1.00 nJ, and nothing fails: estimated, so it fails only with --energy-trust-estimates" in said(result)


def test_fail_on_none_lets_a_budget_pass_and_says_so(oven):
    result = asked(oven, "--energy-budget=*=1 mJ", "--energy-fail-on=none", "-q")
    assert result.ret == 0
    assert "energy: OVER BUDGET test_a.py::test_a 128 mJ > 1.00 mJ, and nothing fails: --energy-fail-on leaves" in said(result)


def test_the_summary_has_the_numbers_first(oven, monkeypatch):
    monkeypatch.setenv("COLUMNS", "64")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("BUILD_NUMBER", raising=False)
    result = asked(oven, "--energy-budget=*=1 mJ")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["OVER BUDGET test_a.py::test_a - 128 mJ > 1.00 mJ: over*"])


@pytest.mark.inner_plugins("xdist")
def test_a_budget_of_what_is_not_measured_is_not_judged(oven):
    oven.file(test_a="@pytest.mark.energy_budget(joules=1)\n@pytest.mark.energy(skip=True)\ndef test_a(): pass\n")
    for options in (("-q",), ("-q", "-n2")):
        result = asked(oven, "--energy", "--energy-json=report.json", *options)
        assert "energy: not judged: the budget of test_a.py::test_a: not measured: marked skip" in said(result)
        assert oven.tests()["test_a"]["budget"]["verdict"] == "cannot tell"


# Budgets whose pattern matches nothing


@pytest.fixture
def kitchen(oven):
    (oven.path / "tests").mkdir()
    for name in ("kiln", "bread"):
        (oven.path / f"tests/test_{name}.py").write_text("def test_fire(): pass\ndef test_smoke(): pass\n")
    return oven


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("test/test_kiln.py::*", "nearest: tests/test_kiln.py::test_fire"),
        ("tests/test_kiln.py::test_fier", "nearest: tests/test_kiln.py::test_fire"),
        ("tests/test_kiln.py", "did you mean 'tests/test_kiln.py::*'?"),
        ("test_smoke", "did you mean '*::test_smoke'?"),
    ],
)
def test_a_pattern_that_matches_nothing_is_said(kitchen, pattern, nearest):
    result = asked(kitchen, f"--energy-budget={pattern}=1 J", "--energy-rounds=1", "-q")
    assert result.ret == 0
    assert f"energy: budget '{pattern}': it matches no test of this run" in said(result) and nearest in said(result)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("", True),
        ("-n2", True),
        ("-k smoke", True),  # deselected tests are there
        (".", True),
        ("tests", True),
        ("tests/test_kiln.py", True),  # the file of the slip is there
        ("tests/test_bread.py", False),
        ("tests/test_kiln.py::test_fire", False),
        ("--ignore=tests/test_kiln.py", False),
        ("--collect-only", True),
    ],
)
@pytest.mark.inner_plugins("xdist")
def test_budgets_of_the_ini_file_do_not_cry_wolf(kitchen, args, says):
    kitchen.ini(f"energy_powercap = {kitchen.powercap}", "energy_rounds = 1")
    with (kitchen.path / "pytest.ini").open("a") as file:
        file.write("energy_budgets =\n    tests/test_kiln.py::test_fier = 1 J\n    tests/*::test_smoke = 1 J\n")
    (kitchen.path / "test_a.py").unlink()
    result = asked(kitchen, "--energy", "-q", *args.split())
    assert result.ret == 0
    assert ("tests/test_kiln.py::test_fier" in said(result)) is says
    assert "'tests/*::test_smoke'" not in said(result)


# The other side


@pytest.mark.inner_plugins("xdist")
def test_no_test_in_common_is_an_error(oven):
    asked(oven, "--energy-save=first", "-q")
    (oven.path / "test_a.py").rename(oven.path / "test_b.py")
    for options in ((), ("-n2",)):
        result = asked(oven, "--energy-compare=first", *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "no test in common with baseline first: this run has 1, such as test_b.py::test_a, the baseline 1" in said(result)
    assert measured(oven) == ["test_a.py::test_a"]
    # To add it is what --energy-update is for.
    assert asked(oven, "--energy-compare=first", "--energy-update").ret == 0


def test_how_many_are_not_compared(oven):
    asked(oven, "--energy-save=first", "-q")
    oven.file(test_b=ONE)
    assert "1 ok; not compared: 1 new" in said(asked(oven, "--energy-compare=first", "-q"))
