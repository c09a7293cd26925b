"""Options, ini keys and markers that are wrong end the run with one message that says what to do."""

import pytest
from one_test import PASSING

# Options and ini keys

BAD = {
    "source": [
        ("", ["''"]),
        ("watt", ["'watt'", "auto, rapl"]),
        ("rpal", ["did you mean rapl?"]),
        ("rapl,", ["'rapl,'", "commas"]),
        ("auto,rapl", ["auto alone"]),
        ("rapl,estimate", ["twice"]),
        ("rapl,perf", ["twice"]),
    ],
    "rounds": [
        ("0", ["'0'", "at least 1", "auto"]),
        ("-3", ["'-3'", "at least 1"]),
        ("2.5", ["'2.5'", "whole number"]),
        ("many", ["'many'", "auto"]),
        ("", ["''"]),
    ],
    "warmup": [("-1", ["'-1'", "at least 0"]), ("auto", ["'auto'", "whole number"])],
    "max-time": [
        ("0", ["'0'", "above 0 seconds"]),
        ("-1", ["'-1'", "above 0 seconds"]),
        ("nan", ["'nan'", "finite"]),
        ("inf", ["'inf'", "finite"]),
        ("10 s", ["'10 s'", "number of seconds"]),
    ],
    "idle": [("yes", ["'yes'", "measure, off"])],
    "top": [("-1", ["'-1'", "at least 0"]), ("all", ["'all'", "whole number"])],
    "estimate-idle-watts": [("0", ["'0'", "above 0 watts"]), ("5 W", ["'5 W'", "number of watts"])],
    "estimate-max-watts": [("nan", ["'nan'", "finite"])],
    "json": [("", ["empty"]), (".", ["folder"]), ("conftest.py/x.json", ["Not a directory", "Name a file"])],
    "csv": [("nowhere/", ["folder"]), ("/proc/x.csv", ["/proc"])],
    "store": [
        ("", ["empty"]),
        (".", ["folder"]),
        ("://", ["not understood", "sqlite:///"]),
        ("mongodb://host/db", ["driver"]),
        ("conftest.py/history.db", ["conftest.py"]),
        ("conftest.py", ["conftest.py", "no history"]),
    ],
    "budget": [
        ("*=0", ["'0'", "above 0 J"]),
        ("*=-1 J", ["'-1 J'", "above 0 J"]),
        ("*=nan", ["'nan'", "finite"]),
        ("*=inf J", ["'inf J'", "finite"]),
        ("*=2 W", ["'W'", "mJ, J"]),
        ("2 J", ["'2 J'", "PATTERN=JOULES"]),
        ("test_[=2 J", ["'test_['", "bracket"]),
    ],
}


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [pytest.param(option, value, says, id=f"{option}={value}") for option, cases in BAD.items() for value, says in cases],
)
def test_bad_options(inner, option, value, says):
    inner.file(test_a=PASSING)
    inner.refused(f"--energy-{option}={value}", says=[f"--energy-{option}", *says])


