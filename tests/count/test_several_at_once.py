"""Several tests are counted at a time, and nobody notices but by the clock. The counter is simulated: see simulated_count."""

import re

import pytest

#: In the run nothing happens; where tests are counted, two at a time meet, or would wait for each other in vain.
MEETING = """
import time
from pathlib import Path
from simulated_count import counting, work

def meet(name, other):
    if counting():
        Path(name).touch()
        ends = time.monotonic() + 20
        while not Path(other).exists():
            assert time.monotonic() < ends, "alone"
            time.sleep(.01)
"""


@pytest.fixture
def counted(inner, monkeypatch):
    monkeypatch.setenv("PYTEST_PLUGINS", "own_counters,pytest_joules.plugin,simulated_count")
    return inner


def count(inner, *args, ret=0):
    result = inner.run("--energy-count", "--energy-json=report.json", *args, energy=False)
    assert result.ret == ret, result.stdout.str()
    return result


def whether_counted(inner):
    return {name: test["instructions"] is not None for name, test in inner.tests().items()}


def test_two_are_counted_at_a_time(counted):
    counted.file(
        test_a=MEETING
        + """
def test_a(): meet("a", "b")
def test_b(): meet("b", "a")
"""
    )
    count(counted)
    assert whether_counted(counted) == {"test_a": True, "test_b": True}


def test_each_has_its_own_temporary_folder(counted):
    counted.file(
        test_a=MEETING
        + """
def test_a(tmp_path): Path("in_a").write_text(str(tmp_path.parent)); meet("a", "b"); assert tmp_path.exists()
def test_b(tmp_path): Path("in_b").write_text(str(tmp_path.parent)); meet("b", "a"); assert tmp_path.exists()
"""
    )
    count(counted)
    assert (counted.path / "in_a").read_text() != (counted.path / "in_b").read_text()
    assert whether_counted(counted) == {"test_a": True, "test_b": True}


def test_one_that_stands_in_the_way_of_another_is_counted_alone(counted):
    counted.file(
        test_a=MEETING
        + """
import os
def alone():
    os.mkdir("lock")
    time.sleep(.3)
    os.rmdir("lock")

def test_a(): alone()
def test_b(): alone()
def test_c(): alone()
"""
    )
    count(counted)
    assert whether_counted(counted) == {"test_a": True, "test_b": True, "test_c": True}


def test_one_that_never_ends_costs_no_other_its_count(counted, monkeypatch):
    monkeypatch.setenv("PATIENCE", "3")
    counted.file(
        test_a="""
import os, time
from simulated_count import counting, work
def test_a(): work(1000)
def test_hangs(): time.sleep(600 if counting() else 0)
def test_dies():
    if counting(): os._exit(3)
def test_leaves():
    "Its child holds what it inherited open."
    if counting() and not os.fork(): time.sleep(20); os._exit(0)
def test_b(): work(1000)
"""
    )
    count(counted)
    assert whether_counted(counted) == {
        "test_a": True,
        "test_hangs": False,
        "test_dies": False,
        "test_leaves": True,
        "test_b": True,
    }
    for name in ("test_hangs", "test_dies"):
        assert counted.tests()[name]["notes"] == ["not counted: the process that counted it died, or did not end in time"]


#: Of all outcomes, with a report of a test's own.
MIXED = """
def test_a(): print("of a")
def test_fails(): print("of fails"); assert 0
@pytest.mark.skip
def test_skipped(): pass
def test_skips(): pytest.skip("so")
@pytest.mark.xfail
def test_expected(): assert 0
@pytest.fixture
def broken(): yield; assert 0
def test_error(broken): pass
def test_sub(subtests):
    with subtests.test("one"): pass
    with subtests.test("two"): assert 0
def test_warns(): import warnings; warnings.warn("of warns")
def test_b(): pass
"""


def lines(result):
    """What a run prints of its tests, without what this plugin says."""
    wanted = re.compile(r"test_a\.py::|FAILED|ERROR|E  |SUB|____|of ")
    return [line for line in result.outlines if wanted.match(line) and " instr " not in line]


@pytest.mark.parametrize("option", ["-v", "-q", "-rA", "-s", "-x", "--maxfail=2", "--log-cli-level=INFO"])
def test_what_is_printed_is_what_a_plain_run_prints(counted, option):
    counted.file(test_a=MIXED)
    plain = counted.run("-p", "no:joules", option, energy=False)
    result = count(counted, option, ret=1)
    assert lines(result) == lines(plain)
    assert result.parseoutcomes() == plain.parseoutcomes()


def test_every_plugin_hears_of_tests_one_after_another(counted):
    counted.file(
        test_a=MIXED,
        conftest="""
import os
heard = []
def pytest_runtest_logstart(nodeid): heard.append(("start", nodeid))
def pytest_runtest_logreport(report): heard.append((report.when, report.nodeid))
def pytest_runtest_logfinish(nodeid): heard.append(("finish", nodeid))
def pytest_unconfigure():
    if "PYTEST_JOULES_PADDING" not in os.environ:
        with open("heard", "w") as file: print(*heard, sep="\\n", file=file)
""",
    )
    counted.run("-p", "no:joules", energy=False)
    plain = (counted.path / "heard").read_text()
    count(counted, ret=1)
    assert (counted.path / "heard").read_text() == plain
    assert "finish" in plain


def test_with_x_no_test_runs_after_the_one_that_fails(counted):
    counted.file(
        test_a="""
from simulated_count import counting, work
def ran(name):
    if not counting(): open("ran", "a").write(name)
@pytest.mark.energy_budget(instructions=1000)
def test_a(): ran("a"); work(5000)
def test_b(): ran("b")
"""
    )
    count(counted, "-x", ret=1)
    assert (counted.path / "ran").read_text() == "a"


def test_an_interrupted_run_reports_what_has_run(counted):
    counted.file(
        test_a="""
def test_a(): pass
def test_fails(): assert 0
def test_b(): raise KeyboardInterrupt
def test_c(): pass
"""
    )
    result = count(counted, "-v", ret=2)
    result.stdout.fnmatch_lines(["*test_a PASSED*", "*test_fails FAILED*", "*KeyboardInterrupt*"])
    result.assert_outcomes(passed=1, failed=1)


def test_a_plugin_that_runs_some_tests_itself_is_not_overtaken(counted):
    counted.file(
        test_a="""
def test_a(): pass
def test_b_of_others(): pass
def test_c(): pass
""",
        conftest="""
from _pytest.runner import runtestprotocol
def pytest_runtest_protocol(item, nextitem):
    if "others" in item.name:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        runtestprotocol(item, nextitem=nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
""",
    )
    plain, result = counted.run("-p", "no:joules", "-v", energy=False), count(counted, "-v")
    assert lines(result) == lines(plain)
    assert len(lines(plain)) == 3
