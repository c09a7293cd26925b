"""Workers on one machine take turns, and what they measured arrives once."""

import itertools
import json
import os
import signal

import pytest
from processes import PATIENCE
from started_runs import started

pytestmark = pytest.mark.inner_plugins("xdist")

pytest.importorskip("xdist")

#: Every body writes down when it ran, and in which worker.
TIMED = """
import time

def timed(microjoules):
    begun = time.monotonic_ns()
    draw(microjoules)
    for _ in range(20):
        time.sleep(0.0005)  # leaves the processor to the other worker
    with open("bodies.txt", "a") as file:
        print(begun, time.monotonic_ns(), os.environ["PYTEST_XDIST_WORKER"], file=file)

"""

MANY = (
    TIMED
    + """
@pytest.mark.parametrize("n", range(1, 7))
def test_many(n): timed(1000 * n)

@pytest.mark.energy_budget(joules="1 mJ")
def test_over(): timed(7000)
def test_fails():
    timed(8000)
    assert 0
@pytest.mark.skip
def test_skipped(): pass
"""
)


def test_turns(inner):
    inner.file(test_a=MANY)
    initial = inner.tree.value("package-0")
    result = inner.run("-n2", "--energy-rounds=3", "--junitxml=junit.xml", "--energy-csv=samples.csv", subprocess=True)
    result.assert_outcomes(passed=6, failed=2, skipped=1)
    assert result.stdout.str().count("energy: workers on one machine take turns") == 1
    assert result.stdout.str().count("= energy =") == 1

    # Bodies of different workers never overlap.
    bodies = sorted((int(b), int(e), w) for b, e, w in map(str.split, (inner.path / "bodies.txt").read_text().splitlines()))
    assert {worker for *_, worker in bodies} == {"gw0", "gw1"}
    assert all(ended <= begun for (_, ended, _), (begun, _, _) in itertools.pairwise(bodies))
    # Nor do their protocols: a test's rounds follow each other without one of another worker between them.
    assert len(bodies) == 7 * 4 + 1  # one to warm up; the failing test had one round only
    stretches = [list(group) for _, group in itertools.groupby(worker for *_, worker in bodies)]
    assert all(len(stretch) % 4 in (0, 1) for stretch in stretches)

    # Results arrive once a test.
    report = inner.report()
    tests = inner.tests()
    assert len(report["tests"]) == len(tests) == 9
    for n in range(1, 7):
        test = tests[f"test_many[{n}]"]
        assert [sample["energy"] for sample in test["samples"]] == [pytest.approx(n / 1e3)] * 3
        assert test["provenance"] == "measured"
    assert [source["name"] for source in report["sources"]] == ["rapl", "tsc"]
    assert sorted(name for name, _, _ in inner.history()) == sorted(
        # What fails has only the recorded round, which is no sample.
        test["nodeid"]
        for test in report["tests"]
        if test["nodeid"] not in ("test_a.py::test_skipped", "test_a.py::test_fails")
    )
    assert len((inner.path / "samples.csv").read_text().splitlines()) == 1 + 7 * 3

    # The machine's counter is seen by both workers, and counted once: by the one whose turn it is.
    assert report["session"]["joules"] == pytest.approx((inner.tree.value("package-0") - initial) / 1e6)

    # Budgets as without workers.
    assert tests["test_over"]["budget"]["verdict"] == "over budget"
    result.stdout.fnmatch_lines(["7.00 mJ > *: over energy budget, *", "OVER BUDGET test_a.py::test_over*"])
    progress = "".join(line.split(" ")[0] for line in result.outlines if "%]" in line)
    assert sorted(progress) == sorted("......JFs")
    cases = inner.junit()
    assert "over energy budget" in cases["test_over"].find("failure").get("message")
    for name, joules in (("test_many[2]", "0.002"), ("test_skipped", "unavailable")):
        values = [entry.get("value") for entry in cases[name].iter("property") if entry.get("name") == "energy_joules"]
        assert values == [joules]


def test_a_crashing_worker_loses_nothing_else(inner):
    inner.file(
        test_a="""
@pytest.mark.parametrize("n", range(1, 6))
def test_many(n): draw(1000 * n)
rounds = []
def test_crash():
    rounds.append(1)
    draw(1)
    if len(rounds) == 3:
        os._exit(3)
"""
    )
    result = inner.run("-n2", "--energy-rounds=4", subprocess=True)
    result.assert_outcomes(passed=5, failed=1)
    tests = inner.tests()
    assert tests["test_crash"]["outcome"] == "crashed"
    assert (tests["test_crash"]["energy"], tests["test_crash"]["provenance"]) == (None, "unavailable")
    assert [tests[f"test_many[{n}]"]["energy"]["median"] for n in range(1, 6)] == [pytest.approx(n / 1e3) for n in range(1, 6)]
    assert len(inner.history()) == 5
    assert "1 crashed" in result.stdout.str()


