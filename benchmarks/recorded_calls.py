"""What calls out of a package cost: as the recorded round finds it, against the same calls timed by hand.

    python benchmarks/recorded_calls.py [--suites DIR] [--only NAME ...] [--python FILE] [--runs N]

By hand: a copy of the package in which every call ``f(x)`` in a function has become ``timed("path::name", "f", f, x)``, which
reads the clock before and after, runs once under plain pytest, without this plugin. Compared are, of each test, function and
callee, the nanoseconds of as many calls, of which none came back into the package; the tests' own calls are left alone. *factor*
is found over by hand: of the sums, and the median over callees whose calls take at least 0.5 us by hand.

``recording``: CPU time of all warm-up rounds together, recorded with calls timed, recorded without that, and not recorded, in
turn; and what the history holds of it, bytes a test.

Bars: the median factor between 0.5 and 2 (the sums are wall time of a few long calls, which others disturb); recording with
timing no more than 1.5 x the warm-up rounds without recording from Python 3.12 on, 3 x before. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from dependencies import MEASURE, SUITES, Suite
from overhead import NEEDED
from startup import PROJECT, environment

from pytest_joules.code.callees import callees, position
from pytest_joules.store import open_store

#: What of a frame or of a cell a function of its own would not see.
LEFT_ALONE = {"super", "locals", "globals", "vars", "dir", "eval", "exec", "_getframe", "currentframe", "stack", "warn"}
#: Nanoseconds that a call takes at least whose factor is told by itself.
LEAST = 500

BY_HAND = """
import builtins, json, os, pytest
from time import perf_counter_ns

found, current = {}, [None]

def timed(place, callee, function, /, *args, **kwargs):
    entry = found.setdefault((current[0], place, callee), [0, 0])
    begun = perf_counter_ns()
    try:
        return function(*args, **kwargs)
    finally:
        entry[1] += perf_counter_ns() - begun
        entry[0] += 1

builtins._joules_timed = timed
for _ in range(1000):
    timed("", "", len, ())
_, nothing = found.pop((None, "", ""))

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    current[0] = item.nodeid
    try:
        return (yield)
    finally:
        current[0] = None

def pytest_unconfigure(config):
    with open(os.environ["JOULES_BY_HAND"], "w") as file:
        less = nothing / 1000
        json.dump([[*key, count, max(spent - count * less, 0)] for key, (count, spent) in found.items() if key[0]], file)
"""

UNTIMED = """
import sys
if sys.version_info >= (3, 12):
    from pytest_joules.code import armed as there
else:
    from pytest_joules.code import traced_calls as there
