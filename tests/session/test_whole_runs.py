"""Whole runs: what is reported and kept."""

import csv
import json
import platform
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_joules
from pytest_joules.cli import main
from pytest_joules.report.text import display_width

EVERYTHING = """
@pytest.fixture
def broken(): assert 0, "no fixture"
@pytest.fixture
def torn():
    yield
    assert 0, "no teardown"

def test_passes(): draw(4_000)
def test_fails():
    draw(3_000)
    assert 0
def test_errs(broken): pass
def test_errs_late(torn): draw(2_000)
def test_skips(): pytest.skip("not here")
@pytest.mark.skip
def test_marked_skip(): pass
@pytest.mark.xfail
def test_xfails(): assert 0
@pytest.mark.xfail(run=False)
def test_not_run(): pass
@pytest.mark.xfail
def test_xpasses(): draw(1)
@pytest.mark.energy(skip=True)
def test_unmeasured(): pass
@pytest.mark.parametrize("text", ["ü → \\N{PILE OF POO}", "\\x00", "a\\nb"])
def test_names(text): draw(500)
@pytest.mark.energy(rounds=4)
def test_regions(energy):
    with energy.measure("first"): draw(1_000)
    with energy.measure("second"):
        draw(2_000)
    with energy.measure("first"): draw(500)
    energy.work(tokens=10)
    energy.work(tokens=20, files=1)
    energy.score(f1=0.5, loss=-2)
class TestCase(__import__("unittest").TestCase):
    def test_unit(self): draw(700)
"""

OUTCOMES = {
    "test_passes": "passed",
    "test_fails": "failed",
    "test_errs": "error",
    "test_errs_late": "error",
    "test_skips": "skipped",
    "test_marked_skip": "skipped",
    "test_xfails": "xfailed",
    "test_not_run": "xfailed",
    "test_xpasses": "xpassed",
    "test_unmeasured": "passed",
    "test_regions": "passed",
    "TestCase::test_unit": "passed",
}


def properties(case):
    return {entry.get("name"): entry.get("value") for entry in case.iter("property")}


