"""Whether the joules are true: tests of known work under simulated counters, measured joules against what the work drew.

    python benchmarks/truth.py [--rounds N] [--repeat N]
    python benchmarks/truth.py --powercap DIR --idle-watts W --cpu-watts W

A powercap tree of plain files is fed by a process that wakes every millisecond and adds ``idle_watts`` times the wall time and
``cpu_watts`` times the CPU time of the test process since it last did. A test knows its own wall and CPU time, so it knows what
its body drew. The CPU time comes from the kernel's ``task-clock`` event of perf_event_open(2); where that is not permitted, from
the process's CPU clock, which seen from outside steps by a scheduler tick (4 ms here): too coarse for the short tests, and said
so. With ``--powercap`` another simulator's tree is read, whose watts must be given; real counters cannot be judged this way:
nobody knows the truth.

What is compared: for each test the median over its rounds with the median of the truth; for the 30 short ones (0.1 to 1 ms) the
means. Bars: within 1 % for 500 ms, 50 ms and a sleep, 3 % for 5 ms, 10 % for each short one. Exit code 1 where one is missed.

The feeding process needs a processor of its own: on a busy machine it is late, its step is smeared, and that is in the figures.
How late it was is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

#: The counter wraps here, so that wraps are part of the run.
RANGE_UJ = 20_000_000

TESTS = """
import json, os, time
import pytest

seen = {}

@pytest.fixture(scope="session", autouse=True)
def written():
    yield
    with open(os.environ["JOULES_TRUTH"], "w") as file:
        json.dump(seen, file)

def drawn(name, wall, cpu):
    seen.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))

def burn(name, seconds):
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        sum(range(20))
    drawn(name, wall, cpu)

@pytest.mark.parametrize("ms", [500, 50, 5])
def test_burn(ms):
    burn(f"test_burn[{ms}]", ms / 1e3)

def test_sleep():
    wall, cpu = time.perf_counter(), time.process_time()
    time.sleep(0.05)
    drawn("test_sleep", wall, cpu)

@pytest.mark.parametrize("number", range(30))
def test_short(number):
    burn(f"test_short[{number}]", (0.1 + number * 0.9 / 29) / 1e3)
