"""Verdicts of runs that count instructions, by a simulated counter: each test says what its body takes, so the truth is known."""

import os
import re

import pytest
from counted_runs import command, costs, count, instructions, said, verdicts
from simulated_count import ITSELF

pytestmark = pytest.mark.usefixtures("_costs")


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


def test_other_conditions_are_named(saved):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    baseline = path.read_text().replace('"counter": "simulated 1.0"', '"counter": "simulated 0.9"', 1)
    path.write_text(baseline)
    result = count(saved, "--energy-compare=main")
    assert set(verdicts(saved).values()) == {"cannot tell"}
    assert "counter simulated 0.9 then, simulated 1.0 now" in said(result)


def test_a_folder_of_another_length_is_no_change(saved):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    path.write_text(re.sub(r'"folder": \d+', '"folder": 3', path.read_text()))
    costs(b=2030, a=110)
    count(saved, "--energy-compare=main", ret=1)
    assert verdicts(saved) == {"test_a": "regressed", "test_b": "cannot tell", "test_c": "ok"}
    assert "path" in instructions(saved)["test_b"]["comparison"]["why"]


def test_on_another_machine_it_is_the_same(saved):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    path.parent.rename(path.parent.with_name("another"))
    count(saved, "--energy-compare=main")
    assert set(verdicts(saved).values()) == {"ok"}


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
