"""What an account costs: a traced round beside a plain one, hooks on a torch module, and the process that samples counters.

    python benchmarks/account_cost.py [--python FILE ...] [--torch PYTHON] [--rounds N]

Functions that do a microsecond or two each (*work*), and one that does nothing (*nothing*), are called 200,000 times, plain and
traced in turn in one process, with the recorder of that Python: ratios of CPU time, median of the rounds. Of torch: a small
model's forward passes with hooks and without. The sampler: its CPU time in 5 s, of one counter in a plain file.

Bars: *work* 1.1 x from Python 3.12 on, 2.5 x before; torch 3 %; the sampler 1 % of a core. *nothing* has no bar: before
Python 3.12 each call is told of, whatever is left out. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]

FUNCTIONS = """
import statistics, sys, time
from pytest_joules.account.tracer import functions

def nothing(): pass
def work():
    total = 0
    for number in range(40):
        total += number * number
    return total

def body(function, times):
    for _ in range(times):
        function()

recorder = functions(lambda name: "cost.py" if name == "<string>" else None)
for function, times in ((work, 200_000), (nothing, 200_000)):
    plain, traced = [], []
    body(function, times)
    for _ in range(ROUNDS):
        begun = time.process_time(); body(function, times); plain.append(time.process_time() - begun)
        recorder.arm(plain[-1])
        recorder.enter()
        begun = time.process_time(); body(function, times); traced.append(time.process_time() - begun)
        recorder.leave()
        recorder.disarm()
    ratios = [b / a for a, b in zip(plain, traced)]
    print(f"{function.__name__} {statistics.median(ratios):.3f} {min(ratios):.3f} {max(ratios):.3f}")
"""

TORCH = """
import statistics, time, torch
from pytest_joules.account.modules import Modules

torch.set_num_threads(1)
layers = [torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 256)) for _ in range(6)]
model, given = torch.nn.Sequential(*layers), torch.randn(64, 256)

def body():
    begun = time.process_time()
    with torch.no_grad():
        for _ in range(40):
            model(given)
    return time.process_time() - begun

body()
ratios = []
for _ in range(ROUNDS):
    plain = body()
    recorder = Modules((), None)
    recorder.enter()
    recorder.trace(model)
    traced = body()
    recorder.leave()
    ratios.append(traced / plain)
print(f"torch {statistics.median(ratios):.3f} {min(ratios):.3f} {max(ratios):.3f}")
"""

SAMPLER = """
import os, pathlib, tempfile, time
from pytest_joules.sources.power_ring import PowerRing
from pytest_joules.sources.rapl import Rapl

with tempfile.TemporaryDirectory() as folder:
    zone = pathlib.Path(folder, "intel-rapl:0")
    zone.mkdir()
    for name, text in (("name", "package-0"), ("energy_uj", "1000000"), ("max_energy_range_uj", "262143328850")):
        (zone / name).write_text(text)
    source = Rapl(pathlib.Path(folder))
    source.open()
    ring = PowerRing([source])
    if ring.why:
        raise SystemExit(ring.why)
    mine = []
    for number in os.listdir("/proc"):
        try:
            line = pathlib.Path("/proc", number, "cmdline").read_bytes() if number.isdigit() else b""
        except OSError:
            continue
        if b"ring_process" in line and int(number) != os.getpid() and f"{folder}".encode() in line:
            mine.append(int(number))
    if not mine:
        raise SystemExit("the sampler was not found")
    def spent():
        total = 0
        for number in mine:
            fields = pathlib.Path("/proc", str(number), "stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")
    time.sleep(1)
    before = spent(); time.sleep(5); after = spent()
    ring.close()
    print(f"sampler {(after - before) / 5:.4f} 0 0")
"""


def run(python: str, text: str, rounds: int) -> list[tuple[str, float, float, float]]:
    """Lines of a name and three numbers."""
    command = [python, "-c", f"import sys; sys.path.insert(0, {str(HERE)!r}); ROUNDS = {rounds}\n{text}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python} failed:\n{done.stdout}{done.stderr}")
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(name, float(middle), float(least), float(most)) for name, middle, least, most in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append")
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    met = True

    def tell(what: str, name: str, value: float, least: float, most: float, *, bar: float | None) -> bool:
        good = bar is None or value <= bar
        said = "no bar" if bar is None else f"bar {bar:g}{'' if good else ': MISSED'}"
        print(f"{what:12} {name:8} {value:.3f} ({least:.3f} to {most:.3f}), {said}")
        return good

    for python in options.python or [sys.executable]:
        asked = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        bar = 1.1 if tuple(map(int, version.split("."))) >= (3, 12) else 2.5
        for name, *numbers in run(python, FUNCTIONS, options.rounds):
            met &= tell(f"Python {version}", name, *numbers, bar=bar if name == "work" else None)
    if options.torch:
        for name, *numbers in run(options.torch, TORCH, options.rounds):
            met &= tell("hooks", name, *numbers, bar=1.03)
    for name, *numbers in run(sys.executable, SAMPLER, 1):
        met &= tell("one core", name, *numbers, bar=0.01)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
