"""What a run says of its sources before it measures."""

from __future__ import annotations

import sys

import pytest

from pytest_joules.measure.own_share import divides, possible
from pytest_joules.settings.options import Settings
from pytest_joules.sources import choose


def lines(config: pytest.Config, settings: Settings, choice: choose.Choice, *, turns: bool) -> list[str]:
    """For pytest's header. ``turns``: several workers measure, one at a time."""
    found = choose.header_lines(choice)
    if settings.quick:
        found.append("energy: quick: three rounds, and what tests execute is not recorded: a first look")
    for line in (*_own_share(settings, choice), *_cautions(config, turns), *_no_idle(settings, choice)):
        found += choose.wrapped(f"energy: {line}", "  ")
    return found


def _cautions(config: pytest.Config, turns: bool) -> list[str]:
    """What changes the numbers of the whole session."""
    found = []
    if turns:
        found.append("workers on one machine take turns, so that each test is measured alone")
    if sys.gettrace() is not None or config.pluginmanager.hasplugin("_cov"):
        found.append("a tracer (coverage or a debugger) is active: its joules are in every number")
    if getattr(config.option, "reruns", None):
        found.append("with --reruns no test is measured")
    return found


def _own_share(settings: Settings, choice: choose.Choice) -> list[str]:
    """What ``--energy-share=own`` does here."""
    if not settings.own_share:
        return []
    counted = [(source, domain) for source in choice.sources for domain in source.domains if source.in_total(domain)]
    whole = [domain.name for source, domain in counted if source.provenance == "measured" and not divides(source, domain)]
    if not possible(choice.sources):
        if not counted:
            why = "there are no joules to divide"
        elif whole:
            why = f"nobody tells whose work {', '.join(whole)} did"
        else:
            why = "an estimate is of this process tree's CPU time already"
        return [f"--energy-share=own changes nothing: {why}"]
    kept = f"; {', '.join(whole)} whole, as nobody tells whose work that did" if whole else ""
    return [f"own share: this process tree's part of the counters by CPU seconds, and what the machine draws when idle{kept}"]


def _no_idle(settings: Settings, choice: choose.Choice) -> list[str]:
    """Why ``--energy-idle=measure`` measures nothing."""
    models = [source for source in choice.sources if source.provenance == "estimated" and source.domains]
    if not settings.measure_idle or not models:
        return []
    watts = getattr(models[0], "idle_watts", None)
    takes = f" ({watts:.3g} W when idle)" if isinstance(watts, float) else ""
    return [f"idle power cannot be measured: {models[0].name} is a model{takes}"]
