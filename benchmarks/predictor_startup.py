"""What ``--energy-predict`` costs before 1,000 tests run, where one function has changed.

    python benchmarks/predictor_startup.py [--runs N] [--tests N] [--model MODEL]

Makes a project of 20 modules and N tests (default 1,000, of some 3 ms each: a suite of the median length of those that were
looked at, 3.6 s), measures it once, trains a model on that (``joules train``) unless one is named, and then changes one function
at a time: ``few`` is executed by ten tests, ``all`` by every test; ``none`` changes nothing. For each, ``pytest --energy
--energy-predict --collect-only`` runs ``--runs`` times, and in turn with it the same without ``--energy-predict``.

``predicting`` is what the run says of itself: from the end of collection until everything is predicted; ``CPU`` is its CPU time,
which a busy machine disturbs less, and ``loaded`` the same without reading the model and importing numpy for it. ``in all`` is
the difference of the whole run's CPU time, imports included; ``alone`` is ``predicting`` of a run without ``--energy``. The share
is of the CPU time of one plain run of the suite: estimated energy is CPU time times watts.

Bars: ``loaded`` at most 150 ms per 1,000 tests, CPU at most 5 % of the suite's. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from startup import children_seconds

MODULES = 20
FUNCTIONS = 10

#: A plugin that says how long asking took, and reading the model in it.
TIMING = """
import json, os, time

def pytest_configure(config):
    from pytest_joules.session import predicting, predictor
    spent = {"load": 0.0, "load_cpu": 0.0, "ask": 0.0, "cpu": 0.0}
    config.joules_spent = spent
    read, ask = predictor._from_file, predicting.Predicting._ask
    def timed_read(*args):
        begun, cpu = time.perf_counter(), time.process_time()
        try:
            return read(*args)
        finally:
            spent["load"], spent["load_cpu"] = time.perf_counter() - begun, time.process_time() - cpu
    def timed_ask(self, items):
        begun, cpu = time.perf_counter(), time.process_time()
        try:
            found = ask(self, items)
        finally:
            spent["ask"], spent["cpu"] = time.perf_counter() - begun, time.process_time() - cpu
        spent["account"], spent["trouble"] = found.account, found.trouble
        return found
    predictor._from_file, predicting.Predicting._ask = timed_read, timed_ask

def pytest_unconfigure(config):
    with open(os.environ["JOULES_TIMES"], "w") as file:
        json.dump(config.joules_spent, file)
