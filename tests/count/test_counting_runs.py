"""Runs that count instructions. The counter is simulated: each test says what its body takes, so the truth is known."""

import csv
import json
import os
import re
import sys

import pytest
from inner import sentences
from simulated_count import ITSELF

pytestmark = pytest.mark.usefixtures("_costs")

#: Tests whose work an environment variable says, so that the code is the same.
TESTS = """
import json
from simulated_count import work

COSTS = json.loads(os.environ["COSTS"])

def test_a(): work(COSTS["a"])
def test_b(): work(COSTS["b"])
def test_c(): work(COSTS["c"])
"""


def costs(**thousands):
    os.environ["COSTS"] = json.dumps({name: 1000 * value for name, value in {"a": 100, "b": 2000, "c": 30, **thousands}.items()})


@pytest.fixture
def _costs(pytester, monkeypatch):
    monkeypatch.setenv("COSTS", "{}")
    monkeypatch.setenv("PYTEST_PLUGINS", "own_counters,pytest_joules.plugin,simulated_count")
    costs()


@pytest.fixture
def counted(inner):
    inner.file(test_a=TESTS)
    return inner


def count(inner, *args, ret=0, **options):
    result = inner.run("--energy-count", "--energy-json=report.json", *args, energy=False, **options)
    assert result.ret == ret, result.stdout.str()
    return result


def _saved(inner):
    inner.file(test_a=TESTS)
    count(inner, "--energy-save=main")


@pytest.fixture
def saved(inner, begin):
    """A project with a baseline of its instructions."""
    begin(inner, _saved)
    return inner


def instructions(inner):
    return {name: test["instructions"] for name, test in inner.tests().items()}


def verdicts(inner):
    return {name: found["comparison"]["verdict"] for name, found in instructions(inner).items()}


def command(inner, *args):
    """``joules``."""
    return inner.pytester.run(sys.executable, "-m", "pytest_joules.cli", *args)


def said(result):
    return "\n".join(sentences(result.outlines))


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


def test_the_same_work_is_ok(saved):
    result = count(saved, "--energy-compare=main")
    assert verdicts(saved) == {"test_a": "ok", "test_b": "ok", "test_c": "ok"}
    assert "instructions compared with main: 3 ok" in said(result)


def test_one_per_cent_more_fails_its_test_and_no_other(saved):
    costs(b=2030)
    result = count(saved, "--energy-compare=main", ret=1)
    result.assert_outcomes(passed=2, failed=1)
    assert verdicts(saved) == {"test_a": "ok", "test_b": "regressed", "test_c": "ok"}
    comparison = instructions(saved)["test_b"]["comparison"]
    assert comparison["ratio"] == pytest.approx((2_030_000 + ITSELF) / (2_000_000 + ITSELF))
    assert comparison["processes"] == 2
    assert "REGRESSED test_a.py::test_b 1.01× in instructions since main (2.00 Minstr -> 2.03 Minstr)" in said(result)


def test_less_is_improved_and_fails_nobody(saved):
    costs(b=1900)
    result = count(saved, "--energy-compare=main")
    assert verdicts(saved)["test_b"] == "improved"
    assert "IMPROVED test_a.py::test_b 0.95× in instructions" in said(result)


@pytest.mark.parametrize(("args", "ret"), [(("--energy-fail-on=none",), 0), (("--energy-count-threshold=3%",), 0)])
def test_what_fails_is_asked_for(saved, args, ret):
    costs(b=2050)
    count(saved, "--energy-compare=main", *args, ret=ret)
    assert verdicts(saved)["test_b"] == ("regressed" if "none" in args[0] else "ok")


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


def test_a_few_instructions_are_nothing(saved):
    """A path of another length, a collision in a dict."""
    costs(c=30.9)
    count(saved, "--energy-compare=main")
    assert verdicts(saved)["test_c"] == "ok"


