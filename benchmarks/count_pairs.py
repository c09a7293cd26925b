"""Counting instructions between released versions: does it find what takes more CPU time, and nothing else?

    python benchmarks/count_pairs.py [--suites DIR] [--only NAME ...] [--rounds N] [--most N] [--python FILE] [--seed N]

Six pairs of adjacent releases of pure Python packages, from their source distributions. The same tests, those of one of the two,
run against both sources. A pair is taken in the direction in which more of its tests become dearer, be it backwards.

*Truth* has no part of pytest-joules. First a look at all tests: their CPU time and the bytecode that they execute in Python code
outside pytest (``sys.settrace``). Of those that look dearer (both by a tenth), and of those that execute the same, some are
drawn (at most three of one function) and timed: processes of both versions take turns, seven each, and each runs every test's
warm body for 10 ms or nine times, each time between two runs of a piece of work of its own. What the body takes of CPU time
(``time.process_time_ns``) over what these take, the median, is held against that of the process beside it: one reading of seven.

- *dearer*: it looked dearer, and six of seven readings are 1.2 or more (were the median below, that happened once in 16 times)
- *unchanged*: as much bytecode, to 0.5 %, and as much time, to 1 %, as far as that can be measured: the second to the sixth of
  the readings, which hold the median with 88 % confidence, reach into 0.99 to 1.01. Time alone is not measured to 1 % where
  others work, and a test with more to do may truly have more instructions and take as long

Left out are tests that fail with either version or do not repeat, and bodies below 30 us or above 10 ms. Of either kind,
``--most`` of a pair are counted and saved with the one version (``--energy-count --energy-save``), and compared after the
package's folder has been replaced by that of the other (``--energy-compare``).

Bars: 90 % of the dearer are ``regressed``; of the unchanged, none is. A dearer one of which nothing can be told is not found.
Exit code 1 where a bar is missed.
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
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from overhead import fetch


class Pair(NamedTuple):
    """Two releases of one distribution."""

    distribution: str
    versions: tuple[str, str]
    source: str
    """What PYTHONPATH names."""
    package: str
    """What differs, in it."""
    tests: str
    tests_of: int
    """0: the tests of the older one."""


PAIRS = {
    "click": Pair("click", ("8.1.8", "8.2.1"), "src", "click", "tests", 0),
    "mistune": Pair("mistune", ("3.0.2", "3.1.0"), "src", "mistune", "tests", 0),
    "more-itertools": Pair("more_itertools", ("10.7.0", "10.8.0"), ".", "more_itertools", "tests", 0),
    "packaging": Pair("packaging", ("25.0", "26.0"), "src", "packaging", "tests/test_requirements.py", 0),
    "simpleeval": Pair("simpleeval", ("0.9.13", "1.0.0"), ".", "simpleeval.py", "test_simpleeval.py", 1),
    "sqlparse": Pair("sqlparse", ("0.5.3", "0.5.4"), ".", "sqlparse", "tests", 0),
}
DEARER, LOOKS, SAME = 1.2, 1.1, 0.005
ALWAYS = ("-p", "no:randomly", "--continue-on-collection-errors", "-o", "addopts=")

#: The least CPU time of each test's body; where PAIR_LOOK is set, a first one, and the instructions of bytecode that it executes.
PLUGIN = """
import json, os, statistics, sys, time
import pytest
from pathlib import Path

OUTSIDE = tuple(f"{os.sep}{name}{os.sep}" for name in ("_pytest", "pluggy"))
LOOK = os.environ["PAIR_LOOK"]
found = {}

def reference():
    made = {}
    for number in range(400):
        made[str(number)] = [number, number + 1]
    return made

def timed(work):
    begun = time.process_time_ns()
    work()
    return time.process_time_ns() - begun

def cost(item, least=10_000_000):
    spent, ratios = [], []
    while len(ratios) < 9 or sum(spent) < least:
        before, own, after = timed(reference), timed(item.runtest), timed(reference)
        spent.append(own)
        ratios.append(2 * own / (before + after))
    return min(spent) / 1e9, statistics.median(ratios)

def bytecode(item):
    steps = 0
    def step(frame, event, argument):
        nonlocal steps
        steps += event == "opcode"
        return step
    def enter(frame, event, argument):
        if any(name in frame.f_code.co_filename for name in OUTSIDE):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return step
    sys.settrace(enter)
    try:
        item.runtest()
    finally:
        sys.settrace(None)
    return steps

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item):
    begun = time.process_time()
    result = yield
    if time.process_time() - begun < 0.1:
        try:
            found[item.nodeid] = [*cost(item, 5_000_000), bytecode(item)] if LOOK else cost(item)[1]
        except BaseException:
            pass
    return result

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if not report.passed:
        found.pop(item.nodeid, None)
    return report

