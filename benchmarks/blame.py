"""Whether a regression names the function that was edited, in a project that is installed as a copy.

    python benchmarks/blame.py [--suites DIR] [--package NAME VERSION] [--edits N] [--others N] [--seed N] [--python FILE]

A library (``src/`` layout; default cachetools) is fetched as a source distribution, put under git and installed as a copy. A
baseline of its whole suite is saved. Then one random function at a time is edited in the tree and the copy installed anew; one
random test that executes it, and others at random, run against the baseline (``stored``: a part of the tests, so that caches are
filled by others than in the baseline) and against the last commit (``in turn``).

What is measured is not the subject: an edit draws a millijoule a call from a counter of its own, so that each one regresses.

Bar: the edited function is named first in at least 19 of 20, both ways, and its first line is what GitHub is told to annotate.
Exit code 1 where it is missed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from overhead import fetch
from planted import PLUGIN, Project
from startup import PROJECT, environment

#: The least share of the edits whose function is named first.
BAR = 19 / 20
#: A counter that every look at it moves by half a millijoule, and an edit by one; nobody else is on the machine.
COUNTER = """
import pytest_joules.measure.other_load
from pytest_joules.sources.base import Domain, Source

drawn = [0.0]

def draw():
    drawn[0] += 0.001

class Counter(Source):
    name, rank = "edits", 200
    def open(self):
        self.domains, self.tick, self.why = (Domain("edits", counts=True),), 0.0, "moved by the edits"
    def read(self):
        drawn[0] += 0.0005
        return (drawn[0],)
    def joules(self, before, after, seconds):
        return (after[0] - before[0],)

def pytest_joules_sources(config):
    return [Counter()]

def pytest_configure(config):
    pytest_joules.measure.other_load.OtherLoad.share = lambda self, begun: 0.0