def test_misuse_is_said_once(inner):
    inner.file(test_a="def test_a(): pass\n@pytest.mark.energy(rounds=0)\ndef test_bad(): pass\n")
    inner.refused("-n2", subprocess=True, says=["test_a.py::test_bad", "rounds=0", "at least 1"])
    inner.refused("-n2", "--collect-only", says=["test_a.py::test_bad"])
    inner.refused("-n2", "--energy-rounds=no", says=["--energy-rounds", "'no'"])


def test_scopes_stay_together(inner):
    inner.file(
        test_a=f"""{TIMED}
import collections
up = collections.Counter()
@pytest.fixture(scope="class")
def once(request):
    up[request.cls.__name__] += 1
    assert up[request.cls.__name__] == 1
class TestA:
    def test_1(self, once): timed(1000)
    def test_2(self, once): timed(2000)
class TestB:
    def test_1(self, once): timed(3000)
    def test_2(self, once): timed(4000)
"""
    )
    inner.run("-n2", "--dist=loadscope", "--energy-rounds=2", subprocess=True).assert_outcomes(passed=4)
    assert [round(1e6 * test["energy"]["median"]) for _, test in sorted(inner.tests().items())] == [1000, 2000, 3000, 4000]


@pytest.mark.parametrize("args", [["-n0"], ["-p", "no:xdist"]])
def test_without_workers(inner, args):
    inner.file(test_a="def test_a(): draw(1000)\n")
    result = inner.run(*args)
    result.assert_outcomes(passed=1)
    assert "take turns" not in result.stdout.str()
    assert inner.median("test_a") == pytest.approx(1e-3)
    assert len(inner.history()) == 1


def test_ctrl_c(inner, start):
    inner.file(
        test_a="""
import time
def test_a(): draw(1000)
def test_b(): draw(2000)
def test_c():
    for _ in range(600):  # until both others are known to have been reported
        if os.path.exists("report_b"): break
        time.sleep(0.1)
    open("here", "w").close()
    time.sleep(60)
"""
    )
    inner.conftest(
        """
def pytest_runtest_logfinish(nodeid):
    if nodeid.endswith("test_b"):
        open("report_b", "w").close()
"""
    )
    process = started(start, inner, "-n1", "--energy-rounds=2", marks="here")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert {"test_a", "test_b"} <= inner.tests().keys()
    assert [name for name, _, _ in inner.history()][:2] == ["test_a.py::test_a", "test_a.py::test_b"]
    assert "test_a.py::test_b" in output


def test_calibration_waits_for_its_turn(inner):
    """A worker measures the idle power and the counters' ticks while no other one measures."""
    inner.conftest(
        """
import os, time
import pytest_joules.measure.meter as meter

def noted(what, function):
    def run(*args, **kwargs):
        begun = time.monotonic_ns()
        try:
            return function(*args, **kwargs)
        finally:
            with open("calibrations.txt", "a") as file:
                print(begun, time.monotonic_ns(), what, file=file)
    return run

if "PYTEST_XDIST_WORKER" in os.environ:
    meter.Meter.calibrate = noted("calibration", meter.Meter.calibrate)
"""
    )
    inner.file(test_a=MANY)
    inner.run("-n2", "--energy-rounds=2", subprocess=True)
    spans = [tuple(map(int, line.split()[:2])) for line in (inner.path / "calibrations.txt").read_text().splitlines()]
    assert len(spans) == 2
    bodies = [tuple(map(int, line.split()[:2])) for line in (inner.path / "bodies.txt").read_text().splitlines()]
    for begun, ended in spans:
        others = [span for span in (*spans, *bodies) if span != (begun, ended)]
        assert all(b >= ended or e <= begun for b, e in others)


def test_the_json_of_workers_and_of_none_are_alike(inner):
    inner.file(test_a="def test_a(): draw(1000)\n")
    inner.run("-n2", "--energy-rounds=3", subprocess=True)
    parallel = json.loads((inner.path / "report.json").read_text())
    inner.run("--energy-rounds=3")
    alone = inner.report()
    assert parallel.keys() == alone.keys()
    assert parallel["tests"][0].keys() == alone["tests"][0].keys()
    assert parallel["tests"][0]["energy"] == alone["tests"][0]["energy"]
    assert parallel["sources"][0] == alone["sources"][0]
