"""Interleaved comparison in truth: false alarms of a suite against itself, and slow-downs planted in real functions.

    python benchmarks/planted.py [--suites DIR] [--only NAME ...] [--plants N] [--same N] [--others N] [--seed N]

Suites: toolz and more-itertools, unpacked from their source distributions and put under git.

*Same*: the whole suite of toolz with ``--energy-against=HEAD``, N times. Nothing differs, so every ``regressed`` or ``improved``
is a false alarm. Bar: none.

*Planted*: a busy loop at the head of a function, as long as makes one test's body cost 10 to 100 % more (steps of 10), committed;
then ``--energy-against=HEAD~1`` over that test and others drawn at random. The functions are drawn from those that tests execute;
how often a test calls them is counted by a profiler, and the warm body timed with and without the loop, both without
pytest-joules: the column "true" is that ratio. Bar: every plant of 20 % or more is found, and the function is among the first
three that are named. A test that does not execute the function and is called regressed or improved is a false alarm.

Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overhead import SDISTS, fetch
from startup import PROJECT, environment

PACKAGES = {"toolz": ("toolz", "toolz"), "more-itertools": ("more_itertools", "tests")}

#: Counts the calls of the package's functions in each test (profiled), or times its warm body (not profiled).
PLUGIN = """
import json, os, statistics, sys, time
import pytest
from collections import Counter
from pathlib import Path

ROOT = os.environ["PLANT_ROOT"] + os.sep
COUNT = os.environ.get("PLANT_COUNT")
found = {}

def times(item):
    found = []
    while len(found) < 40 and sum(found) < 0.2:
        begun = time.thread_time_ns()
        item.runtest()
        found.append((time.thread_time_ns() - begun) / 1e9)
    return found[len(found) // 2:]

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item):
    calls = Counter()
    def watch(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ROOT):
            calls[f"{code.co_filename[len(ROOT):]}:{code.co_firstlineno}"] += 1
    if COUNT:
        sys.setprofile(watch)
    try:
        return (yield)
    finally:
        sys.setprofile(None)
        seconds = None if COUNT else min(times(item))
        found[item.nodeid] = {"seconds": seconds, "calls": dict(calls)}

def pytest_sessionfinish():
    Path(os.environ["PLANT_OUT"]).write_text(json.dumps(found))
"""


@dataclass
class Plant:
    """A slow-down in one function."""

    file: str
    name: str
    """The function's qualified name."""
    line: int
    indent: int
    nodeid: str
    """The test whose body is to cost ``share`` more."""
    share: float
    calls: int


