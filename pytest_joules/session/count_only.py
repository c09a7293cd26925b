"""``--energy-count`` without ``--energy``: tests run once, as plain tests, and are counted; nothing is measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

from pytest_joules.companion.forks import MOST
from pytest_joules.files import scratch
from pytest_joules.measure.recorded_rounds import RecordedOnce
from pytest_joules.model import Record, empty_record
from pytest_joules.rounds import body, running
from pytest_joules.rounds.limits import Limits
from pytest_joules.rounds.net import net, troubles
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.plan import plan as plan_of
from pytest_joules.rounds.quiet import Deaf, logs_live
from pytest_joules.session import reporters
from pytest_joules.session.body import Body
from pytest_joules.session.call_report import count_properties, send
from pytest_joules.session.collected import Collected, settings_of
from pytest_joules.session.counting import Counting, Waiting
from pytest_joules.session.executed import unknown
from pytest_joules.session.stopping import Stopping
from pytest_joules.session.tracking import Tracking
from pytest_joules.settings.markers import SETTINGS
from pytest_joules.settings.options import Settings, read_settings
from pytest_joules.sources.tsc import open_counter

if TYPE_CHECKING:
    from pytest_joules.judge.comparing import OtherSide


def start_alone(config: pytest.Config) -> None:
    """Begin to count. Raises ``pytest.UsageError`` for settings that cannot be fulfilled."""
    settings = read_settings(config)
    if hasattr(config, "workerinput"):
        return  # its controller says that nothing is counted
    if settings.changed_only and settings.compare is None:
        raise pytest.UsageError(
            "--energy-changed-only with --energy-count needs --energy-compare: what tests executed is known from the baseline"
        )
    manager = config.pluginmanager
    scratch.sweep()
    manager.register(Stopping(config), "joules-stopping")
    controller = getattr(config.option, "dist", "no") != "no" and not config.option.collectonly
    reporting = reporters.register(config, settings, [], open_counter(), [], controller=controller)
    if controller:
        reporting.messages.troubles.append(WORKERS)
        return
    other: OtherSide | None = None
    if settings.compare is not None:
        from pytest_joules.session.baselines import baseline_side

        other = reporting.other = baseline_side(config, settings, [], None)
    tracking = Tracking(config, settings)
    tracking.recorder.bound.free = _RECORDING
    counting = Counting(config, settings, other, reporting, tracking.project)
    manager.register(Collected(config, settings, other), "joules-collected")
    manager.register(counting, "joules-counting")
    manager.register(Deaf(), "joules-deaf")
    manager.register(tracking, "joules-tracking")
    once = RunsOnce(config, settings, counting, tracking)
    manager.register(once.body, "joules-body")
    manager.register(once, "joules-once")
    if settings.predict is not None:
        from pytest_joules.session.predicting import install

        install(config, settings, None, None, reporting)


#: Said of a run whose tests are spread over workers.
WORKERS = "instructions are not counted with -n: they are counted one test after another: leave -n out, or add -n0"


#: Seconds that recording a test may always add to it: much less than what counting it takes, and it says what ran how often.
_RECORDING = 0.1
#: Seconds of tests that wait for their counts while others run, at most: nobody is to wait long for the first result.
_WAIT = 0.5
#: Options with which each test is reported before the next one begins.
_ONE_BY_ONE = ("maxfail", "usepdb", "stepwise")


@dataclass(frozen=True, slots=True)
class _Ran:
    """A test that has run, and whose reports are held back."""

    item: pytest.Item
    rounds: running.Rounds
    course: RecordedOnce
    record: Record
    call: pytest.TestReport | None
    """Where it is to be counted."""

    @property
    def counts(self) -> bool:
        return self.call is not None and self.rounds.reports.passed

    def waiting(self) -> Waiting:
        return Waiting(self.item, self.rounds.seconds, self.course.seconds, self.record)


class RunsOnce:
    """Runs every test once, recorded, and has it counted.

    Counting takes a hundred times as long as running, so several are counted at a time: a few tests run, one after another, then
    they are counted while none runs here, then they are reported. None is counted before it has run here, nor while another does.
    """

    def __init__(self, config: pytest.Config, settings: Settings, counting: Counting, tracking: Tracking) -> None:
        self.config = config
        self.settings = settings
        self.body = Body(config)
        self._counting = counting
        self._tracking = tracking
        self._at_once = _at_once(config)
        self._ran: list[_Ran] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            self._report(counted=False)  # of a run that was stopped

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Another plugin runs a test: those before it are reported before."""
        if self._ran:
            self._report()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        notes: list[str] = []
        planned: Plan | None = None
        with net(notes, "counted"):
            own = item.stash.get(SETTINGS, None) or settings_of(item, self.settings)
            plan = plan_of(item)
            why = "marked skip" if own.skip else "" if plan.measure else plan.why
            if not why and self.settings.changed_only and self._counting.is_as_before(item, self._tracking):
                why = "its code is that of the baseline"
            if why:
                item.user_properties.append(("energy_note", f"not counted: {why}"))
            else:
                planned = plan
        if notes or planned is None:
            return None  # it runs as without us
        if running.run_by_others(item, nextitem, self) is not None:
            return True
        if self._at_once == 1:
            _log(item, "start")
        self._run(item, nextitem, planned)
        if self._at_once == 1 or nextitem is None or sum(ran.rounds.seconds for ran in self._ran) >= _WAIT or self._full:
            self._report()
        return True

    @property
    def _full(self) -> bool:
        """Twice as many as are counted at once: some take longer."""
        return len(self._ran) >= 2 * self._at_once

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None, plan: Plan) -> None:
        limits = Limits(item)
        recording = None if limits.seconds is not None and not limits.restart else self._tracking
        course = RecordedOnce(recording, around_runtest=body.body_hook(item) == "runtest")
        rounds = running.Rounds(item, nextitem, course, repeat=False, limits=limits, hold=self._at_once > 1)
        record = empty_record(item.nodeid)
        held: list[pytest.TestReport] = []

        def decide(report: pytest.TestReport) -> bool:
            if report.passed and not rounds.expected_failure:
                held.append(report)
                send(item, report, record)
            return bool(held)

        def down(report: pytest.TestReport) -> None:
            if held:
                with net(record["notes"]):
                    self._add_code(item, record, plan)

        try:
            with self.body.of(course, rounds):
                rounds.run(decide, down)
        finally:
            with net(troubles(self.config)):
                self._tracking.end()
            limits.over()
            self._ran.append(_Ran(item, rounds, course, record, held[0] if held else None))

    def _report(self, *, counted: bool = True) -> None:
        """Have the tests that have run counted, and report them."""
        ran, self._ran = self._ran, []
        if counted:
            with net(troubles(self.config), "counted"):
                self._counting.count([test.waiting() for test in ran if test.counts], self._at_once)
        for test in ran:
            if self._at_once > 1:
                _log(test.item, "start")
            if test.call is not None:
                with net(test.record["notes"], "counted"):
                    self._counting.settle(test.call, test.record)
                test.rounds.reports.add_properties(count_properties(test.record["instructions"]))
            test.rounds.reports.release()
            _log(test.item, "finish")

    def _add_code(self, item: pytest.Item, record: Record, plan: Plan) -> None:
        notes: list[str] = []
        with net(notes):
            record["code"] = self._tracking.code(item, plan)
        record["code"] = record["code"] or unknown(notes[0])
        record["notes"] += notes


def _log(item: pytest.Item, what: Literal["start", "finish"]) -> None:
    getattr(item.ihook, f"pytest_runtest_log{what}")(nodeid=item.nodeid, location=item.location)


def _at_once(config: pytest.Config) -> int:
    """How many tests may wait for each other."""
    option = config.option
    if logs_live(config) or getattr(option, "capture", "") == "no" or any(getattr(option, name, None) for name in _ONE_BY_ONE):
        return 1
    return min(MOST, len(os.sched_getaffinity(0))) if sys.platform == "linux" else 1
