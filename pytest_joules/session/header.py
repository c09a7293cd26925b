"""What a run says of its sources before it measures."""

from __future__ import annotations

import sys

import pytest

from pytest_joules.settings.options import Settings
from pytest_joules.sources import choose


def lines(config: pytest.Config, settings: Settings, choice: choose.Choice, *, turns: bool) -> list[str]:
    """For pytest's header. ``turns``: several workers measure, one at a time."""
    found = choose.header_lines(choice)
    if settings.quick:
        found.append("energy: quick: three rounds, and what tests execute is not recorded: a first look")
    for line in (*_cautions(config, turns), *_no_idle(settings, choice)):
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


def _no_idle(settings: Settings, choice: choose.Choice) -> list[str]:
    """Why ``--energy-idle=measure`` measures nothing."""
    models = [source for source in choice.sources if source.provenance == "estimated" and source.domains]
    if not settings.measure_idle or not models:
        return []
    watts = getattr(models[0], "idle_watts", None)
    takes = f" ({watts:.3g} W when idle)" if isinstance(watts, float) else ""
    return [f"idle power cannot be measured: {models[0].name} is a model{takes}"]