class Project:
    """A suite under git."""

    def __init__(self, name: str, python: str, suites: Path, temporary: Path) -> None:
        self.python = python
        self.package, self.tests = PACKAGES[name]
        self.folder = temporary / name
        project, version, _ = SDISTS[name]
        shutil.copytree(fetch(project, version, suites), self.folder)
        self.plugin = temporary / f"{name}-plugin"
        self.plugin.mkdir()
        (self.plugin / "_plant.py").write_text(PLUGIN)
        (self.folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
        for command in ("init -q", "add -A", "commit -q -m first"):
            self.git(*command.split())

    def git(self, *arguments: str) -> None:
        who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True)

    def bodies(self, *tests: str, count: bool = False) -> dict[str, dict[str, Any]]:
        """Seconds and calls of each test's body, without pytest-joules measuring."""
        out = self.plugin / "out.json"
        env = {**os.environ, "PLANT_ROOT": str(self.folder / self.package), "PLANT_OUT": str(out), "PYTHONHASHSEED": "0"}
        env |= {"PYTHONPATH": os.pathsep.join([str(self.folder), str(self.plugin)]), "PLANT_COUNT": "1" if count else ""}
        command = [self.python, "-m", "pytest", "-q", "-p", "_plant", *(tests or (self.tests,))]
        out.unlink(missing_ok=True)
        done = subprocess.run(command, cwd=self.folder, env=env, check=False, capture_output=True, text=True)
        if not out.exists():
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
        bodies: dict[str, dict[str, Any]] = json.loads(out.read_text())
        return bodies

    def against(self, revision: str, *tests: str) -> tuple[dict[str, dict[str, Any]], float]:
        """The comparisons by test, and how many seconds they took."""
        out = self.plugin / "report.json"
        out.unlink(missing_ok=True)
        begun = time.perf_counter()
        command = [self.python, "-m", "pytest", "-q", "--energy", f"--energy-against={revision}", f"--energy-json={out}"]
        done = subprocess.run([*command, *(tests or (self.tests,))], cwd=self.folder, check=False, capture_output=True, text=True)
        seconds = time.perf_counter() - begun
        if not out.exists():
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
        report = json.loads(out.read_text())
        return {test["nodeid"]: test["comparison"] for test in report["tests"] if test["comparison"]}, seconds

    def functions(self) -> dict[str, tuple[str, str, int, int]]:
        """File, qualified name, line and indentation of the first statement, by ``file:line`` of the code object."""
        found = {}
        root = self.folder / self.package
        for path in sorted(root.rglob("*.py")):
            file = path.relative_to(root).as_posix()
            if "tests" in file or file.rpartition("/")[2].startswith(("test_", "_version")):
                continue

            def visit(node: ast.AST, above: str, file: str = file) -> None:
                for child in ast.iter_child_nodes(node):
                    name = above
                    if isinstance(child, ast.FunctionDef | ast.ClassDef):
                        name = f"{above}{child.name}"
                    if isinstance(child, ast.FunctionDef):
                        first = child.body[1] if ast.get_docstring(child) and len(child.body) > 1 else child.body[0]
                        line = min([child.lineno, *(entry.lineno for entry in child.decorator_list)])
                        if first.lineno > child.lineno:
                            found[f"{file}:{line}"] = (file, name, first.lineno, first.col_offset)
                        name += ".<locals>."
                    elif isinstance(child, ast.ClassDef):
                        name += "."
                    visit(child, name)

            visit(ast.parse(path.read_text()), "")
        return found


def loop_seconds() -> float:
    """Seconds of one turn of the loop that is planted."""
    turns = 1_000_000
    times = []
    for _ in range(7):
        begun = time.thread_time()
        for _turn in range(turns):
            pass
        times.append(time.thread_time() - begun)
    return min(times) / turns


def choose(project: Project, count: int, draw: random.Random) -> list[Plant]:
    """Functions at random, each with the test that it is most of, 10 to 100 %."""
    functions = project.functions()
    called = project.bodies(count=True)
    seconds = project.bodies()
    users: dict[str, list[tuple[str, int]]] = {}
    for nodeid, entry in called.items():
        for place, calls in entry["calls"].items():
            if place in functions and "[" not in nodeid:
                users.setdefault(place, []).append((nodeid, calls))
    places = sorted(users)
    draw.shuffle(places)
    plants: list[Plant] = []
    shares = [(number % 10 + 1) / 10 for number in range(count)]
    for place in places:
        if len(plants) == count:
            break
        file, name, line, indent = functions[place]
        nodeid, calls = draw.choice(users[place])
        if not 5e-6 < seconds[nodeid]["seconds"] < 0.1:
            continue
        plants.append(Plant(file, name, line, indent, nodeid, shares[len(plants)], calls))
    return plants


def set_loop(project: Project, plant: Plant, turns: int) -> None:
    path = project.folder / project.package / plant.file
    lines = path.read_text().splitlines(keepends=True)
    blank = " " * plant.indent
    lines.insert(plant.line - 1, f"{blank}for _planted in range({turns}):\n{blank}    pass\n")
    path.write_text("".join(lines))


def truth(project: Project, nodeid: str) -> float:
    """Seconds of the test's warm body at its quickest, in several processes: what others do only adds to it."""
    return min(float(project.bodies(nodeid)[nodeid]["seconds"]) for _ in range(5))


