"""Two samples of costs: Hodges-Lehmann ratio, exact rank tests, correlation of neighbouring samples. Loaded when judging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]
Blocks = Sequence[Sequence[float]]

#: Pairs of samples up to which the null distribution is counted out; beyond, its normal limit differs by less than 1 % of p.
_COUNTED = 4096

#: Differences held in memory at a time.
_AT_ONCE = 2_000_000

#: A case's own correlation weighs as much as the run's when it has this many samples.
_OWN_WEIGHT = 100

#: Standard errors on top of the estimate: with 1, slow trends raise false alarms of a test alone, with 1.6 changes are lost
#: (benchmarks/verdicts.py --only replay).
_MARGIN = 1.25

_HIGHEST_CORRELATION = 0.9


@dataclass(frozen=True, slots=True)
class Effects:
    """What ranks say of many cases; every array has one entry a case, logarithms are natural."""

    shift: Array
    """Hodges and Lehmann's (1963) estimate: the median of all differences of logarithms, now minus before."""
    low: Array
    high: Array
    """The interval that inverts the exact test; it covers ``shift`` with at least 95 % for independent samples."""
    error: Array
    """Standard error of ``shift``, from the interval's width."""
    p_dearer: Array
    p_cheaper: Array
    """One-sided, exact (Mann and Whitney 1947). A tie counts as half of nothing: against the alternative, so never too small."""
    p_least: Array
    """What p is when every sample now exceeds every one before."""
    samples_before: Array
    samples_now: Array
    correlation: Array
    """Of neighbouring samples, as :func:`correlations` gives it."""
    block_length: Array
    """Samples a block, on average over both sides."""
    blocks: list[Array]
    """Each block's own shift."""


@lru_cache(maxsize=512)
def null(strata: tuple[tuple[int, int], ...]) -> Array:
    """P(U <= u) for u = 0, 1, ... where no side is dearer: U is the number of pairs with the dearer sample on one given side.

    With several strata (blocks measured in turn) pairs are made within each, and the counts add up: the distributions are
    convolved. Exact up to 4096 pairs a stratum, by the recurrence of Mann and Whitney (1947); normal, with a continuity
    correction, beyond.
    """
    if any(n * m > _COUNTED for n, m in strata):
        total = sum(n * m for n, m in strata)
        deviation = np.sqrt(sum(n * m * (n + m + 1) for n, m in strata) / 12)
        return np.asarray(ndtr((np.arange(total + 1) + 0.5 - total / 2) / deviation))
    density = np.ones(1)
    for n, m in strata:
        density = np.convolve(density, _density(n, m))
    return np.minimum(np.cumsum(density), 1.0)


@lru_cache(maxsize=512)
def _density(n: int, m: int) -> Array:
    n, m = sorted((n, m))
    # Row k: the distribution for k of the one and j of the other; the last sample in order is the one's or the other's.
    rows = [np.zeros(n * m + 1) for _ in range(n + 1)]
    for row in rows:
        row[0] = 1.0
    for j in range(1, m + 1):
        for k in range(1, n + 1):
            row = rows[k] * (j / (k + j))  # the other's was last: rows[k] still belongs to j - 1
            row[j:] += rows[k - 1][: len(row) - j] * (k / (k + j))
            rows[k] = row
    return rows[n]