"""


def module(number: int) -> str:
    """A module of the project: functions that loop, some of which call the module before."""
    lines = ["from . import core"] + ([f"from . import m{number - 1}"] if number else [])
    for place in range(FUNCTIONS):
        before = f"m{number - 1}.f{place}(n // 4)" if number and place % 3 == 0 else "0"
        lines += [
            "",
            f"def f{place}(n):",
            f'    """Function {place}."""',
            f"    values = [{place} + i for i in range(n)]",
            "    total = 0",
            "    for value in values:",
            f"        if value % {place + 2}:",
            f"            total += value * {number + 1}",
            "        else:",
            "            total -= 1",
            f"    return core.finish(total) + {before}",
        ]
    return "\n".join(lines) + "\n"


def tests(number: int, count: int) -> str:
    """A file of ``count`` tests of module ``number``."""
    lines = [f"from project import m{number}"]
    for place in range(count):
        lines += [
            "",
            f"def test_{place}():",
            f"    first = m{number}.f{place % FUNCTIONS}({12000 + 100 * place})",
            f"    second = m{number}.f{(place + 1) % FUNCTIONS}(1000)",
            "    assert first >= 0 and second >= 0",
        ]
    return "\n".join(lines) + "\n"


def make(folder: Path, count: int) -> None:
    """The whole project."""
    package, suite = folder / "project", folder / "tests"
    package.mkdir(parents=True)
    suite.mkdir()
    (package / "__init__.py").write_text("")
    (package / "core.py").write_text("LIMIT = 7\n\ndef finish(total):\n    return total % LIMIT\n")
    for number in range(MODULES):
        (package / f"m{number}.py").write_text(module(number))
        (suite / f"test_m{number}.py").write_text(tests(number, count // MODULES))
    (folder / "conftest.py").write_text("import sys\nsys.path.insert(0, __file__.rpartition('/')[0])\n")
    (folder / "pytest.ini").write_text("[pytest]\n")


#: What is changed, and the text that is put in its place.
EDITS = {
    "none": None,
    "few": ("project/m19.py", "    values = [1 + i for i in range(n)]", "    values = [1 + i for i in range(2 * n)]"),
    "all": ("project/core.py", "    return total % LIMIT", "    return sum([total % LIMIT for _ in range(50)]) // 50"),
}


class Project:
    """A folder in which pytest runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Outside the project: hooks of its own belong to what a test executes.
        self._plugins = folder.with_name("plugins")
        self._plugins.mkdir(exist_ok=True)
        (self._plugins / "_joules_timing.py").write_text(TIMING)
        self.times = self._plugins / "times.json"
        self._environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
            "PYTHONPATH": str(self._plugins),
            "PYTHONPYCACHEPREFIX": str(self._plugins / "bytecode"),
            "PYTHONHASHSEED": "0",
            "JOULES_TIMES": str(self.times),
        }
        self._last = time.time()

    def run(self, *options: str) -> tuple[float, float]:
        """Milliseconds of wall and CPU time of a run that must pass."""
        before, begun = children_seconds(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *options],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        wall, cpu = time.perf_counter() - begun, children_seconds() - before
        if done.returncode:
            raise SystemExit(f"pytest {' '.join(options)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return wall * 1e3, cpu * 1e3

    def spent(self) -> dict[str, float]:
        """What the last run said of itself, milliseconds; how many tests of each state."""
        said = json.loads(self.times.read_text("utf-8"))
        if said["trouble"] is not None:
            raise SystemExit(said["trouble"])
        counts = {name: said["account"][name] for name in ("unchanged", "changed", "unknown", "flagged")}
        return {name: 1e3 * said[name] for name in ("load", "load_cpu", "ask", "cpu")} | counts

    def edit(self, path: str, before: str, after: str) -> None:
        file = self.folder / path
        text = file.read_text("utf-8")
        if text.count(before) != 1:
            raise SystemExit(f"{path}: {before!r} is there {text.count(before)} times")
        file.write_text(text.replace(before, after), "utf-8")
        # Bytecode of a file of the same size and second would be taken for the new one's.
        self._last += 10
        os.utime(file, (self._last, self._last))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="runs of each (default 7)")
    parser.add_argument("--tests", type=int, default=1000, metavar="N", help="tests of the project (default 1000)")
    parser.add_argument("--model", metavar="MODEL", help="what predicts (default: joules train)")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        project = Project(Path(temporary) / "project")
        make(project.folder, given.tests)
        measure = ("--energy", "--energy-source=estimate")
        _, suite = project.run("-p", "no:joules")
        project.run(*measure, "--energy-rounds=2", "--energy-max-time=0.02")
        asks = "--energy-predict" if given.model is None else f"--energy-predict={given.model}"
        if given.model is None:
            subprocess.run([sys.executable, "-m", "pytest_joules.cli", "train"], cwd=project.folder, check=True)
        print(f"{given.tests} tests in {MODULES} files; a plain run of the suite takes {suite / 1e3:.1f} s of CPU time\n")
        print(
            f"{'changed':8}{'tests':>12}{'predicting':>13}{'CPU':>9}{'loaded':>9}{'in all':>9}{'alone':>9}"
            f"{'of the suite':>15}{'flagged':>10}"
        )
        met = True
        for name, edit in EDITS.items():
            if edit is not None:
                project.edit(*edit)
            figures: dict[str, list[float]] = {key: [] for key in ("ask", "cpu", "loaded", "more", "alone", "share")}
            counts: dict[str, float] = {}
            for turn in range(given.runs + 1):
                _, without = project.run(*measure, "--collect-only")
                _, cpu = project.run(*measure, "--collect-only", asks, "-p", "_joules_timing")
                said = project.spent()
                project.run("--collect-only", asks, "-p", "_joules_timing")
                alone = project.spent()
                if turn:  # the first writes bytecode and warms the disk's cache
                    counts = said
                    figures["ask"].append(said["ask"])
                    figures["cpu"].append(said["cpu"])
                    figures["loaded"].append(said["cpu"] - said["load_cpu"])
                    figures["more"].append(cpu - without)
                    figures["alone"].append(alone["ask"])
                    figures["share"].append(100 * said["cpu"] / suite)
            middle = {key: statistics.median(values) for key, values in figures.items()}
            cells = "".join(f"{middle[key]:>{width}.0f} ms" for key, width in (("ask", 10), ("cpu", 6), ("loaded", 6)))
            cells += "".join(f"{middle[key]:>6.0f} ms" for key in ("more", "alone"))
            asked = given.tests - counts["unchanged"]
            print(f"{name:8}{asked:>6.0f} asked{cells}{middle['share']:>13.1f} %{counts['flagged']:>10.0f}")
            met &= middle["loaded"] <= 0.150 * given.tests and middle["share"] <= 5
            if edit is not None:
                project.edit(edit[0], edit[2], edit[1])
    print(f"\nbars (loaded at most {0.150 * given.tests:.0f} ms, at most 5 %): {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
