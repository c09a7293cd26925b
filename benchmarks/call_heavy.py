"""A test of millions of small calls: what is reported of it under a time limit, and what recording makes of a round.

    python benchmarks/call_heavy.py [--python FILE ...] [--calls N] [--repeat N] [--limits SECONDS ...]

The test's body reads the clock at its begin and end and notes what it took, in each of its rounds: its own witness. It runs
plainly (``-p no:joules``) and measured at each ``--energy-max-time``, in turn. *reported* is the measured median over the
body's own median in all rounds but the first, which is recorded; *untraced* is the fastest of those over the fastest plain one;
*recorded* is the first over the body's median in the others.

Bars: reported within 10 % at every limit, untraced no more than 1.5 x (a busy machine's scatter; a traced round is 2 to 13 x);
the recorded round at most 3 x before Python 3.12, 1.5 x from 3.12 on. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TEST = """
import time

def small(number):
    return number + 1

def test_calls():
    begun = time.perf_counter()
    for number in range({calls}):
        small(number)
    spent = time.perf_counter() - begun
    with open("spent.txt", "a") as file:
        print(spent, file=file)
"""


def rounds(folder: Path, python: str, *options: str) -> list[float]:
    """Seconds that each run of the body took by its own clock."""
    spent = folder / "spent.txt"
    spent.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return [float(line) for line in spent.read_text().split()]


def measure(python: str, calls: int, limits: list[float], repeat: int) -> bool:
    """One Python; a line a limit; whether the bars are met."""
    asked = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    most = 1.5 if tuple(map(int, version.split("."))) >= (3, 12) else 3.0
    met = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "test_calls.py").write_text(TEST.format(calls=calls))
        for limit in limits:
            reported, untraced, recorded = [], [], []
            for _ in range(repeat):
                plain = min(rounds(folder, python, "-p", "no:joules")[0] for _ in range(3))
                options = ("--energy", "--energy-source=estimate", f"--energy-max-time={limit}", "--energy-json=report.json")
                first, *others = rounds(folder, python, *options)
                test = json.loads((folder / "report.json").read_text())["tests"][0]
                own = statistics.median(others)
                reported.append(test["duration"]["median"] / own)
                untraced.append(min(others) / plain)
                recorded.append(first / own)
            columns = {"reported": reported, "untraced": untraced, "recorded": recorded}
            middle = {name: statistics.median(values) for name, values in columns.items()}
            fits = 0.9 <= middle["reported"] <= 1.1 and middle["untraced"] <= 1.5 and middle["recorded"] <= most
            met = met and fits
            shown = "  ".join(f"{name} {min(values):.2f} to {max(values):.2f} x" for name, values in columns.items())
            print(f"{version:6}{limit:7g} s limit  {shown}  {'' if fits else 'MISSED'}", flush=True)
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="FILE", help="Pythons with this project")
    parser.add_argument("--calls", type=int, default=2_500_000, metavar="N", help="calls of the body (default 2,500,000)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="measured runs of each limit (default 3)")
    parser.add_argument("--limits", type=float, nargs="+", default=[0.5, 1.0, 2.0, 10.0], metavar="SECONDS")
    given = parser.parse_args()
    results = [measure(python, given.calls, given.limits, given.repeat) for python in given.python]
    print(f"bars: {'met' if all(results) else 'MISSED'}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
