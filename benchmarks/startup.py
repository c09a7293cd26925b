"""What the plugin costs a run that does not use it: the wall time of ``pytest`` on one empty test, with and without it installed.

    python benchmarks/startup.py [--runs N] [--folder DIR] [--only-ours]

Makes fresh virtual environments: ``plain`` with pytest alone, ``joules`` with this project (a wheel of it, dependencies
included, as pip installs it), and one with pytest-benchmark for comparison, if it can be installed. The same command runs in
each of them in turn (A B C A B C ...). The cost is the median of the differences between neighbours, with its 95 % interval, and
the same of CPU time, which a busy machine disturbs less. ``joules, -p no:joules`` is an installed plugin that is not loaded: what
is left is pytest looking through more distributions.

Bar: at most 8 ms for ``joules``. Exit code 1 where it is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_joules import stats

PROJECT = Path(__file__).resolve().parents[1]


def environment(folder: Path, *packages: str) -> Path:
    """The Python of a fresh virtual environment with ``packages``; raises ``CalledProcessError`` if pip cannot."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True, stderr=subprocess.DEVNULL)
    return python


def children_seconds() -> float:
    """CPU time of the processes that were started here and have ended."""
    if sys.platform == "win32":
        return 0.0  # Windows does not hand it on
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def once(command: list[str], folder: Path) -> tuple[float, float]:
    """Milliseconds of wall time and of CPU time of a run that must pass."""
    before, begun = children_seconds(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    wall, cpu = time.perf_counter() - begun, children_seconds() - before
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return wall * 1e3, cpu * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, metavar="N", help="runs of each (default 60)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to keep the environments (default: a temporary folder)")
    parser.add_argument("--only-ours", action="store_true", help="leave out the comparison with pytest-benchmark")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        home = (given.folder or Path(temporary)).resolve()
        tests = Path(temporary) / "tests"
        tests.mkdir()
        (tests / "test_empty.py").write_text("def test_empty():\n    pass\n")
        (tests / "pytest.ini").write_text("[pytest]\n")
        run = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
        joules = str(environment(home / "joules", str(PROJECT)))
        commands = {
            "plain pytest": [str(environment(home / "plain", "pytest")), *run],
            "joules": [joules, *run],
            "joules, -p no:joules": [joules, *run, "-p", "no:joules"],
        }
        if not given.only_ours:
            try:
                commands["pytest-benchmark"] = [str(environment(home / "benchmark", "pytest", "pytest-benchmark")), *run]
            except subprocess.CalledProcessError:
                print("pytest-benchmark cannot be installed here: left out")
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(given.runs + 2):
            for name, command in commands.items():
                once_more = once(command, tests)
                if turn >= 2:  # the first two turns write bytecode and warm the disk's cache
                    spent[name].append(once_more)

    plain = [wall for wall, _ in spent["plain pytest"]]
    plain_cpu = [cpu for _, cpu in spent["plain pytest"]]
    print(f"{'':22}{'wall':>8}{'CPU':>8}{'over plain pytest (95 %)':>31}{'CPU':>11}")
    over = {}
    for name, figures in spent.items():
        differences = [wall - base for (wall, _), base in zip(figures, plain, strict=True)]
        over[name] = statistics.median(differences)
        low, high = stats.median_interval(differences) or (float("nan"), float("nan"))
        more = statistics.median([cpu - base for (_, cpu), base in zip(figures, plain_cpu, strict=True)])
        extra = "" if name == "plain pytest" else f"{over[name]:+6.1f} ms ({low:+.1f} to {high:+.1f}){more:+8.1f} ms"
        wall, cpu = (statistics.median([entry[place] for entry in figures]) for place in (0, 1))
        print(f"{name:22}{wall:5.0f} ms{cpu:5.0f} ms{extra:>42}")
    met = over["joules"] <= 8
    print(f"bar (at most 8 ms): {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