def pytest_sessionfinish():
    Path(os.environ["PAIR_OUT"]).write_text(json.dumps(found))
"""


class Truth(NamedTuple):
    """What one test costs with one version over what it costs with the other."""

    readings: list[float]
    """Of CPU time."""
    bytecode: float

    @property
    def dearer(self) -> bool:
        return self.bytecode > LOOKS and sorted(self.readings)[1] >= DEARER

    @property
    def unchanged(self) -> bool:
        low, high = sorted(self.readings)[1], sorted(self.readings)[-2]
        return low <= 1.01 and high >= 0.99 and abs(self.bytecode - 1) <= SAME


class Versions:
    """A pair, run with either source."""

    def __init__(self, pair: Pair, python: str, suites: Path, temporary: Path) -> None:
        self.pair, self.python, self.temporary = pair, python, temporary
        self.released = [fetch(pair.distribution, version, suites) for version in pair.versions]
        (temporary / "_pair.py").write_text(PLUGIN)

    def laid_out(self, name: str, which: int) -> Path:
        """The folder of that name, with the tests and the source of one version; metadata would make the packages differ."""
        folder, pair = self.temporary / name, self.pair
        if not folder.exists():
            shutil.copytree(self.released[pair.tests_of], folder, ignore=shutil.ignore_patterns("*.egg-info", "PKG-INFO"))
        package, released = folder / pair.source / pair.package, self.released[which] / pair.source / pair.package
        if released.is_file():
            shutil.copyfile(released, package)
        else:
            shutil.rmtree(package)
            shutil.copytree(released, package, ignore=shutil.ignore_patterns("__pycache__"))
        return folder

    def run(self, folder: Path, out: Path, options: Iterable[str], tests: Iterable[str], **variables: str) -> Any:  # noqa: ANN401 - JSON
        """What pytest wrote to ``out``. Raises ``SystemExit`` where it wrote nothing."""
        out.unlink(missing_ok=True)
        paths = os.pathsep.join(filter(None, (str(folder / self.pair.source), str(self.temporary), os.environ.get("PYTHONPATH"))))
        env = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0", "PAIR_OUT": str(out), **variables}
        command = [self.python, "-m", "pytest", "-q", "--tb=line", *ALWAYS, *options, *tests]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if not out.exists():
            raise SystemExit(f"{' '.join(command)} in {folder}:\n{(done.stdout + done.stderr)[-3000:]}")
        return json.loads(out.read_text())

    def bodies(self, which: int, tests: Iterable[str]) -> dict[str, Any]:
        """Seconds of each test's body with one version; with no tests, all, and their bytecode."""
        folder, out, tests = self.temporary / f"timed{which}", self.temporary / "out.json", [*tests]
        if not folder.exists():
            self.laid_out(folder.name, which)
        look = "" if tests else "1"
        found: dict[str, Any] = self.run(
            folder, out, ("-p", "_pair", "-p", "no:joules"), tests or [self.pair.tests], PAIR_LOOK=look
        )
        return found

    def truth(self, rounds: int, most: int, draw: random.Random) -> tuple[int, dict[str, Truth]]:
        """The version to come from, and of tests that pass and repeat with both: some that look dearer, or unchanged."""
        looks = [self.bodies(which, ()) for which in (0, 1)]
        both = sorted(
            nodeid for nodeid in looks[0].keys() & looks[1].keys() if all(30e-6 <= look[nodeid][0] <= 0.01 for look in looks)
        )
        time_, steps = ({nodeid: looks[1][nodeid][at] / looks[0][nodeid][at] for nodeid in both} for at in (1, 2))
        more = [nodeid for nodeid in both if time_[nodeid] > LOOKS and steps[nodeid] > LOOKS]
        less = [nodeid for nodeid in both if 1 / time_[nodeid] > LOOKS and 1 / steps[nodeid] > LOOKS]
        same = [nodeid for nodeid in both if abs(steps[nodeid] - 1) <= SAME]
        said = f"{len(more)} dearer, {len(less)} cheaper, {len(same)} unchanged"
        print(f"{self.pair.distribution} {' and '.join(self.pair.versions)}: of {len(both)} tests look {said}", flush=True)
        before = int(len(less) > len(more))
        timed = [nodeid for kind in ((more, less)[before], same) for nodeid in chosen(kind, 2 * most, draw)]
        turns = [(self.bodies(before, timed), self.bodies(1 - before, timed)) for _ in range(rounds)] if timed else []
        return before, {
            nodeid: Truth(
                [after[nodeid] / first[nodeid] for first, after in turns],
                looks[1 - before][nodeid][2] / looks[before][nodeid][2],
            )
            for nodeid in timed
            if all(nodeid in side for turn in turns for side in turn)
        }

    def compared(self, before: int, tests: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The records of tests that were counted with one version, saved, and compared with the other."""
        out = self.temporary / "report.json"
        option = f"--energy-json={out}"
        folder = self.laid_out("counted", before)
        self.run(folder, out, ("--energy-count", f"--energy-save=from-{before}", option), tests)
        self.laid_out("counted", 1 - before)
        report = self.run(folder, out, ("--energy-count", f"--energy-compare=from-{before}", option), tests)
        return {test["nodeid"]: test["instructions"] or {} for test in report["tests"]}


def chosen(tests: list[str], most: int, draw: random.Random) -> list[str]:
    """So many at random, at most three of one function."""
    of: Counter[str] = Counter()
    found: list[str] = []
    for nodeid in draw.sample(tests, len(tests)):
        function = nodeid.partition("[")[0]
        if of[function] < 3 and len(found) < most:
            of[function] += 1
            found.append(nodeid)
    return sorted(found)


class Result(NamedTuple):
    """What was said of a pair."""

    dearer: int
    found: int
    unchanged: int
    false: int


def judged(versions: Versions, before: int, truth: dict[str, Truth], most: int, draw: random.Random) -> Result:
    """From one version to the other; a line, and one for each test that was told otherwise."""
    begun = time.monotonic()
    all_dearer = [nodeid for nodeid, it in truth.items() if it.dearer]
    all_unchanged = [nodeid for nodeid, it in truth.items() if it.unchanged]
    dearer, unchanged = chosen(all_dearer, most, draw), chosen(all_unchanged, most, draw)
    records = versions.compared(before, [*dearer, *unchanged]) if dearer or unchanged else {}
    said = {nodeid: (records.get(nodeid) or {}).get("comparison") or {"verdict": "absent"} for nodeid in (*dearer, *unchanged)}
    missed = [nodeid for nodeid in dearer if said[nodeid]["verdict"] != "regressed"]
    false = [nodeid for nodeid in unchanged if said[nodeid]["verdict"] == "regressed"]
    pair = versions.pair
    print(
        f"{pair.distribution:12}{pair.versions[before]:>7} to {pair.versions[1 - before]:8}{len(truth):4} timed  "
        f"{len(dearer) - len(missed):3} of {len(dearer):3} dearer found ({len(all_dearer)}), "
        f"{len(false)} of {len(unchanged):3} unchanged regressed ({len(all_unchanged)}){time.monotonic() - begun:6.0f} s",
        flush=True,
    )
    for kind, nodeids in (("MISSED", missed), ("FALSE", false)):
        for nodeid in nodeids:
            it, verdict = truth[nodeid], said[nodeid]
            time_ = f"time {median(it.readings):.3f} ({min(it.readings):.3f} to {max(it.readings):.3f})"
            print(f"    {kind} {nodeid}: {time_}, bytecode {it.bytecode:.3f}")
            print(
                f"      {verdict['verdict']}: {verdict.get('why')} {records.get(nodeid, {}).get('counts')} {verdict.get('where')}"
            )
    return Result(len(dearer), len(dearer) - len(missed), len(unchanged), len(false))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", default=tuple(PAIRS), choices=tuple(PAIRS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="processes of each version (default 7)")
    parser.add_argument("--most", type=int, default=12, metavar="N", help="tests of a kind and pair (default 12)")
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="with pytest-joules and what the suites import")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    results: list[Result] = []
    for name in given.only:
        draw = random.Random(given.seed)
        with tempfile.TemporaryDirectory() as folder:
            versions = Versions(PAIRS[name], given.python, given.suites.resolve(), Path(folder))
            before, truth = versions.truth(given.rounds, given.most, draw)
            results.append(judged(versions, before, truth, given.most, draw))
    dearer, found, unchanged, false = (sum(column) for column in zip(*results, strict=True))
    print(f"dearer: {found} of {dearer} found; unchanged: {false} of {unchanged} regressed")
    met = found >= 0.9 * dearer and not false and dearer > 0
    print(f"bars: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
