"""Whether ``--energy-share=own`` is true beside a neighbour: tests of known work, counters that count for the neighbour as well.

    with-rapl domains=1 idle_w=10 cpu_w=20 -- python benchmarks/own_share.py [--sessions N] [--loads 0.25 0.5 1]

The counters are simulated: a package at ``--powercap`` that draws ``--idle-watts`` always, and ``--cpu-watts`` times the CPU time
of a group of processes (their cpuacct control group), shown in steps of a millisecond. The tests and their neighbour, which keeps
a part of a processor busy, are in it, and nobody else; so the plugin is told the CPU time of that group, in steps of 10 ms as the
kernel shows the machine's. To draw three times as much in a CPU second as the tests do, the neighbour has twice its CPU time
times the watts added to the counter, through the file that RAPL_CTL names (``add pkg MICROJOULES``).

A test knows its own wall and CPU time, so it knows what this process tree alone would have drawn: idle watts times the wall time
and CPU watts times its CPU time. Three tests (300, 60 and 5 ms, the last one read in blocks) a session. Bars: for each load and
test the median of the errors is within 5 % where the neighbour draws as much; where it draws three times as much at least 95 %
of all intervals contain the truth. Exit code 1 where one is missed. Needs root, as the counters do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

TESTS = """
import json, os, time
import pytest

seen = {}

@pytest.fixture(scope="session", autouse=True)
def written():
    yield
    with open(os.environ["JOULES_TRUTH"], "w") as file:
        json.dump(seen, file)

@pytest.mark.parametrize("ms", [300, 60, 5])
def test_burn(ms):
    wall, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < ms / 1e3:
        sum(range(20))
    seen.setdefault(f"test_burn[{ms}]", []).append((time.perf_counter() - wall, time.process_time() - cpu))
"""

#: The machine's CPU time as the plugin sees it: that of the group whose work the counters show.
CONFTEST = """
import pytest_joules.measure.other_load as other_load

def busy():
    with open({usage!r}) as file:
        return int(file.read()) // 10_000_000 / 100

other_load._busy_seconds = busy
"""

NEIGHBOUR = """
import os, sys, time

load, watts = float(sys.argv[1]), float(sys.argv[2])
control = open(os.environ["RAPL_CTL"], "w") if watts else None
period, charged, parent = 0.02, time.process_time(), os.getppid()
while os.getppid() == parent:
    begun = time.perf_counter()
    while time.perf_counter() - begun < load * period:
        sum(range(20))
    if control is not None:
        used = time.process_time()
        control.write(f"add pkg {(used - charged) * watts * 1e6:.0f}")
        control.flush()
        charged = used
    time.sleep(max(0.0, begun + period - time.perf_counter()))
"""


class Found(NamedTuple):
    test: str
    error: float
    """Of the median, relative."""
    low: float
    """Ends of the interval over the truth."""
    high: float

    @property
    def covered(self) -> bool:
        return self.low <= 1 <= self.high


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=7, metavar="N", help="of each load and kind of neighbour (7)")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="processors that the neighbour uses")
    parser.add_argument("--powercap", default="/sys/class/powercap", metavar="DIR")
    parser.add_argument("--idle-watts", type=float, default=10.0)
    parser.add_argument("--cpu-watts", type=float, default=20.0)
    given = parser.parse_args()
    if "RAPL_CTL" not in os.environ:
        parser.error("RAPL_CTL is not set: run this under simulated counters (see the head of this file)")
    missed = False
    print(f"{'neighbour':<16} {'test':<16} {'error, median':>13} {'worst':>8} {'interval / truth':>17} {'covered':>8}")
    every: list[Found] = []
    for times in (1, 3):
        for load in given.loads:
            found = [one for _ in range(given.sessions) for one in session(given, load, times)]
            for test in dict.fromkeys(one.test for one in found):
                own = [one for one in found if one.test == test]
                error = statistics.median(one.error for one in own)
                worst = max((one.error for one in own), key=abs)
                ends = f"{statistics.median(o.low for o in own):.2f} to {statistics.median(o.high for o in own):.2f}"
                missed |= times == 1 and abs(error) > 0.05
                covered = f"{sum(one.covered for one in own)}/{len(own)}"
                print(
                    f"{load:g} CPU, {times} x{'':<6} {test:<16} {error:>13.1%} {worst:>8.1%} {ends:>17} {covered:>8}", flush=True
                )
            every += found if times == 3 else []
    share = sum(one.covered for one in every) / len(every)
    print(f"three times as much: {share:.1%} of {len(every)} intervals contain the truth")
    missed |= share < 0.95
    print("a bar is missed" if missed else "all bars are met")
    return int(missed)


def usage() -> Path:
    """The file that says the CPU time of this process's group."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if "cpuacct" in controllers.split(","):
            return Path(f"/sys/fs/cgroup/cpuacct{group}/cpuacct.usage")
    sys.exit("this process is in no cpuacct control group, whose CPU time the simulated counters charge")


def session(given: argparse.Namespace, load: float, times: int) -> list[Found]:
    """One run of pytest beside the neighbour."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "test_it.py").write_text(TESTS)
        (here / "conftest.py").write_text(CONFTEST.format(usage=str(usage())))
        (here / "pytest.ini").write_text("[pytest]\n")
        environment = {**os.environ, "JOULES_TRUTH": str(here / "truth.json")}
        extra = (times - 1) * given.cpu_watts
        neighbour = subprocess.Popen([sys.executable, "-c", NEIGHBOUR, str(load), str(extra)])
        try:
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--energy", "--energy-share=own"]
            command += [
                "--energy-source=rapl",
                f"--energy-powercap={given.powercap}",
                "--energy-json=report.json",
                "--energy-rounds=7",
                "--energy-max-time=60",
            ]
            done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
        finally:
            neighbour.kill()
            neighbour.wait()
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}")
        truth = json.loads((here / "truth.json").read_text())
        report = json.loads((here / "report.json").read_text())
    return [judged(test, truth, given) for test in report["tests"]]


def judged(test: dict[str, object], truth: dict[str, list[list[float]]], given: argparse.Namespace) -> Found:
    name = str(test["nodeid"]).partition("::")[2]
    energy = test["energy"]
    assert isinstance(energy, dict), test["notes"]
    rounds = truth[name][-int(str(test["rounds"])) :]
    own = [given.idle_watts * wall + given.cpu_watts * cpu for wall, cpu in rounds]
    # A block shares its joules out, so that the mean of its rounds is what it measures.
    known = statistics.median(own) if test["resolution"] == "ok" else statistics.fmean(own)
    low, high = energy["ci95"]
    return Found(name, energy["median"] / known - 1, low / known, high / known)


if __name__ == "__main__":
    sys.exit(main())
