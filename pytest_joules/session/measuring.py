"""Runs tests in rounds under the meter, in a process that runs tests: what belongs to a test goes to its course, what it comes
to goes off with its call report."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest

from pytest_joules.measure.course import Course, Progress
from pytest_joules.measure.meter import Meter
from pytest_joules.measure.other_load import OtherLoad
from pytest_joules.measure.own_share import OwnMeter, possible
from pytest_joules.measure.regions import Energy
from pytest_joules.measure.session_total import SessionTotal
from pytest_joules.model import Record
from pytest_joules.rounds import body, quiet, running
from pytest_joules.rounds.limits import Limits
from pytest_joules.rounds.net import guarded, in_short, net, troubles
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.plan import plan as plan_of
from pytest_joules.session.body import Body
from pytest_joules.session.collected import settings_of
from pytest_joules.session.measured_test import MeasuredTest
from pytest_joules.session.quiesce import quiescing
from pytest_joules.session.results import CODE, Results
from pytest_joules.session.totals import Judged, Totals
from pytest_joules.session.tracking import Tracking
from pytest_joules.session.workers import beside_others, turn_of
from pytest_joules.settings.markers import SETTINGS, UNTRACED, ItemSettings
from pytest_joules.settings.options import Settings
from pytest_joules.sources.base import Source
from pytest_joules.sources.process_tree import ProcessTree
from pytest_joules.sources.tsc import TickCounter

if TYPE_CHECKING:
    from pytest_joules.session.changed_only import ChangedOnly
    from pytest_joules.session.counting import Counting
    from pytest_joules.session.judging import Judging
    from pytest_joules.session.progress import ProgressLine
    from pytest_joules.session.reporting import Reporting
    from pytest_joules.session.tracing import Tracing


class Measuring:
    """Runs tests in rounds under the meter."""

    def __init__(self, config: pytest.Config, settings: Settings, sources: tuple[Source, ...], ticks: TickCounter) -> None:
        self.config = config
        self.settings = settings
        self.sources = sources
        self.meter = OwnMeter(sources, ticks.read) if settings.own_share and possible(sources) else Meter(sources, ticks.read)
        self.energy = Energy(self.meter)
        self.tracking = Tracking(config, settings)
        if settings.quick:
            self.tracking.recorder.close()  # nothing is recorded
        self.results = Results(config, settings, self.energy, self.tracking)
        self.body = Body(config, self.energy)
        self.cached: ChangedOnly | None = None
        """With ``--energy-changed-only``."""
        self.judging: Judging | None = None
        self.counting: Counting | None = None
        """With ``--energy-count``."""
        self.tracing: Tracing | None = None
        """With ``--energy-trace``."""
        self.foreign: OtherLoad | None = None
        self.idle_watts: float | None = None
        self.total = SessionTotal(self.meter)
        self._turns = hasattr(config, "workerinput")
        self._unusable: list[str] = []
        """What is wrong with the meter: nothing is measured."""
        self._quiesce: Callable[[], object] | None = None

    @property
    def in_rounds(self) -> bool:
        """Whether a test is being run in rounds now, of which only one report is made."""
        return self.body.course is not None

    # The session

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        if session.items and not session.config.option.collectonly and not session.testsfailed:
            with turn_of(self.config), net(self._unusable):
                self._calibrate()
        return (yield)

    def _calibrate(self) -> None:
        self.meter.calibrate()
        self._quiesce = quiescing(self.config, self.body)
        if isinstance(self.meter, OwnMeter):
            # What others use is taken off, and spoils no round; the idle watts had to be learnt.
            self.idle_watts = self.meter.idle_total
            self.total.begin()
            return
        if self.settings.watch_others or any(source.provenance == "measured" and source.domains for source in self.sources):
            self.foreign = OtherLoad(ProcessTree().seconds)
        if self.settings.measure_idle and not self.meter.estimates:
            self.idle_watts = self.meter.total(self.meter.idle_watts(2.0))
        if self.tracing is not None:
            self.tracing.begin()
        self.total.begin()

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_sessionfinish(self) -> None:
        if not self._turns:
            self.total.add(final=True)
        output: dict[str, object] | None = getattr(self.config, "workeroutput", None)
        mirrors = [said for source in self.sources if (said := source.mirrored())]
        totals = Totals(joules=self.total.joules, idle_watts=self.idle_watts, lost=self.total.lost, mirrors=mirrors)
        judged = Judged(comparisons={}, troubles=[])
        if self.judging is not None:
            judged = Judged(comparisons=self.judging.comparing.comparisons, troubles=self.judging.comparing.troubles)
        if output is not None:
            output["joules"] = totals
            output["joules_judged"] = json.dumps(judged)
            output["joules_troubles"] = in_short(troubles(self.config))
        if (reporting := self._reporting()) is not None:
            reporting.add_totals(totals)
            reporting.add_judged(judged)

    def _reporting(self) -> Reporting | None:
        """Where measurements go in this process; ``None`` in a worker, whose controller has it."""
        return cast("Reporting | None", self.config.pluginmanager.get_plugin("joules-reporting"))

    @guarded
    def pytest_unconfigure(self) -> None:
        quiet.hand_on(self.config)
        if self.tracing is not None:
            self.tracing.close()
        for source in self.sources:
            source.close()

    # A test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        notes: list[str] = []
        planned: tuple[ItemSettings, Plan] | None = None
        with net(notes):
            planned = self._planned(item)
        if planned is not None:
            note = ("energy_note", "not measured: another plugin runs it")
            item.user_properties.append(note)
            result = running.run_by_others(item, nextitem, self)
            if result is not None:
                return True
            item.user_properties.remove(note)
            with net(notes):
                course, rounds = self._rounds_of(item, nextitem, *planned)
        if notes:
            item.user_properties.append(("energy_note", f"not measured: {notes[0]}"))
        if notes or planned is None:
            return None  # it runs as without us
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if not self._run(item, course, rounds, *planned):
            hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _planned(self, item: pytest.Item) -> tuple[ItemSettings, Plan] | None:
        """How a test is to be measured; ``None`` where it is not."""
        plan = plan_of(item)
        own = item.stash.get(SETTINGS, None) or settings_of(item, self.settings)
        if own.skip or not plan.measure or self._unusable:
            self.results.not_to_be_measured(item, own, "marked skip" if own.skip else plan.why or self._unusable[0])
            return None
        return None if self.cached is not None and self.cached.stands_for(item) else (own, plan)

    def _rounds_of(
        self, item: pytest.Item, nextitem: pytest.Item | None, own: ItemSettings, plan: Plan, *, silent: bool = False
    ) -> tuple[Course, running.Rounds]:
        effort = own.effort
        limits = Limits(item)
        if not limits.restart and limits.seconds is not None:
            # It covers all rounds: leave the last one room to end, and measure the first.
            effort = effort.within(0.6 * limits.seconds, f"most of its limit of {limits.seconds:g} s for all rounds")
        repeating = plan.repeat and not (effort.rounds == 1 and effort.warmup == 0 and not self.meter.tick)
        untraced = silent or item.stash.get(UNTRACED, False)
        make = Course if self.tracing is None or untraced else partial(self.tracing.course, item.nodeid, plan, limits)
        course = make(
            meter=self.meter,
            effort=effort,
            foreign=self.foreign,
            quiesce=self._quiesce,
            progress=self._told(),
            idle_watts=self.idle_watts,
            repeatable=repeating,
            around_runtest=body.body_hook(item) == "runtest",
            recording=self._recording(item, limits),
            limit=limits.seconds if limits.restart else None,
            worth=None if self.settings.keeps or own.budget is not None else self.results.dearest,
        )
        if plan.why:
            course.summariser.notes.append(plan.why)
        if plan.random:
            course.summariser.notes.append("random examples (Hypothesis): not judged; seed or derandomize it")
        rounds = running.Rounds(
            item,
            nextitem,
            course,
            repeat=repeating,
            iterations=effort.iterations,
            silent=silent,
            strict=self.settings.repeat_failures == "fail",
            limits=limits,
        )
        if self.tracing is not None:
            self.tracing.goes_with(course, rounds)
        return course, rounds

    def _recording(self, item: pytest.Item, limits: Limits) -> Tracking | None:
        """What is to record the first round: once a process, and not where all rounds have one limit in common."""
        if self.settings.quick or CODE in item.stash or (limits.seconds is not None and not limits.restart):
            return None
        return self.tracking

    def measure_again(self, item: pytest.Item) -> Record | None:
        """One more block of rounds of a test that has run already; nobody is told of it. ``None`` where it did not pass."""
        own = item.stash[SETTINGS]
        plan = plan_of(item)
        if not plan.again:
            return None
        course, rounds = self._rounds_of(item, None, own, plan, silent=True)
        properties = list(item.user_properties)
        found: list[Record] = []

        def decide(report: pytest.TestReport) -> bool:
            if report.passed and (measurement := course.measurement(item.nodeid)) is not None:
                found.append(measurement.as_record())
            return False

        try:
            with self.body.of(course, rounds):
                rounds.run(decide)
        finally:
            with net(troubles(self.config)):
                self.tracking.end()
            item.user_properties[:] = properties
        return found[0] if found else None

    def _run(self, item: pytest.Item, course: Course, rounds: running.Rounds, own: ItemSettings, plan: Plan) -> bool:
        """Run a test in rounds; whether its reports are held back for now."""
        if self._turns:
            with net(troubles(self.config)):
                self.total.begin()
            if self.foreign is not None:
                self.foreign.known = beside_others(self.config)
        self.energy.new_test()
        test = MeasuredTest(
            self.config,
            self.results,
            self._reporting(),
            item,
            course=course,
            rounds=rounds,
            own=own,
            plan=plan,
            counting=self.counting,
            tracing=self.tracing,
        )
        try:
            with self.body.of(course, rounds):
                rounds.run(test.decide, test.down)
        except BaseException:
            test.interrupted()
            raise
        finally:
            course.close()
            with net(troubles(self.config)):
                self.tracking.end()
                self.total.add(final=self._turns)
        test.complete()
        test.keep_early()
        return test.held is not None

    def _told(self) -> Callable[[Progress], None] | None:
        """For a person who waits."""
        waiting: ProgressLine | None = self.config.pluginmanager.get_plugin("joules-progress")
        return (lambda progress: waiting.within(progress.rounds, progress.target, "round")) if waiting is not None else None