"""


def cpu_clock(pid: int) -> tuple[Callable[[], int], str]:
    """A function that gives the CPU time of another process in nanoseconds (its main thread's), and what it is.

    Raises:
        OSError: from the function, when the process is gone.
    """
    import ctypes

    number = {"x86_64": 298, "aarch64": 241}.get(platform.machine())
    if number is not None:
        # struct perf_event_attr: type 1 (software), size 64, config 1 (task-clock)
        attributes = ctypes.create_string_buffer(struct.pack("=IIQ", 1, 64, 1) + bytes(48), 64)
        call = ctypes.CDLL(None, use_errno=True).syscall
        call.restype = ctypes.c_long
        numbers = [ctypes.c_long(value) for value in (pid, -1, -1)]
        descriptor = call(ctypes.c_long(number), attributes, *numbers, ctypes.c_ulong(8))
        if descriptor >= 0:
            return lambda: int.from_bytes(os.read(descriptor, 8), sys.byteorder), "task-clock"
    clock = ~pid << 3 | 2  # see clock_getcpuclockid(3)
    return lambda: time.clock_gettime_ns(clock), "the process's CPU clock, in steps: the short tests cannot be judged"


def feed(root: Path, pid: int, idle_watts: float, cpu_watts: float) -> None:
    """Move the counters of the tree at ``root`` every millisecond until process ``pid`` is gone."""
    cpu_time, clock = cpu_clock(pid)
    counters = [os.open(root / zone / "energy_uj", os.O_WRONLY) for zone in ("intel-rapl:0", "intel-rapl:0/intel-rapl:0:0")]
    late: list[float] = []
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    begun = wall = time.perf_counter_ns()
    cpu = cpu_time()
    package = core = 0.0
    step = 0
    while not stopping:
        step += 1
        wait = begun + step * 1_000_000 - time.perf_counter_ns()
        if wait > 0:
            time.sleep(wait / 1e9)
        try:
            os.kill(pid, 0)
            cpu_now = cpu_time()
        except OSError:
            break
        now = time.perf_counter_ns()
        late.append((now - begun) / 1e6 - step)
        package += (idle_watts * (now - wall) + cpu_watts * (cpu_now - cpu)) * 1e-3
        core += cpu_watts * (cpu_now - cpu) * 1e-3
        wall, cpu = now, cpu_now
        for descriptor, value in zip(counters, (package, core), strict=True):
            # Of one length, so that a reader never sees half a number.
            os.pwrite(descriptor, b"%012d\n" % (int(value) % RANGE_UJ), 0)
        if late[-1] > 1:
            step += int(late[-1])
    late.sort()
    print(
        json.dumps(
            {"clock": clock, "ticks": len(late), "late_median": late[len(late) // 2], "late_99": late[len(late) * 99 // 100]}
        )
    )


def make_tree(root: Path) -> None:
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0/intel-rapl:0:0", "core")):
        (root / zone).mkdir(parents=True)
        (root / zone / "name").write_text(f"{name}\n")
        (root / zone / "energy_uj").write_text("000000000000\n")
        (root / zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")


def run(given: argparse.Namespace, folder: Path) -> list[tuple[str, float, float, float, str, str]]:
    """One run; for each test its name, its true joules, how far the median and the mean are off, resolution and provenance."""
    folder.mkdir()
    powercap, truth, report = given.powercap or folder / "powercap", folder / "truth.json", folder / "report.json"
    (folder / "test_truth.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    # The process says when it is ready and waits, so that its counters move before pytest looks for them.
    begin = "import sys, runpy; sys.stdin.readline(); runpy.run_module('pytest', run_name='__main__')"
    options = [f"--energy-powercap={powercap}", f"--energy-rounds={given.rounds}", f"--energy-json={report}"]
    command = [sys.executable, "-c", begin, "-q", "-p", "no:cacheprovider", "--energy", "--energy-source=rapl", *options]
    environment = {**os.environ, "JOULES_TRUTH": str(truth), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    pytest = subprocess.Popen(
        [*command, "-p", "pytest_joules.plugin", "--energy-max-time=60"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    feeding = None
    try:
        if given.powercap is None:
            make_tree(powercap)
            arguments = [str(powercap), str(pytest.pid), str(given.idle_watts), str(given.cpu_watts)]
            feeding = subprocess.Popen([sys.executable, __file__, "--feed", *arguments], stdout=subprocess.PIPE, text=True)
            time.sleep(0.3)
        output, _ = pytest.communicate("go\n")
    finally:
        if feeding is not None:
            with contextlib.suppress(ProcessLookupError):
                feeding.terminate()
    if pytest.returncode:
        raise SystemExit(output)
    if feeding is not None and feeding.stdout is not None:
        seen = json.loads(feeding.stdout.read() or "{}")
        feeding.wait()
        print(
            f"the simulator ticked {seen['ticks']} times, late by {seen['late_median']:.3f} ms in the median, "
            f"{seen['late_99']:.2f} ms at the 99th percentile; CPU time from {seen['clock']}"
        )
    known = json.loads(truth.read_text())
    rows = []
    for test in json.loads(report.read_text())["tests"]:
        name = test["nodeid"].partition("::")[2]
        # The last rounds are the measured ones: before them come warm-up rounds, and a block that was disturbed.
        drew = [given.idle_watts * wall + given.cpu_watts * cpu for wall, cpu in known[name][-test["rounds"] :]]
        energy = test["domains"].get("package-0")
        if energy is None:
            rows.append((name, statistics.median(drew), float("nan"), float("nan"), test["resolution"], test["provenance"]))
            continue
        off = energy["median"] / statistics.median(drew) - 1
        rows.append(
            (
                name,
                statistics.median(drew),
                off,
                energy["mean"] / statistics.mean(drew) - 1,
                test["resolution"],
                test["provenance"],
            )
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="how often to do it all (default 3)")
    parser.add_argument("--powercap", type=Path, metavar="DIR", help="a tree that another simulator feeds")
    parser.add_argument("--idle-watts", type=float, default=10.0, metavar="W", help="(default 10)")
    parser.add_argument("--cpu-watts", type=float, default=20.0, metavar="W", help="for a busy processor (default 20)")
    parser.add_argument("--feed", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.feed:
        root, pid, idle, cpu = given.feed
        feed(Path(root), int(pid), float(idle), float(cpu))
        return 0

    bars = {"test_burn[500]": 0.01, "test_burn[50]": 0.01, "test_burn[5]": 0.03, "test_sleep": 0.01}
    worst: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.repeat):
            rows = run(given, Path(folder) / str(number))
            print(f"{'':18}{'truth':>11}{'measured is off by':>22}{'bar':>8}  resolution")
            for name, drew, off, _, resolution, provenance in rows:
                if name in bars:
                    shared = ", shared" if provenance == "shared" else ""
                    print(f"{name:18}{drew * 1e3:8.2f} mJ{off:+21.2%} {bars[name]:7.0%}  {resolution}{shared}")
                    worst[name] = max(worst.get(name, 0.0), abs(off)) if math.isfinite(off) else math.inf
            short = sorted(mean for name, _, _, mean, _, _ in rows if name.startswith("test_short"))
            kinds = ", ".join(sorted({resolution for name, *_, resolution, _ in rows if name.startswith("test_short")}))
            spread = f"{short[0]:+.2%} to {short[-1]:+.2%}"
            print(f"{'30 short tests':18}{'':11}{spread:>22}{0.1:8.0%}  {kinds}; mean {statistics.mean(short):+.2%}", flush=True)
            worst["short"] = max(worst.get("short", 0.0), *(abs(v) if math.isfinite(v) else math.inf for v in short))
    met = all(value <= bars.get(name, 0.10) for name, value in worst.items())
    print(f"bars in all of {given.repeat} runs: {'met' if met else 'MISSED'}; worst: ", end="")
    print(", ".join(f"{name} {value:.2%}" for name, value in worst.items()))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
