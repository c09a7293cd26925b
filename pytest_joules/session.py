"""A session that measures: made by ``--energy``, wires the rounds of every test to the meter and hands on what they come to.

A process that runs tests (a plain run, or a worker of pytest-xdist) has a :class:`Measuring`; one that reports (a plain run, or
the controller) has a :class:`pytest_joules.reporting.Reporting`. Between them, a measurement travels on its test's call report.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_joules import repeat
from pytest_joules.clock import CLOCKS
from pytest_joules.course import Course, Progress
from pytest_joules.foreign import ForeignLoad
from pytest_joules.meter import Meter
from pytest_joules.model import Reading, Record
from pytest_joules.regions import Energy
from pytest_joules.reporting import Reporting
from pytest_joules.settings import ItemSettings, Settings, item_settings, read_settings
from pytest_joules.sources import choose
from pytest_joules.sources.base import Source, Unavailable
from pytest_joules.sources.process_tree import ProcessTree
from pytest_joules.sources.tsc import TickCounter, open_counter
from pytest_joules.verdicts import judge_budget

if TYPE_CHECKING:
    from filelock import BaseFileLock

_SETTINGS = pytest.StashKey[ItemSettings]()

#: A worker waits no longer than this for its turn, in seconds, and then measures beside the other.
_LONGEST_WAIT = 600.0


def start(config: pytest.Config) -> None:
    """Begin to measure. Raises ``pytest.UsageError`` for settings that cannot be fulfilled."""
    from pytest_joules.plugin import add_hookspecs

    add_hookspecs(config.pluginmanager)
    settings = read_settings(config)
    worker = hasattr(config, "workerinput")
    controller = not worker and getattr(config.option, "dist", "no") != "no"
    choice = _choose(config, settings)
    ticks = open_counter()
    if not worker:
        reporting = Reporting(config, settings, choice, ticks, turns=controller)
        config.pluginmanager.register(reporting, "joules-reporting")
    if controller:
        for source in choice.sources:
            source.close()
    else:
        measuring = Measuring(config, settings, choice.sources, ticks)
        config.pluginmanager.register(measuring, "joules-measuring")
    if worker:
        config.pluginmanager.register(Turns(), "joules-turns")


def _choose(config: pytest.Config, settings: Settings) -> choose.Choice:
    try:
        candidates = choose.builtin(settings.powercap, settings.idle_watts, settings.max_watts)
        for offered in config.hook.pytest_joules_sources(config=config):
            candidates.extend(offered or ())
        return choose.choose(candidates, settings.sources)
    except Unavailable as error:
        remedy = f" To mend it: {error.remedy}" if error.remedy else ""
        raise pytest.UsageError(f"--energy-source={','.join(settings.sources)}: {error.reason}.{remedy}") from None
    except ValueError as error:
        raise pytest.UsageError(f"--energy-source={','.join(settings.sources)}: {error}") from None


class Turns:
    """Workers on one machine take turns: its counters see all of them at once."""

    def __init__(self) -> None:
        self.lock = machine_lock()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        # Outermost, so that no time limit of the test runs while it waits.
        from filelock import Timeout

        try:
            self.lock.acquire(timeout=_LONGEST_WAIT)
        except Timeout:
            return (yield)
        try:
            return (yield)
        finally:
            self.lock.release()


def machine_lock() -> BaseFileLock:
    """The lock that all measuring workers on this machine take; where another user owns its file, one of this user's own."""
    from filelock import FileLock

    folder = Path(tempfile.gettempdir())
    path = folder / "pytest-joules.lock"
    if path.exists() and not os.access(path, os.W_OK):
        path = folder / f"pytest-joules-{os.getuid() if hasattr(os, 'getuid') else 'user'}.lock"
    return FileLock(path, mode=0o666)


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
        self.joules: float | None = 0.0
        """What the session drew from its first test on."""
        self._mark: Reading | None = None
        self._course: Course | None = None
        self._rounds: repeat.Rounds | None = None
        self._said = 0
        self._quiesce: Callable[[], object] | None = None
        if any(source.name == "nvml" for source in sources):
            from pytest_joules.sources import nvml

            config.pluginmanager.register(_Synchronise(nvml.synchronise), "joules-nvml")

    # The session

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            item.stash[_SETTINGS] = item_settings(item, self.settings)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        if session.items and not session.config.option.collectonly and not session.testsfailed:
            with machine_lock().acquire(timeout=_LONGEST_WAIT) if hasattr(self.config, "workerinput") else _Nothing():
                self._calibrate()
        return (yield)

    def _calibrate(self) -> None:
        self.meter.calibrate()
        hook = self.config.hook.pytest_joules_quiesce
        if hook.get_hookimpls():
            self._quiesce = lambda: hook(config=self.config)
        if any(source.provenance == "measured" and source.domains for source in self.sources):
            self.foreign = ForeignLoad(ProcessTree().seconds)
        if self.settings.measure_idle:
            watts = self.meter.idle_watts(2.0)
            self.idle_watts = self.meter.total(watts)
        self._mark = self.meter.read()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._account(final=True)
        output = getattr(self.config, "workeroutput", None)
        totals = {"joules": self.joules if self._mark is not None else None, "idle_watts": self.idle_watts}
        if output is not None:
            output["joules"] = totals
        reporting = cast("Reporting | None", self.config.pluginmanager.get_plugin("joules-reporting"))
        if reporting is not None:
            reporting.add_totals(totals)

    def pytest_unconfigure(self) -> None:
        for source in self.sources:
            source.close()

    # A test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        plan = repeat.plan(item)
        own = item.stash.get(_SETTINGS, ItemSettings())
        if own.skip or not plan.measure:
            item.user_properties.append(("energy_note", f"not measured: {'marked skip' if own.skip else plan.why}"))
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._run(item, nextitem, own, plan)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None, own: ItemSettings, plan: repeat.Plan) -> None:
        effort = own.effort
        limit = repeat.time_limit(item)
        if limit is not None:
            # The limit covers all rounds: leave the last one room to end.
            effort = effort.within(0.6 * limit)
        repeating = plan.repeat and not (effort.rounds == 1 and effort.warmup == 0 and not self.meter.tick)
        undo = repeat.iterate(item, effort.iterations) if effort.iterations > 1 else None
        course = Course(
            self.meter,
            effort,
            foreign=self.foreign,
            quiesce=self._quiesce,
            progress=self._progress() if self.config.option.verbose > 0 else None,
            idle_watts=self.idle_watts,
            repeatable=repeating,
            around_runtest=repeat.body_hook(item) == "runtest",
        )
        if plan.why:
            course.tally.notes.append(plan.why)
        if plan.random:
            course.tally.notes.append("random examples (Hypothesis): not judged; seed or derandomize it")
        rounds = repeat.Rounds(item, nextitem, course, repeat=repeating)
        self.energy.new_test()
        self._course, self._rounds = course, rounds
        decided = False

        def decide(report: pytest.TestReport) -> None:
            nonlocal decided
            decided = True
            if not report.skipped and not rounds.expected_failure:
                self._decide(item, report, course, own, plan)

        try:
            rounds.run(decide)
        except BaseException:
            # Interrupted: what was measured until now is reported all the same.
            reporting = cast("Reporting | None", self.config.pluginmanager.get_plugin("joules-reporting"))
            if not decided and reporting is not None and (measurement := course.measurement(item.nodeid)) is not None:
                measurement.notes.append("interrupted")
                reporting.add_interrupted(measurement.as_record())
            raise
        finally:
            self._course = self._rounds = None
            if undo is not None:
                undo()
            self._account()

    def _decide(self, item: pytest.Item, report: pytest.TestReport, course: Course, own: ItemSettings, plan: repeat.Plan) -> None:
        """Measure, judge, and send it off with the call report."""
        measurement = course.measurement(item.nodeid)
        if measurement is None:
            return
        self.energy.add_to(measurement)
        record = measurement.as_record()
        if own.budget is not None and report.passed:
            verdict = judge_budget(measurement, own.budget, trust_estimates=self.settings.trust_estimates, random=plan.random)
            record["budget"] = verdict.as_record()
            if verdict.verdict == "over budget":
                report.outcome = "failed"
                report.longrepr = verdict.why
                report.sections.append(("energy budget", verdict.details))
                report.joules_breach = "budget"  # type: ignore[attr-defined]  # a report takes attributes and xdist carries them
        elif own.budget is not None:
            record["budget"] = {"joules": own.budget.joules, "verdict": "cannot tell", "why": "the test did not pass"}
        report.joules = record  # type: ignore[attr-defined]  # a report takes attributes and xdist carries them
        properties = _properties(record)
        item.user_properties.extend(properties)
        report.user_properties.extend(properties)

    def _account(self, *, final: bool = False) -> None:
        """Add what was drawn since this was last done to the session's total, ten times a second at most."""
        if not final and self._mark is not None and CLOCKS.wall() - self._mark.wall < 100_000_000:
            return
        now = self.meter.read()
        if self._mark is not None and self.joules is not None:
            seconds = (now.wall - self._mark.wall) / 1e9
            joules = [
                value
                for source, before, after in zip(self.sources, self._mark.counters, now.counters, strict=True)
                for value in source.joules(before, after, seconds)
            ]
            if not self.meter.counts:
                self.joules = None
            elif (total := self.meter.total(joules)) is not None:
                self.joules += total
            else:
                return  # a stretch too short for the counter: it is part of the next one
        self._mark = now

    # The body

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        course = self._course
        if course is None or course.around_runtest:
            return (yield)
        self.energy.new_round(measured=course.measuring)
        function = pyfuncitem.obj
        watched = repeat.watched(function, course.enter, course.leave)
        if watched is None:
            return (yield from self._around(course))
        pyfuncitem.obj = watched
        try:
            return (yield)
        finally:
            pyfuncitem.obj = function

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        course = self._course
        if course is None or not course.around_runtest:
            return (yield)
        self.energy.new_round(measured=course.measuring)
        return (yield from self._around(course))

    @staticmethod
    def _around(course: Course) -> Generator[None, object, object]:
        course.enter()
        try:
            return (yield)
        finally:
            course.leave()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._rounds is not None and not self._rounds.logging:
            self._rounds.reported = True

    # For a person who waits

    def _progress(self) -> Any:  # noqa: ANN401 - a callable or nothing
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or hasattr(self.config, "workerinput"):
            return None
        self._said = CLOCKS.wall()

        def tell(progress: Progress) -> None:
            now = CLOCKS.wall()
            if now - self._said < 2e9:
                return
            self._said = now
            precision = f", ±{100 * progress.precision:.2g} %" if progress.precision < 1 else ""
            terminal.ensure_newline()
            terminal.write_line(
                f"  energy: round {progress.rounds} of at most {progress.target}{precision}, {progress.seconds_left:.0f} s left"
            )

        return tell


class _Synchronise:
    """The built-in way to quiesce: wait for the GPU, whose work is asynchronous."""

    def __init__(self, synchronise: Any) -> None:  # noqa: ANN401 - a function without arguments
        self._synchronise = synchronise

    def pytest_joules_quiesce(self) -> None:
        self._synchronise()


class _Nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def _properties(record: Record) -> list[tuple[str, object]]:
    """The JUnit properties of a test."""
    energy = record["energy"]
    return [
        ("energy_joules", energy["median"] if energy else "unavailable"),
        ("energy_source", record["source"]),
        ("energy_provenance", record["provenance"]),
        ("energy_rounds", record["rounds"]),
    ]
