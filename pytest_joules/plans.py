"""How often a test may be run, and whether it may be measured, decided before it runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import pytest
from _pytest.doctest import DoctestItem
from _pytest.unittest import TestCaseFunction

from pytest_joules.given import given_to


@dataclass(frozen=True, slots=True)
class Plan:
    """How often a test may be run, and whether it may be measured."""

    measure: bool
    repeat: bool
    why: str = ""
    """Why not, in words for the report."""
    random: bool = False
    """The test draws new examples every round, so its rounds are not alike."""
    again: bool = True
    """It can be run another time in this process, if only a round at a time."""


UNMEASURED = ("setuponly", "setupshow", "setupplan", "collectonly", "trace")
#: Plugins that write down every phase as it runs, by the option that switches them on.
_RECORDERS = {"allure_report_dir": "allure"}


def plan(item: pytest.Item, *, recorded: bool = True) -> Plan:
    """Decide how ``item`` can be repeated, before it runs.

    Args:
        recorded: what records every phase of this process sees it run
    """
    option = item.config.option
    if any(getattr(option, name, False) for name in UNMEASURED):
        return Plan(False, False, "not run as usual")
    if item.get_closest_marker("flaky") is not None or getattr(option, "reruns", None) or getattr(option, "force_reruns", None):
        return Plan(False, False, "may be rerun")
    if not isinstance(item, pytest.Function | DoctestItem):
        return Plan(True, False, "one round: not a test function")
    if spent := given_to(item).spent:
        return Plan(True, False, f"one round: {spent}", again=False)
    if why := one_round(item, getattr(item, "fixturenames", ())):
        return Plan(True, False, why)
    for name, who in _RECORDERS.items():
        if recorded and getattr(option, name, None):
            return Plan(True, False, f"one round: {who} would record every one")
    function = getattr(item, "obj", None)
    if getattr(function, "is_hypothesis_test", False):
        # Hypothesis refuses one test to run on several TestCase instances (health check differing_executors).
        once = isinstance(item, TestCaseFunction)
        return Plan(True, not once, "one round: Hypothesis in a TestCase" if once else "", random=_draws(item, function))
    return Plan(True, True)


def one_round(item: pytest.Item, fixtures: Collection[str]) -> str:
    """Why a test that uses these fixtures is to have one round; empty where it may have more."""
    if "subtests" in fixtures:
        return "one round: subtests"
    codspeed = getattr(item.config.pluginmanager.get_plugin("codspeed_plugin"), "is_codspeed_enabled", None)
    if codspeed and any(item.get_closest_marker(name) is not None for name in ("benchmark", "codspeed_benchmark")):
        return _BENCHMARK
    if "benchmark" in fixtures or "codspeed_benchmark" in fixtures:
        # Switched off they call what they are given once, and write nothing.
        session = getattr(item.config, "_benchmarksession", None)
        off = session.disabled if session is not None else codspeed is False
        return "" if off and not codspeed else _BENCHMARK
    return ""


_BENCHMARK = "one round: benchmark repeats by itself"


def _draws(item: pytest.Item, function: object) -> bool:
    """Whether a Hypothesis test draws other examples each time."""
    if item.config.getoption("--hypothesis-seed", default=None) is not None:
        return False
    settings = getattr(function, "_hypothesis_internal_use_settings", None)
    seeded = getattr(function, "_hypothesis_internal_use_seed", None) is not None
    return not (seeded or getattr(settings, "derandomize", False))


def time_limit(item: pytest.Item) -> float | None:
    """Seconds that all rounds of ``item`` together may take (pytest-timeout, ``faulthandler_timeout``), or ``None``."""
    faults = item.config.pluginmanager.hasplugin("faulthandler")
    limits = [_plugin_limit(item), _seconds(item.config.getini("faulthandler_timeout") if faults else None)]
    return min((limit for limit in limits if limit is not None), default=None)


def _plugin_limit(item: pytest.Item) -> float | None:
    """The limit of pytest-timeout, which counts from the first setup to the last teardown; with ``func_only``, each body."""
    if not hasattr(item.config, "_env_timeout"):
        return None  # not installed
    value: object = item.config._env_timeout
    func_only: object = getattr(item.config, "_env_timeout_func_only", False)
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        value = marker.kwargs.get("timeout", marker.args[0] if marker.args else value)
        func_only = marker.kwargs.get("func_only", marker.args[2] if len(marker.args) > 2 else func_only)
    return None if func_only else _seconds(value)


def _seconds(value: object) -> float | None:
    try:
        seconds = float(cast(Any, value))
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else None
