"""``--energy-count`` without ``--energy``: tests run once, as plain tests, and are counted; nothing is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_joules.files import scratch
from pytest_joules.measure.recorded_rounds import RecordedOnce
from pytest_joules.model import Record, empty_record
from pytest_joules.rounds import body, running
from pytest_joules.rounds.limits import Limits
from pytest_joules.rounds.net import net, troubles
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.plan import plan as plan_of
from pytest_joules.rounds.quiet import Deaf
from pytest_joules.session import reporters
from pytest_joules.session.body import Body
from pytest_joules.session.call_report import count_properties, send
from pytest_joules.session.collected import Collected, settings_of
from pytest_joules.session.counting import Counting
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


class RunsOnce:
    """Runs every test once, recorded, and has it counted."""

    def __init__(self, config: pytest.Config, settings: Settings, counting: Counting, tracking: Tracking) -> None:
        self.config = config
        self.settings = settings
        self.body = Body(config)
        self._counting = counting
        self._tracking = tracking

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
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._run(item, nextitem, planned)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None, plan: Plan) -> None:
        limits = Limits(item)
        recording = None if limits.seconds is not None and not limits.restart else self._tracking
        course = RecordedOnce(recording, around_runtest=body.body_hook(item) == "runtest")
        rounds = running.Rounds(item, nextitem, course, repeat=False, limits=limits)
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
        if held:
            with net(record["notes"], "counted"):
                if rounds.reports.passed:
                    limits.over()
                    self._counting.count(item, rounds.seconds, record)
                self._counting.settle(held[0], record)
            rounds.reports.add_properties(count_properties(record["instructions"]))
            rounds.reports.release()

    def _add_code(self, item: pytest.Item, record: Record, plan: Plan) -> None:
        notes: list[str] = []
        with net(notes):
            record["code"] = self._tracking.code(item, plan)
        record["code"] = record["code"] or unknown(notes[0])
        record["notes"] += notes
