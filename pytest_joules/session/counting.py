"""Has the instructions of each test counted after it has run here, and judges them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_joules.code.inventory import OnDisk
from pytest_joules.companion.forks import MOST
from pytest_joules.count.choose import choose
from pytest_joules.count.counter import NoCounter
from pytest_joules.count.identity import differences, elsewhere
from pytest_joules.judge import instructions as judge
from pytest_joules.judge.more_work import most_run, where
from pytest_joules.model import Code, CountComparisonRecord, CountRecord, Record
from pytest_joules.rounds.net import net
from pytest_joules.session.call_report import fail_counted, hold_to_count_budget
from pytest_joules.session.counting_process import CountingProcess, Wanted
from pytest_joules.settings.markers import SETTINGS
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from pytest_joules.code.project import Project
    from pytest_joules.judge.comparing import OtherSide
    from pytest_joules.session.reporting import Reporting
    from pytest_joules.session.tracking import Tracking


class Waiting(NamedTuple):
    """A test that is to be counted."""

    item: pytest.Item
    seconds: float
    """That it took here, with setup and teardown."""
    body: float
    """That its body did."""
    record: Record


class Counting:
    """Beside the tests of this process."""

    def __init__(
        self, config: pytest.Config, settings: Settings, other: OtherSide | None, reporting: Reporting, project: Project
    ) -> None:
        """``other``: what tests are compared with; ``project``: what they are of."""
        self.config = config
        self.settings = settings
        self._other = other
        self._reporting = reporting
        self._project = project
        self._texts = OnDisk(project.file)
        self._first: CountingProcess | None = None
        self._second: CountingProcess | None = None
        self._why = ""
        """Why nothing is counted at all."""
        self._differs: Sequence[str] | None = None
        """What else decides counts and is not as in the baseline, once that is known."""
        self._executed: dict[str, Mapping[str, str]] = {}
        self._at_once = MOST

    # The session

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        if session.items and not session.config.option.collectonly and not session.testsfailed:
            with net(self._reporting.messages.troubles, "counted"):
                self._launch()
        try:
            return (yield)
        finally:
            for process in (self._first, self._second):
                if process is not None:
                    process.end()
            why = self._why or (self._first.why if self._first is not None else "")
            if why:
                self._reporting.messages.troubles.append(f"instructions are not counted: {why}")

    def _launch(self) -> None:
        try:
            counter = choose(self.settings.count or "auto")
        except NoCounter as error:
            self._why = str(error)
            return
        self._first = CountingProcess(self.config, "the process that counts", counter)
        self._second = CountingProcess(self.config, "the second process that counts", counter, layout=1)
        self._first.launch()

    def _ready(self) -> CountingProcess | None:
        """The process that counts, where it does."""
        first = self._first
        if first is None or not first.ready():
            return None
        if self._differs is None:
            here = self._reporting.report.session["counting"] = first.identity
            self._differs = []
            if self._other is not None and self._other.counting is not None:
                self._differs = differences(self._other.counting, here)
        return first

    # Tests

    def is_as_before(self, item: pytest.Item, tracking: Tracking) -> bool:
        """Whether the baseline has the instructions of this very code, counted as they would be now."""
        if self._ready() is None or self._other is None or self._differs:
            return False
        before = self._other.tests.get(item.nodeid)
        if before is None or before.instructions is None:
            return False
        code: Code = {"fingerprint": before.fingerprint, "functions": dict(before.functions), "unknown": []}
        return tracking.executed.is_unchanged(item, code)

    def count(self, tests: Sequence[Waiting], at_once: int = 1) -> None:
        """Count tests that have passed here and are down, ``at_once`` at a time, and judge them: each record gets what its
        test's count comes to."""
        for test in tests:
            if test.record["code"] is not None:
                self._executed[test.item.nodeid] = test.record["code"].get("functions", {})
        process = self._ready()
        if process is None or not tests:
            return
        asked = [self._asked(test) for test in tests]
        counts = process.count(asked, min(at_once, self._at_once))
        for number, test in enumerate(tests):
            if isinstance(counts[number], str) and len(tests) > 1 and not process.why:
                # Perhaps one was in the way of another.
                (counts[number],) = process.count(asked[number : number + 1])
                if not isinstance(counts[number], str):
                    self._at_once = 1
            self._take(test, counts[number])

    def _asked(self, test: Waiting) -> Wanted:
        before = self._other.tests.get(test.item.nodeid) if self._other is not None else None
        known = before.instructions if before is not None else None
        return Wanted(test.item.nodeid, test.seconds, test.body, known["warm"] if known is not None else 0)

    def _take(self, test: Waiting, counted: CountRecord | str) -> None:
        item, record = test.item, test.record
        if isinstance(counted, str):
            record["notes"].append(f"not counted: {counted}")
            return
        record["instructions"] = counted
        if record["code"] is not None:
            counted["ran"] = most_run(record["code"].get("counts", {}))
        own = item.stash[SETTINGS]
        if own.count_budget is not None:
            counted["budget"] = hold_to_count_budget(counted, own.count_budget)
        comparison = self._compared(item.nodeid, counted)
        if comparison is not None and comparison["verdict"] == "regressed" and not self.settings.update:
            comparison = self._confirmed(test, comparison)
            if comparison["verdict"] == "regressed":
                comparison["changed"], comparison["where"] = self._where(item.nodeid, record, counted)
        counted["comparison"] = comparison

    def _compared(self, nodeid: str, now: CountRecord) -> CountComparisonRecord | None:
        """The verdict, where the baseline has this test."""
        if self._other is None or nodeid not in self._other.tests:
            return None
        return judge.compare(
            self._other.tests[nodeid].instructions,
            now,
            baseline=self._other.name,
            threshold=self.settings.count_threshold,
            differs=self._differs or (),
            elsewhere=elsewhere(self._other.counting, self._reporting.report.session["counting"]),
        )

    def _confirmed(self, test: Waiting, comparison: CountComparisonRecord) -> CountComparisonRecord:
        """A test that looks dearer is counted in a second process before anybody is told."""
        assert self._second is not None
        if not self._second.running:
            self._second.launch()
        (again,) = self._second.count([self._asked(test)])
        if isinstance(again, str):
            return judge.not_confirmed(comparison, f"a second process could not count it: {again}")
        second = self._compared(test.item.nodeid, again)
        if second is None or second["verdict"] != "regressed":
            return judge.otherwise(comparison, again["count"])
        return {**min(comparison, second, key=lambda one: one["now"] or 0), "processes": 2}

    def _where(self, nodeid: str, record: Record, now: CountRecord) -> tuple[list[str], list[str]]:
        """The places that are changed, and in words what has more to do: functions of the project, then of the C level."""
        from pytest_joules.code.blame import blame

        assert self._other is not None
        tests, code, before = self._other.tests, record["code"], self._other.tests[nodeid].instructions
        changed = blame(
            {name: tests[name].functions for name in self._executed if name in tests},
            self._executed,
            {nodeid},
            counts={nodeid: code.get("counts", {}) if code is not None else {}},
            then=self._other.texts,
            present=self._texts,
        )
        then, places = before["ran"] if before is not None else {}, [*changed.get(nodeid, ())]
        return places, [
            *where(then, now["ran"], places, self._line),
            *judge.gone_up(before["functions"] if before is not None else {}, now["functions"]),
        ]

    def _line(self, key: str, statement: int) -> int | None:
        """Where a statement of a function is, by its number."""
        path, _, name = key.partition("::")
        file = self._project.file(path)
        layout = file.statements.get(name) if file is not None else None
        return layout.headers[statement][0] if layout is not None and statement < len(layout.headers) else None

    def settle(self, report: pytest.TestReport, record: Record) -> None:
        """Before a report is logged: what counts come to is its outcome too."""
        counted = record["instructions"]
        if counted is None or not report.passed:
            return
        joules = record["comparison"]
        if counted["comparison"] is not None and joules is not None:
            counted["comparison"] = judge.beside(counted["comparison"], joules["verdict"])
        if not self.settings.update:
            fail_counted(report, counted, self.settings.fail_on)