def test_what_has_changed_is_named(inner):
    inner.file(
        shop="from simulated_count import work\ndef total(): work(100_000)\ndef other(): work(5)\n",
        test_a="import shop\ndef test_a():\n    shop.other()\n    shop.total()\n",
    )
    count(inner, "--energy-save=main")
    text = (inner.path / "shop.py").read_text()
    (inner.path / "shop.py").write_text(text.replace("100_000", "150_000"))
    result = count(inner, "--energy-compare=main", ret=1)
    assert instructions(inner)["test_a"]["comparison"]["where"] == ["shop.total"]
    assert "1.50× in instructions since main; shop.total" in said(result)
    assert "where     shop.total" in result.stdout.str()


def test_lines_that_run_more_often_are_named_with_their_counts(inner):
    inner.file(
        shop="""
from simulated_count import work
ITEMS = 4
def price(item):
    return item
def total(items):
    found = 0
    for item in range(items):
        found += price(item)
    return found
""",
        test_a="""
import shop
from simulated_count import work
def test_a():
    shop.total(shop.ITEMS)
    work(10_000 * shop.ITEMS)
""",
    )
    count(inner, "--energy-save=main")
    assert instructions(inner)["test_a"]["ran"]["shop.py::price"] == [4, 4]
    text = (inner.path / "shop.py").read_text()
    (inner.path / "shop.py").write_text(text.replace("ITEMS = 4", "ITEMS = 400"))
    result = count(inner, "--energy-compare=main", ret=1)
    line = 1 + text.splitlines().index("        found += price(item)")
    found = instructions(inner)["test_a"]["comparison"]["where"]
    assert found[0] == "shop.ITEMS"
    assert set(found[1:3]) == {f"shop.total line {line - 1} ran 401 times, was 5", "shop.price was called 400 times, was 4"}
    assert found[1] in said(result)


def test_a_loop_in_a_function_that_changed_is_named_first(inner):
    inner.file(
        shop="from simulated_count import work\ndef total():\n    work(100_000)\ndef other(): work(5)\n",
        test_a="import shop\ndef test_a():\n    shop.other()\n    shop.total()\n",
    )
    count(inner, "--energy-save=main")
    text = (inner.path / "shop.py").read_text()
    text = text.replace("    work(100_000)\n", "    for _ in range(300):\n        work(1000)\n").replace("work(5)", "work(6)")
    (inner.path / "shop.py").write_text(text)
    count(inner, "--energy-compare=main", ret=1)
    line = 1 + (inner.path / "shop.py").read_text().splitlines().index("    for _ in range(300):")
    assert instructions(inner)["test_a"]["comparison"]["where"][:2] == [
        f"shop.total line {line} ran 301 times, no line of it more than once before",
        "shop.other",
    ]


