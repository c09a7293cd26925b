"""Changes of 1 to 20 % planted in functions of real packages, found by counting instructions against a stored baseline.

    python benchmarks/count_planted.py [--suites DIR] [--only NAME ...] [--plants N] [--others N] [--python FILE] [--seed N]

Packages: toolz, boltons and more-itertools, from their source distributions. Of each, tests drawn at random are counted and saved
once (``--energy-count --energy-save=main``). Then an empty loop is written at the head of a function, as long as makes one test's
body cost so much more, and that test and others drawn at random are compared (``--energy-compare=main``). Four plants share a
run: none of their tests executes the function of another.

*True* is what the loop costs, times how often the test calls the function, over the test's count in the saved report. The cost of
a loop comes from callgrind over a script of its own, loops of four lengths, without pytest or this plugin; calls are counted by a
profiler over a warm body. No verdict of the product has a part in it.

Drawn are functions that are no generators (a profiler sees each resumption as a call), and tests that repeat, take 40 us to 3 ms
and have no ``doubts`` in the baseline: with doubts, ``cannot tell`` is by design. A difference below 2,000 instructions is never
called regressed, so a plant adds 2,500 or more: one of 1.1 % needs a test of 230,000. The smallest plant is 1.1 %, since the
threshold is 1 %: of a change of just that nothing can be asked.

Bars: every plant of 2 % or more is ``regressed``, and 95 % of those of 1 % or more; in 90 % of those found, the function is the
first that is named; no test that executes none of them is ``regressed`` or ``improved``. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import CO_GENERATOR
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from outcomes import SUITES
from overhead import SDISTS, fetch
from planted import Plant, Project, set_loop

#: The package's folder; distribution, version, tests.
PACKAGES = {
    "toolz": ("toolz", SDISTS["toolz"]),
    "boltons": ("boltons", (*SUITES["boltons"][:2], SUITES["boltons"][3])),
    "more-itertools": ("more_itertools", SDISTS["more-itertools"]),
}
SHARES = (0.011, 0.021, 0.05, 0.013, 0.03, 0.1, 0.016, 0.025, 0.2, 0.04)
#: Tests of a package that are saved; plants of one run; instructions that a plant adds, at least.
POOL, TOGETHER, LEAST = 44, 4, 2500

#: Counts the calls of the package's functions in the third and the fourth round of each test, where they are the same.
PLUGIN = """
import json, os, sys, time
import pytest
from collections import Counter
from pathlib import Path

ROOT = os.environ["PLANT_ROOT"] + os.sep
found = {}

def calls(item):
    calls = Counter()
    def watch(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ROOT):
            calls[f"{code.co_filename[len(ROOT):]}:{code.co_firstlineno}"] += 1
    sys.setprofile(watch)
    try:
        item.runtest()
    finally:
        sys.setprofile(None)
    return calls

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item):
    begun = time.thread_time()
    result = yield
    if time.thread_time() - begun > 0.05:
        return result
    try:
        begun = time.thread_time()
        item.runtest()
        seconds = time.thread_time() - begun
        once, again = calls(item), calls(item)
    except BaseException:
        return result
    same = {place: count for place, count in once.items() if again[place] == count}
    found[item.nodeid] = {"seconds": seconds, "calls": same, "touched": sorted(once | again)}
    return result

def pytest_sessionfinish():
    Path(os.environ["PLANT_OUT"]).write_text(json.dumps(found))
"""
SCRIPT = """
import sys
def body():
{loop}    return None
def rounds(count):
    for _ in range(count):
        body()