@pytest.mark.parametrize("option", sorted(BAD))
def test_bad_ini_keys(inner, option):
    value, says = next((value, says) for value, says in BAD[option] if value)
    key = "energy_budgets" if option == "budget" else f"energy_{option.replace('-', '_')}"
    inner.ini(f"{key} = {value}")
    inner.file(test_a=PASSING)
    # Which sources, files and stores work is found out when both have been merged: it goes by the option's name.
    named = f"--energy-{option}" if option in ("source", "json", "store") else f"ini {key}"
    result = inner.run("--energy", energy=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (error,) = (line for line in result.errlines if line.startswith("ERROR"))
    assert all(words in error for words in (named, *says))


@pytest.mark.parametrize("key", ["energy", "energy_trust_estimates"])
def test_bad_truth(inner, key):
    inner.ini(f"{key} = maybe")
    inner.file(test_a=PASSING)
    arguments = ["--energy"] if key != "energy" else []
    result = inner.run(*arguments, energy=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: ini {key}: *maybe*true or false*"])


def test_options_that_contradict_each_other(inner):
    inner.file(test_a=PASSING)
    inner.refused("--energy-csv=report.json", says=["--energy-json", "--energy-csv", "report.json"])
    inner.refused("--energy-estimate-idle-watts=9", "--energy-estimate-max-watts=8", says=["idle", "9 W", "8 W"])


def test_bad_ini_keys_do_not_matter_without_energy(inner):
    inner.file(test_a=PASSING)
    inner.ini("energy_rounds = nonsense", "energy_budgets = nonsense")
    inner.run(energy=False).assert_outcomes(passed=1)
    inner.run("--energy-rounds=nonsense", "--energy-disable", energy=False).assert_outcomes(passed=1)


# Markers

BAD_MARKERS = [
    ("energy_budget", ["energy_budget", "joules=2.5"]),
    ("energy_budget()", ["joules='500 mJ'"]),
    ("energy_budget(2)", ["keywords only", "joules="]),
    ("energy_budget(watts=2)", ["'watts'", "joules="]),
    ("energy_budget(joules=0)", ["joules=0", "above 0 J"]),
    ("energy_budget(joules=-1)", ["joules=-1", "above 0 J"]),
    ("energy_budget(joules=float('nan'))", ["nan", "finite"]),
    ("energy_budget(joules=float('inf'))", ["inf", "finite"]),
    ("energy_budget(joules='500 mX')", ["'500 mX'", "'mX'", "mJ"]),
    ("energy_budget(joules='infJ')", ["'infJ'"]),
    ("energy_budget(joules=None)", ["None"]),
    ("energy_budget(joules=True)", ["True"]),
    ("energy(round=3)", ["'round'", "rounds="]),
    ("energy(3)", ["keywords only", "rounds="]),
    ("energy(rounds=0)", ["rounds=0", "at least 1"]),
    ("energy(rounds=2.5)", ["rounds=2.5", "auto"]),
    ("energy(iterations=0)", ["iterations=0", "at least 1"]),
    ("energy(iterations='x')", ["iterations='x'", "whole number"]),
    ("energy(warmup=-1)", ["warmup=-1", "at least 0"]),
    ("energy(max_time=0)", ["max_time=0", "above 0 seconds"]),
    ("energy(max_time='1 s')", ["max_time='1 s'", "number of seconds"]),
    ("energy(skip='maybe')", ["skip='maybe'", "true or false"]),
]


@pytest.mark.parametrize(("marker", "says"), BAD_MARKERS, ids=[marker for marker, _ in BAD_MARKERS])
def test_bad_markers(inner, marker, says):
    inner.file(test_a=f"{PASSING}\n@pytest.mark.{marker}\ndef test_bad():\n    pass\n")
    inner.refused(says=["test_a.py::test_bad", "@pytest.mark.", *says])


def test_a_bad_marker_shows_while_collecting(inner):
    inner.file(test_a="@pytest.mark.energy(rounds=0)\ndef test_bad(): pass\n")
    inner.refused("--collect-only", says=["test_a.py::test_bad", "rounds=0"])


def test_iterations_need_a_function(inner):
    inner.conftest(
        """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.energy(iterations=2))
"""
    )
    (inner.path / "a.py").write_text('"""\n>>> 1\n1\n"""\n')
    inner.refused("--doctest-modules", "a.py", says=["a.py::a", "iterations="])


def test_collecting_measures_and_writes_nothing(inner):
    inner.file(test_a=PASSING)
    (inner.path / "report.json").write_text("an older report")
    result = inner.run("--collect-only", "--energy-csv=samples.csv")
    assert result.ret == 0
    assert "= energy =" not in result.stdout.str()
    assert (inner.path / "report.json").read_text() == "an older report"
    assert not (inner.path / "samples.csv").exists()
    assert not (inner.path / ".pytest_cache/d/joules").exists()


def test_an_older_report_outlives_misuse(inner):
    inner.file(test_a="@pytest.mark.energy(rounds=0)\ndef test_bad(): pass\n")
    (inner.path / "report.json").write_text("an older report")
    assert inner.run().ret == pytest.ExitCode.USAGE_ERROR
    assert (inner.path / "report.json").read_text() == "an older report"
