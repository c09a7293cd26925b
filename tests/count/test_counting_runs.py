"""Runs that count instructions. The counter is simulated: each test says what its body takes, so the truth is known."""

import csv
import os
import re

import pytest
from counted_runs import command, count, instructions, said
from simulated_count import ITSELF

pytestmark = pytest.mark.usefixtures("_costs")


def test_tests_run_once_and_are_counted(counted):
    counted.file(
        test_a="""
from simulated_count import work
def test_a():
    work(50_000)
    with open("runs", "a") as file: file.write("in the run\\n" if "PYTEST_JOULES_PADDING" not in os.environ else "")
def test_fails(): assert 0
@pytest.mark.skip
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert 0
"""
    )
    result = count(counted, "--junitxml=junit.xml", ret=1)
    result.assert_outcomes(passed=1, failed=1, skipped=1, xfailed=1)
    assert (counted.path / "runs").read_text().splitlines() == ["in the run"]
    tests = counted.tests()
    assert tests["test_a"]["instructions"]["count"] == 50_000 + ITSELF
    assert tests["test_a"]["instructions"]["counter"] == "simulated 1.0"
    assert tests["test_a"]["instructions"]["spread"] == 0
    assert tests["test_a"]["energy"] is None
    assert all(tests[name]["instructions"] is None for name in ("test_fails", "test_skipped", "test_expected"))
    assert counted.report()["session"]["counting"]["facts"]["counter"] == "simulated 1.0"
    assert "50.7 kinstr" in said(result)
    assert "one pass over 1 test: 50.7 kinstr, counted by simulated 1.0" in said(result)
    assert not re.search(r"\bJ\b|joules", said(result).partition("= energy =")[2]), "joules are made of instructions"
    properties = {entry.get("name"): entry.get("value") for entry in counted.junit()["test_a"].iter("property")}
    assert properties["energy_instructions"] == str(50_000 + ITSELF)


def test_a_test_is_counted_in_the_rounds_in_which_it_was(inner):
    """A slower machine, or a busy one: the plain run takes longer, and what is counted is the same."""
    inner.file(
        test_a="""
import time
from simulated_count import counting, work
calls = 0
def test_a():
    global calls
    calls += 1
    work(100_000 * calls)
    if not counting(): time.sleep(float(os.environ.get("SLOW", "0")))
"""
    )
    count(inner, "--energy-save=main")
    before = instructions(inner)["test_a"]
    os.environ["SLOW"] = "0.2"
    try:
        count(inner, "--energy-compare=main")
        assert instructions(inner)["test_a"]["counts"] == before["counts"]
        count(inner)
        assert instructions(inner)["test_a"]["warm"] < before["warm"]
    finally:
        del os.environ["SLOW"]


def test_what_a_fixture_takes_is_not_the_bodys(inner):
    inner.file(
        test_a="""
import time
from simulated_count import counting, work
@pytest.fixture
def slow():
    if not counting(): time.sleep(0.3)
def test_slow(slow): work(1000)
def test_quick(): work(1000)
"""
    )
    count(inner)
    found = instructions(inner)
    assert found["test_slow"]["warm"] == found["test_quick"]["warm"]


