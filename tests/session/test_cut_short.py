"""Runs that are cut short: what was measured until then is reported and kept."""

import os
import re
import signal

import pytest
from processes import PATIENCE
from started_runs import THREE, started, waiting

# Cut short


@pytest.mark.parametrize("how", ["raise KeyboardInterrupt", "pytest.exit('enough')"])
def test_an_interrupt_from_within(inner, how):
    inner.file(test_a=THREE.format(how=how))
    result = inner.run("--energy-rounds=8")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    tests = inner.tests()
    assert tests.keys() == {"test_first", "test_second"}
    assert (tests["test_first"]["outcome"], len(tests["test_first"]["samples"])) == ("passed", 8)
    second = tests["test_second"]
    assert (second["outcome"], second["rounds"]) == ("interrupted", 2)
    assert [sample["energy"] for sample in second["samples"]] == [pytest.approx(2e-3)] * 2
    assert "interrupted" in second["notes"]
    assert inner.history() == [
        ("test_a.py::test_first", "passed", pytest.approx(1e-3)),
        ("test_a.py::test_second", "interrupted", pytest.approx(2e-3)),
    ]
    result.stdout.fnmatch_lines(["test_a.py::test_second  2.00 mJ*", "test_a.py::test_first   1.00 mJ*"])


def test_an_interrupt_in_a_teardown_keeps_the_measurement(inner):
    inner.file(
        test_a="""
@pytest.fixture(scope="module")
def stopping():
    yield
    raise KeyboardInterrupt
def test_a(stopping): draw(1_000)
"""
    )
    assert inner.run().ret == pytest.ExitCode.INTERRUPTED
    assert inner.tests()["test_a"]["outcome"] == "passed"
    assert inner.history() == [("test_a.py::test_a", "passed", pytest.approx(1e-3))]


def test_an_interrupt_while_collecting(inner):
    inner.file(test_a="raise KeyboardInterrupt\n")
    assert inner.run().ret == pytest.ExitCode.INTERRUPTED
    assert inner.report()["tests"] == []


FAILING = """
def test_1(): draw(1_000)
def test_2():
    draw(2_000)
    assert 0
def test_3(): draw(3_000)
def test_4():
    draw(4_000)
    assert 0
def test_5(): draw(5_000)
"""


@pytest.mark.parametrize(("option", "ran"), [("-x", 2), ("--maxfail=2", 4)])
def test_stopping_at_failures(inner, option, ran):
    inner.file(test_a=FAILING)
    result = inner.run(option)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    tests = inner.tests()
    assert list(tests) == [f"test_{n}" for n in range(1, ran + 1)]
    passed = range(1, ran, 2)
    energies = {name: round(1e6 * test["energy"]["median"]) for name, test in tests.items() if test["energy"] is not None}
    assert energies == {f"test_{n}": 1000 * n for n in passed}  # one that fails is seen in the recorded round only
    assert len(inner.history()) == len(passed)
    result.stdout.fnmatch_lines([f"one pass over {len(passed)} test{'s' if len(passed) > 1 else ''}: *"])


def test_ctrl_c(inner, start):
    waiting(inner)
    process = started(start, inner, "--energy-rounds=8", marks="here")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    tests = inner.tests()
    assert (tests["test_second"]["outcome"], tests["test_second"]["rounds"]) == ("interrupted", 2)
    assert tests["test_second"]["energy"]["median"] == pytest.approx(2e-3)
    assert "test_third" not in tests
    assert [(name, outcome) for name, outcome, _ in inner.history()] == [
        ("test_a.py::test_first", "passed"),
        ("test_a.py::test_second", "interrupted"),
    ]
    assert re.search(r"test_a.py::test_second +2.00 mJ", output)
    assert "INTERNALERROR" not in output


def test_killed(inner, start):
    waiting(inner)
    process = started(start, inner, marks="here")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert inner.history() == [("test_a.py::test_first", "passed", pytest.approx(1e-3))]
    assert not (inner.path / "report.json").exists()
    # The next run goes on with the same history.
    inner.run("-k", "first").assert_outcomes(passed=1, deselected=2)
    assert [name for name, _, _ in inner.history()] == ["test_a.py::test_first"] * 2
