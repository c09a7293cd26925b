"""What is asked for happens, or the run says in a line that it did not, whatever is quiet."""

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
