"""Medians and their intervals: pure functions over sequences of floats, nothing imported but the standard library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import comb, exp, floor, fsum, hypot, log, sqrt

from pytest_joules.model.records import Summary

#: Student's t, two-sided 95 %, for 1 to 4 degrees of freedom.
_T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def median(values: Sequence[float]) -> float:
    """The median. Raises ``ValueError`` for no values."""
    if not values:
        raise ValueError("no values")
    return _middle(sorted(values))


def median_of_known(values: Iterable[float | None]) -> float | None:
    """The median of those that are known; ``None`` where none is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of sorted values, linearly interpolated (Hyndman and Fan 1996, type 7)."""
    place = share * (len(ordered) - 1)
    low = floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@lru_cache(maxsize=256)
def _rank95(n: int) -> int:
    """The largest k for which [x(k), x(n+1-k)] covers the median with at least 95 %; 0 where none does (n < 6)."""
    k, below = 0, 0.0
    while True:
        below += comb(n, k) / 2**n
        if 2 * below > 0.05:
            return k
        k += 1


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the median.

    From 6 values on by order statistics, which assumes no distribution (David and Nagaraja 2003, section 7.1). For 2 to 5
    there is no such interval: Student's t with the standard error of a normal sample's median, 1.2533 s/√n; of the logarithms
    where all values are positive, as costs are, so that it never reaches zero. ``None`` for fewer.
    """
    return _interval(sorted(values))


def _interval(ordered: Sequence[float]) -> tuple[float, float] | None:
    n = len(ordered)
    if n < 2:
        return None
    k = _rank95(n) if n <= 1000 else max(1, floor((n - 1.96 * sqrt(n)) / 2))
    if k:
        return ordered[k - 1], ordered[n - k]
    if ordered[0] <= 0:
        centre, half = _middle(ordered), _half_width(ordered)
        return centre - half, centre + half
    logarithms = [log(value) for value in ordered]
    centre, factor = _middle(ordered), exp(_half_width(logarithms))
    return centre / factor, centre * factor


def _half_width(ordered: Sequence[float]) -> float:
    n = len(ordered)
    return _T95[n - 1] * 1.2533 * _moments(ordered)[1] / sqrt(n)


def _middle(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of two values or more."""
    n = len(values)
    mean = fsum(values) / n
    return mean, sqrt(fsum([(value - mean) ** 2 for value in values]) / (n - 1))


def deviation(values: Sequence[float]) -> float:
    """The standard deviation; 0 of fewer than two values."""
    return _moments(values)[1] if len(values) > 1 else 0.0


def relative_half_width(values: Sequence[float]) -> float:
    """Half the width of the median's 95 % interval over the median; infinite where either cannot be told."""
    ordered = sorted(values)
    interval = _interval(ordered)
    if interval is None:
        return math.inf
    centre = _middle(ordered)
    return (interval[1] - interval[0]) / 2 / centre if centre > 0 else math.inf


def summarise(values: Sequence[float], uncertainty: float = 0.0) -> Summary | None:
    """Median, mean, standard deviation, interquartile range, 95 % interval of the median, coefficient of variation.

    ``uncertainty`` (relative, one-sided half-width at 95 %) is what all values share and their scatter does not show, such
    as the step of a counter around a block of rounds; it is added to the interval in quadrature. ``None`` for no values.
    """
    n = len(values)
    if not n:
        return None
    ordered = sorted(values)
    centre = _middle(ordered)
    mean, deviation = _moments(ordered) if n > 1 else (ordered[0], None)
    interval = _interval(ordered)
    if interval is not None and uncertainty:
        common = uncertainty * abs(centre)
        interval = (centre - hypot(centre - interval[0], common), centre + hypot(interval[1] - centre, common))
    return {
        "median": centre,
        "mean": mean,
        "stdev": deviation,
        "iqr": quantile(ordered, 0.75) - quantile(ordered, 0.25),
        "ci95": list(interval) if interval else None,
        "cv": deviation / mean if deviation is not None and mean else None,
    }


def widened(summary: Summary | None, factors: tuple[float, float]) -> Summary | None:
    """The summary with an interval that allows for values which are all alike between these factors of the truth."""
    if summary is None or summary["ci95"] is None:
        return summary
    low, high = summary["ci95"]
    return {**summary, "ci95": [low * factors[0], high * factors[1]]}


#: On each side of a comparison: 5 against 5 is the fewest whose ranks can be significant at 1 %.
FEWEST_SAMPLES = 5
