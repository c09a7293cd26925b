"""What measuring costs: the wall time of ``pytest --energy`` with 5 rounds over a plain run, without counters, and where it goes.

    python benchmarks/overhead.py [--suites DIR] [--only NAME ...] [--runs N] [--effort five|defaults|quick] [--parts]

Suites: 1,000 empty tests, and the tests of toolz, jinja2 and more-itertools from their source distributions (downloaded into
``--suites`` where they are not there yet). They run in a fresh virtual environment (or in that of ``--python``) that has this
project and nothing else that pytest would load: other plugins slow both sides down and flatter the ratio. Plain and measured runs
take turns (A B A B ...); the ratio is that of the medians, of wall time (the bar) and of CPU time, which a busy machine disturbs
less. Outcomes must be equal: counts in each timed run, and once, untimed, every single test (JUnit files).

A test's body runs once to warm up and five times measured, so 6 x is what pure repetition of a long test would cost; suites of
short tests cost less because pytest's own start, collection and reporting are paid once.

``--parts`` says where the CPU time goes, by switching one part off at a time: readings (the model's CPU clock), the garbage
collector's settling, statistics, the history. ``imports`` is ``--energy`` on one empty test; bodies, fixtures and hooks again is
a run that repeats as often and does nothing else.

``--effort``: five rounds (the bar), or what a user gets who asks for nothing more (``--energy``) or for a first look
(``--energy-quick``), which have no bar but equal outcomes.

Bar: at most 4 x for each suite, outcomes equal. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from startup import PROJECT, children_seconds, environment

#: Name, version and the folder of its tests.
SDISTS = {
    "toolz": ("toolz", "1.2.0", "toolz"),
    "jinja2": ("jinja2", "3.1.6", "tests"),
    "more-itertools": ("more_itertools", "11.2.1", "tests"),
}
#: What the suites import.
NEEDED = ("markupsafe", "trio")
EMPTY = "1,000 empty tests"
OUTCOME = re.compile(r"\d+ (?:passed|failed|skipped|xfailed|xpassed|errors?|subtests passed)")
STATUS = ("failure", "error", "skipped")
MEASURE = ("--energy", "--energy-source=estimate", "--energy-rounds=5")
EFFORTS = {"five": MEASURE, "defaults": MEASURE[:2], "quick": (*MEASURE[:2], "--energy-quick")}
PARTS = ("readings", "collector", "statistics", "store")


@dataclass
class Suite:
    """Where a suite's tests are, and how to run them."""

    name: str
    python: str
    folder: Path
    tests: str
    path: str = ""
    """What PYTHONPATH must name for the suite to import what it tests."""

    def run(self, *options: str, switched_off: str = "", extra: Path | None = None) -> tuple[float, float, str]:
        """Seconds of a run, wall and CPU, and its outcomes in pytest's words."""
        import_path = os.pathsep.join(filter(None, [self.path, str(extra) if extra else ""]))
        environment = {**os.environ, "PYTHONPATH": import_path, "PYTHONHASHSEED": "0", "JOULES_OFF": switched_off}
        command = [self.python, "-m", "pytest", self.tests, *options]
        if extra:
            command += ["-p", "_joules_parts"]
        begun, before = time.perf_counter(), children_seconds()
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        seconds, cpu = time.perf_counter() - begun, children_seconds() - before
        if done.returncode not in (0, 1) or not done.stdout:
            raise SystemExit(f"{' '.join(command)} in {self.folder}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        last = done.stdout.rstrip().splitlines()[-1]
        return seconds, cpu, ", ".join(OUTCOME.findall(last))

    def outcomes(self, *options: str) -> Counter[tuple[str, ...]]:
        """Every test case of the run's JUnit file, with its status."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "junit.xml"
            self.run(*options, f"--junitxml={file}")
            cases = ElementTree.parse(file).iter("testcase")
            return Counter(
                (case.get("classname", ""), case.get("name", ""), *sorted(part.tag for part in case if part.tag in STATUS))
                for case in cases
            )


#: A plugin that switches a part of pytest-joules off. "bare" repeats as often and does nothing else.
PLUGIN = """
import os

def pytest_configure(config):
    off = os.environ.get("JOULES_OFF", "")
    from pytest_joules.measure import course, garbage, summary
    from pytest_joules.session import history, measuring
    from pytest_joules.sources import estimate
    if off == "readings":
        counters = [0.0]
        def read(self):
            counters[0] += 1e-5
            return (counters[0],)
        estimate.Estimate.read = read
    elif off == "collector":
        garbage.Collector.settle = lambda self, body_ns: None
        garbage.Collector.look = lambda self, body_ns: None
    elif off == "statistics":
        one = summary.stats.summarise([1.0, 2.0, 3.0])
        summary.stats.summarise = lambda values, uncertainty=0.0: one
    elif off == "store":
        history.History.open = lambda self: None
    elif off == "bare":
        class Bare(course.Course):
            left = 6
            def begin(self, phase): pass
            def end(self, phase): pass
            def enter(self): pass
            def leave(self): pass
            def another(self):
                self.left -= 1
                return self.left > 0
            def measurement(self, nodeid): return None
        measuring.Course = Bare
        history.History.open = lambda self: None
"""


def fetch(name: str, version: str, suites: Path) -> Path:
    """The unpacked source distribution."""
    folder = suites / f"{name}-{version}"
    if not folder.is_dir():
        suites.mkdir(parents=True, exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps", "-d", str(suites)]
        subprocess.run([*download, f"{name}=={version}"], check=True)
        archive = next(suites.glob(f"{name}-{version}.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(suites, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(suites)
    return folder


def suites(home: Path, python: str, wanted: Sequence[str], temporary: Path) -> Iterable[Suite]:
    if not wanted or "empty" in wanted:
        empty = temporary / "empty"
        empty.mkdir()
        lines = [f"def test_{number}():\n    pass\n" for number in range(1000)]
        (empty / "test_empty.py").write_text("\n".join(lines))
        (empty / "pytest.ini").write_text("[pytest]\n")
        yield Suite(EMPTY, python, empty, "test_empty.py")
    for title, (name, version, tests) in SDISTS.items():
        if not wanted or title in wanted:
            folder = fetch(name, version, home)
            source = folder / "src"
            yield Suite(title, python, folder, tests, str(source if source.is_dir() else folder))


def compare(suite: Suite, runs: int, effort: str) -> bool:
    """Plain and measured runs in turn; one line of the table; whether the bar is met."""
    measure = EFFORTS[effort]
    same = suite.outcomes() == suite.outcomes(*measure)
    plain: list[tuple[float, float]] = []
    measured: list[tuple[float, float]] = []
    counts = set()
    for _ in range(runs):
        for times, options in ((plain, ()), (measured, measure)):
            seconds, cpu, outcome = suite.run(*options)
            times.append((seconds, cpu))
            counts.add(outcome)
    same = same and len(counts) == 1
    pairs = [b / a for (a, _), (b, _) in zip(plain, measured, strict=True)]
    (wall, cpu), (wall_measured, cpu_measured) = (
        [statistics.median(column) for column in zip(*times, strict=True)] for times in (plain, measured)
    )
    ratio = wall_measured / wall
    print(
        f"{suite.name:18}{wall:8.2f} s{wall_measured:8.2f} s{ratio:6.2f} x ({min(pairs):.2f} to {max(pairs):.2f})"
        f"{cpu_measured / cpu:7.2f} x  {'same' if same else 'DIFFERENT'}: {'; '.join(sorted(counts))}",
        flush=True,
    )
    return same and (effort != "five" or ratio <= 4)


def parts(suite: Suite, runs: int, temporary: Path) -> None:
    """Where the time goes, by switching parts off."""
    plugin = temporary / "parts"
    plugin.mkdir(exist_ok=True)
    (plugin / "_joules_parts.py").write_text(PLUGIN)
    one = temporary / "one"
    one.mkdir(exist_ok=True)
    (one / "test_one.py").write_text("def test_one():\n    pass\n")
    (one / "pytest.ini").write_text("[pytest]\n")
    single = Suite("one", suite.python, one, "test_one.py")
    spent: dict[str, list[float]] = {}
    for _ in range(runs):
        spent.setdefault("plain", []).append(suite.run()[1])
        spent.setdefault("one plain", []).append(single.run()[1])
        spent.setdefault("one", []).append(single.run(*MEASURE)[1])
        for off in ("", "bare", *PARTS):
            spent.setdefault(off or "whole", []).append(suite.run(*MEASURE, switched_off=off, extra=plugin)[1])
    median = {name: statistics.median(values) for name, values in spent.items()}
    plain, whole = median["plain"], median["whole"]
    imports = median["one"] - median["one plain"]
    rows = {
        "plain run": plain,
        "imports, opening, closing": imports,
        "bodies, fixtures, hooks again": median["bare"] - plain - imports,
    }
    rows |= {name: whole - median[name] for name in PARTS}
    rows["the rest"] = whole - sum(rows.values())
    print(f"\nwhere the time of {suite.name} goes (CPU time, medians of {runs}; what is lost or won by switching a part off):")
    for name, seconds in rows.items():
        print(f"  {name:32}{seconds:7.2f} s{seconds / plain:7.2f} x the plain run")
    print(f"  {'sum':32}{whole:7.2f} s{whole / plain:7.2f} x")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    names = ("empty", *SDISTS)
    parser.add_argument("--only", nargs="+", default=(), choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--python", metavar="FILE", help="the Python of an environment that has it all")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each kind (default 5)")
    parser.add_argument("--effort", choices=EFFORTS, default="five", help="how much is measured (default five rounds)")
    parser.add_argument("--parts", action="store_true", help="also where the time goes")
    given = parser.parse_args()
    met = True
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'':18}{'plain':>10}{'measured':>10}{'ratio':>8}{'CPU time':>23}  outcomes")
        python = given.python or str(environment(Path(folder) / "environment", str(PROJECT), *NEEDED))
        found = list(suites(given.suites.resolve(), python, given.only, Path(folder)))
        for suite in found:
            met = compare(suite, given.runs, given.effort) and met
        asked = "at most 4 x, outcomes the same" if given.effort == "five" else "outcomes the same"
        print(f"bar ({asked}): {'met' if met else 'MISSED'}")
        if given.parts:
            for suite in found:
                parts(suite, given.runs, Path(folder))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
