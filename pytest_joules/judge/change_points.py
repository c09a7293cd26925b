"""Since when a test has another level: series of sessions -> the points where it changed. Loaded when a history is asked.

A history nominates: its sessions follow each other in time, and what moved between two of them may be the machine's doing. So a
point is held against chance, against spikes, and against the drift that all series show (docs/history.md has what was measured).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from pytest_joules.judge.segments import SHORTEST, segments
from pytest_joules.judge.session_noise import moderated
from pytest_joules.judge.two_samples import Array

#: Points that a series needs: a segment on each side.
FEWEST = 2 * SHORTEST

#: No series is steadier than this (relative), however alike its few points look.
_STEADIEST = 1e-4
#: The median absolute value and the mean one of a standard normal value; the standard error of a median, over that of a mean.
_MEDIAN_OF_NORMAL, _MEAN_OF_NORMAL, _OF_MEDIAN = 0.6745, math.sqrt(2 / math.pi), math.sqrt(math.pi / 2)
#: Degrees of freedom of a scale from the median of absolute differences, a point: the efficiency of that median (Rousseeuw and
#: Croux, 1993).
_EFFICIENCY = 0.37
#: A division costs so many mean deviations times log n.
_PENALTY = 4.0
#: Standard deviations: where scores end (how far off a spike is does not count), what is a spike, and the most that two points
#: are said to differ by.
_CLIP, _SPIKE, _FARTHEST = 2.0, 3.5, 4.0 * math.sqrt(2)
#: Of uniform scores no less variance is believed: that of a clipped normal value.
_LEAST_VARIANCE = 0.77
#: Sessions apart, at most, that drift is looked for at; pairs that it takes; how many pairs of other series count beside the own.
_LAGS, _PAIRS, _OTHERS = 10, 10, 200.0
#: Standard errors beyond the largest of n normal values, for chance; for drift.
_BEYOND, _OF_DRIFT = 1.0, 4.0


class Change(NamedTuple):
    """A point where a series has another level."""

    first: int
    """The first point after it."""
    before: tuple[int, int]
    """The segments on both sides: their first points, and one more than their last."""
    after: tuple[int, int]
    medians: tuple[float, float]
    """Of both segments: logarithms."""


class _Noise(NamedTuple):
    own: float
    """Standard deviation of what each session has of its own."""
    freedom: float
    """Its degrees of freedom."""
    long: float
    """Of the mean of n sessions, times the root of n: with drift."""


def changes(series: Sequence[Array], thresholds: Sequence[float], *, steady: bool = False) -> list[list[Change]]:
    """The points where each series (logarithms, in the order of time) changed its level, ascending.

    The series are those of one machine: how much its sessions scatter, and how alike those are that follow each other, they show
    together. One of fewer than :data:`FEWEST` points has no change.

    Args:
        thresholds: relative, one of each series: medians on both sides of a change differ by more
        steady: of counts, whose scatter is what it looks like however few there are
    """
    found: list[list[Change]] = [[] for _ in series]
    places = [place for place, one in enumerate(series) if len(one) >= FEWEST]
    if not places:
        return found
    long_enough = [series[place] for place in places]
    least = np.log1p([max(thresholds[place], _STEADIEST) for place in places])
    own, freedom = _scales(long_enough, steady)
    lengths = np.array([len(one) for one in long_enough])
    penalties = _PENALTY * _MEAN_OF_NORMAL * own * np.log(lengths)
    divided = [[] if flat else [0] for flat in map(_is_flat, long_enough, least)]
    looked = [place for place, mark in enumerate(divided) if mark]
    for place, divisions in zip(looked, segments([long_enough[place] for place in looked], penalties[looked]), strict=True):
        divided[place] = divisions
    drift = _with_drift(long_enough, divided, own)
    for index, place in enumerate(places):
        noise = _Noise(float(own[index]), float(freedom[index]), float(drift[index]))
        found[place] = _held(series[place], divided[index], noise, float(least[index]))
    return found


def _is_flat(one: Array, least: float) -> bool:
    """Whether no two medians of :data:`SHORTEST` points or more can differ by so much."""
    ordered = np.sort(one)
    return bool(ordered[-SHORTEST // 2] - ordered[SHORTEST // 2] < least)


def _scales(series: Sequence[Array], steady: bool) -> tuple[Array, Array]:
    """Of each series, the standard deviation of what a session has of its own, and its degrees of freedom: by differences of
    neighbours, which few changes and few spikes touch."""
    middle = [float(np.median(np.abs(np.diff(one)))) / (_MEDIAN_OF_NORMAL * math.sqrt(2)) for one in series]
    variance = np.array(middle) ** 2 + _STEADIEST**2
    freedom = np.array([_EFFICIENCY * (len(one) - 1) + 0.5 for one in series])
    if steady:
        return np.sqrt(variance), np.full(len(series), np.inf)
    variance, freedom = moderated(variance, freedom)
    return np.sqrt(variance), freedom


def _with_drift(series: Sequence[Array], divided: Sequence[Sequence[int]], own: Array) -> Array:
    """Of each series the standard deviation of the mean of n sessions times the root of n.

    Sessions that follow each other are more alike than others: half the mean squared difference of those that are 1, 2, ... apart
    (the variogram) rises to the variance, and what it lacks is their covariance. Only pairs without a change between them are
    looked at, and no spikes. Of other series so many pairs count as a series may have itself.
    """
    squares, pairs = _variograms(series, divided, own)
    others, other_pairs = squares.sum(axis=0) - squares, pairs.sum(axis=0) - pairs
    weight = np.minimum(1.0, _OTHERS / np.maximum(other_pairs, 1.0))
    pairs += weight * other_pairs
    levels = (squares + weight * others) / np.maximum(pairs, 1.0)
    enough = np.minimum.accumulate(pairs >= _PAIRS, axis=1).sum(axis=1)
    found = own.copy()
    for index, count in enumerate(enough):
        if count < 2:
            continue
        level = levels[index, :count]
        variance = max(float(level[count // 2 :].mean()), float(level[0]))
        if variance > 0:
            alike = np.minimum.accumulate(np.maximum(1 - level / variance, 0.0))
            found[index] *= math.sqrt(variance * (1 + 2 * float(alike.sum())))
    return found


def _variograms(series: Sequence[Array], divided: Sequence[Sequence[int]], own: Array) -> tuple[Array, Array]:
    """Of each series, sums of half the squared differences of points that are 1, 2, ... apart, over the own variance; and their
    numbers."""
    longest = max(map(len, series))
    # Each in the middle of two points more on both sides, for the median of five around each.
    values = np.zeros((len(series), longest + 4))
    segment = np.full((len(series), longest), -1)
    for index, (one, divisions) in enumerate(zip(series, divided, strict=True)):
        values[index, : len(one) + 4] = np.pad(one, 2, mode="reflect")
        segment[index, : len(one)] = np.searchsorted(divisions, np.arange(len(one)), side="right")
    around = np.median(sliding_window_view(values, 5, axis=1), axis=2)
    values = values[:, 2:-2] / own[:, None]
    segment[np.abs(values - around / own[:, None]) > _SPIKE] = -1
    squares, pairs = np.zeros((len(series), _LAGS)), np.zeros((len(series), _LAGS))
    for lag in range(1, min(_LAGS, longest - 1) + 1):
        together = (segment[:, lag:] == segment[:, :-lag]) & (segment[:, lag:] >= 0)
        differences = np.minimum(np.abs(values[:, lag:] - values[:, :-lag]), _FARTHEST) * together
        squares[:, lag - 1], pairs[:, lag - 1] = (differences**2).sum(axis=1) / 2, together.sum(axis=1)
    return squares, pairs


def _held(one: Array, divisions: Sequence[int], noise: _Noise, least: float) -> list[Change]:
    """The divisions that are changes: the weakest is given up, and its segments become one, until all hold."""
    kept = list(divisions)
    largest = math.sqrt(2 * math.log(len(one))) + _BEYOND
    # A scale that few points show may be too small: Student's quantile of the same probability.
    chance = float(-stdtrit(noise.freedom, ndtr(-largest))) if math.isfinite(noise.freedom) else largest
    while kept:
        ends = [0, *kept, len(one)]
        parts = [one[begin:end] for begin, end in pairwise(ends)]
        middles = [float(np.median(part)) for part in parts]
        rest = np.concatenate([_scores(part, middle, noise.own) for part, middle in zip(parts, middles, strict=True)])
        variance = max(float((rest**2).mean()), _LEAST_VARIANCE)
        strength = []
        for (left, right), (low, high) in zip(pairwise(parts), pairwise(middles), strict=True):
            root = math.sqrt(1 / len(left) + 1 / len(right))
            centre = float(np.median(np.concatenate([left, right])))
            moved = float(_scores(right, centre, noise.own).mean() - _scores(left, centre, noise.own).mean())
            over_chance = abs(moved) / (math.sqrt(variance) * root * chance)
            over_drift = abs(high - low) / (_OF_MEDIAN * noise.long * root * _OF_DRIFT)
            strength.append(min(abs(high - low) / least, over_chance, over_drift))
        weakest = min(range(len(kept)), key=strength.__getitem__)
        if strength[weakest] >= 1:
            for place in range(1, len(kept) + 1):
                ends[place] = _placed(one, ends[place - 1], ends[place + 1], middles[place - 1 : place + 1], noise.own)
            spans = list(pairwise(ends))
            middles = [float(np.median(one[begin:end])) for begin, end in spans]
            sides = zip(pairwise(spans), pairwise(middles), strict=True)
            return [Change(after[0], before, after, medians) for (before, after), medians in sides]
        del kept[weakest]
    return []


def _placed(one: Array, begin: int, end: int, middles: Sequence[float], own: float) -> int:
    """The first point of the second of two levels: where the squares of what both leave are least, spikes cut. That finds the
    point oftener than absolute values do, which find the levels."""
    before, after = (np.minimum(((one[begin:end] - middle) / own) ** 2, _SPIKE**2) for middle in middles)
    losses = np.concatenate([[0.0], np.cumsum(before - after)])
    return begin + SHORTEST + int(losses[SHORTEST : end - begin - SHORTEST + 1].argmin())


def _scores(part: Array, centre: float, own: float) -> Array:
    return np.asarray(np.clip((part - centre) / own, -_CLIP, _CLIP), dtype=np.float64)


def without_shared(values: NDArray[np.float64], fewest: int) -> tuple[Array, Array]:
    """What all tests of a machine moved by from session to session, and the values (tests × sessions, logarithms, NaN: not
    measured) without it: a session in which everything was dearer is the machine's doing.

    It is the median of what tests of a session are off their own medians, of ``fewest`` tests or more; where there are fewer, as
    between its neighbours.
    """
    shared = np.zeros(values.shape[1])
    measured = (~np.isnan(values)).sum(axis=0) >= fewest
    if not measured.any():
        return shared, values
    for _ in range(2):
        off = values - shared - np.nanmedian(values - shared, axis=1, keepdims=True)
        shared[measured] += np.nanmedian(off[:, measured], axis=0)
    shared -= np.median(shared[measured])
    places = np.arange(len(shared))
    shared = np.interp(places, places[measured], shared[measured])
    return shared, values - shared
