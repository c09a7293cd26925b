"""Whether measuring changes what a test comes to: twelve suites of real packages, plain and measured, compared test by test.

    python benchmarks/outcomes.py [--suites DIR] [--only NAME ...] [--ways WAY ...] [--jobs N] [--rounds N]

The suites are those of source distributions (downloaded into ``--suites`` where they are not there yet), each put under git and
run from its folder. *Ways* to run a suite: ``plain order``, ``-n 2`` (pytest-xdist), and ``random order`` (pytest-randomly, one
seed for both sides). *Modes*: ``--energy``, ``--energy-against=HEAD``, and ``--energy-save`` followed by ``--energy-compare``.
Each is held against the run of the same way without the plugin: every test case of the JUnit files, with its status, and the
exit code. A test called ``regressed`` counts as a difference, since no code has changed.

Bar: no difference. Exit code 1 where there is one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

from overhead import STATUS, fetch
from startup import PROJECT, environment

#: Name: distribution, version, what PYTHONPATH names, the tests.
SUITES = {
    "attrs": ("attrs", "26.1.0", "src", "tests"),
    "boltons": ("boltons", "26.2.0", ".", "tests"),
    "cachetools": ("cachetools", "8.0.2", "src", "tests"),
    "humanize": ("humanize", "4.17.0", "src", "tests"),
    "itsdangerous": ("itsdangerous", "2.2.0", "src", "tests"),
    "jinja2": ("jinja2", "3.1.6", "src", "tests"),
    "markdown-it-py": ("markdown_it_py", "4.3.0", ".", "tests"),
    "marshmallow": ("marshmallow", "4.4.0", "src", "tests"),
    "mistune": ("mistune", "3.4.0", "src", "tests"),
    "parso": ("parso", "0.8.7", ".", "test"),
    "tinydb": ("tinydb", "4.9.0", ".", "tests"),
    "toolz": ("toolz", "1.2.0", ".", "toolz"),
}
#: What the suites import, and the plugins of the ways.
NEEDED = (
    *("pytest-xdist", "pytest-randomly", "hypothesis", "freezegun", "markupsafe", "trio", "cloudpickle", "simplejson", "pyyaml"),
    *("mdurl", "typing-extensions", "attrs", "pytest-timeout"),
)
WAYS = {
    "plain order": ("-p", "no:randomly"),
    "-n 2": ("-p", "no:randomly", "-n", "2"),
    "random order": ("-p", "randomly", "-p", "no:xdist"),
}
SEED = "--randomly-seed=7"
#: Of names of tests, what differs between any two runs: marshmallow has the time of collection as a parameter.
TIMES = re.compile(r"\d{2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}|\d{2}-\d{2}-\d{4}")

Cases: TypeAlias = Counter[tuple[str, ...]]


@dataclass(frozen=True)
class Run:
    """What a run came to."""

    exit: int
    cases: Cases
    said: str


def run(suite: str, folder: Path, python: str, *options: str) -> Run:
    """pytest over a suite. Raises ``SystemExit`` where it wrote no results."""
    _, _, source, tests = SUITES[suite]
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "junit.xml"
        command = [python, "-m", "pytest", "-q", "--tb=line", tests, f"--junitxml={file}", *options]
        variables = {**os.environ, "PYTHONPATH": str(folder / source), "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if not file.exists() or "INTERNALERROR" in said:
            raise SystemExit(f"{' '.join(command)} in {folder}:\n{said[-3000:]}")
        found = ElementTree.parse(file).iter("testcase")
        cases = Counter(
            (
                case.get("classname", ""),
                TIMES.sub("-", case.get("name", "")),
                *sorted(part.tag for part in case if part.tag in STATUS),
            )
            for case in found
        )
    return Run(done.returncode, cases, said)


def under_git(folder: Path) -> None:
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "as released")):
        identity = ("-c", "user.name=outcomes", "-c", "user.email=outcomes@localhost", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(folder), *identity, *command], check=True)


def compare(suite: str, python: str, home: Path, rounds: int, ways: list[str]) -> bool:
    """All ways and modes of one suite; a line each; whether none differs."""
    name, version, _, _ = SUITES[suite]
    effort = ("--energy", "--energy-source=estimate", f"--energy-rounds={rounds}", "--energy-max-time=1")
    same = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / suite
        shutil.copytree(fetch(name, version, home), folder)
        (folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n.joules/\n.hypothesis/\n*.egg-info/\n")
        under_git(folder)
        for way in ways:
            options = (*WAYS[way], *((SEED,) if way == "random order" else ()))
            plain = run(suite, folder, python, "-p", "no:joules", *options)
            modes = {
                "--energy": ("--energy",),
                "--energy-save": ("--energy-save=outcomes",),
                "--energy-compare": ("--energy-compare=outcomes",),
                "--energy-against": ("--energy-against=HEAD",),
            }
            if "-n" in options:
                del modes["--energy-against"]  # it takes no workers, and says so
            for mode, more in modes.items():
                measured = run(suite, folder, python, *effort, *options, *more)
                gone, come = plain.cases - measured.cases, measured.cases - plain.cases
                equal = not gone and not come and plain.exit == measured.exit
                same = same and equal
                lines = [f"{suite:16}{way:14}{mode:18}{plain.cases.total():6} tests  {'same' if equal else 'DIFFERENT'}"]
                lines += [f"    plain:    {' '.join(case)}" for case in sorted(gone)[:10]]
                lines += [f"    measured: {' '.join(case)}" for case in sorted(come)[:10]]
                if plain.exit != measured.exit:
                    lines += [f"    exit {measured.exit}, plain {plain.exit}", *measured.said.splitlines()[-15:]]
                print("\n".join(lines), flush=True)
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", default=list(SUITES), choices=SUITES, metavar="NAME", help=", ".join(SUITES))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--python", metavar="FILE", help="the Python of an environment that has it all")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="suites at the same time (default 1)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each test (default 3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        python = given.python or str(environment(Path(name) / "environment", str(PROJECT), *NEEDED))
        home = given.suites.resolve()
        for suite in given.only:
            fetch(*SUITES[suite][:2], home)
        with ThreadPoolExecutor(given.jobs) as pool:
            results = pool.map(lambda suite: compare(suite, python, home, given.rounds, given.ways), given.only)
            met = all(list(results))
    print(f"bar (no difference): {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
