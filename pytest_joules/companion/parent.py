"""A pytest like this one, in a process of its own, that runs tests when told (see :mod:`pytest_joules.companion.child`)."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

from pytest_joules.companion import child
from pytest_joules.companion.invocation import Invocation
from pytest_joules.companion.messages import PROTOCOL, CountTest, Hello, Reports, SerialisedReport, Tallies, Tally
from pytest_joules.companion.process import CompanionError, Process, World
from pytest_joules.model import Record
from pytest_joules.settings.options import read_settings

#: Seconds that the collection of tests may take.
_COLLECTING = 600.0
#: Seconds that counting a test may take, and how many more for each of its own: it is run some times, 100 to 200 × as slowly.
COUNTING_TIME, _SLOWER = 120.0, 1000.0
#: Seconds that it has for its answer when all that it waits for is over.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What a block of rounds came to."""

    record: Record | None
    """The measurement, with its samples; ``None`` where nothing was measured."""
    reports: list[SerialisedReport]
    """All reports, serialised: :func:`reports_of` makes them reports again."""
    outcome: str
    """``passed``, ``failed``, ``skipped``, ``xfailed`` or ``xpassed``."""


def reports_of(config: pytest.Config, records: Sequence[SerialisedReport]) -> list[pytest.TestReport]:
    """The reports of an answer, as they were: JSON knows no tuples, and others look for them."""
    made = []
    for record in records:
        # A copy: pytest makes its objects in the very dicts.
        report: pytest.TestReport = config.hook.pytest_report_from_serializable(config=config, data=copy.deepcopy(record))
        report.user_properties = [(name, value) for name, value in report.user_properties]
        report.sections = [(name, text) for name, text in report.sections]
        file, line, domain = report.location
        report.location = (file, line, domain)
        if isinstance(report.longrepr, list):
            report.longrepr = tuple(report.longrepr)
        made.append(report)
    return made