there.has_calls = lambda code: False
"""

#: Test, place, callee; calls and nanoseconds.
Times = dict[tuple[str, str, str], tuple[int, float]]


class Timed(ast.NodeTransformer):
    """Of one file: its calls inside of functions."""

    def __init__(self, path: str, source: bytes) -> None:
        self._path = path
        self._names = callees(source)
        self._around: list[str] = []
        self._depth = 0

    def _inside(self, node: ast.AST, *parts: str, function: int) -> ast.AST:
        before = self._around
        self._around, self._depth = [*before, *parts], self._depth + function
        self.generic_visit(node)
        self._around, self._depth = before, self._depth - function
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node, node.name, function=0)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._inside(node, node.name, "<locals>", function=1)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(node, node.name, "<locals>", function=1)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = self._names[position(node)]
        self.generic_visit(node)
        if not self._depth or name.rpartition(".")[2] in LEFT_ALONE:
            return node
        place = f"{self._path}::{'.'.join(self._around[:-1])}"
        given: list[ast.expr] = [ast.Constant(place), ast.Constant(name), node.func, *node.args]
        return ast.Call(ast.Name("_joules_timed", ast.Load()), given, node.keywords)


def by_hand(suite: Suite) -> Times:
    """In a copy of its own."""
    original = suite.folder
    suite.folder = original.with_name(f"{original.name}-by-hand")
    shutil.copytree(original, suite.folder)
    (suite.plugins / "_joules_by_hand.py").write_text(BY_HAND)
    for path in sorted((suite.folder / suite.package).rglob("*.py")):
        relative = path.relative_to(suite.folder)
        if "tests" not in relative.parts:
            source = path.read_bytes()
            tree = Timed(relative.as_posix(), source).visit(ast.parse(source))
            path.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
    place = suite.folder / "by_hand.json"
    try:
        suite.run("-p", "_joules_by_hand", "-p", "no:joules", "-p", "no:cacheprovider", JOULES_BY_HAND=str(place))
    finally:
        suite.folder = original
    return {(test, where, callee): (count, spent) for test, where, callee, count, spent in json.loads(place.read_text())}


def recorded(suite: Suite) -> tuple[Times, int]:
    """What a measured run finds of calls that did not come back, and the bytes a test that the history has of it."""
    history = suite.folder / "calls.db"
    suite.run("--energy-rounds=1", f"--energy-store={history}", *MEASURE)
    found: Times = {}
    store = open_store(history, write=False)
    for test in store.nodeids():
        for entry in store.history(test, 1):
            code = entry["code"]
            for place, inside in (code.get("outside", {}) if code is not None else {}).items():
                for callee, (calls, spent, back) in inside.items():
                    if calls and not back:
                        found[test, place, callee] = calls, spent
    tests = len(store.nodeids())
    store.close()
    with closing(sqlite3.connect(history)) as connection:
        size = connection.execute("SELECT sum(length(outside)) FROM codes").fetchone()[0] or 0
    return found, round(size / max(tests, 1))


def compare(suite: Suite) -> bool:
    hand, (found, size) = by_hand(suite), recorded(suite)
    mine: dict[tuple[str, str], list[float]] = {}
    for key, (calls, spent) in found.items():
        if key in hand and abs(hand[key][0] - calls) <= 0.02 * calls:
            total = mine.setdefault(key[1:], [0.0, 0.0, 0.0])
            for place, value in enumerate((calls, spent, hand[key][1])):
                total[place] += value
    sums = sum(total[1] for total in mine.values()) / sum(total[2] for total in mine.values())
    factors = [total[1] / total[2] for total in mine.values() if total[2] >= LEAST * total[0]]
    middle = statistics.median(factors)
    low, _, high = statistics.quantiles(factors, n=4)
    met = 0.5 <= middle <= 2
    called = sum(total[0] for total in mine.values())
    print(
        f"{suite.name:16}{len(mine)} callees, {called:.0f} calls: factor of the sums {sums:.2f}, "
        f"median {middle:.2f} ({low:.2f} to {high:.2f}) of {len(factors)} callees of {LEAST} ns and more; {size} bytes a test: "
        f"{'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


def cost(suite: Suite, runs: int, bar: float) -> bool:
    (suite.plugins / "_joules_untimed.py").write_text(UNTIMED)
    kinds: dict[str, list[float]] = {"off": [], "untimed": [], "timed": []}
    for _ in range(runs):
        for kind, spent in kinds.items():
            extra = os.environ.get("PYTEST_ADDOPTS", "")
            os.environ["PYTEST_ADDOPTS"] = f"{extra} -p _joules_untimed" if kind == "untimed" else extra
            try:
                spent.append(sum(suite.spent("off" if kind == "off" else "on")[0]))
            finally:
                os.environ["PYTEST_ADDOPTS"] = extra
    ratios = {kind: statistics.median(a / b for a, b in zip(spent, kinds["off"], strict=True)) for kind, spent in kinds.items()}
    met = ratios["timed"] <= bar
    print(
        f"{suite.name:16}recording: all warm-up rounds {ratios['timed']:.2f} x with calls timed, {ratios['untimed']:.2f} x "
        f"without, bar {bar:g} x: {'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", default=["toolz", "boltons"], choices=SUITES, metavar="NAME", help=", ".join(SUITES))
    parser.add_argument("--python", metavar="FILE", help="the Python of an environment that has it all")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each kind (default 3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = given.python or str(environment(folder / "environment", str(PROJECT), *NEEDED))
        version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
        modern = tuple(map(int, version.split(".")[:2])) >= (3, 12)
        print(f"Python {version}")
        met = True
        for title in given.only:
            suite = Suite(title, python, given.suites.resolve(), folder)
            met = compare(suite) and met
            if given.runs:
                met = cost(suite, given.runs, 1.5 if modern else 3.0) and met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