"""
MEASURE = ("--energy", "--energy-source=edits", "--energy-rounds=20", "-q", "-p", "_counter", "-p", "no:randomly")


class Copied(Project):
    """A suite under git whose package is installed as a copy."""

    def __init__(self, name: str, python: str, suites: Path, temporary: Path, version: str) -> None:  # another layout: no super()
        self.python = python
        self.package, self.tests = f"src/{name.replace('-', '_')}", "tests"
        self.folder = temporary / name
        shutil.copytree(fetch(name, version, suites), self.folder, ignore=shutil.ignore_patterns("*.egg-info"))
        self.plugin = temporary / "plugin"
        self.plugin.mkdir()
        (self.plugin / "_plant.py").write_text(PLUGIN)
        (self.plugin / "_counter.py").write_text(COUNTER)
        (self.folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n.joules/\nbuild/\n*.egg-info/\n")
        for command in ("init -q", "add -A", "commit -q -m first"):
            self.git(*command.split())
        self.install()

    def install(self) -> None:
        pip = [self.python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", "--no-build-isolation"]
        subprocess.run([*pip, str(self.folder)], check=True, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder / "build", ignore_errors=True)

    def run(self, *options: str, **variables: str) -> dict[str, Any]:
        """The tests' comparisons, by node id; what was said to GitHub is in ``annotated``, a place by node id."""
        out = self.plugin / "report.json"
        out.unlink(missing_ok=True)
        done = subprocess.run(
            [self.python, "-m", "pytest", *MEASURE, f"--energy-json={out}", *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.plugin), "GITHUB_STEP_SUMMARY": os.devnull, **variables},
            check=False,
            capture_output=True,
            text=True,
        )
        if not out.exists():
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
        said = re.findall(r"(?m)^::error file=([^,]+),line=(\d+),title=[^:]*::(\S+) ", done.stdout)
        self.annotated = {nodeid: (file, int(line)) for file, line, nodeid in said}
        return {test["nodeid"]: test["comparison"] or {} for test in json.loads(out.read_text())["tests"]}

    def users(self) -> dict[str, list[str]]:
        """Tests by the functions (``file:line``) that their bodies call."""
        out = self.plugin / "out.json"
        where = "import sys, importlib; print(importlib.import_module(sys.argv[1]).__path__[0])"
        package = self.package.rpartition("/")[2]
        copy = subprocess.run([self.python, "-c", where, package], check=True, capture_output=True, text=True).stdout.strip()
        variables = {"PLANT_ROOT": copy, "PLANT_OUT": str(out), "PLANT_COUNT": "1", "PYTHONPATH": str(self.plugin)}
        command = [self.python, "-m", "pytest", "-q", "-p", "_plant", self.tests]
        subprocess.run(command, cwd=self.folder, env={**os.environ, **variables}, check=False, capture_output=True)
        found: dict[str, list[str]] = {}
        for nodeid, entry in json.loads(out.read_text()).items():
            for place in entry["calls"]:
                found.setdefault(place, []).append(nodeid)
        return found

    def begin(self, file: str, name: str) -> int:
        """The first line of a function, decorators included."""
        tree: Any = ast.parse((self.folder / self.package / file).read_text())
        for part in name.replace(".<locals>", "").split("."):
            tree = next(node for node in ast.walk(tree) if getattr(node, "name", None) == part)
        decorators = [one.lineno for one in getattr(tree, "decorator_list", ())]
        return int(min([tree.lineno, *decorators]))

    def edit(self, file: str, line: int, indent: int) -> None:
        path = self.folder / self.package / file
        lines = path.read_text().splitlines(keepends=True)
        lines.insert(line - 1, f"{' ' * indent}__import__('_counter').draw()\n")
        path.write_text("".join(lines))
        self.install()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--package", nargs=2, default=("cachetools", "8.0.2"), metavar=("NAME", "VERSION"))
    parser.add_argument("--edits", type=int, default=20, metavar="N", help="functions that are edited (default 20)")
    parser.add_argument("--others", type=int, default=5, metavar="N", help="tests beside the one that executes it (default 5)")
    parser.add_argument("--python", metavar="FILE", help="the Python of an environment that has this project; it is changed")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    first, placed = ({"stored": 0, "in turn": 0} for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        python = given.python or str(environment(Path(folder) / "environment", str(PROJECT), "setuptools>=77"))
        project = Copied(given.package[0], python, given.suites.resolve(), Path(folder), given.package[1])
        functions, users = project.functions(), project.users()
        tests = sorted({nodeid for found in users.values() for nodeid in found})
        project.run("--energy-save=main", project.tests)
        chosen = draw.sample(sorted(users.keys() & functions.keys()), given.edits)
        for place in chosen:
            file, name, line, indent = functions[place]
            nodeid = draw.choice(users[place])
            project.edit(file, line, indent)
            key = f"{project.package.removeprefix('src/')}/{file}::{name}"
            shown = []
            others = [other for other in draw.sample(tests, min(given.others, len(tests))) if other != nodeid]
            for way, option in (("stored", "--energy-compare=main"), ("in turn", "--energy-against=HEAD")):
                comparison = project.run(option, nodeid, *others).get(nodeid, {})
                named = comparison.get("changed", [])
                file_there, line_there = project.annotated.get(nodeid, ("", 0))
                begins = project.begin(file, name)
                placed[way] += (file_there, line_there) == (f"{project.package}/{file}", begins)
                hit = named[:1] == [key]
                first[way] += hit
                why = f"MISSED: {comparison.get('why')}; named: {', '.join(named[:3])}"
                beside = f" (also {', '.join(named[1:3])})" if named[1:] else ""
                said = f"first of {len(named)}{beside}" if hit else why
                shown.append(f"{way}: {said}")
            print(f"{key[-60:]:60}  {'; '.join(shown)}", flush=True)
            project.git("checkout", "-q", ".")
        count = len(chosen)
    met = all(hits >= BAR * count for hits in (*first.values(), *placed.values()))
    print("; ".join(f"{way}: named first in {hits} of {count}" for way, hits in first.items()) + f" (bar {BAR:.0%} each)")
    print("; ".join(f"{way}: annotated there in {hits} of {count}" for way, hits in placed.items()))
    print(f"bars: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