class Companion(Process):
    """A process that collects the tests of this run and runs them when told. Use it in a ``with`` statement.

    Args:
        config: of this run
        label: what messages call it
        directory: where it is run; where this run was, unless given
        args: its command line; this run's, unless given
        env: variables to be set; an empty text removes one
        world: it counts, in this world of its own, and measures nothing
    """

    def __init__(
        self,
        config: pytest.Config,
        *,
        label: str,
        directory: Path | None = None,
        args: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        world: World | None = None,
    ) -> None:
        self.nodeids: Sequence[str] = ()
        self.errors: Mapping[str, str] = {}
        """By node id, what could not be collected, and why."""
        self.bodies: Mapping[str, str] = {}
        """By node id, a hash of the test's own code."""
        self.idle_watts: float | None = None
        """What the machine draws when idle, where that was to be measured."""
        self._known: frozenset[str] = frozenset()
        self._how = Invocation.of(config)
        self._settings = read_settings(config)
        self._args = args
        self._caching = config.pluginmanager.hasplugin("cacheprovider")
        self._counts = world is not None
        self.cpu = ""
        """The CPU that a process sees which counts."""
        super().__init__(label, directory or self._how.directory, env or {}, world)

    def __enter__(self) -> Companion:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()
        else:
            self.interrupt()

    def __contains__(self, nodeid: str) -> bool:
        """Whether it has collected this test."""
        return nodeid in self._known

    def start(self) -> Path:
        """Start it, and wait until it has collected. Raises :class:`CompanionError`."""
        temp = self.launch()
        self.wait()
        return temp

    def launch(self) -> Path:
        """Start it: :meth:`wait` until it has collected before it is asked for anything. Raises :class:`CompanionError`."""
        if self._how.odd:
            raise CompanionError(f"{self.label}: {self._how.odd}")
        self._known = frozenset()
        temp = super().start()
        more = ["-o", f"cache_dir={temp / 'cache'}"] if self._caching else []
        if self._counts:
            more += ["-p", child.COUNTING]
        self.say(
            {
                "args": self._how.args_with(self._args, more),
                "settings": child.pack(self._settings),
                "cwd_on_path": self._how.cwd_on_path,
                "temp": str(temp),
                "parent": os.getpid(),
                "counts": self._counts,
            }
        )
        return temp

    def wait(self) -> None:
        """Until it has collected. Raises :class:`CompanionError`."""
        hello: Hello = self.hear(_COLLECTING, "while it collected the tests")
        if hello.get("protocol") != PROTOCOL:
            self.kill()
            raise CompanionError(f"{self.label}: has another version of pytest-joules")
        self.nodeids, self.errors, self.bodies = hello["nodeids"], hello["errors"], hello["bodies"]
        self.idle_watts, self.cpu = hello["idle_watts"], hello["cpu"]
        self._known = frozenset(self.nodeids)

    def measure(
        self,
        nodeid: str,
        *,
        last: bool = True,
        following: str | None = None,
        rounds: int | None = None,
        max_time: float | None = None,
        timeout: float | None = -1.0,
        cpu: int | None = None,
    ) -> BlockResult:
        """Run a block of rounds of a test.

        Args:
            last: no other block of this test follows: what only its next test does not need is torn down
            following: the test that comes next, whose wider fixtures stay up
            rounds: so many, instead of what the settings say
            max_time: seconds, no more than what the settings say
            timeout: seconds until it is given up and killed; ``None`` for never; without it, three times the time to measure and
                a minute
            cpu: the processor to begin on; where it goes from there is the system's choice

        Raises:
            CompanionError: it died or did not answer; :meth:`start` makes it anew.
        """
        if nodeid not in self:
            raise CompanionError(self.missing(nodeid))
        if timeout is not None and timeout < 0:
            timeout = 3 * (self._settings.max_time if max_time is None else max_time) + 60
        self.say(
            {
                "do": "measure",
                "nodeid": nodeid,
                "last": last,
                "next": following,
                "rounds": rounds,
                "max_time": max_time,
                "cpu": cpu,
            }
        )
        answer: Reports = self.hear(timeout, f"while it ran {nodeid}")
        reports = answer["reports"]
        # That of a test of which nothing was measured says why, and is none here.
        records = [record for report in reports if (record := report.get("joules")) is not None and record["source"] is not None]
        codes = [code for report in reports if (code := report.pop("joules_code", None)) is not None]
        if records and codes:
            records[-1]["code"] = codes[-1]
        return BlockResult(records[-1] if records else None, reports, _outcome(reports))

    def count(self, tests: Sequence[CountTest], seconds: Sequence[float], at_once: int) -> list[Tally]:
        """Count the instructions of tests that it has collected, ``at_once`` at a time.

        ``seconds``: that a plain run of each took.

        Raises:
            CompanionError: it died or did not answer.
        """
        may = [COUNTING_TIME + _SLOWER * each for each in seconds]
        self.say({"do": "count", "tests": list(tests), "seconds": may, "at_once": at_once})
        answer: Tallies = self.hear(_PATIENCE + sum(may), f"while it counted {', '.join(test['nodeid'] for test in tests)}")
        return answer["tallies"]

    def tear_down(self, nodeid: str, following: str | None = None) -> list[SerialisedReport]:
        """No other block of a test follows after all: tear down what was kept for it. The reports, if that failed.

        Raises:
            CompanionError: it died or did not answer.
        """
        self.say({"do": "down", "nodeid": nodeid, "next": following})
        answer: Reports = self.hear(_COLLECTING, f"while it tore down {nodeid}")
        return answer["reports"]

    def missing(self, nodeid: str) -> str:
        """Why it has not collected a test."""
        return f"{self.label}: {nodeid} is not there{self._because(nodeid)}"

    def _because(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        for place, text in self.errors.items():
            if place and (nodeid.startswith(place) or place == file):
                lines = text.strip().splitlines()
                return f": {place} could not be collected: {lines[-1].strip() if lines else 'no reason was given'}"
        return ""


def _outcome(reports: Sequence[SerialisedReport]) -> str:
    """A test's outcome in one word."""
    if any(report["outcome"] == "failed" for report in reports):
        return "failed"
    for report in reports:
        if "wasxfail" in report:
            return "xfailed" if report["outcome"] == "skipped" else "xpassed"
    return "skipped" if any(report["outcome"] == "skipped" for report in reports) else "passed"
