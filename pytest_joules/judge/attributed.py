"""Verdicts on joules that are a share of a counter: no further than their intervals allow."""

from __future__ import annotations

from dataclasses import replace
from math import log, log1p

from pytest_joules.judge.case import Comparison, Interval
from pytest_joules.report.quantity import joules as show

_WHY = "others used the machine, and what their CPU seconds drew is not known"


def apart(before: Interval, now: Interval) -> bool:
    """Whether two intervals have nothing in common."""
    return now[0] > before[1] or now[1] < before[0]


def held(found: Comparison, before: Interval, now: Interval, threshold: float) -> Comparison:
    """The comparison as far as shares can tell. ``before`` and ``now``: the 95 % intervals of both sides in joules, which allow
    for what others may have drawn; that is alike in all samples of a side, so that no test of ranks sees it.

    ``regressed`` and ``improved`` need intervals that are apart, and ``ok`` intervals whose ends are within twice the threshold
    (of logarithms) of each other. A suspect whose intervals overlap is not worth measuring again.
    """
    if found.verdict == "ok":
        reach = max(log(now[1] / before[0]), log(before[1] / now[0])) if min(before[0], now[0]) > 0 else float("inf")
        if reach <= 2 * log1p(threshold):
            return found
    elif apart(before, now):
        return found
    if found.verdict == "cannot tell" and not found.suspect:
        return found
    shares = f"its own share is {show(now[0])} to {show(now[1])} now, {show(before[0])} to {show(before[1])} before"
    return replace(found, verdict="cannot tell", suspect=False, why=f"{found.why}; but {shares}: {_WHY}; use a quieter machine")
