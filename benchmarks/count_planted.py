"""Changes of 1 to 20 % planted in functions of real packages, found by counting instructions against a stored baseline.

    python benchmarks/count_planted.py [--suites DIR] [--only NAME ...] [--plants N] [--others N] [--python FILE] [--seed N]

Packages: toolz, boltons and parso, from their source distributions. Of each, a pool of tests drawn at random is counted and saved
once (``--energy-count --energy-save=main``). Then, plant by plant, an empty loop is written at the head of a function, as long as
makes one test's body cost so much more, and that test and others drawn at random are compared (``--energy-compare=main``).

*True* is what the loop costs, times how often the test calls the function, over the test's count in the saved report. The cost of
a loop comes from callgrind over a script of its own, loops of four lengths, without pytest or this plugin; calls are counted by a
profiler over a warm body. No verdict of the product has a part in it.

Drawn are functions that are no generators (a profiler sees each resumption as a call), and tests that repeat, take 40 us to 3 ms
and have no ``doubts`` in the baseline: with doubts, ``cannot tell`` is by design. A difference below 2,000 instructions is never
called regressed, so a plant adds 2,500 or more: one of 1.1 % needs a test of 230,000. The smallest plant is 1.1 %, since the
threshold is 1 %: of a change of just that nothing can be asked.

Bars: every plant of 2 % or more is ``regressed``, and 95 % of those of 1 % or more; in 90 % of those found, the function is the
first that is named; no test that does not execute the function is ``regressed`` or ``improved``. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import itertools
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
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from outcomes import SUITES
from overhead import fetch
from planted import Plant, Project, set_loop

PACKAGES = {"toolz": "toolz", "boltons": "boltons", "parso": "parso"}
SHARES = (0.011, 0.02, 0.05, 0.013, 0.03, 0.1, 0.016, 0.025, 0.2, 0.04)
#: Tests of a package that are saved.
POOL = 48
#: Instructions that a plant adds, at least.
LEAST = 2500
CO_GENERATOR = 0x20

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
    result = yield
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
COLLECTED = re.compile(r"Collected : (\d+)")


class Loop:
    """What a planted loop costs, in instructions for each call of its function."""

    TURNS = (1, 256, 257, 2257)

    def __init__(self, python: str) -> None:
        bare = self._called(python, "")
        self._costs = [
            self._called(python, f"    for _planted in range({turns}):\n        pass\n") - bare for turns in self.TURNS
        ]

    @staticmethod
    def _called(python: str, loop: str) -> float:
        """Instructions of one more call, from 200 to 600 of them."""
        totals = []
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder, "script.py")
            script.write_text(SCRIPT.format(loop=loop))
            for rounds in (200, 600):
                command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", python, "-I", "-S", str(script)]
                env = {**os.environ, "PYTHONHASHSEED": "0"}
                done = subprocess.run([*command, str(rounds)], env=env, capture_output=True, text=True, check=True)
                totals.append(int(COLLECTED.findall(done.stderr)[-1]))
        return (totals[1] - totals[0]) / 400

    def cost(self, turns: int) -> float:
        """Of a loop of so many turns: lines between those that were counted."""
        left = min(max(bisect_right(self.TURNS, turns) - 1, 0), len(self.TURNS) - 2)
        (x, y), (x2, y2) = zip(self.TURNS[left : left + 2], self._costs[left : left + 2], strict=True)
        return y + (y2 - y) * (turns - x) / (x2 - x)

    def turns(self, cost: float) -> int:
        """Of the loop that costs about so much; 1 is the shortest."""
        low, high = 1, 2
        while self.cost(high) < cost:
            low, high = high, 2 * high
        return min(range(low, high + 1), key=lambda turns: abs(self.cost(turns) - cost)) if high < 1 << 17 else high


class Drawn(NamedTuple):
    """A plant, and what it makes of its test."""

    plant: Plant
    turns: int
    before: int
    """Instructions of the test in the baseline."""
    true: float
    """By how much its test is dearer."""


class Suite(Project):
    """A suite that is counted."""

    def __init__(self, name: str, python: str, suites: Path, temporary: Path) -> None:
        distribution, version, _, self.tests = SUITES[name]
        self.name, self.python, self.package = name, python, PACKAGES[name]
        self.folder, self.plugin = temporary / name, temporary / f"{name}-plugin"
        shutil.copytree(fetch(distribution, version, suites), self.folder)
        self.plugin.mkdir()
        (self.plugin / "_plant.py").write_text(PLUGIN)

    def functions(self) -> dict[str, tuple[str, str, int, int]]:
        """See above; no generators."""
        found = super().functions()
        root = self.folder / self.package
        for file in {file for file, *_ in found.values()}:
            for code in codes(compile((root / file).read_text(), file, "exec")):
                if code.co_flags & CO_GENERATOR:
                    found.pop(f"{file}:{code.co_firstlineno}", None)
        return found

    def counted(self, option: str, tests: list[str]) -> dict[str, dict[str, Any]]:
        """The records of tests that were counted. Raises ``SystemExit`` where there is no report."""
        out = self.plugin / "report.json"
        out.unlink(missing_ok=True)
        command = [
            self.python,
            "-m",
            "pytest",
            "-q",
            "--energy-count",
            option,
            f"--energy-json={out}",
            "-p",
            "no:randomly",
            *tests,
        ]
        env = {**os.environ, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(command, cwd=self.folder, env=env, check=False, capture_output=True, text=True)
        if not out.exists():
            raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return {test["nodeid"]: test["instructions"] for test in json.loads(out.read_text())["tests"] if test["instructions"]}


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def drawn(suite: Suite, loop: Loop, draw: random.Random) -> tuple[list[str], Iterator[tuple[Drawn, ...]]]:
    """The tests that are saved; the candidates of one share after another, each function and each test at most once."""
    functions = suite.functions()
    bodies = suite.bodies(count=True)
    able = sorted(nodeid for nodeid, body in bodies.items() if "[" not in nodeid and 40e-6 < body["seconds"] < 0.003)
    pool = draw.sample(able, min(POOL, len(able)))
    saved = suite.counted("--energy-save=main", pool)
    settled = {nodeid: record["count"] for nodeid, record in saved.items() if not record["doubts"]}

    def candidates(share: float) -> Iterator[Drawn]:
        for nodeid, count in settled.items():
            for place, calls in bodies[nodeid]["calls"].items():
                if place in functions:
                    turns = loop.turns(share * count / calls)
                    added = calls * loop.cost(turns)
                    if added >= LEAST and abs(added / count - share) < 0.07 * share:
                        yield Drawn(Plant(*functions[place], nodeid, share, calls), turns, count, added / count)

    def shuffled(share: float) -> tuple[Drawn, ...]:
        found = [*candidates(share)]
        return tuple(draw.sample(found, len(found)))

    print(f"{suite.name}: {len(saved)} tests saved, {len(saved) - len(settled)} of them with doubts", flush=True)
    return sorted(saved), map(shuffled, itertools.cycle(SHARES))


class Result(NamedTuple):
    """What was said of a plant."""

    true: float
    found: bool
    named: bool
    false: int
    unconcerned: int


def planted(suite: Suite, chosen: Drawn, others: list[str]) -> Result | None:
    """One line of the table; ``None`` where the test fails with the plant (it looks at the function's source or variables)."""
    plant, begun = chosen.plant, time.monotonic()
    path = suite.folder / suite.package / plant.file
    kept = path.read_text()
    try:
        set_loop(suite, plant, chosen.turns)
        place = next(place for place, it in suite.functions().items() if it[:2] == (plant.file, plant.name))
        bodies = suite.bodies(plant.nodeid, *others, count=True)
        if bodies.get(plant.nodeid, {"calls": {}})["calls"].get(place) != plant.calls:
            return None
        records = suite.counted("--energy-compare=main", [plant.nodeid, *others])
    finally:
        path.write_text(kept)
    module = f"{suite.package}/{plant.file}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    comparisons = {nodeid: record["comparison"] for nodeid, record in records.items() if record["comparison"]}
    said = comparisons.get(plant.nodeid) or {"verdict": "absent", "ratio": None, "where": [], "why": ""}
    found, named = said["verdict"] == "regressed", said["where"][:1] == [f"{module}.{plant.name}"]
    unconcerned = [nodeid for nodeid in comparisons if nodeid in bodies and place not in bodies[nodeid]["touched"]]
    false = [nodeid for nodeid in unconcerned if comparisons[nodeid]["verdict"] in ("regressed", "improved")]
    print(
        f"{suite.name:8}{plant.name[:34]:35}{chosen.before / 1e3:9.0f} k{plant.calls:7}{100 * chosen.true:+8.2f} %"
        f"{100 * ((said['ratio'] or 1) - 1):+8.2f} %  {said['verdict']:12}{'first' if named else 'no':6}{len(false)} of "
        f"{len(unconcerned):3}{time.monotonic() - begun:5.0f} s"
        + (
            ""
            if found and named and abs(said["ratio"] - 1 - chosen.true) < 0.003
            else f"\n    {plant.nodeid}: {said['why']} {records.get(plant.nodeid, {}).get('counts')}, {said['where']}"
        )
        + "".join(f"\n    FALSE {nodeid}: {comparisons[nodeid]['why']}, {comparisons[nodeid]['where']}" for nodeid in false),
        flush=True,
    )
    return Result(chosen.true, found, named, len(false), len(unconcerned))


def plants(suite: Suite, loop: Loop, count: int, others: int, draw: random.Random) -> Iterator[Result]:
    """So many plants of one package."""
    saved, shares = drawn(suite, loop, draw)
    used: set[str] = set()
    for candidates in itertools.islice(shares, count):
        for chosen in candidates:
            name = f"{chosen.plant.file} {chosen.plant.name}"
            if used.isdisjoint((name, chosen.plant.nodeid)):
                used |= {name, chosen.plant.nodeid}
                beside = draw.sample(saved, min(others, len(saved)))
                result = planted(suite, chosen, [nodeid for nodeid in beside if nodeid != chosen.plant.nodeid])
                if result is not None:
                    yield result
                    break


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", default=tuple(PACKAGES), choices=tuple(PACKAGES), metavar="NAME")
    parser.add_argument("--plants", type=int, default=40, metavar="N", help="of all packages together (default 40)")
    parser.add_argument("--others", type=int, default=12, metavar="N", help="other tests beside a plant's (default 12)")
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="with pytest-joules and what the suites import")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    loop = Loop(given.python)
    print(f"{'':8}{'function':35}{'body':>11}{'calls':>7}{'true':>10}{'counted':>10}  {'verdict':12}{'named':6}false", flush=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(given.only):
            suite = Suite(name, given.python, given.suites.resolve(), Path(folder))
            count = len(range(number, given.plants, len(given.only)))
            results += plants(suite, loop, count, given.others, random.Random(given.seed))
    large = [result for result in results if result.true >= 0.02]
    all_found, large_found = [sum(result.found for result in some) for some in (results, large)]
    named, false = sum(result.named for result in results if result.found), sum(result.false for result in results)
    print(f"2 % and more: {large_found} of {len(large)} found; 1 % and more: {all_found} of {len(results)}; named first: {named}")
    print(f"false alarms: {false} of {sum(result.unconcerned for result in results)}")
    met = large_found == len(large) and all_found >= 0.95 * len(results) and named >= 0.9 * all_found and not false
    print(f"bars: {'met' if met and results else 'MISSED'}")
    return 0 if met and results else 1


if __name__ == "__main__":
    sys.exit(main())