def planted(project: Project, name: str, plant: Plant, others: list[str]) -> bool:
    """One line of the table; whether the bar is met."""
    before = truth(project, plant.nodeid)
    turns = max(1, round(plant.share * before / plant.calls / loop_seconds()))
    set_loop(project, plant, turns)
    ratio = truth(project, plant.nodeid) / before
    project.git("commit", "-q", "-a", "-m", f"slower {plant.name}")
    calls = project.bodies(plant.nodeid, *others, count=True)
    place_line = next(key for key, value in project.functions().items() if value[1] == plant.name and value[0] == plant.file)
    concerned = {nodeid for nodeid, entry in calls.items() if place_line in entry["calls"]}
    comparisons, seconds = project.against("HEAD~1", plant.nodeid, *others)
    found = comparisons.get(plant.nodeid) or {"verdict": "absent", "ratio": None, "changed": [], "why": ""}
    named = [place.rpartition("::")[2] for place in found["changed"][:3]]
    false = [
        nodeid
        for nodeid, entry in comparisons.items()
        if nodeid not in concerned and entry["verdict"] in ("regressed", "improved")
    ]
    blamed = plant.name in named
    met = (ratio < 1.2 or (found["verdict"] == "regressed" and blamed)) and not false
    shown = f"{found['ratio']:.2f}" if found["ratio"] else "-"
    print(
        f"{name[:5]:6}{plant.name[:30]:31}{before * 1e6:8.0f} us{100 * plant.share:+6.0f} %{ratio:7.2f}{shown:>7}  "
        f"{found['verdict']:12}{'yes' if blamed else 'no':5}{len(false)} of {len(comparisons) - len(concerned)}"
        f"{seconds:6.0f} s{'' if met else '  MISSED: ' + str(found['why'])}",
        flush=True,
    )
    project.git("reset", "-q", "--hard", "HEAD~1")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", default=tuple(PACKAGES), choices=tuple(PACKAGES), metavar="NAME")
    parser.add_argument("--plants", type=int, default=10, metavar="N", help="in each suite (default 10)")
    parser.add_argument("--same", type=int, default=10, metavar="N", help="runs of toolz against itself (default 10)")
    parser.add_argument("--others", type=int, default=25, metavar="N", help="other tests beside a plant's (default 25)")
    parser.add_argument("--python", metavar="FILE", help="the Python of an environment that has this project")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    met = True
    with tempfile.TemporaryDirectory() as folder:
        # An environment of its own: what other plugins warn of fails these suites.
        python = given.python or str(environment(Path(folder) / "environment", str(PROJECT)))
        projects = {name: Project(name, python, given.suites.resolve(), Path(folder)) for name in given.only}
        if given.same and "toolz" in projects:
            alarms: Counter[str] = Counter()
            for _ in range(given.same):
                comparisons, seconds = projects["toolz"].against("HEAD")
                verdicts = Counter(entry["verdict"] for entry in comparisons.values())
                alarms.update(verdicts)
                print(f"toolz against itself: {dict(verdicts)}, {seconds:.0f} s", flush=True)
            false = alarms["regressed"] + alarms["improved"]
            met = not false
            print(f"false alarms: {false} of {sum(alarms.values())} tests in {given.same} runs (bar: none)\n", flush=True)
        if given.plants:
            print(f"{'suite':6}{'function':31}{'body':>11}{'plant':>8}{'true':>7}{'ratio':>7}  {'verdict':12}{'named':5}false")
        for name, project in projects.items():
            draw = random.Random(given.seed)
            tests = sorted(project.bodies(count=True))
            for plant in choose(project, given.plants, draw):
                others = [nodeid for nodeid in draw.sample(tests, min(given.others, len(tests))) if nodeid != plant.nodeid]
                met = planted(project, name, plant, others) and met
    print(f"bars: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