def test_every_round_that_was_counted_is_in_the_csv(counted):
    count(counted, "--energy-csv=rounds.csv")
    with (counted.path / "rounds.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["nodeid"] == "test_a.py::test_a"]
    assert [row["instructions"] for row in rows] == [str(100_000 + ITSELF)] * 2
    assert {(row["counter"], row["energy_j"]) for row in rows} == {("simulated 1.0", "")}


def test_without_a_counter_the_run_is_as_it_was(counted, monkeypatch):
    monkeypatch.setenv("NO_COUNTER", "Valgrind is not installed")
    result = count(counted, "--energy-save=main", ret=1)
    result.assert_outcomes(passed=3)
    assert said(result).count("instructions are not counted: Valgrind is not installed") == 1
    assert not (counted.path / ".joules").exists()
    assert all(found is None for found in instructions(counted).values())
    monkeypatch.setenv("NO_COUNTER", "")
    assert "3 tests kept" in said(count(counted, "--energy-save=main"))


def test_a_test_that_fails_only_where_it_is_counted(inner):
    inner.file(
        test_a="""
from simulated_count import counting, work
def test_a(): work(1000); assert not counting()
def test_b(): work(1000)
def test_c():
    if counting(): os.kill(os.getpid(), 9)
def test_d(): work(1000)
"""
    )
    result = count(inner)
    result.assert_outcomes(passed=4)
    found = instructions(inner)
    assert found["test_a"] is None
    assert found["test_c"] is None
    assert found["test_b"]["count"] == found["test_d"]["count"] == 1000 + ITSELF
    assert "1 it failed in the process that counts, which runs some 50 times as slowly" in said(result)
    assert "1 the process that counted it died" in said(result)


def test_no_test_changes_what_another_one_finds(inner):
    inner.file(
        test_a="CALLS = []\nfrom simulated_count import work\n"
        + "\n".join(f"def test_{name}():\n    CALLS.append(1)\n    work(10_000 * (len(CALLS) > 20))\n" for name in "abc")
    )
    count(inner)
    assert len({found["count"] for found in instructions(inner).values()}) == 1


@pytest.mark.inner_plugins("xdist")
def test_workers_count_nothing_and_say_so(counted, monkeypatch):
    monkeypatch.setenv("PYTEST_PLUGINS", "own_counters,simulated_count")
    result = count(counted, "-n2", subprocess=True)
    result.assert_outcomes(passed=3)
    assert said(result).count("instructions are not counted with -n") == 1


def test_budgets_of_instructions(inner):
    inner.file(
        test_a="""
from simulated_count import work
@pytest.mark.energy_budget(instructions="20k")
def test_over(): work(30_000)
@pytest.mark.energy_budget(instructions="1 Minstr")
def test_within(): work(30_000)
"""
    )
    result = count(inner, ret=1)
    found = instructions(inner)
    assert found["test_over"]["budget"]["verdict"] == "over budget"
    assert found["test_within"]["budget"]["verdict"] == "ok"
    assert "OVER BUDGET test_a.py::test_over - 30.7 kinstr > 20.0 kinstr" in result.stdout.str()


@pytest.mark.parametrize("given", ["'20 J'", "0", "True", "'nan'", "-1"])
def test_bad_budgets_are_refused(inner, given):
    inner.file(test_a=f"@pytest.mark.energy_budget(instructions={given})\ndef test_a(): pass\n")
    inner.refused("--energy-count", energy=False, says=["test_a.py::test_a", "instructions="])


def test_measured_and_counted(inner):
    inner.file(test_a="from simulated_count import work\ndef test_a():\n    work(40_000)\n    draw(1_000_000)\n")
    result = inner.run("--energy-count", "--energy-rounds=5")
    assert result.ret == 0
    test = inner.tests()["test_a"]
    assert test["energy"]["median"] == pytest.approx(1)
    assert test["instructions"]["count"] == 40_000 + ITSELF
    assert inner.history() == [("test_a.py::test_a", "passed", pytest.approx(1))]


def test_the_history_has_instructions(saved):
    assert [row[0] for row in saved.history()] == [f"test_a.py::test_{name}" for name in "abc"]
    result = command(saved, "history")
    assert "2.00 Minstr" in result.stdout.str()
    assert "2.00 Minstr" in command(saved, "history", "test_a.py::test_b").stdout.str()


@pytest.mark.inner_plugins("timeout")
@pytest.mark.parametrize("measured", [(), ("--energy", "--energy-rounds=2")])
def test_the_time_to_count_is_nobodys(inner, monkeypatch, measured):
    monkeypatch.setenv("PYTEST_PLUGINS", "own_counters,simulated_count")
    inner.file(
        test_a="""
import time
from simulated_count import counting, work
@pytest.mark.timeout(1)
def test_a():
    work(40_000)
    if counting(): time.sleep(0.6)
"""
    )
    args = [*measured, f"--energy-powercap={inner.powercap}"] if measured else []
    count(inner, *args, subprocess=True).assert_outcomes(passed=1)
    assert instructions(inner)["test_a"]["count"] == 40_000 + ITSELF


def test_a_test_that_runs_once_is_counted_once(inner):
    inner.file(
        test_a="""
from simulated_count import work
def values(): yield 1
@pytest.mark.parametrize("value", [values()])
def test_a(value):
    list(value)
    work(40_000)
"""
    )
    count(inner)
    (found,) = instructions(inner).values()
    assert found["counts"] == [40_000 + ITSELF]
    assert any("one round" in doubt for doubt in found["doubts"])
