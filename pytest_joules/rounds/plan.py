"""How often a test may be run, and whether it may be measured, decided before it runs."""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Collection
from dataclasses import dataclass

import pytest
from _pytest.doctest import DoctestItem
from _pytest.unittest import TestCaseFunction

from pytest_joules.rounds.given_values import given_to
from pytest_joules.rounds.quiet import own_subtests


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
    if ("subtests" in fixtures or _has_subtests(item)) and not own_subtests(item.config):
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


def _has_subtests(item: pytest.Item) -> bool:
    """Whether a ``TestCase``'s test names ``subTest``, or a method of its class that it names does: each is reported at once."""
    if not isinstance(item, TestCaseFunction) or not item.config.pluginmanager.hasplugin("subtests"):
        return False
    waiting, seen = [item.originalname], set()
    while waiting:
        name = waiting.pop()
        function = getattr(item.cls, name, None)
        code = getattr(inspect.unwrap(function), "__code__", None) if function is not None else None
        if code is None or name in seen:
            continue
        seen.add(name)
        if "subTest" in code.co_names:
            return True
        waiting += [other for other in code.co_names if other not in vars(unittest.TestCase) and hasattr(item.cls, other)]
    return False


def _draws(item: pytest.Item, function: object) -> bool:
    """Whether a Hypothesis test draws other examples each time."""
    if item.config.getoption("--hypothesis-seed", default=None) is not None:
        return False
    settings = getattr(function, "_hypothesis_internal_use_settings", None)
    seeded = getattr(function, "_hypothesis_internal_use_seed", None) is not None
    return not (seeded or getattr(settings, "derandomize", False))