def effects(before: Sequence[Blocks], now: Sequence[Blocks], paired: Sequence[bool]) -> Effects:
    """The effects of many cases at once; joules in, each block's samples in measured order.

    Of a paired case only differences within a block count. All samples must be positive and finite, no block empty, and
    paired sides have as many blocks.
    """
    groups: dict[tuple[bool, tuple[int, ...], tuple[int, ...]], list[int]] = defaultdict(list)
    for index in range(len(now)):
        groups[paired[index], tuple(map(len, before[index])), tuple(map(len, now[index]))].append(index)
    count = len(now)
    columns = {name: np.zeros(count) for name in ("shift", "low", "high", "error", "p_dearer", "p_cheaper", "p_least")}
    products, squares = np.zeros(count), np.zeros(count)
    own: list[Array] = [np.zeros(0)] * count
    for (in_turn, lengths_before, lengths_now), members in groups.items():
        strata = tuple(zip(lengths_before, lengths_now, strict=True)) if in_turn else ((sum(lengths_before), sum(lengths_now)),)
        step = max(1, _AT_ONCE // sum(n * m for n, m in strata))
        for first in range(0, len(members), step):
            part = members[first : first + step]
            sides = [
                [np.log(np.array([side[index][block] for index in part], dtype=float)) for block in range(len(side[part[0]]))]
                for side in (before, now)
            ]
            _ranks(part, (sides[0], sides[1]), strata, columns, own)
            for block in sides[0] + sides[1]:
                product, square = _neighbours(block)
                products[part] += product
                squares[part] += square
    samples_before, samples_now = (np.array([float(sum(map(len, blocks))) for blocks in side]) for side in (before, now))
    number = np.array([len(a) + len(b) for a, b in zip(before, now, strict=True)], dtype=float)
    length = (samples_before + samples_now) / number
    return Effects(
        **columns,
        samples_before=samples_before,
        samples_now=samples_now,
        correlation=correlations(products, squares, samples_before + samples_now, length),
        block_length=length,
        blocks=own,
    )


def _ranks(
    part: list[int],
    sides: tuple[list[Array], list[Array]],
    strata: tuple[tuple[int, int], ...],
    columns: dict[str, Array],
    own: list[Array],
) -> None:
    before, now = sides
    if len(strata) == 1:
        before = [np.concatenate(before, axis=1)]
    pairs = zip(before, now, strict=True) if len(strata) > 1 else ((before[0], block) for block in now)
    blocks = [(b[:, :, None] - a[:, None, :]).reshape(len(part), -1) for a, b in pairs]
    shifts = np.stack([np.median(block, axis=1) for block in blocks], axis=1)
    differences = np.sort(np.concatenate(blocks, axis=1), axis=1)
    size = differences.shape[1]
    below = null(strata)
    for name, count in (("p_dearer", (differences > 0).sum(axis=1)), ("p_cheaper", (differences < 0).sum(axis=1))):
        columns[name][part] = below[size - count]
    columns["p_least"][part] = below[0]
    # The interval leaves out as many differences at each end as keep 2.5 % or less beyond.
    left_out = max(1, int(np.searchsorted(below, 0.025, side="right")))
    columns["shift"][part] = np.median(differences, axis=1)
    columns["low"][part] = low = differences[:, left_out - 1]
    columns["high"][part] = high = differences[:, size - left_out]
    columns["error"][part] = (high - low) / 2 / -ndtri(below[left_out - 1])
    for row, index in enumerate(part):
        own[index] = shifts[row]


def _neighbours(block: Array) -> tuple[Array, Array]:
    """Sums of products of neighbouring residuals and of their squares, a row; spikes are cut to 3 deviations."""
    residual = block - np.median(block, axis=1, keepdims=True)
    scale = 3 * 1.4826 * np.median(np.abs(residual), axis=1, keepdims=True)
    residual = np.clip(residual, -scale, scale) / np.where(scale > 0, scale, 1)
    return (residual[:, 1:] * residual[:, :-1]).sum(axis=1), (residual**2).sum(axis=1)


def correlations(products: Array, squares: Array, samples: Array, length: Array) -> Array:
    """The correlation of neighbouring samples to reckon with, a case: between 0 and 0.9.

    A few samples hardly tell it, so a case's own is drawn to the run's, and some standard errors of the run's are added; where a
    case's own is clearly higher, that holds. Residuals from a block's own centre look less correlated than the samples are, by
    (1 + 4 r) / n (Marriott and Pope 1954), which is put right.
    """
    told = squares > 0
    raw = np.divide(products, squares, out=np.zeros_like(squares), where=told)
    number = np.where(told, samples, 0.0)
    if not number.sum():
        return np.zeros_like(squares)

    stretch = np.maximum(1 - 4 / length, 0.4)
    single = (raw + 1 / length) / stretch
    run = float(np.average(single, weights=number))
    margin = _MARGIN / float(np.sqrt(number.sum()))
    drawn = (number * single + _OWN_WEIGHT * run) / (number + _OWN_WEIGHT) + margin
    clearly = single - 1.3 / np.sqrt(np.maximum(number, 1)) / stretch
    return np.clip(np.where(told, np.maximum(drawn, clearly), run + margin), 0.0, _HIGHEST_CORRELATION)


def widening(correlation: Array, length: Array) -> Array:
    """By how much correlation makes a standard error larger than samples of ``length`` that are taken for independent say.

    For a first-order autoregression: the variance of the mean grows by V = 1 + 2 sum (1 - k/n) r^k, and the scatter around the
    block's own centre, from which the error was taken, is too small by (n - V) / (n - 1).
    """
    r, n = correlation, np.maximum(length, 2)
    grown = np.maximum((1 + r) / (1 - r) - 2 * r * (1 - r**n) / (n * (1 - r) ** 2), 1)
    return np.asarray(np.sqrt(grown / np.maximum((n - grown) / (n - 1), 0.1)))


def benjamini_hochberg(p: Array) -> Array:
    """Adjusted p: those at most alpha are the discoveries at a false discovery rate of alpha (Benjamini and Hochberg 1995)."""
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum.accumulate(p[order] * len(p) / ranks)
    return np.minimum(adjusted, 1.0)