rounds(int(sys.argv[1]))
"""


class Loop:
    """What a planted loop costs, in instructions for each call of its function."""

    TURNS = (1, 256, 257, 2257)

    def __init__(self, python: str) -> None:
        bare = self._call(python, "")
        loops = [f"    for _planted in range({turns}):\n        pass\n" for turns in self.TURNS]
        self._costs = [self._call(python, loop) - bare for loop in loops]

    @staticmethod
    def _call(python: str, loop: str) -> float:
        """Instructions of one more call, from 200 to 600 of them."""
        totals = []
        with tempfile.TemporaryDirectory() as folder:
            script, out = Path(folder, "script.py"), f"--callgrind-out-file={folder}/out"
            script.write_text(SCRIPT.format(loop=loop))
            for rounds in ("200", "600"):
                command = ["valgrind", "--tool=callgrind", out, python, "-I", "-S", str(script), rounds]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                totals.append(int(re.findall(r"Collected : (\d+)", done.stderr)[-1]))
        return (totals[1] - totals[0]) / 400

    def cost(self, turns: int) -> float:
        """Of a loop of so many turns: on the lines between those that were counted, and beyond."""
        left = min(max(bisect_right(self.TURNS, turns) - 1, 0), len(self.TURNS) - 2)
        (x, y), (x2, y2) = ((self.TURNS[at], self._costs[at]) for at in (left, left + 1))
        return y + (y2 - y) * (turns - x) / (x2 - x)

    def turns(self, cost: float) -> int:
        """Of the loop that costs about so much; 1 is the shortest."""
        return max(1, bisect_right(range(1 << 17), cost, key=self.cost) - 1)


class Drawn(NamedTuple):
    """A plant, and what it makes of its test."""

    plant: Plant
    place: str
    turns: int
    before: int
    """Instructions of the test in the baseline."""
    true: float
    """By how much its test is dearer."""


class Suite(Project):
    """A suite that is counted."""

    def __init__(self, name: str, python: str, suites: Path, temporary: Path) -> None:
        self.package, (distribution, version, self.tests) = PACKAGES[name]
        self.name, self.python = name, python
        self.folder, self.plugin = temporary / name, temporary / f"{name}-plugin"
        shutil.copytree(fetch(distribution, version, suites), self.folder)
        self.plugin.mkdir()
        (self.plugin / "_plant.py").write_text(PLUGIN)

    def functions(self) -> dict[str, tuple[str, str, int, int]]:
        """See above; no generators."""
        found = super().functions()
        for file in {file for file, *_ in found.values()}:
            for code in codes(compile((self.folder / self.package / file).read_text(), file, "exec")):
                if code.co_flags & CO_GENERATOR:
                    found.pop(f"{file}:{code.co_firstlineno}", None)
        return found

    def counted(self, option: str, tests: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The instructions of each test that was counted. Raises ``SystemExit`` where there is no report."""
        out = self.plugin / "report.json"
        out.unlink(missing_ok=True)
        options = ("-q", "-p", "no:randomly", "--energy-count", option, f"--energy-json={out}")
        command = [self.python, "-m", "pytest", *options, *tests]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))}
        done = subprocess.run(command, cwd=self.folder, env=env, check=False, capture_output=True, text=True)
        if not out.exists():
            raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return {test["nodeid"]: test["instructions"] for test in json.loads(out.read_text())["tests"] if test["instructions"]}

    @contextmanager
    def planted(self, plants: Sequence[Drawn]) -> Iterator[None]:
        """Meanwhile they are in the source."""
        files = [self.folder / self.package / one.plant.file for one in plants]
        kept = {path: path.read_text() for path in files}
        for one in sorted(plants, key=lambda one: -one.plant.line):
            set_loop(self, one.plant, one.turns)
        yield
        for path, text in kept.items():
            path.write_text(text)

    def works(self, one: Drawn) -> bool:
        """Whether the test passes with the plant: none that looks at the function's source or variables does."""
        with self.planted([one]):
            bodies = self.bodies(one.plant.nodeid, count=True)
        return one.plant.calls in bodies.get(one.plant.nodeid, {"calls": {}})["calls"].values()

    def save(self, draw: random.Random) -> None:
        """Count and save tests drawn at random."""
        begun, self.executed = time.monotonic(), self.bodies(count=True)
        able = sorted(nodeid for nodeid, body in self.executed.items() if "[" not in nodeid and 40e-6 < body["seconds"] < 0.003)
        self.saved = self.counted("--energy-save=main", sorted(draw.sample(able, min(POOL, len(able)))))
        doubtful = sum(bool(record["doubts"]) for record in self.saved.values())
        print(f"{self.name}: {len(self.saved)} tests saved, {doubtful} with doubts, {time.monotonic() - begun:.0f} s", flush=True)

    def executes(self, nodeid: str, *places: str) -> bool:
        return any(place in self.executed[nodeid]["touched"] for place in places)

    def chosen(self, loop: Loop, count: int, draw: random.Random) -> list[list[Drawn]]:
        """So many plants, those of one run together; each function and each test at most once."""
        functions, used, runs = self.functions(), set[str](), [list[Drawn]()]

        def candidates(share: float) -> Iterator[Drawn]:
            for nodeid, record in self.saved.items():
                for place, calls in self.executed[nodeid]["calls"].items():
                    if place in functions and used.isdisjoint((place, nodeid)) and not record["doubts"]:
                        before = record["count"]
                        turns = loop.turns(share * before / calls)
                        added = calls * loop.cost(turns)
                        if added >= LEAST and abs(added / before - share) < 0.07 * share:
                            yield Drawn(Plant(*functions[place], nodeid, share, calls), place, turns, before, added / before)

        def apart(one: Drawn, run: list[Drawn]) -> bool:
            pairs = [pair for it in run for pair in ((it.place, one.plant.nodeid), (one.place, it.plant.nodeid))]
            return len(run) < TOGETHER and not any(self.executes(nodeid, place) for place, nodeid in pairs)

        for number in range(count):
            found = [*candidates(SHARES[number % len(SHARES)])]
            draw.shuffle(found)
            if not any(apart(one, runs[-1]) for one in found):
                runs.append([])
            one = next((one for one in found if apart(one, runs[-1]) and self.works(one)), None)
            if one is not None:
                runs[-1].append(one)
                used |= {one.place, one.plant.nodeid}
        return runs


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


