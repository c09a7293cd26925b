"""What recording dependencies costs, and what ``--energy-changed-only`` measures again after a change of one function.

    python benchmarks/dependencies.py [--suites DIR] [--only NAME ...] [--python FILE] [--runs N] [--edits N]

``recording``: the suite is run in turn with and without recording; compared is the CPU time of all its warm-up rounds together,
from setup to teardown. ``hashing`` is what the fingerprints take, per test, from the source and without any cache.

``changed-only``: a history is made once; then one random function of the package at a time is changed (a statement more in its
body), and a run with ``--energy-changed-only`` says what it would measure, and ends. Which tests execute the function is told by
a plain run under ``sys.settrace``, which knows nothing of this plugin: every one of them must be measured again.

Bars: recording at most 1.5 x the warm-up rounds (Python 3.12 and later), at most 3 x (before); at most 10 % of the tests of
more-itertools and of boltons measured again (median over the edits), none missed anywhere. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from overhead import NEEDED, SDISTS, fetch
from startup import PROJECT, environment

SUITES = {**{name: SDISTS[name] for name in ("more-itertools", "toolz")}, "boltons": ("boltons", "26.2.0", "tests")}
MOST_AGAIN = 0.1
MEASURE = ("--energy", "--energy-source=estimate", "-q", "-p", "no:randomly")

#: Times the warm-up rounds, with or without recording.
TIMING = """
import json, os, time

def pytest_configure(config):
    from pytest_joules.measure import course
    from pytest_joules.session import tracking
    Course, spent = course.Course, {"warmup": [], "hashing": 0.0}
    config.joules_spent = spent
    if os.environ["JOULES_RECORDING"] == "off":
        Course.__init__ = without(Course.__init__)
    begin, end, another = Course.begin, Course.end, Course.another
    def timed_begin(self, phase):
        if phase == "setup" and not hasattr(self, "begun"):
            self.begun = time.process_time()
        begin(self, phase)
    def timed_end(self, phase):
        end(self, phase)
        if phase == "teardown" and getattr(self, "begun", None) is not None:
            spent["warmup"].append(time.process_time() - self.begun)
            self.begun = None
    Course.begin, Course.end = timed_begin, timed_end
    code = tracking.Tracking.code
    def timed_code(self, *args):
        begun = time.process_time()
        try:
            return code(self, *args)
        finally:
            spent["hashing"] += time.process_time() - begun
    tracking.Tracking.code = timed_code

def without(init):
    def made(self, *args, **kwargs):
        init(self, *args, **kwargs | {"recording": None})
    return made

def pytest_unconfigure(config):
    with open(os.environ["JOULES_TIMES"], "w") as file:
        json.dump(config.joules_spent, file)
"""

#: Which functions each test executes, found out by other means.
TRUTH = """
import json, os, sys, threading, pytest

found = {}

def pytest_unconfigure(config):
    with open(os.environ["JOULES_TRUTH"], "w") as file:
        json.dump({test: sorted(lines) for test, lines in found.items()}, file)

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    lines = found[item.nodeid] = set()
    package = os.environ["JOULES_PACKAGE"]
    def trace(frame, event, argument):
        code = frame.f_code
        if package in code.co_filename:
            lines.add(f"{code.co_filename}:{code.co_firstlineno}")
    sys.settrace(trace)
    threading.settrace(trace)
    try:
        return (yield)
    finally:
        sys.settrace(None)
        threading.settrace(None)
"""

#: Writes down which tests would be measured, and runs none.
KNOWN = """
import json, os, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    cached = session.config.pluginmanager.get_plugin("joules-changed-only")
    with open(os.environ["JOULES_KNOWN"], "w") as file:
        json.dump([item.nodeid for item in session.items if not cached.stands_for(item)], file)
    return True
"""


class Suite:
    """A copy of a suite that may be changed."""

    def __init__(self, name: str, python: str, home: Path, folder: Path) -> None:
        package, version, tests = SUITES[name]
        self.name, self.python, self.tests = name, python, tests
        self.package = package.replace("-", "_")
        self.folder = folder / name
        shutil.copytree(fetch(package, version, home), self.folder)
        self.plugins = folder / "plugins"
        self.plugins.mkdir(exist_ok=True)
        (self.plugins / "_joules_timing.py").write_text(TIMING)
        (self.plugins / "_joules_truth.py").write_text(TRUTH)
        (self.plugins / "_joules_known.py").write_text(KNOWN)

    def run(self, *options: str, **variables: str) -> None:
        path = os.pathsep.join(map(str, (self.folder, self.plugins, *filter(None, [os.environ.get("PYTHONPATH")]))))
        run = subprocess.run(
            [self.python, "-m", "pytest", self.tests, *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode not in (0, 1):
            sys.exit(run.stdout + run.stderr)

    def spent(self, recording: str) -> tuple[list[float], float]:
        """CPU seconds of each test's warm-up round, and of all hashing."""
        place = self.folder / "times.json"
        self.run("--energy-rounds=1", *MEASURE, "-p", "_joules_timing", JOULES_RECORDING=recording, JOULES_TIMES=str(place))
        spent = json.loads(place.read_text())
        return spent["warmup"], spent["hashing"]

    def measured(self) -> set[str]:
        """The tests that have joules after a run with ``--energy-changed-only``."""
        self.run("--energy-rounds=1", "--energy-changed-only", "--energy-json=report.json", *MEASURE)
        report = json.loads((self.folder / "report.json").read_text())
        return {test["nodeid"] for test in report["tests"] if test["energy"] is not None}

    def again(self) -> set[str]:
        """The tests that such a run would measure: it ends when that is known."""
        place = self.folder / "cached.json"
        self.run("--energy-changed-only", *MEASURE, "-p", "_joules_known", JOULES_KNOWN=str(place))
        return set(json.loads(place.read_text()))

    def truth(self) -> dict[str, set[str]]:
        place = self.folder / "truth.json"
        package = str(self.folder / self.package) + os.sep
        self.run("-p", "_joules_truth", "-p", "no:cacheprovider", JOULES_TRUTH=str(place), JOULES_PACKAGE=package)
        return {test: set(lines) for test, lines in json.loads(place.read_text()).items()}