def test_a_report_of_everything(inner, capsys):
    inner.file(test_a=EVERYTHING)
    result = inner.run("--energy-csv=samples.csv", "--junitxml=junit.xml", "--energy-budget=*passes=1 nJ")
    plain = inner.run(energy=False)
    counts, before = result.parseoutcomes(), plain.parseoutcomes()
    # Over budget is the one thing that differs from a plain run.
    assert counts == before | {"failed": before["failed"] + 1, "passed": before["passed"] - 1}
    tests = inner.tests()  # validated against the schema
    assert {name: test["outcome"] for name, test in tests.items() if "[" not in name} == OUTCOMES | {"test_passes": "failed"}
    assert len(tests) == len(OUTCOMES) + 3

    # A number that could not be measured is null or "unavailable" everywhere.
    for name in ("test_errs", "test_skips", "test_marked_skip", "test_xfails", "test_not_run", "test_unmeasured", "test_fails"):
        assert (tests[name]["energy"], tests[name]["provenance"], tests[name]["samples"]) == (None, "unavailable", [])
    for name, case in inner.junit().items():
        said = properties(case)
        full = next(key for key in tests if key.endswith(name) or ("[" in key and name.partition("[")[0] in key))
        if tests[full]["energy"] is None:
            assert said["energy_joules"] == said["energy_provenance"] == said["energy_source"] == "unavailable"
            assert said["energy_rounds"] == "0"
        else:
            assert float(said["energy_joules"]) > 0
            assert (said["energy_source"], said["energy_provenance"]) == ("rapl", "measured")
    assert float(properties(inner.junit()["test_unit"])["energy_joules"]) == pytest.approx(7e-4)
    assert properties(inner.junit()["test_unmeasured"])["energy_note"] == "not measured: marked skip"

    # Regions, work and scores.
    regions = tests["test_regions"]
    assert regions["energy"]["median"] == pytest.approx(3.5e-3)
    assert regions["regions"]["first"]["energy"]["median"] == pytest.approx(1.5e-3)
    assert regions["regions"]["second"]["energy"]["median"] == pytest.approx(2e-3)
    assert regions["work"]["tokens"] == {"amount": 30, "joules_per_unit": pytest.approx(3.5e-3 / 30)}
    assert regions["scores"] == {"f1": 0.5, "loss": -2}

    # One row a sample.
    with (inner.path / "samples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(test["samples"]) for test in tests.values())
    report = inner.report()
    assert {row["python"] for row in rows} == {report["machine"]["python"]} and {row["block"] for row in rows} == {"1"}
    assert report["versions"]["pytest"] == pytest.__version__ == report["versions"]["installed"]["pytest"]
    assert report["versions"]["pytest-joules"] == pytest_joules.__version__
    assert report["versions"]["python"] == platform.python_version() and "numpy" in report["versions"]["installed"]
    assert all(float(row["energy_j"]) > 0 for row in rows)

    # Every measured test is in the history.
    kept = {name.partition("::")[2]: energy for name, _, energy in inner.history()}
    assert kept.keys() == {name for name, test in tests.items() if test["samples"]}
    assert kept["test_passes"] == pytest.approx(4e-3)
    store = inner.path / ".pytest_cache/d/joules/history.db"
    assert main(["history", "test_a.py::test_passes", f"--store={store}"]) == 0
    assert "4.00 mJ" in capsys.readouterr().out

    # The table.
    said = result.stdout.str()
    assert re.search(r"test_a.py::test_passes +4.00 mJ .* J\n", said)
    assert "2 error, 2 skipped, 2 xfailed, 1 failed, 1 unavailable (marked xfail), 1 unavailable (marked skip)" in " ".join(
        line.strip() for line in result.outlines
    )


@pytest.mark.parametrize("columns", [40, 80])
def test_no_line_of_the_table_is_wider_than_the_terminal(inner, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    inner.file(test_a=EVERYTHING)
    result = inner.run("--energy-budget=*unit=1 nJ")
    lines = result.stdout.str().partition("= energy =")[2].splitlines()[1:]
    table = lines[: next(place for place, line in enumerate(lines) if line.startswith("written:"))]
    assert len(table) > 10
    assert max(map(display_width, table)) <= columns
    assert "unavailable" in " ".join(table)


def test_notes_are_spelt_out_where_there_is_room(inner, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    inner.file(test_a="def test_5(): assert draw(1000)\ndef test_b(): draw(123_456)\n")
    result = inner.run("--energy-warmup=0")
    (line,) = (line for line in result.outlines if line.startswith("test_a.py::test_5 "))
    assert line.endswith("  failed, one round") and len(line) <= 80


def test_how_many_rows(inner):
    inner.file(test_a="@pytest.mark.parametrize('n', range(1, 26))\ndef test_a(n): draw(1000 * n)\n")

    def rows(*args):
        return re.findall(r"^test_a.py::test_a\[(\d+)\] ", inner.run("--energy-rounds=1", *args).stdout.str(), re.MULTILINE)

    assert rows() == [str(n) for n in range(25, 5, -1)]  # the worst first
    assert rows("--energy-top=3") == ["25", "24", "23"]
    assert len(rows("--energy-top=0")) == 25


def test_quiet_is_quiet(inner):
    inner.file(test_a="def test_a(): draw(1000)\n")
    result = inner.run("-q")
    result.assert_outcomes(passed=1)
    assert "energy" not in result.stdout.str()
    assert inner.median("test_a") == pytest.approx(1e-3)


def test_no_terminal_at_all(inner):
    inner.file(test_a="def test_a(): draw(1000)\n")
    assert inner.run("-p", "no:terminal").ret == 0
    assert inner.median("test_a") == pytest.approx(1e-3)


def test_no_tests(inner):
    inner.file(test_a="")
    result = inner.run()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert inner.report()["tests"] == []
    assert inner.report()["session"]["joules"] is None
    assert "= energy =" not in result.stdout.str()


def test_the_estimate_validates_too(inner):
    inner.file(test_a=EVERYTHING)
    result = inner.run("--energy-source=estimate", "--energy-rounds=2", "--energy-idle=measure")
    report = inner.report()
    assert report["sources"][0]["provenance"] == "estimated" and report["sources"][0]["uncertainty"] > 0
    assert {test["provenance"] for test in report["tests"]} == {"estimated", "unavailable"}
    assert report["session"]["joules"] > 0 and report["session"]["seconds"] > 0
    assert "estimated: CPU time × a power model" in " ".join(line.strip() for line in result.outlines)


def test_session_totals(inner):
    inner.file(test_a="def test_a(): draw(1000)\ndef test_b(): draw(500)\n")
    inner.run("--energy-rounds=3", "--energy-warmup=1")
    assert inner.report()["session"]["joules"] == pytest.approx(4 * 1.5e-3)


@given(st.lists(st.sampled_from(["passed", "failed", "skipped"]), min_size=1, max_size=3))
def test_the_worst_phase_names_the_outcome(outcomes):
    from types import SimpleNamespace

    from pytest_joules.session.call_report import outcome_of

    known = None
    for when, outcome in zip(("setup", "call", "teardown"), outcomes, strict=False):
        known = outcome_of(
            SimpleNamespace(when=when, outcome=outcome, failed=outcome == "failed", skipped=outcome == "skipped"), known
        )
    if outcomes[0] == "failed" or outcomes[2:] == ["failed"]:
        assert known == "error"
    elif len(outcomes) > 1 and outcomes[0] != "skipped":
        assert known == outcomes[1]


def test_the_report_is_strict_json(inner):
    inner.file(test_a="def test_a(energy):\n    draw(1000)\n    energy.score(nothing=float('nan'))\n")
    inner.run()
    text = (inner.path / "report.json").read_text("utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert inner.tests()["test_a"]["scores"] == {"nothing": None}
