"""Runs tests in rounds under the meter, in a process that runs tests: what belongs to a test goes to its course, what it comes
to goes off with its call report."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, cast

import pytest

from pytest_joules.clock import CLOCKS
from pytest_joules.measure.course import Course, Progress
from pytest_joules.measure.dearest import Dearest
from pytest_joules.measure.meter import Meter
from pytest_joules.measure.other_load import ForeignLoad
from pytest_joules.measure.regions import Energy
from pytest_joules.model import LATE_NOTE, Reading, Record, empty_record, measured
from pytest_joules.rounds import body, quiet, running
from pytest_joules.rounds.limits import Limits
from pytest_joules.rounds.net import described, guarded, in_short, net, troubles
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.plan import plan as plan_of
from pytest_joules.session.call_report import fail_if_predicted, hold_to_budget, properties_of, send
from pytest_joules.session.quiesce import _Synchronise
from pytest_joules.session.reporting import Reporting
from pytest_joules.session.tracking import Tracking, unknown
from pytest_joules.session.workers import beside_others, reported_by_worker, turn_of
from pytest_joules.settings.markers import SETTINGS, ItemSettings, item_settings
from pytest_joules.settings.options import Settings
from pytest_joules.sources.base import Source
from pytest_joules.sources.process_tree import ProcessTree
from pytest_joules.sources.tsc import TickCounter

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef

    from pytest_joules.session.changed_only import Cached
    from pytest_joules.session.judging import Judging
    from pytest_joules.session.waiting import Waiting

#: What a test executes, once that was recorded: what is measured of it later need not be.
_CODE = pytest.StashKey[Record]()


class Measuring:
    """Runs tests in rounds under the meter."""

    def __init__(self, config: pytest.Config, settings: Settings, sources: tuple[Source, ...], ticks: TickCounter) -> None:
        self.config = config
        self.settings = settings
        self.sources = sources
        self.ticks = ticks
        self.meter = Meter(sources, ticks.read)
        self.energy = Energy(self.meter)
        self.foreign: ForeignLoad | None = None
        self.idle_watts: float | None = None
        self.judging: Judging | None = None
        self.tracking = Tracking(config, settings)
        self._dearest = Dearest()
        if settings.quick:
            self.tracking.recorder.close()  # nothing is recorded
        self.cached: Cached | None = None
        if settings.changed_only:
            from pytest_joules.session.changed_only import Cached

            names = "+".join(source.name for source in sources)
            self.cached = Cached(config, settings, self.tracking, names, doubted=self._looks_dearer, arrived=self._from_cache)
        self.joules: float | None = 0.0
        """What the session drew from its first test on; of a worker, what was drawn in its turns."""
        self._turns = hasattr(config, "workerinput")
        self._mark: Reading | None = None
        self._lost = ""
        self._course: Course | None = None
        self._rounds: running.Rounds | None = None
        self._unjudged: dict[str, Record] = {}
        """Budgets of tests that are not measured."""
        self._unusable: list[str] = []
        """What is wrong with the meter: nothing is measured."""
        self._quiesce: Callable[[], object] | None = None
        if any(source.name == "nvml" for source in sources):
            from pytest_joules.sources import nvml

            config.pluginmanager.register(_Synchronise(nvml.synchronise), "joules-nvml")

    @property
    def in_rounds(self) -> bool:
        """Whether a test is being run in rounds now, of which only one report is made."""
        return self._rounds is not None

    # The session

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        # Only now all markers are there: pytest_collection_modifyitems of a conftest may add some.
        try:
            for item in session.items:
                item.stash[SETTINGS] = self._settings_of(item)
            self._refuse_nothing_in_common(session)
        except pytest.UsageError as error:
            if not self._turns:
                raise
            # A worker cannot end the run with a usage error: the controller does, see Reporting.
            self.config.workeroutput["joules_misuse"] = str(error)  # type: ignore[attr-defined]  # xdist's
            pytest.exit(str(error))

    def _refuse_nothing_in_common(self, session: pytest.Session) -> None:
        """A comparison of nothing is a mistake of whoever asked for it, and is told before anything is measured."""
        if self.judging is None or session.testsfailed or self.settings.update or self.settings.predict_only:
            return
        other = self.judging.comparing.other
        if not session.items or self.config.option.collectonly or any(item.nodeid in other.tests for item in session.items):
            return
        there = f"such as {next(iter(other.tests))}" if other.tests else "which has none"
        raise pytest.UsageError(
            f"--energy-compare: no test in common with baseline {other.name}: this run has {len(session.items)}, such as "
            f"{session.items[0].nodeid}, the baseline {len(other.tests)}, {there}. Run the tests that it has, from the same "
            "rootdir, or save a new one with --energy-save"
        )

    def _settings_of(self, item: pytest.Item) -> ItemSettings:
        own = item_settings(item, self.settings)
        if own.effort.iterations > 1 and not body.can_iterate(item):
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.energy: iterations= needs a test function; leave it out or use rounds="
            )
        return own

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        if session.items and not session.config.option.collectonly and not session.testsfailed:
            with turn_of(self.config), net(self._unusable):
                self._calibrate()
        return (yield)

    def _calibrate(self) -> None:
        self.meter.calibrate()
        hook = self.config.hook.pytest_joules_quiesce
        if hook.get_hookimpls():
            self._quiesce = self._quiesce_all
        if self.settings.watch_others or any(source.provenance == "measured" and source.domains for source in self.sources):
            self.foreign = ForeignLoad(ProcessTree().seconds)
        if self.settings.measure_idle and not self.meter.estimates:
            self.idle_watts = self.meter.total(self.meter.idle_watts(2.0))
        self._mark = self.meter.read()

    def _quiesce_all(self) -> None:
        try:
            self.config.hook.pytest_joules_quiesce(config=self.config)
        except Exception as error:
            # The test has done its work: its outcome is not to change.
            note = f"a pytest_joules_quiesce hook failed: {type(error).__name__}: {error}"
            if self._course is not None and note not in self._course.tally.notes:
                self._course.tally.notes.append(note)

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_sessionfinish(self) -> None:
        if not self._turns:
            self._account(final=True)
        output = getattr(self.config, "workeroutput", None)
        mirrors = [said for source in self.sources if (said := source.mirrored())]
        totals: Record = {"joules": self.joules, "idle_watts": self.idle_watts, "lost": self._lost, "mirrors": mirrors}
        judged: Record = {}
        if self.judging is not None:
            judged = {"comparisons": self.judging.comparing.comparisons, "troubles": self.judging.comparing.troubles}
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
        own = item.stash.get(SETTINGS, None) or self._settings_of(item)
        if own.skip or not plan.measure or self._unusable:
            why = f"not measured: {'marked skip' if own.skip else plan.why or self._unusable[0]}"
            item.user_properties.append(("energy_note", why))
            if own.budget is not None:
                self._unjudged[item.nodeid] = {"joules": own.budget.joules, "verdict": "cannot tell", "why": why}
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
        course = Course(
            self.meter,
            effort,
            foreign=self.foreign,
            quiesce=self._quiesce,
            progress=self._told(),
            idle_watts=self.idle_watts,
            repeatable=repeating,
            around_runtest=body.body_hook(item) == "runtest",
            recording=self._recording(item, limits),
            limit=limits.seconds if limits.restart else None,
            worth=None if self.settings.keeps or own.budget is not None else self._dearest,
        )
        if plan.why:
            course.tally.notes.append(plan.why)
        if plan.random:
            course.tally.notes.append("random examples (Hypothesis): not judged; seed or derandomize it")
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
        return course, rounds

    def _recording(self, item: pytest.Item, limits: Limits) -> Tracking | None:
        """What is to record the first round: once a process, and not where all rounds have one limit in common."""
        if self.settings.quick or _CODE in item.stash or (limits.seconds is not None and not limits.restart):
            return None
        return self.tracking

    def _add_code(self, item: pytest.Item, report: pytest.TestReport, record: Record, plan: Plan) -> None:
        """What the test executes, once its own fixtures are down: what they patch is none of our business.

        The call report has gone; to other processes it goes with the teardown's.
        """
        if self.settings.quick:
            return
        notes: list[str] = []
        if _CODE not in item.stash:
            with net(notes):
                item.stash[_CODE] = self.tracking.code(item, plan)
            troubles(self.config).extend(notes)
            notes += self.tracking.remarks
        code: Record | None = item.stash.get(_CODE, None)
        record["code"] = dict(code if code is not None else unknown(notes[0]))
        record["notes"] += notes
        if self.judging is not None:
            self.judging.comparing.add_code(record)
        if self._reporting() is None:
            report.joules_code = record["code"]  # type: ignore[attr-defined]  # a report takes attributes and xdist carries them
            report.user_properties += [(LATE_NOTE, note) for note in notes]

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

        self._course, self._rounds = course, rounds
        try:
            rounds.run(decide)
        finally:
            with net(troubles(self.config)):
                self.tracking.end()
            self._course = self._rounds = None
            item.user_properties[:] = properties
        return found[0] if found else None

    def _run(self, item: pytest.Item, course: Course, rounds: running.Rounds, own: ItemSettings, plan: Plan) -> bool:
        """Run a test in rounds; whether its reports are held back for now."""
        if self._turns:
            with net(troubles(self.config)):
                self._mark = self.meter.read()
            if self.foreign is not None:
                self.foreign.known = beside_others(self.config)
        self.energy.new_test()
        self._course, self._rounds = course, rounds
        decided = False
        held: Record | None = None
        record: Record | None = None

        def decide(report: pytest.TestReport) -> bool:
            nonlocal decided, held, record
            decided = True
            if not report.skipped and not rounds.expected_failure:
                notes: list[str] = []
                with net(notes):
                    record = self._decide(item, report, course, own, plan)
                    if self._suspect(item, report, rounds, plan):
                        held = record
                if notes:
                    troubles(self.config).extend(notes)
                    self._not_recorded(report, notes[0])
                if held is None:
                    fail_if_predicted(item, report)
            elif not report.skipped:
                note = ("energy_note", "not measured: marked xfail")
                item.user_properties.append(note)
                report.user_properties.append(note)
            return held is not None

        def down(report: pytest.TestReport) -> None:
            if record is not None:
                with net(record["notes"]):
                    self._add_code(item, report, record, plan)

        try:
            rounds.run(decide, down)
        except BaseException:
            # Interrupted: what was measured until now is reported all the same.
            reporting = self._reporting()
            if not decided and reporting is not None and (measurement := course.measurement(item.nodeid)) is not None:
                measurement.notes.append("interrupted")
                reporting.add_interrupted(measurement.as_record())
            raise
        finally:
            self._course = self._rounds = None
            with net(troubles(self.config)):
                self.tracking.end()
                self._account(final=self._turns)
        if held is not None and (reporting := self._reporting()) is not None:
            with net(troubles(self.config)):
                reporting.keep_early(held, "passed" if rounds.passed else "error")
        return held is not None

    @staticmethod
    def _not_recorded(report: pytest.TestReport, why: str) -> None:
        """Of a test whose measurement could not be made."""
        report.user_properties.append(("energy_note", f"not measured: {why}"))
        if getattr(report, "joules", None) is None:
            record = empty_record(report.nodeid)
            record["notes"] = [why]
            report.joules = record  # type: ignore[attr-defined]  # as in send()

    def _suspect(self, item: pytest.Item, report: pytest.TestReport, rounds: running.Rounds, plan: Plan) -> bool:
        """Whether a test looks dearer than before: then it is reported when it was measured again."""
        record: Record | None = getattr(report, "joules", None)
        if self.judging is None or record is None or not report.passed:
            return False
        if not self.judging.suspects(record, random=plan.random):
            return False

        def release() -> None:
            fail_if_predicted(item, report)
            with reported_by_worker(item):
                item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                rounds.release()
                item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

        self.judging.hold(report, record, release)
        return True

    def _decide(
        self, item: pytest.Item, report: pytest.TestReport, course: Course, own: ItemSettings, plan: Plan
    ) -> Record | None:
        """Measure, judge, and send it off with the call report. The record, where there is a measurement."""
        rounds = self._rounds
        assert rounds is not None
        if rounds.reported and not plan.why:
            course.tally.notes.append("one round: subtests")
        if rounds.ended:
            course.tally.notes.append(rounds.ended)
            report.joules_ended = True  # type: ignore[attr-defined]  # a report takes attributes; companions have no more blocks
        measurement = course.measurement(item.nodeid)
        if measurement is None:
            self._not_measured(item, report, course, own)
            return None
        if rounds.cut_off:
            self.energy.cut_off()
        self.energy.add_to(measurement, counted=report.passed and course.measuring and not rounds.cut_off)
        if measurement.duration is not None:
            self._dearest.add(measurement.duration["median"] * measurement.iterations)
        record = measurement.as_record()
        hold_to_budget(measurement, record, report, own, random=plan.random, settings=self.settings)
        send(item, report, record)
        return record

    def _not_measured(self, item: pytest.Item, report: pytest.TestReport, course: Course, own: ItemSettings) -> None:
        """A test that ran, and of which no round is a sample."""
        rounds = self._rounds
        assert rounds is not None
        why_not = course.why_not if course.broken is None else described(course.broken)
        why = rounds.ended or (f"subtests: {why_not}" if rounds.reported else why_not)
        record = empty_record(item.nodeid)
        record["notes"] = [why, *course.tally.notes]
        record["scores"] = dict(self.energy.scores)
        if own.budget is not None:
            reason = f"not measured: {why}" if report.passed else "the test did not pass"
            record["budget"] = {"joules": own.budget.joules, "verdict": "cannot tell", "why": reason}
        report.user_properties.append(("energy_note", f"not measured: {why}"))
        send(item, report, record)

    def _looks_dearer(self, record: Record) -> bool:
        """Whether an earlier measurement is dearer than what this run is compared with: then it is not to stand for the test."""
        return self.judging is not None and self.judging.comparing.looks_dearer(record)

    def _from_cache(self, item: pytest.Item, report: pytest.TestReport, record: Record) -> None:
        """An earlier measurement stands for a test that has just run once: the same code's joules, so judged as usual."""
        random = plan_of(item).random
        hold_to_budget(measured(record), record, report, item.stash[SETTINGS], random=random, settings=self.settings)
        if self.judging is not None and report.passed:
            self.judging.suspects(record, random=random)
        send(item, report, record)

    def _account(self, *, final: bool = False) -> None:
        """Add what was drawn since this was last done to the session's total, ten times a second at most.

        ``final``: the next stretch, if there is one, does not begin where this one ends.
        """
        if self._mark is None or (not final and CLOCKS.wall() - self._mark.wall < 100_000_000):
            return
        now = self.meter.read()
        if self.joules is not None:
            total = self.meter.total(self.meter.between(self._mark, now))
            if not self.meter.counts:
                self.joules = None
            elif total is not None:
                self.joules += total
            elif jumped := self.meter.jumped():
                self.joules = None  # what was drawn meanwhile is lost, however long the stretch is made
                self._lost = jumped
            elif not final:
                return  # a stretch too short for the counter: it is part of the next one
            elif now.wall - self._mark.wall > 1_000_000_000:
                self.joules = None  # the counter failed: a part is no total
        self._mark = now

    # The body

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_runtest_setup(self) -> None:
        # Fixtures may measure regions too.
        if self._course is not None:
            self.energy.new_round(measured=self._course.measuring)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: FixtureDef[object]) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            if self._rounds is not None and fixturedef.scope != "function":
                self._rounds.wider_fixture_came()

    def pytest_enter_pdb(self) -> None:
        if self._rounds is not None:
            self._rounds.stop("a debugger was entered")

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        course = self._course
        if course is None or course.around_runtest:
            return (yield)
        function = pyfuncitem.obj  # perhaps in a wrapper of a hook's
        watched = body.watched(function, course.enter, course.leave)
        if watched is None:
            return (yield from self._around(course))
        pyfuncitem.obj = watched
        try:
            return (yield)
        finally:
            if pyfuncitem.obj is watched:  # else the wrapper has taken itself off
                pyfuncitem.obj = function

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        course = self._course
        if course is None or not course.around_runtest:
            return (yield)
        watched = body.watched(item.runtest, course.enter, course.leave) if "runtest" not in vars(item) else None
        if watched is None:
            return (yield from self._around(course))
        item.runtest = watched  # type: ignore[method-assign]  # for this call only
        try:
            return (yield)
        finally:
            del item.runtest

    @staticmethod
    def _around(course: Course) -> Generator[None, object, object]:
        course.enter()
        try:
            return (yield)
        finally:
            course.leave()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._rounds is not None and not self._rounds.logging and not self._rounds.hears(report):
            raise quiet.NotHeard
        if report.when == "call" and report.passed and report.nodeid in self._unjudged:
            report.joules_budget = self._unjudged.pop(report.nodeid)  # type: ignore[attr-defined]  # xdist carries it
        # The JUnit file takes its properties from this report.
        if report.when == "teardown" and not any(name == "energy_joules" for name, _ in report.user_properties):
            report.user_properties.extend(properties_of(empty_record(report.nodeid)))

    def _told(self) -> Callable[[Progress], None] | None:
        """For a person who waits."""
        waiting: Waiting | None = self.config.pluginmanager.get_plugin("joules-waiting")
        return (lambda progress: waiting.within(progress.rounds, progress.target, "round")) if waiting is not None else None
