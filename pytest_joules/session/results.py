"""What a test's rounds come to: its record, which goes off with its reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_joules.measure.course import Course
from pytest_joules.measure.dearest import Dearest
from pytest_joules.measure.regions import Energy
from pytest_joules.model import LATE_NOTE, BudgetRecord, Code, Record, empty_record, measured
from pytest_joules.rounds.net import described, net, troubles
from pytest_joules.rounds.parameters import parameters
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.plan import plan as plan_of
from pytest_joules.rounds.running import ONCE, Rounds
from pytest_joules.session.call_report import hold_to_budget, properties_of, send
from pytest_joules.session.executed import unknown
from pytest_joules.session.tracking import Tracking
from pytest_joules.settings.markers import SETTINGS, ItemSettings
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from pytest_joules.session.judging import Judging

#: What a test executes, once that was recorded: what is measured of it later need not be.
CODE = pytest.StashKey[Code]()


class Results:
    """Makes the records of tests, in a process that runs them."""

    def __init__(self, config: pytest.Config, settings: Settings, energy: Energy, tracking: Tracking) -> None:
        self.config = config
        self.settings = settings
        self.judging: Judging | None = None
        self.dearest = Dearest()
        self._energy = energy
        self._tracking = tracking
        self._unjudged: dict[str, BudgetRecord] = {}
        """Budgets of tests that are not measured."""

    def not_to_be_measured(self, item: pytest.Item, own: ItemSettings, why: str) -> None:
        """Of a test that runs as without us."""
        why = f"not measured: {why}"
        item.user_properties.append(("energy_note", why))
        if own.budget is not None:
            self._unjudged[item.nodeid] = {"joules": own.budget.joules, "verdict": "cannot tell", "why": why}

    def decide(
        self, item: pytest.Item, report: pytest.TestReport, course: Course, rounds: Rounds, *, own: ItemSettings, plan: Plan
    ) -> Record | None:
        """Measure, judge, and send it off with the call report. The record, where there is a measurement."""
        if rounds.reported and not plan.why:
            course.summariser.notes.append("one round: subtests")
        if rounds.ended and course.complete:
            course.summariser.notes.append(f"tracing ended: {rounds.ended.removesuffix(f': {ONCE}')}")
        elif rounds.ended:
            course.summariser.notes.append(rounds.ended)
            report.joules_ended = True  # type: ignore[attr-defined]  # a report takes attributes; companions have no more blocks
        measurement = course.measurement(item.nodeid)
        if measurement is None:
            self._not_measured(item, report, course, rounds, own)
            return None
        cut_off = rounds.cut_off and not course.complete
        if cut_off:
            self._energy.cut_off()
        self._energy.add_to(measurement, counted=report.passed and course.measuring and not cut_off)
        if measurement.duration is not None:
            self.dearest.add(measurement.duration["median"] * measurement.iterations)
        record = measurement.as_record()
        record["parameters"] = parameters(item)
        hold_to_budget(measurement, record, report, own, random=plan.random, settings=self.settings)
        send(item, report, record)
        return record

    def _not_measured(
        self, item: pytest.Item, report: pytest.TestReport, course: Course, rounds: Rounds, own: ItemSettings
    ) -> None:
        """A test that ran, and of which no round is a sample."""
        why_not = course.why_not if course.broken is None else described(course.broken)
        why = rounds.ended or (f"subtests: {why_not}" if rounds.reported else why_not)
        record = empty_record(item.nodeid)
        record["notes"] = [why, *course.summariser.notes]
        record["parameters"] = parameters(item)
        record["scores"] = dict(self._energy.scores.values())
        if own.budget is not None:
            reason = f"not measured: {why}" if report.passed else "the test did not pass"
            record["budget"] = {"joules": own.budget.joules, "verdict": "cannot tell", "why": reason}
        report.user_properties.append(("energy_note", f"not measured: {why}"))
        send(item, report, record)

    @staticmethod
    def not_recorded(report: pytest.TestReport, why: str) -> None:
        """Of a test whose measurement could not be made."""
        report.user_properties.append(("energy_note", f"not measured: {why}"))
        if getattr(report, "joules", None) is None:
            record = empty_record(report.nodeid)
            record["notes"] = [why]
            report.joules = record  # type: ignore[attr-defined]  # as in send()

    def add_code(self, item: pytest.Item, report: pytest.TestReport, record: Record, plan: Plan, *, away: bool) -> None:
        """What the test executes, once its own fixtures are down: what they patch is none of our business.

        The call report has gone; to other processes (``away``) it goes with the teardown's.
        """
        if self.settings.quick:
            return
        notes: list[str] = []
        if CODE not in item.stash:
            with net(notes):
                item.stash[CODE] = self._tracking.code(item, plan)
            troubles(self.config).extend(notes)
            notes += self._tracking.remarks
        code = item.stash.get(CODE, None)
        record["code"] = code if code is not None else unknown(notes[0])
        record["notes"] += notes
        if self.judging is not None:
            self.judging.comparing.add_code(record)
        if away:
            report.joules_code = record["code"]  # type: ignore[attr-defined]  # a report takes attributes and xdist carries them
            report.user_properties += [(LATE_NOTE, note) for note in notes]

    # Earlier measurements

    def looks_dearer(self, record: Record) -> bool:
        """Whether an earlier measurement is dearer than what this run is compared with: then it is not to stand for the test."""
        return self.judging is not None and self.judging.comparing.looks_dearer(record)

    def from_cache(self, item: pytest.Item, report: pytest.TestReport, record: Record) -> None:
        """An earlier measurement stands for a test that has just run once: the same code's joules, so judged as usual."""
        random = plan_of(item).random
        hold_to_budget(measured(record), record, report, item.stash[SETTINGS], random=random, settings=self.settings)
        if self.judging is not None and report.passed:
            self.judging.suspects(record, random=random)
        send(item, report, record)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed and report.nodeid in self._unjudged:
            report.joules_budget = self._unjudged.pop(report.nodeid)  # type: ignore[attr-defined]  # xdist carries it
        # The JUnit file takes its properties from this report.
        if report.when == "teardown" and not any(name == "energy_joules" for name, _ in report.user_properties):
            report.user_properties.extend(properties_of(empty_record(report.nodeid)))
