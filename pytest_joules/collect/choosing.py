"""The pytest plugin inside a package's environment: fewer tests where there are too many, an end in time, and what was found.

Loaded with ``-p pytest_joules.collect.choosing``; it imports nothing but pytest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypedDict

import pytest


class Findings(TypedDict):
    """What the plugin writes, again and again while the tests run."""

    collected: int
    """Tests."""
    chosen: int
    outcomes: dict[str, int]
    """How many tests passed, failed, ..."""
    current: str | None
    """The test that runs."""
    late: bool
    """The end came before that of the tests."""
    missing_modules: list[str]
    missing_fixtures: list[str]
    imported: dict[str, str | None]
    """Where the modules that were asked for came from."""
    errors: list[str]
    """Of collecting, a line each."""


_MISSING = re.compile(r"(?:No module named|Error importing plugin|unable to import) ['\"]?([\w.]+)")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("joules-collect")
    group.addoption("--joules-collect-facts", metavar="FILE", help="where to write what was found, as JSON")
    group.addoption("--joules-collect-most", metavar="N", type=int, help="so many tests at most")
    group.addoption("--joules-collect-these", metavar="FILE", help="these tests only: a JSON list of their names")
    group.addoption("--joules-collect-pace", metavar="FILE", help="how long a fixed loop takes beside each test, as JSON")
    group.addoption("--joules-collect-modules", metavar="NAMES", default="", help="say where these modules came from")
    group.addoption(
        "--joules-collect-until", metavar="TIME", type=float, help="start no test after that time (seconds since 1970)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("joules_collect_facts"):
        config.pluginmanager.register(_Choosing(config), "joules-collect")
    if (pace := config.getoption("joules_collect_pace")) is not None:
        config.pluginmanager.register(_Pace(Path(pace)), "joules-collect-pace")


def choose(nodeids: Sequence[str], most: int) -> set[str]:
    """At most so many, always the same ones: in turn from each file, in turn from each function of it, by a hash of the name."""

    def rank(text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()

    by_file: dict[str, dict[str, list[str]]] = {}
    for nodeid in nodeids:
        file, function = nodeid.partition("::")[0], nodeid.partition("[")[0]
        by_file.setdefault(file, {}).setdefault(function, []).append(nodeid)
    queues = []
    for file in sorted(by_file, key=rank):
        functions = [sorted(by_file[file][name], key=rank) for name in sorted(by_file[file], key=rank)]
        queues.append([nodeid for group in _in_turn(functions) for nodeid in group])
    chosen: set[str] = set()
    for turn in _in_turn(queues):
        for nodeid in turn:
            if len(chosen) >= most:
                return chosen
            chosen.add(nodeid)
    return chosen


def _in_turn(lists: Sequence[Sequence[str]]) -> list[list[str]]:
    """The first of each, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [[entries[place] for entries in lists if place < len(entries)] for place in range(longest)]


class _Choosing:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._facts = Path(config.getoption("joules_collect_facts"))
        self._until: float | None = config.getoption("joules_collect_until")
        # Tests that patch time must not move the end.
        self._clock = time.time
        self._outcomes: dict[str, str] = {}
        self._missing_modules: Counter[str] = Counter()
        self._missing_fixtures: Counter[str] = Counter()
        self._errors: list[str] = []
        self._imported: dict[str, str | None] = {}
        self._collected = self._chosen = 0
        self._current: str | None = None
        self._late = False
        self._session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self._collected = len(items)
        for item in items:
            known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", None)
            if known is not None:
                self._missing_fixtures.update(set(item.fixturenames) - {"request"} - known.keys() - set(_given(item)))  # type: ignore[attr-defined]  # those that have a _fixtureinfo have it
        most = config.getoption("joules_collect_most")
        if most is not None and len(items) > most:
            chosen = choose([item.nodeid for item in items], most)
            # Not said to be deselected: the terminal would keep them all, and with tens of thousands of them each collection of
            # garbage, in every round, would look at millions of objects.
            items[:] = [item for item in items if item.nodeid in chosen]
        if (these := config.getoption("joules_collect_these")) is not None:
            wanted = set(json.loads(Path(these).read_text("utf-8")))
            items[:] = [item for item in items if item.nodeid in wanted]
        self._chosen = len(items)
        self._write()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            text = str(report.longrepr)
            self._errors.append(f"{report.nodeid}: {text.strip().splitlines()[-1] if text.strip() else ''}"[:300])
            self._missing_modules.update(set(_MISSING.findall(text)))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._current = nodeid
        self._write()

    def pytest_runtest_logfinish(self) -> None:
        if self._until is not None and self._clock() > self._until and self._session is not None:
            self._late = True
            self._session.shouldstop = "the time for this package is used up"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            worse = self._outcomes.get(report.nodeid) in ("failed", "error")
            outcome = report.outcome if report.when == "call" or report.outcome != "failed" else "error"
            self._outcomes[report.nodeid] = self._outcomes[report.nodeid] if worse else outcome
            if report.outcome == "failed":
                self._missing_modules.update(set(_MISSING.findall(str(report.longrepr)[-4000:])))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._current = None
        for name in filter(None, self._config.getoption("joules_collect_modules").split(",")):
            self._imported[name] = getattr(sys.modules.get(name), "__file__", None)
        self._write()

    def _write(self) -> None:
        findings: Findings = {
            "collected": self._collected,
            "chosen": self._chosen,
            "outcomes": dict(Counter(self._outcomes.values())),
            "current": self._current,
            "late": self._late,
            "missing_modules": list(self._missing_modules),
            "missing_fixtures": list(self._missing_fixtures),
            "imported": self._imported,
            "errors": self._errors[:20],
        }
        # Replaced as a whole: the process may be killed at any time.
        trial = self._facts.with_suffix(".tmp")
        trial.write_text(json.dumps(findings), "utf-8")
        os.replace(trial, self._facts)  # noqa: PTH105 - Path.replace does the same; tests patch pathlib more often than os


class _Pace:
    """How fast the machine is while a test runs: on a busy one a whole process is slower than the next, by up to twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = time.perf_counter
        self._seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        before = self._least()
        found = yield
        self._seconds[item.nodeid] = (before + self._least()) / 2
        return found

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps(self._seconds), "utf-8")

    def _least(self) -> float:
        found = []
        for _ in range(8):
            begun = self._clock()
            _loop()
            found.append(self._clock() - begun)
        return min(found)


def _loop() -> int:
    """What Python code mostly does: calls, dictionaries, texts, lists; less than 0.1 ms."""
    sums: dict[str, int] = {}
    pairs = []
    for number in range(150):
        key = str(number % 37)
        sums[key] = sums.get(key, 0) + number
        pairs.append((key, number))
    pairs.sort()
    return len("".join(key for key, _ in pairs))


def _given(item: pytest.Item) -> Sequence[str]:
    """Arguments that parametrisation gives."""
    spec = getattr(item, "callspec", None)
    return [] if spec is None else list(spec.params)