class Result(NamedTuple):
    """What was said of a plant."""

    true: float
    found: bool
    named: bool


def judged(suite: Suite, one: Drawn, record: dict[str, Any]) -> Result:
    """One line of the table."""
    said = record.get("comparison") or {"verdict": "absent", "ratio": None, "where": [], "why": ""}
    module = f"{suite.package}/{one.plant.file}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    first = said["where"][0].split()[0] if said["where"] else ""  # what stands behind it is how often it ran
    found, named = said["verdict"] == "regressed", first == f"{module}.{one.plant.name.replace('.<locals>', '')}"
    ratio = (said["ratio"] or 1) - 1
    print(
        f"{suite.name:15}{one.plant.name[:34]:35}{one.before / 1e3:9.0f} k{one.plant.calls:7}{100 * one.true:+8.2f} %"
        f"{100 * ratio:+8.2f} %  {said['verdict']:12}{'first' if named else 'no'}"
    )
    if not (found and named and abs(ratio - one.true) < 0.003):
        print(f"    {one.plant.nodeid}: {said['why']}; {record.get('counts')}, {said['where']}")
    return Result(one.true, found, named)


def planted(suite: Suite, loop: Loop, count: int, others: int, draw: random.Random) -> tuple[list[Result], int, int]:
    """All plants of a suite: what was said of them, how many tests have nothing to do with them, and false alarms of those."""
    suite.save(draw)
    results, unconcerned, alarms = list[Result](), 0, 0
    for run in suite.chosen(loop, count, draw):
        tests = {*(one.plant.nodeid for one in run), *draw.sample(sorted(suite.saved), min(others, len(suite.saved)))}
        with suite.planted(run):
            records = suite.counted("--energy-compare=main", sorted(tests))
        results += [judged(suite, one, records.get(one.plant.nodeid, {})) for one in run]
        apart = [nodeid for nodeid in records if not suite.executes(nodeid, *(one.place for one in run))]
        said = {nodeid: records[nodeid]["comparison"] or {"verdict": "absent"} for nodeid in apart}
        false = [nodeid for nodeid in apart if said[nodeid]["verdict"] in ("regressed", "improved")]
        for nodeid in false:
            print(f"    FALSE {nodeid}: {said[nodeid]['why']}; {suite.saved[nodeid]['counts']} {records[nodeid]['counts']}")
        unconcerned, alarms = unconcerned + len(apart), alarms + len(false)
        sys.stdout.flush()
    return results, unconcerned, alarms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", default=tuple(PACKAGES), choices=tuple(PACKAGES), metavar="NAME")
    parser.add_argument("--plants", type=int, default=40, metavar="N", help="of all packages together (default 40)")
    parser.add_argument("--others", type=int, default=8, metavar="N", help="other tests in each run (default 8)")
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="with pytest-joules and what the suites import")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"{'':15}{'function':35}{'body':>11}{'calls':>7}{'true':>10}{'counted':>10}  {'verdict':12}named", flush=True)
    loop, results, unconcerned, alarms = Loop(given.python), list[Result](), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(given.only):
            suite = Suite(name, given.python, given.suites.resolve(), Path(folder))
            count = len(range(number, given.plants, len(given.only)))
            more, *figures = planted(suite, loop, count, given.others, random.Random(given.seed))
            results, unconcerned, alarms = results + more, unconcerned + figures[0], alarms + figures[1]
    large = [result.found for result in results if result.true >= 0.02]
    found = [result for result in results if result.found]
    named = sum(result.named for result in found)
    print(f"2 % and more: {sum(large)} of {len(large)} found; 1 % and more: {len(found)} of {len(results)}")
    print(f"named first: {named} of {len(found)}; false alarms: {alarms} of {unconcerned}")
    met = all(large) and len(found) >= 0.95 * len(results) and named >= 0.9 * len(found) and not alarms and found
    print(f"bars: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
