"""One test that runs in rounds: what is decided of it when its call is known to be the last one, and when it is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_joules.measure.course import Course
from pytest_joules.model import Record
from pytest_joules.rounds.limits import Limits
from pytest_joules.rounds.net import net, troubles
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.running import Rounds
from pytest_joules.session.call_report import count_properties, fail_if_predicted
from pytest_joules.session.results import Results
from pytest_joules.session.workers import reported_by_worker
from pytest_joules.settings.markers import ItemSettings

if TYPE_CHECKING:
    from pytest_joules.session.counting import Counting
    from pytest_joules.session.reporting import Reporting
    from pytest_joules.session.tracing import Tracing


class MeasuredTest:
    """Given to :class:`pytest_joules.rounds.running.Rounds`, which calls it."""

    def __init__(
        self,
        config: pytest.Config,
        results: Results,
        reporting: Reporting | None,
        item: pytest.Item,
        *,
        course: Course,
        rounds: Rounds,
        own: ItemSettings,
        plan: Plan,
        counting: Counting | None,
        tracing: Tracing | None,
    ) -> None:
        """``reporting``: where measurements go in this process; ``None`` in a worker, whose controller has it."""
        self._counting = counting
        self._tracing = tracing
        self.held: Record | None = None
        """The test looks dearer than before: it is reported when it was measured again."""
        self._waits: pytest.TestReport | None = None
        """Its call report, where the test is reported when it was counted, or its account is made."""
        self._record: Record | None = None
        self._decided = False
        self._config = config
        self._results = results
        self._reporting = reporting
        self._item = item
        self._course = course
        self._rounds = rounds
        self._own = own
        self._plan = plan

    def decide(self, report: pytest.TestReport) -> bool:
        """What the call report comes to; whether the reports are held back."""
        self._decided = True
        if report.skipped:
            return False
        if self._rounds.expected_failure:
            note = ("energy_note", "not measured: marked xfail")
            self._item.user_properties.append(note)
            report.user_properties.append(note)
            return False
        notes: list[str] = []
        with net(notes):
            self._record = self._results.decide(self._item, report, self._course, self._rounds, own=self._own, plan=self._plan)
            self._hold_suspect(report)
        if notes:
            troubles(self._config).extend(notes)
            self._results.not_recorded(report, notes[0])
        if (self._counting is not None or self._course.complete) and self._record is not None and report.passed:
            self._waits = report
        if self.held is None:
            fail_if_predicted(self._item, report)
        return self.held is not None or self._waits is not None

    def complete(self) -> None:
        """When it is down: have its account made and its instructions counted, and it reported unless it is a suspect."""
        report, record = self._waits, self._record
        if report is None or record is None:
            return
        if self._tracing is not None:
            Limits(self._item).over()
            with net(record["notes"], "accounted for"):
                self._tracing.account(self._course, record)
        if self._counting is not None:
            self._count(self._counting, report, record)
        if self.held is None:
            self._rounds.reports.release()

    def _count(self, counting: Counting, report: pytest.TestReport, record: Record) -> None:
        with net(record["notes"], "counted"):
            if self._rounds.reports.passed:
                from pytest_joules.session.counting import Waiting

                Limits(self._item).over()
                seconds, duration = self._rounds.seconds, record["duration"]
                body = duration["median"] * record["iterations"] if duration is not None else seconds
                counting.count([Waiting(self._item, seconds, body, record)])
        self._rounds.reports.add_properties(count_properties(record["instructions"]))
        if self.held is None:
            with net(record["notes"], "counted"):
                counting.settle(report, record)

    def _hold_suspect(self, report: pytest.TestReport) -> None:
        judging, record, item = self._results.judging, self._record, self._item
        if judging is None or record is None or not report.passed or not judging.suspects(record, random=self._plan.random):
            return

        def release() -> None:
            if self._counting is not None:
                self._counting.settle(report, record)
            fail_if_predicted(item, report)
            with reported_by_worker(item):
                item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                self._rounds.reports.release()
                item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

        judging.hold(report, record, release)
        self.held = record

    def down(self, report: pytest.TestReport) -> None:
        """The test's own fixtures are down."""
        if self._record is not None:
            with net(self._record["notes"]):
                self._results.add_code(self._item, report, self._record, self._plan, away=self._reporting is None)

    def interrupted(self) -> None:
        """What was measured until now is reported all the same."""
        if self._decided or self._reporting is None:
            return
        if (measurement := self._course.measurement(self._item.nodeid)) is not None:
            measurement.notes.append("interrupted")
            self._reporting.add_interrupted(measurement.as_record())

    def keep_early(self) -> None:
        """What is held back is kept at once."""
        if self.held is not None and self._reporting is not None:
            with net(troubles(self._config)):
                self._reporting.keep_early(self.held, "passed" if self._rounds.reports.passed else "error")
