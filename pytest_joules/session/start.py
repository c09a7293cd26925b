"""A session that measures: made by ``--energy``, wires the rounds of every test to the meter and hands on what they come to.

A process that runs tests (a plain run, or a worker of pytest-xdist) has a :class:`Measuring`; one that reports (a plain run, or
the controller) has a :class:`~pytest_joules.session.reporting.Reporting`. Between them, a measurement travels on its test's call
report.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from pytest_joules.files import scratch
from pytest_joules.model import SourceRecord
from pytest_joules.rounds.quiet import Deaf
from pytest_joules.session.collected import Collected
from pytest_joules.session.measuring import Measuring
from pytest_joules.session.quiesce import Synchronise
from pytest_joules.session.stopping import Stopping, StoppingWorker
from pytest_joules.session.workers import Ordering, Turns, remove_lock, turn_of
from pytest_joules.settings.options import Settings, read_settings
from pytest_joules.sources import choose
from pytest_joules.sources.base import Source, Unavailable
from pytest_joules.sources.third_party import guarded
from pytest_joules.sources.tsc import open_counter

if TYPE_CHECKING:
    from pytest_joules.judge.comparing import OtherSide
    from pytest_joules.session.judging import Judging
    from pytest_joules.session.reporting import Reporting
    from pytest_joules.sources.tsc import TickCounter


def start(config: pytest.Config) -> None:
    """Begin to measure. Raises ``pytest.UsageError`` for settings that cannot be fulfilled."""
    # A companion of another run: what it does, that run says.
    stepper: Any = config.pluginmanager.get_plugin("joules-stepping")
    settings = read_settings(config) if stepper is None else stepper.settings
    worker = hasattr(config, "workerinput")
    # With --collect-only xdist starts no workers.
    controller = not worker and getattr(config.option, "dist", "no") != "no" and not config.option.collectonly
    choice = _choose(config, settings)
    ticks = open_counter()
    reporting: Reporting | None = None
    if not worker and stepper is None:
        config.pluginmanager.register(Stopping(config), "joules-stopping")
        scratch.sweep()
        remove_lock()
        reporting = _reporting(config, settings, choice, ticks, controller=controller)
    if stepper is None and not controller and (settings.budgets or settings.ini_budgets):
        from pytest_joules.session.unmatched import Unmatched

        tell = reporting.add_unmatched if reporting is not None else None
        config.pluginmanager.register(Unmatched(config, settings, tell), "joules-unmatched")
    if settings.against is not None and reporting is not None and not config.option.collectonly:
        from pytest_joules.session.against import begin

        for source in choice.sources:
            source.close()
        begin(config, settings, reporting)
        _predict(config, settings, choice, None, reporting)
        return
    other = _other_side(config, settings, choice, reporting)
    measuring: Measuring | None = None
    if reporting is not None:
        reporting.other = other
    if controller:
        config.pluginmanager.register(Ordering(), "joules-ordering")
        for source in choice.sources:
            source.close()
        if other is not None:
            from pytest_joules.companion.invocation import Passing

            config.pluginmanager.register(Passing(), "joules-passing")
    else:
        measuring = Measuring(config, settings, choice.sources, ticks)
        config.pluginmanager.register(measuring, "joules-measuring")
        config.pluginmanager.register(Deaf(), "joules-deaf")
        _register(config, measuring, other)
    _count(config, settings, other, measuring, reporting)
    if stepper is None:
        _predict(config, settings, choice, measuring, reporting)
    _compare_variants(config, settings, None if controller else reporting)
    if worker:
        config.pluginmanager.register(StoppingWorker(config), "joules-stopping")
        config.pluginmanager.register(Turns(config), "joules-turns")


def _reporting(
    config: pytest.Config, settings: Settings, choice: choose.Choice, ticks: TickCounter, *, controller: bool
) -> Reporting:
    """What reports, and what goes with that: workers and companions, which report nothing, do without importing it."""
    from pytest_joules.session import header, reporters

    said = header.lines(config, settings, choice, turns=controller)
    return reporters.register(config, settings, _facts(choice), ticks, said, controller=controller)


def _register(config: pytest.Config, measuring: Measuring, other: OtherSide | None) -> None:
    """What goes with measuring."""
    settings, manager, results = measuring.settings, config.pluginmanager, measuring.results
    manager.register(results, "joules-results")
    manager.register(measuring.body, "joules-body")
    manager.register(Collected(config, settings, other), "joules-collected")
    if any(source.name == "nvml" for source in measuring.sources):
        from pytest_joules.sources import nvml

        manager.register(Synchronise(nvml.synchronise), "joules-nvml")
    if not settings.quick:
        manager.register(measuring.tracking, "joules-tracking")
    if settings.trace is not None and not config.option.collectonly:
        from pytest_joules.session.tracing import Tracing

        measuring.tracing = Tracing(settings.trace, measuring.sources, measuring.tracking.project, measuring.energy)
    if settings.changed_only:
        from pytest_joules.session.changed_only import ChangedOnly

        names = "+".join(source.name for source in measuring.sources)
        doubted, arrived = results.looks_dearer, results.from_cache
        measuring.cached = ChangedOnly(config, settings, measuring.tracking, names, doubted=doubted, arrived=arrived)
        if measuring.meter.attributes:
            measuring.cached.why = "a share of a counter depends on who else used the machine (--energy-share=own)"
        manager.register(measuring.cached, "joules-changed-only")
    if other is not None:
        measuring.judging = results.judging = _judging(config, settings, other, measuring)
        manager.register(measuring.judging, "joules-judging")


def _count(
    config: pytest.Config, settings: Settings, other: OtherSide | None, measuring: Measuring | None, reporting: Reporting | None
) -> None:
    """Let this run count instructions too, where that was asked for: a worker's controller says that it does not."""
    if settings.count is None or reporting is None or config.option.collectonly:
        return
    if measuring is None:
        from pytest_joules.session.count_only import WORKERS

        reporting.messages.troubles.append(WORKERS)
        return
    from pytest_joules.session.counting import Counting

    measuring.counting = Counting(config, settings, other, reporting, measuring.tracking.project)
    config.pluginmanager.register(measuring.counting, "joules-counting")


