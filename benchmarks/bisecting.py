"""A planted change among 64 commits of a real package, found by ``joules bisect``.

    python benchmarks/bisecting.py [--suites DIR] [--draws N] [--only joules instructions] [--python FILE] [--seed N]

Each draw takes a function of toolz and a test that executes it, both at random, and makes a repository of 65 commits. Every other
commit edits that very function without a change of its cost (the constant of an assignment at its head), the others a function
that no test executes; one commit, at a random place, also plants an empty loop at the function's head. Then ``joules bisect TEST
FIRST`` is run: in joules with a loop as long as makes the body 20 % dearer, in instructions with 3 %. Without energy counters,
joules are the estimate from CPU time.

Drawn are tests of 40 us to 3 ms: shorter ones are too short for any reading. By instructions, the loop is made for what the test
was counted at (a difference below 2,000 instructions is none); by joules for the CPU time of its warm body, the least of five
processes without this plugin, and "true" is the ratio of these with and without the loop, 1.15 to 1.25.

Bars, of 20 draws each: the planted commit is named in 95 % by joules and in all by instructions, with 8 comparisons at most in
each. Exit code 1 where one is missed.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from count_planted import Loop, Suite
from planted import Plant, Project, loop_seconds, set_loop, truth

COMMITS, MOST = 64, 8
SHARES = {"joules": 0.2, "instructions": 0.03}
#: Instructions that a plant adds, at least.
LEAST = 2500


class Bisected(NamedTuple):
    """What a draw came to."""

    right: bool
    comparisons: int


class Draw:
    """One test, one function, one place of the plant."""

    def __init__(self, suite: Project, by: str, loop: Loop | None, draw: random.Random) -> None:
        self.suite, self.by, self.draw = suite, by, draw
        self.true = 0.0
        self.plant, self.turns = self._chosen(loop)
        self.other = suite.folder / suite.package / "_of_no_test.py"
        self.ids: list[str] = []

    def _chosen(self, loop: Loop | None) -> tuple[Plant, int]:
        suite, share, functions = self.suite, SHARES[self.by], self.suite.functions()
        counted = suite.bodies(count=True)
        bodies = counted if loop is not None else suite.bodies()
        able = [
            (nodeid, place, calls)
            for nodeid, body in sorted(counted.items())
            if "[" not in nodeid and nodeid in bodies and 40e-6 < bodies[nodeid]["seconds"] < 0.003
            for place, calls in sorted(body["calls"].items())
            if place in functions
        ]
        while True:
            nodeid, place, calls = self.draw.choice(able)
            plant = Plant(*functions[place], nodeid, share, calls)
            turns = self._by_seconds(plant) if loop is None else self._by_instructions(plant, loop)
            if turns is not None and self._works(plant, turns):
                return plant, turns

    def _by_seconds(self, plant: Plant) -> int | None:
        """The turns of the loop; ``None`` where they are too few to be right, or what comes of them is not as it is meant."""
        before = truth(self.suite, plant.nodeid)
        turns = round(plant.share * before / plant.calls / loop_seconds())
        if turns < 4 or not self._works(plant, turns):
            return None
        with self._planted(plant, turns):
            self.true = truth(self.suite, plant.nodeid) / before
        return turns if 1.15 < self.true < 1.25 else None

    def _by_instructions(self, plant: Plant, loop: Loop) -> int | None:
        assert isinstance(self.suite, Suite)
        record = self.suite.counted("--energy-save=main", [plant.nodeid]).get(plant.nodeid)
        shutil.rmtree(self.suite.folder / ".joules", ignore_errors=True)
        if record is None or record["doubts"] or plant.share * record["count"] < LEAST:
            return None
        turns = loop.turns(plant.share * record["count"] / plant.calls)
        self.true = 1 + plant.calls * loop.cost(turns) / record["count"]
        return turns if abs((self.true - 1) / plant.share - 1) < 0.2 else None

    @contextmanager
    def _planted(self, plant: Plant, turns: int) -> Iterator[None]:
        path = self.suite.folder / self.suite.package / plant.file
        kept = path.read_text()
        set_loop(self.suite, plant, turns)
        yield
        path.write_text(kept)

    def _works(self, plant: Plant, turns: int) -> bool:
        """Whether the test passes with the plant: none that looks at the function's source or variables does."""
        with self._planted(plant, turns):
            found = self.suite.bodies(plant.nodeid, count=True)
        return plant.calls in found.get(plant.nodeid, {"calls": {}})["calls"].values()

    def commit(self, planted: int) -> None:
        """Make the history: one commit, then 64."""
        path = self.suite.folder / self.suite.package / self.plant.file
        source, other, blank = path.read_text().splitlines(keepends=True), self.other, " " * self.plant.indent
        shutil.rmtree(self.suite.folder / ".git", ignore_errors=True)
        (self.suite.folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
        self.suite.git("init", "-q")
        edits = 0
        for number in range(COMMITS + 1):
            edits += number % 2
            head = f"{blank}_edited = {edits}\n"
            if number >= planted:
                head += f"{blank}for _planted in range({self.turns}):\n{blank}    pass\n"
            lines = [*source]
            lines.insert(self.plant.line - 1, head)
            path.write_text("".join(lines))
            other.write_text(f"def unused():\n    return {number}\n")
            self.suite.git("add", "-A")
            self.suite.git("commit", "-q", "-m", f"edit {number}")
        path.write_text("".join(source))
        other.unlink()
        listed = subprocess.run(
            ["git", "rev-list", "--reverse", "HEAD"], cwd=self.suite.folder, check=True, capture_output=True, text=True
        )
        self.ids = listed.stdout.split()

    def run(self) -> Bisected:
        planted = self.draw.randrange(1, COMMITS + 1)
        self.commit(planted)
        self.suite.git("checkout", "-q", "-f", "HEAD")
        begun = time.monotonic()
        command = [self.suite.python, "-m", "pytest_joules.cli", "bisect", self.plant.nodeid, self.ids[0]]
        command += [f"--by={self.by}", "--json", "--", "-p", "no:randomly"]
        done = subprocess.run(command, cwd=self.suite.folder, env=environ(), check=False, capture_output=True, text=True)
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-3000:]}") from None
        named = [commit["id"] for commit in result["commits"]]
        right = result["result"] == "found" and named == [self.ids[planted]]
        ends, confirmed = result["ends"]["ratio"] or 0.0, (result["confirmed"] or {}).get("ratio") or 0.0
        print(
            f"{self.by:13}{self.plant.name[:32]:33}{self.plant.nodeid.rpartition('::')[2][:28]:29}{planted:4}{self.true:7.3f}{ends:7.3f}"
            f"{confirmed:7.3f}{result['comparisons']:4}  {result['result']}{'' if right else ' WRONG'}"
            f"{time.monotonic() - begun:6.0f} s",
            flush=True,
        )
        if not right or result["comparisons"] > MOST:
            print("    " + done.stderr.replace("\n", "\n    "), flush=True)
        shutil.rmtree(self.suite.folder / ".git")
        shutil.rmtree(self.suite.folder / ".pytest_cache", ignore_errors=True)
        return Bisected(right, result["comparisons"])


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": "0"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--draws", type=int, default=20, metavar="N", help="of each kind (default 20)")
    parser.add_argument("--only", nargs="+", choices=tuple(SHARES), default=tuple(SHARES), metavar="KIND")
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="with pytest-joules and pytest")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    met = True
    print(f"{'by':13}{'function':33}{'test':29}{'at':>4}{'true':>7}{'ends':>7}{'step':>7}   comparisons", flush=True)
    for by in given.only:
        with tempfile.TemporaryDirectory() as folder:
            kind = Suite if by == "instructions" else Project
            suite = kind("toolz", given.python, given.suites.resolve(), Path(folder))
            loop = Loop(given.python) if by == "instructions" else None
            draw = random.Random(given.seed)
            found = [Draw(suite, by, loop, draw).run() for _ in range(given.draws)]
        right, most = sum(one.right for one in found), max(one.comparisons for one in found)
        print(f"{by}: the planted commit named in {right} of {len(found)}; {most} comparisons at most", flush=True)
        met = met and right >= (0.95 if by == "joules" else 1.0) * len(found) and most <= MOST
    print(f"bars: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