def recording(suite: Suite, runs: int, bar: float) -> bool:
    on, off = [], []
    for _ in range(runs):
        off.append(suite.spent("off"))
        on.append(suite.spent("on"))
    # Few tests take most of the time: the sum says what a run pays, the median what a test does.
    pairs = [sum(a) / sum(b) for (a, _), (b, _) in zip(on, off, strict=True)]
    whole = statistics.median(pairs)
    by_test = [
        statistics.median(b) / statistics.median(a)
        for a, b in zip(
            zip(*(times for times, _ in off), strict=True), zip(*(times for times, _ in on), strict=True), strict=True
        )
    ]
    middle = statistics.median(by_test)
    tests = len(by_test)
    hashing = statistics.median(entry for _, entry in on) / tests
    base = statistics.median(statistics.median(times) for times, _ in off)
    met: bool = max(whole, middle) <= bar
    print(
        f"{suite.name:16}recording: all warm-up rounds {whole:.3f} x ({min(pairs):.3f} to {max(pairs):.3f}), "
        f"the median of {tests} tests {middle:.3f} x of {base * 1e3:.2f} ms; hashing {hashing * 1e3:.2f} ms a test; "
        f"bar {bar:g} x: {'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


def functions(folder: Path, package: str) -> list[tuple[Path, ast.FunctionDef, int]]:
    """Every function of a package, with the line that its code object begins at."""
    found = []
    for path in sorted((folder / package).rglob("*.py")):
        if "tests" in path.parts:
            continue
        found += [
            (path, node, min([node.lineno, *(entry.lineno for entry in node.decorator_list)]))
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef)
        ]
    return found


def changed_only(suite: Suite, edits: int) -> bool:
    everything = suite.measured()
    always = suite.again() & everything
    print(
        f"{suite.name:16}{len(everything)} tests; without a change {len(always)} are measured again: "
        "not all of their code is known"
    )
    truth = suite.truth()
    numbers = random.Random(1)
    shares, missed = [], 0
    candidates = [
        entry
        for entry in functions(suite.folder, suite.package)
        if any(f"{entry[0]}:{entry[2]}" in lines for lines in truth.values())
    ]
    for path, node, line in numbers.sample(candidates, min(edits, len(candidates))):
        before = path.read_text()
        lines = before.splitlines(keepends=True)
        first_statement = node.body[0]
        last = node.body[-1]
        at = (first_statement if first_statement is not last else last).lineno - 1
        if ast.get_docstring(node) is not None:
            at = node.body[1].lineno - 1 if len(node.body) > 1 else (first_statement.end_lineno or at + 1)
        lines.insert(at, f"{' ' * first_statement.col_offset}_edited = 12345\n")
        try:
            path.write_text("".join(lines))
            now = suite.again() & everything
        finally:
            path.write_text(before)
        executing = {test for test, seen in truth.items() if f"{path}:{line}" in seen} & everything
        shares.append(len(now) / len(everything))
        missed += len(executing - now)
        print(
            f"  {path.name}::{node.name}: {len(executing)} tests execute it, {len(now)} measured again, "
            f"{len(executing - now)} missed"
        )
    middle = statistics.median(shares)
    bar = middle <= MOST_AGAIN and not missed
    print(
        f"{suite.name:16}after a change of one function: median {middle:.1%} of the tests, worst {max(shares):.1%}, "
        f"{sum(share <= MOST_AGAIN for share in shares)} of {len(shares)} edits within {MOST_AGAIN:.0%}; {missed} missed: "
        f"{'met' if bar else 'MISSED'}",
        flush=True,
    )
    return bar


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", default=list(SUITES), choices=SUITES, metavar="NAME", help=", ".join(SUITES))
    parser.add_argument("--python", metavar="FILE", help="the Python of an environment that has it all")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each kind (default 5)")
    parser.add_argument("--edits", type=int, default=20, metavar="N", help="functions to change (default 20)")
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
            if given.runs:
                met = recording(suite, given.runs, 1.5 if modern else 3.0) and met
            if given.edits:
                met = changed_only(suite, given.edits) and met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