def _compare_variants(config: pytest.Config, settings: Settings, reporting: Reporting | None) -> None:
    """Let tests that are variants of each other run in turn; ``reporting``: of a run that runs tests and reports them."""
    if reporting is not None:
        from pytest_joules.session.variants import Variants

        # Last: its tests are its own before any other plugin of ours runs them.
        reporting.variants = Variants(config, settings, reporting)
        config.pluginmanager.register(reporting.variants, "joules-variants")
    elif settings.variants is not None:
        raise pytest.UsageError("--energy-variants measures in processes of its own, in turn: leave -n out, or add -n0")


def _predict(
    config: pytest.Config, settings: Settings, choice: choose.Choice, measuring: Measuring | None, reporting: Reporting | None
) -> None:
    """Let this run predict, where that was asked for."""
    if settings.predict is None:
        return
    from pytest_joules.session.predicting import install

    source = "+".join(source.name for source in choice.sources)
    install(config, settings, source, measuring, reporting)


def _other_side(
    config: pytest.Config, settings: Settings, choice: choose.Choice, reporting: Reporting | None
) -> OtherSide | None:
    """The baseline that was asked for."""
    if settings.compare is None:
        return None
    from pytest_joules.session.baselines import baseline_side

    sources = [source.facts("").as_record() for source in choice.sources]
    return baseline_side(config, settings, sources, reporting.history.store if reporting is not None else None)


def _judging(config: pytest.Config, settings: Settings, other: OtherSide, measuring: Measuring) -> Judging:
    from pytest_joules.code.inventory import OnDisk
    from pytest_joules.judge.comparing import Comparing
    from pytest_joules.session.judging import Judging

    return Judging(
        config,
        settings,
        Comparing(other, settings.threshold, OnDisk(measuring.tracking.project.file)),
        here=measuring.measure_again,
        turn=lambda: turn_of(config),
    )


def _facts(choice: choose.Choice) -> list[SourceRecord]:
    """What the report says of the sources; the first one says why others were not taken."""
    refused = "; ".join(f"{entry.name} not taken: {entry.reason}" for entry in choice.refused if not entry.quiet)
    return [source.facts("" if number else refused).as_record() for number, source in enumerate(choice.sources)]


def _choose(config: pytest.Config, settings: Settings) -> choose.Choice:
    offered, trouble = _offered(config)
    try:
        candidates = choose.builtin(settings.powercap, settings.idle_watts, settings.max_watts)
        choice = choose.choose([*candidates, *offered], settings.sources)
    except Unavailable as error:
        remedy = f" To mend it: {error.remedy}" if error.remedy else ""
        raise pytest.UsageError(f"--energy-source={','.join(settings.sources)}: {error.reason}.{remedy}") from None
    except ValueError as error:
        reason = f"{error}; {trouble[0].name} were not taken: {trouble[0].reason}" if trouble else str(error)
        raise pytest.UsageError(f"--energy-source={','.join(settings.sources)}: {reason}") from None
    return dataclasses.replace(choice, refused=(*choice.refused, *trouble))


def _offered(config: pytest.Config) -> tuple[list[Source], list[choose.Refused]]:
    """The sources of other plugins; and what to say where one of them failed to offer its own, which does not end the run."""
    try:
        answers = config.hook.pytest_joules_sources(config=config)
        return [guarded(source) for answer in answers for source in answer or ()], []
    except pytest.UsageError:
        raise
    except Exception as error:
        reason = f"a pytest_joules_sources hook failed: {type(error).__name__}: {error}"
        return [], [choose.Refused("sources of other plugins", reason)]
