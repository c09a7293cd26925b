"""Inner test runs under ``--energy`` over counters that the inner tests move themselves: their joules are known exactly."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

# Imported before pytester notes which modules there are: otherwise every inner run would load them anew.
import scipy.stats
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite
import tabulate
from powercap import Tree, Zone, make_tree

import pytest_joules.cli.doctor
import pytest_joules.judge.evidence
import pytest_joules.report.csv_file
import pytest_joules.report.json_file
import pytest_joules.report.terminal
import pytest_joules.session.baselines
import pytest_joules.session.judging
import pytest_joules.session.start
import pytest_joules.sources.estimate
import pytest_joules.store

assert sqlalchemy.dialects and scipy.stats and tabulate and pytest_joules

#: ``draw`` lets a counter run on, as the processor would.
COUNTER = """
import os

FILES = {files!r}

def draw(microjoules, zone="package-0"):
    path, span = FILES[zone]
    with open(path) as file:
        value = int(file.read())
    data = b"%-24d\\n" % ((value + microjoules) % span)
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, data, 0)
    os.close(descriptor)
"""

#: A source of known watts that ticks once a millisecond, for what needs counters that run by themselves.
TICKING = """
import time
from pytest_joules.sources.base import Domain, Source

class Wall(Source):
    name, rank = "wall", 200
    def open(self):
        self.domains, self.tick, self.why = (Domain("plug", counts=True),), 0.001, "20 W at all times"
    def read(self):
        return (time.perf_counter_ns() // 1_000_000 * 20_000,)
    def joules(self, before, after, seconds):
        return ((after[0] - before[0]) / 1e6,)

def pytest_joules_sources(config):
    return [Wall()]
"""

_INI = """
[pytest]
addopts = -p no:randomly -p no:asyncio -p no:anyio -p no:rerunfailures -p no:timeout -p no:hypothesispytest
"""


@lru_cache(maxsize=1)
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(resources.files("pytest_joules.data").joinpath("report.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def sentences(lines: Sequence[str]) -> list[str]:
    """Lines of a terminal without the breaks inside sentences: what goes on there is indented."""
    whole: list[str] = []
    for line in lines:
        if whole and line.startswith("  ") and line.strip():
            whole[-1] += f" {line.strip()}"
        else:
            whole.append(line)
    return whole


class Inner:
    """A folder with a powercap tree, a conftest and test files, and the runs of pytest in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path: Path = pytester.path
        self.powercap = self.path / ".powercap"  # hidden: not collected
        self.tree: Tree
        self._sound = ""
        self.counters(["package-0"])
        self.conftest()
        self.ini()

    def counters(self, zones: Mapping[str, Sequence[Zone | str]] | Sequence[Zone | str]) -> None:
        """Another tree in the place of the one there is."""
        if self.powercap.exists():
            self.powercap = self.path / f"{self.powercap.name}2"
        self.tree = make_tree(self.powercap, zones, layout="flat")
        files = {key.rpartition("/")[2]: (str(self.tree.path(key)), zone.range or 2**62) for key, zone in self.tree.zones.items()}
        (self.path / "counter.py").write_text(COUNTER.format(files=files))

    def conftest(self, more: str = "", *, shared: bool = False) -> None:
        """``shared``: others use the machine, half of what is used."""
        (self.path / "conftest.py").write_text(f"{'import quiet; quiet.share = 0.5' if shared else ''}\n{more}")

    def ini(self, *lines: str) -> None:
        (self.path / "pytest.ini").write_text(_INI + "\n".join(lines) + "\n")

    def file(self, **files: str) -> None:
        """Test files; each may ``draw``."""
        for name, text in files.items():
            (self.path / f"{name}.py").write_text("import os\nimport pytest\nfrom counter import draw\n" + text)

    def run(self, *args: str, energy: bool = True, subprocess: bool = False) -> pytest.RunResult:
        hidden = {path.stem for path in self.path.iterdir() if path.is_dir() or path.suffix == ".py"} & sys.stdlib_module_names
        assert not hidden, f"{hidden} would hide the standard library's, on some Python"
        asked = ["--energy", f"--energy-powercap={self.powercap}", "--energy-json=report.json"] if energy else []
        if subprocess:
            result = self.pytester.runpytest_subprocess(*asked, *args)
        else:
            result = self.pytester.runpytest_inprocess(*asked, *args, no_reraise_ctrlc=True)
        said = result.stdout.str() + result.stderr.str()
        assert "Traceback" not in said and "INTERNALERROR" not in said
        return result

    def refused(self, *args: str, says: Sequence[str], **options: bool) -> None:
        """The run ends with a usage error, said once, that has all of these words; nothing is run or written."""
        result = self.run(*args, **options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        errors = [line for line in (*result.outlines, *result.errlines) if line.startswith("ERROR")]
        assert len(errors) == 1, errors
        for words in says:
            assert words in errors[0]
        assert "passed" not in result.stdout.str()
        assert not (self.path / "report.json").exists()

    def report(self) -> dict:
        text = (self.path / "report.json").read_text("utf-8")
        record = json.loads(text)
        if text != self._sound:  # one report is asked for several times
            validator().validate(record)
            self._sound = text
        return record

    def tests(self) -> dict:
        """The report's tests by the last part of their node id."""
        tests = self.report()["tests"]
        named = {test["nodeid"].partition("::")[2]: test for test in tests}
        assert len(named) == len(tests)
        return named

    def median(self, name: str) -> float:
        return self.tests()[name]["energy"]["median"]

    def junit(self, path: str = "junit.xml") -> dict:
        """Its test cases by name."""
        return {case.get("name"): case for case in ET.parse(self.path / path).getroot().iter("testcase")}

    def history(self, path: str = ".pytest_cache/d/joules/history.db") -> list:
        """What was kept, in order: node id, outcome, median joules."""
        with closing(sqlite3.connect(self.path / path)) as connection:
            return connection.execute(
                "SELECT nodeid, outcome, energy_median FROM measurements "
                "JOIN tests ON tests.id = test_id ORDER BY measurements.id"
            ).fetchall()


#: Makes a project in the folder of an inner run.
Make = Callable[[Inner], object]


@pytest.fixture(scope="session")
def _kept() -> dict[Make, tuple[Path, Tree]]:
    """Projects that many tests begin with: a copy of the folder of each, and its counters."""
    return {}


@pytest.fixture
def begin(_kept: dict[Make, tuple[Path, Tree]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Inner, Make], None]:
    """Begin as ``make`` leaves the folder: it runs for the first test that asks, and others have a copy of what it made.

    Their counters are the first one's: by their paths, which are in each test's code, what was measured is known again.
    """

    def begin(inner: Inner, make: Make) -> None:
        if make in _kept:
            folder, tree = _kept[make]
            shutil.copytree(folder, inner.path, dirs_exist_ok=True, symlinks=True)
            inner.tree, inner.powercap = tree, folder.with_name("powercap")
            return
        kept = tmp_path_factory.mktemp("kept")
        inner.powercap = kept / "powercap"
        inner.counters(["package-0"])
        make(inner)
        # Not the bytecode, which knows the paths of this folder.
        leave = shutil.ignore_patterns("__pycache__", ".powercap")
        shutil.copytree(inner.path, kept / "project", symlinks=True, ignore=leave)
        _kept[make] = (kept / "project", inner.tree)

    return begin


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    monkeypatch.setenv("PYTEST_PLUGINS", f"{os.environ['PYTEST_PLUGINS']},quiet")
    # Rounds that are measured again are spread over some seconds, for what others do meanwhile: that is known here.
    monkeypatch.setattr(pytest_joules.session.judging, "_APART", 0.0)
    return Inner(pytester)
