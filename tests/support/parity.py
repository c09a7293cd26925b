"""Runs one suite plainly and measured, and tells all that a user or a tool sees of either."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

IDIOMS = Path(__file__).parent / "idioms"

PLAIN = ()
ENERGY = ("-p", "pytest_joules.plugin", "--energy")
THREE = (*ENERGY, "--energy-rounds=3", "--energy-warmup=0")
FIVE = (*ENERGY, "--energy-rounds=5", "--energy-warmup=2")

#: Sees every report, warning and end of a test as a plugin does.
RECORDER = """
import json
from pathlib import Path

def pytest_addoption(parser):
    parser.addoption("--record")

def pytest_configure(config):
    if config.getoption("--record"):
        config.pluginmanager.register(Recorder(Path(config.getoption("--record"))))

class Recorder:
    def __init__(self, path):
        self.path, self.seen, self.warned = path, [], []

    def pytest_runtest_logstart(self, nodeid):
        self.seen.append([nodeid, "start"])

    def pytest_runtest_logfinish(self, nodeid):
        self.seen.append([nodeid, "finish"])

    def pytest_runtest_logreport(self, report):
        text = report.longreprtext
        if "def from_call" in text or "CallInfo.from_call" in text:
            text = text.rpartition("_ _ _")[2]  # a hook failed: the frames above it are those of who called it
        properties = [entry for entry in report.user_properties if not entry[0].startswith("energy_")]
        self.seen.append([report.nodeid, report.when, report.outcome, getattr(report, "wasxfail", None),
            text, report.sections, properties])

    def pytest_warning_recorded(self, warning_message, when, nodeid):
        self.warned.append([nodeid, when, warning_message.category.__name__, str(warning_message.message)])

    def pytest_sessionfinish(self, exitstatus):
        self.path.write_text(json.dumps({"seen": self.seen, "warned": self.warned, "exit": int(exitstatus)}))
"""


@dataclass
class Run:
    """What one run came to, without what differs from run to run (times, addresses, numbered directories)."""

    exit: int
    seen: dict[str, list[list[object]]]
    """By file: what the recorder saw of its tests."""
    warned: dict[str, list[list[object]]]
    junit: dict[str, list[tuple[object, ...]]]
    suite: list[tuple[str, str]]
    """Counts and properties of the JUnit file's suite."""
    summary: list[str]
    """Result letters, failures and the short summary, as printed."""
    output: str


def run(pytester: pytest.Pytester, *args: str, subprocess: bool = True) -> Run:
    """pytest with ``args`` in ``pytester``'s directory."""
    (pytester.path / "recorder.py").write_text(RECORDER)
    record, junit = pytester.path / "record.json", pytester.path / "junit.xml"
    start = pytester.runpytest_subprocess if subprocess else pytester.runpytest_inprocess
    # --basetemp by hand: pytester's own would be emptied under the run's feet.
    result = start("-p", "recorder", f"--record={record}", f"--junitxml={junit}", "-rA", "-o", "junit_logging=all", *args)
    # Two runs that are compared may have been made for two tests.
    seen = json.loads(record.read_text().replace(str(pytester.path), "/where"))
    suite = ElementTree.fromstring(junit.read_text("utf-8").replace(str(pytester.path), "/where"))[0]
    output = _plain(result.stdout.str().replace(str(pytester.path), "/where"))
    return Run(
        exit=int(result.ret),
        seen=_by_file(seen["seen"]),
        warned=_by_file(seen["warned"]),
        junit=_cases(suite),
        suite=[(name, suite.get(name, "")) for name in ("tests", "failures", "errors", "skipped")]
        # Hypothesis' statistics hold times.
        + [
            (each.get("name", ""), each.get("value", "") if "statistics" not in each.get("name", "") else "…")
            for each in suite.iterfind("properties/property")
        ],
        summary=_summary(output),
        output=output,
    )


def copy_idioms(pytester: pytest.Pytester, folder: str) -> None:
    """Put a folder of idioms where pytest collects them."""
    for path in (IDIOMS / folder).iterdir():
        if path.name.startswith("idiom_"):
            name = path.name.removeprefix("idiom_")
            shutil.copy(path, pytester.path / (name if name == "conftest.py" else f"test_{name}"))


def files(folder: str) -> list[str]:
    """The files of tests in it, by the names they are copied to."""
    return sorted(
        f"test_{path.name.removeprefix('idiom_')}" for path in (IDIOMS / folder).glob("idiom_*") if "conftest" not in path.name
    )


def _plain(text: str) -> str:
    text = re.sub(r"0x[0-9a-f]+|\d+\.\d+s|\d+ bytes|pid=\d+|Thread-\d+", "…", text)
    text = text.replace("doctest_namespace, energy, ", "doctest_namespace, ")  # the fixtures there are
    text = re.sub(r"nextitem = <?[\w ]+>?", "nextitem", text)
    # The first and the last round's directory differ in their number, runs in their parent's.
    text = re.sub(r"pytest-\d+/|basetemp\d*/", "", text)
    return re.sub(r"(test_\w+?)\d+(?=['\"/])", r"\1N", text)


def _by_file(entries: list[list[object]]) -> dict[str, list[list[object]]]:
    found: dict[str, list[list[object]]] = {}
    for entry in entries:
        plain = json.loads(_plain(json.dumps(entry)))
        found.setdefault(str(entry[0]).partition("::")[0], []).append(plain)
    return found


def _cases(suite: ElementTree.Element) -> dict[str, list[tuple[object, ...]]]:
    found: dict[str, list[tuple[object, ...]]] = {}
    for case in suite.iterfind("testcase"):
        attributes = {name: value for name, value in case.attrib.items() if name != "time"}
        properties = [
            (each.get("name"), each.get("value"))
            for each in case.iterfind("properties/property")
            if not str(each.get("name")).startswith("energy_")
        ]
        children = [
            (child.tag, _plain(child.get("message") or ""), _plain(child.text or ""))
            for child in case
            if child.tag != "properties"
        ]
        found.setdefault(case.get("classname", "").split(".")[0], []).append((attributes, properties, children))
    return found


def _summary(output: str) -> list[str]:
    """The lines after the header, without the plugin's own section."""
    lines: list[str] = []
    own = False
    for line in re.sub(r".*?^(?=collected )", "", output, count=1, flags=re.DOTALL | re.MULTILINE).splitlines():
        if re.fullmatch(r"=+ energy =+", line):
            own = True
        elif line.startswith("==="):
            own = False
        if not own:
            # The rulers are as long as the times in them leave room for.
            lines.append(re.sub(r"={2,}|-{2,}|_{2,}", "=", line))
    return lines
