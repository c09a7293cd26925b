"""By how much a test's count differs from process to process: tests of real suites, counted again and again.

    python benchmarks/count_spread.py [--suites DIR] [--only NAME ...] [--tests N] [--runs N] [--python PYTHON]

Of each suite N tests are drawn, and counted by so many runs, each with a process of its own, in one folder and environment. The
spread of a test is the difference of its largest and its smallest count, relative to the smallest. Bar: at most .001 % for nine
of ten tests that do nothing but use the CPU (of which the count has no doubts).

Exit code 1 where it is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from count_same import run
from outcomes import SUITES
from overhead import fetch

#: Relative; and the part of the tests that is to keep it.
SPREAD, SHARE = 1e-5, 0.9
DRAWN = ("toolz", "boltons", "cachetools", "tinydb", "markdown-it-py")


def collected(suite: str, folder: Path, python: str) -> list[str]:
    """Node ids of a suite's tests."""
    _, _, source, tests = SUITES[suite]
    command = [python, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:joules", "--collect-only", tests]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder / source), str(folder)))}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if "::" in line]


def spreads(suite: str, given: argparse.Namespace) -> list[float]:
    """Of each test that was counted in every run, and a line of figures."""
    name, version, _, _ = SUITES[suite]
    counts: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder, report = Path(temporary, suite), Path(temporary, "report.json")
        shutil.copytree(fetch(name, version, given.suites), folder)
        there = collected(suite, folder, given.python)
        drawn = random.Random(f"{given.seed} {suite}").sample(there, min(given.tests, len(there)))
        for _ in range(given.runs):
            run(suite, folder, given.python, report, "--energy-count", *[f"--deselect={each}" for each in set(there) - {*drawn}])
            for test in json.loads(report.read_text())["tests"]:
                if (counted := test["instructions"]) is not None and not counted["doubts"]:
                    counts.setdefault(test["nodeid"], []).append(counted["count"])
    found = {nodeid: max(each) / min(each) - 1 for nodeid, each in counts.items() if len(each) == given.runs}
    kept = sum(spread <= SPREAD for spread in found.values())
    print(
        f"{suite:16}{len(found):4} tests  {kept} within .001 %, {sum(not spread for spread in found.values())} equal", flush=True
    )
    for nodeid, spread in sorted(found.items(), key=lambda pair: -pair[1])[:5]:
        if spread > SPREAD:
            print(f"    {100 * spread:.4f} %  {nodeid}  {sorted(set(counts[nodeid]))}")
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=DRAWN, metavar="NAME")
    parser.add_argument("--tests", type=int, default=20, metavar="N", help="of each suite (default 20)")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="of each suite (default 10)")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--python", default=sys.executable, help="with pytest-joules and what the suites import")
    given = parser.parse_args()
    found = [spread for suite in given.only for spread in spreads(suite, given)]
    share = sum(spread <= SPREAD for spread in found) / len(found)
    print(f"{share:.0%} of {len(found)} tests within .001 %: bar {'met' if share >= SHARE else 'missed'}")
    return 0 if share >= SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