def test_every_round_that_was_counted_is_in_the_csv(counted):
    count(counted, "--energy-csv=rounds.csv")
    with (counted.path / "rounds.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["nodeid"] == "test_a.py::test_a"]
    assert [row["instructions"] for row in rows] == [str(100_000 + ITSELF)] * 2
    assert {(row["counter"], row["energy_j"]) for row in rows} == {("simulated 1.0", "")}


def test_what_is_not_all_of_its_work_is_doubted(inner):
    inner.file(
        test_a="""
import hashlib, subprocess, sys, threading, time
from simulated_count import work
def chance():  # another one each time, in whatever process
    with open("calls", "a+") as file:
        file.write("x")
        return hashlib.sha256(b"%d" % file.tell()).digest()[0] * 10_000
MORE = int(os.environ.get("MORE", "0"))
def test_thread():
    work(100_000 + MORE)
    thread = threading.Thread(target=work, args=(1,)); thread.start(); thread.join()
def test_process():
    work(100_000 + MORE); subprocess.run([sys.executable, "-c", ""], check=True)
def test_sleep():
    work(100_000 + MORE); time.sleep(0.02)
def test_random():
    work(100_000 + chance() + MORE)
"""
    )
    count(inner, "--energy-save=main")
    doubts = {name: found["doubts"] for name, found in instructions(inner).items()}
    assert "runs threads" in doubts["test_thread"]
    assert "starts processes" in doubts["test_process"]
    assert "waits" in doubts["test_sleep"]
    assert doubts["test_random"] == []
    assert instructions(inner)["test_random"]["spread"] > 0.01
    os.environ["MORE"] = "5000"
    try:
        result = count(inner, "--energy-compare=main")
        assert set(verdicts(inner).values()) == {"cannot tell"}
        assert "cannot tell of test_a.py::test_thread: not all of its work: runs threads" in said(result).replace(
            "+5.0 % instructions, which are ", ""
        )
        os.environ["MORE"] = "100000"  # that dwarfs it
        count(inner, "--energy-compare=main", ret=1)
        found = verdicts(inner)
        del found["test_random"]  # which differs by more
        assert set(found.values()) == {"regressed"}
    finally:
        del os.environ["MORE"]


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


def test_other_conditions_are_named(saved):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    baseline = path.read_text().replace('"counter": "simulated 1.0"', '"counter": "simulated 0.9"', 1)
    path.write_text(baseline)
    result = count(saved, "--energy-compare=main")
    assert set(verdicts(saved).values()) == {"cannot tell"}
    assert "counter simulated 0.9 then, simulated 1.0 now" in said(result)


def test_on_another_machine_it_is_the_same(saved):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    path.parent.rename(path.parent.with_name("another"))
    count(saved, "--energy-compare=main")
    assert set(verdicts(saved).values()) == {"ok"}


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


def test_only_what_a_change_can_have_touched_is_counted(inner):
    inner.file(
        shop="from simulated_count import work\ndef total(): work(100_000)\n",
        other="from simulated_count import work\ndef other(): work(50_000)\n",
        test_a="import shop\ndef test_a(): shop.total()\n",
        test_b="import other\ndef test_b(): other.other()\n",
    )
    count(inner, "--energy-save=main")
    text = (inner.path / "shop.py").read_text()
    (inner.path / "shop.py").write_text(text.replace("100_000", "150_000"))
    result = count(inner, "--energy-compare=main", "--energy-changed-only", ret=1)
    result.assert_outcomes(passed=1, failed=1)
    assert inner.tests()["test_b"]["instructions"] is None
    assert verdicts_of(inner, "test_a") == "regressed"
    assert "1 its code is that of the baseline" in said(result)


def verdicts_of(inner, name):
    return instructions(inner)[name]["comparison"]["verdict"]


def test_changed_only_needs_a_baseline(counted):
    counted.refused("--energy-count", "--energy-changed-only", energy=False, says=["--energy-compare"])


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


def test_what_is_counted_now_is_accepted(saved):
    costs(b=3000)
    result = count(saved, "--energy-compare=main", "--energy-update")
    assert "counted    test_a.py::test_b  2.00 Minstr -> 3.00 Minstr" in said(result)
    assert "left" not in said(result)
    count(saved, "--energy-compare=main")
    assert set(verdicts(saved).values()) == {"ok"}


def test_two_baselines_are_compared_by_the_command(saved):
    costs(b=3000)
    count(saved, "--energy-save=dearer")
    result = command(saved, "compare", "main", "dearer")
    assert result.ret == 1
    assert "REGRESSED test_a.py::test_b 1.50× in instructions since main" in said(result)
    assert "unavailable" not in result.stdout.str()
    assert command(saved, "compare", "main", "main").ret == 0


def test_damaged_counts_are_refused(saved):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    path.write_text(re.sub(r'"count": \d+', '"count": -5', path.read_text(), count=1))
    result = saved.run("--energy-count", "--energy-compare=main", energy=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "which is no number of instructions" in result.stderr.str()


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
