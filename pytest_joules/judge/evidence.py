"""What a run's samples and histories say for and against each test's change: from cases to numbers. Loaded when judging."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from pytest_joules.judge.case import LEARNT_FROM, MOST_BLOCKS, Case
from pytest_joules.judge.drift import carried
from pytest_joules.judge.session_noise import moderated, references, share_of_processes
from pytest_joules.judge.two_samples import Array, Effects, benjamini_hochberg, effects, widening

Flags = NDArray[np.bool_]

#: The standard deviation between sessions (relative) where no history tells it: an assumed floor of 15 %.
ASSUMED = 0.032

#: An unchanged test passes its floor this often.
BEYOND_FLOOR = 0.0007

#: Tests of a kind from which on the run's own scatter is believed.
_MANY = 30

#: No model of noise is right so far out.
_LEAST_P = 1e-15

#: However alike neighbours are: with 2, one change in ten of a drifting project is lost, with more, alarms of it pass 1 %
#: (benchmarks/verdicts.py --only replay).
_FEWEST_FREEDOM = 3.0

#: Tests of unchanged code that show how much a run scatters, and those beyond a quantile that make it one.
_ENOUGH_SAME = 10
_TELL_A_TAIL = 3

#: More than this many times the noise is no noise any more: every test changed, each by its own factor.
_MOST_STRETCH = 3.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Numbers of one test; logarithms of ratios are natural."""

    shift: float
    low: float
    high: float
    dearer: tuple[float, float, float]
    """p, p adjusted for the run's tests, p of the ranks alone."""
    cheaper: tuple[float, float, float]
    floor: float
    learnt: bool
    blocks: tuple[float, ...]
    """Each block's own shift."""
    reach: float
    """Standard error of what another block may still move."""
    floor_at_most: float
    """The floor with as many blocks as there can be, each with an offset of its own."""
    half_at_most: float
    """Half the interval's width then."""
    level: float
    """What it cost before, in joules: of the baseline, or of it and all earlier sessions. The shift is from here."""
    carried: float
    """The smallest change that the run's noise carries, of a test with one block."""
    held: float
    """The same for this test: blocks in turn average what drifts between their sides."""
    held_at_most: float
    """``held`` with as many blocks as there can be."""
    tests: int
    common: str | None
    """What the whole run shows, where it moved as one."""


@dataclass(frozen=True, slots=True)
class _Noise:
    """What sessions do to the costs, in logarithms."""

    error: Array
    """Standard error of the shift from it."""
    freedom: Array
    learnt: Flags
    offset: Array
    """Where the sessions of the same code stand, before being 0."""
    narrowing: Array
    """The scatter within ``before`` counts for less where it is one session of several."""
    at_most: Array
    """``error`` with the most blocks, if each had an offset of its own."""
    level: Array
    """Of the samples before alone."""


def weigh(cases: Sequence[Case]) -> list[Evidence]:
    """The evidence of every case; all of them fit to be judged."""
    paired = np.array([case.paired for case in cases])
    found = effects([case.before for case in cases], [case.now for case in cases], [case.paired for case in cases])
    noise = _session_noise(cases, paired, found)
    # What an earlier session measured says nothing of how this one scatters or moved.
    fresh = ~np.array([case.cached for case in cases])
    kinds = (paired, noise.learnt & fresh, ~(paired | noise.learnt) & fresh, ~fresh)
    shift = found.shift - noise.offset
    wide = widening(found.correlation, found.block_length) * noise.narrowing
    wide *= np.sqrt(_dispersion(found, paired, wide))
    # Stretched up and down apart, so that many regressions do not hide themselves.
    combined = np.hypot(found.error * wide, noise.error)
    same = np.array([case.same_code for case in cases])
    stretch = np.where(shift >= 0, _unlike(shift, combined, kinds, same), _unlike(-shift, combined, kinds, same))
    wide *= stretch
    low, high = shift - (found.shift - found.low) * wide, shift + (found.high - found.shift) * wide
    half = np.where(shift >= 0, shift - low, high - shift)

    error, session = found.error * wide, noise.error * stretch
    total = np.hypot(error, session)
    told = total > 0
    safe = np.where(told, total, 1.0)
    # Welch and Satterthwaite's degrees of freedom of a sum of two variances.
    shares = (session / safe) ** 4 / noise.freedom + (error / safe) ** 4 / _freedom(found)
    freedom = 1 / np.maximum(shares, 1e-9)
    statistic = np.where(told, shift / safe, np.where(shift == 0, 0.0, np.copysign(np.inf, shift)))
    dearer = _together(found.p_dearer, stdtr(freedom, -statistic), found.p_least)
    cheaper = _together(found.p_cheaper, stdtr(freedom, statistic), found.p_least)

    quantile = -stdtrit(freedom, BEYOND_FLOOR)
    floor = np.where(noise.learnt, np.maximum(quantile * total - half, 0), -ndtri(BEYOND_FLOOR) * session)
    further = np.sqrt(np.array([len(case.now) for case in cases]) / MOST_BLOCKS)
    then = np.hypot(noise.at_most * stretch, error * further)
    at_most = np.where(noise.learnt, np.maximum(quantile * then - half * further, 0), floor)
    drift = carried(shift, high, kinds)
    columns = {
        "level": np.exp(noise.level + noise.offset),
        "carried": drift,
        "held": np.where(paired, drift / np.sqrt([len(case.now) for case in cases]), drift),
        "held_at_most": np.where(paired, drift / math.sqrt(MOST_BLOCKS), drift),
        "shift": shift,
        "low": low,
        "high": high,
        "floor": floor,
        "learnt": noise.learnt,
        "reach": np.where(noise.learnt, total, error),
        "floor_at_most": at_most,
        "half_at_most": half * further,
    }
    plain = {name: column.tolist() for name, column in columns.items()}
    up = np.stack([dearer, benjamini_hochberg(dearer), found.p_dearer], axis=1).tolist()
    down = np.stack([cheaper, benjamini_hochberg(cheaper), found.p_cheaper], axis=1).tolist()
    common = _common(shift, kinds)
    return [
        Evidence(
            **{name: column[index] for name, column in plain.items()},
            dearer=tuple(up[index]),
            cheaper=tuple(down[index]),
            blocks=tuple((found.blocks[index] - noise.offset[index]).tolist()),
            tests=len(cases),
            common=common[index],
        )
        for index in range(len(cases))
    ]


def _together(ranks: Array, scatter: Array, least: Array) -> Array:
    """One p: the larger of both. Ranks that say the most they can leave the rest to the scatter."""
    return np.maximum(np.where(ranks <= least * (1 + 1e-9), scatter, np.maximum(ranks, scatter)), _LEAST_P)


def _session_noise(cases: Sequence[Case], paired: Flags, found: Effects) -> _Noise:
    count = len(cases)
    offset, error, at_most = np.zeros(count), np.zeros(count), np.zeros(count)
    level = np.array([float(np.median(np.log(np.concatenate(case.before)))) for case in cases])
    narrowing, freedom = np.ones(count), np.full(count, np.inf)
    learnt = np.zeros(count, dtype=bool)
    places = [index for index, case in enumerate(cases) if not case.paired]
    stored = np.array(places, dtype=int)
    if not places:
        return _Noise(error, freedom, learnt, offset, narrowing, at_most, level)
    levels = [[float(level[index]), *map(math.log, cases[index].sessions)] for index in places]
    number = np.array([float(len(level)) for level in levels])
    centre, variance = references(levels)
    offset[stored] = centre - level[stored]
    enough = number > LEARNT_FROM
    spread = np.full(len(places), ASSUMED**2)
    if enough.any():
        spread[enough], freedom[stored[enough]] = moderated(variance[enough], number[enough] - 1)
    learnt[stored] = enough
    several = [place for place, index in enumerate(places) if enough[place] and len(cases[index].now) > 1]
    share, share_at_most = share_of_processes([found.blocks[places[place]] for place in several], spread[several])
    blocks = np.array([float(len(cases[index].now)) for index in places])
    # Without a history nobody knows which part a fresh process draws anew.
    anew = np.where(enough, share, 0.0)
    # Blocks that differ more today than sessions ever did speak for themselves.
    own = [found.blocks[index] for index in places]
    today = np.array([block.var(ddof=1) / len(block) if len(block) > 1 else 0.0 for block in own])
    error[stored] = np.sqrt(np.maximum(spread * ((1 - anew) + anew / blocks + 1 / number), today))
    at_most[stored] = np.sqrt(spread * (1 - share_at_most + share_at_most / MOST_BLOCKS + 1 / number))
    before, now = found.samples_before[stored], found.samples_now[stored]
    # The shift less the offset is now's level less that of all sessions. What scatters of it: now (1/now), before as one session
    # of all (1/before/number), and half the rest of before, because its centre and its median are two estimates of one level.
    narrowing[stored] = np.sqrt((1 / now + (0.5 + 0.5 / number) / before) / (1 / now + 1 / before))
    return _Noise(error, freedom, learnt, offset, narrowing, at_most, level)


def _freedom(found: Effects) -> Array:
    """Degrees of freedom of the scatter within blocks: fewer where neighbours are alike (Bayley and Hammersley 1946)."""
    square = found.correlation**2
    samples = (found.samples_before + found.samples_now) * (1 - square) / (1 + square)
    return np.maximum(samples - 2, _FEWEST_FREEDOM)


def _dispersion(found: Effects, paired: Flags, wide: Array) -> Array:
    """By how much blocks measured in turn differ more than their scatter says (variance, at least 1).

    Few blocks hardly tell: a test's own dispersion is drawn to that of the run with the weight of two degrees of freedom.
    """
    dispersion = np.ones(len(found.shift))
    several = [index for index in np.flatnonzero(paired) if len(found.blocks[index]) > 1 and found.error[index] > 0]
    if not several:
        return dispersion
    freedom = np.array([len(found.blocks[index]) - 1.0 for index in several])
    squares = np.array([((found.blocks[index] - found.blocks[index].mean()) ** 2).sum() for index in several])
    squares /= (freedom + 1) * (found.error[several] * wide[several]) ** 2
    run = max(float(squares.sum() / freedom.sum()), 1.0)
    if len(several) == 1:
        run = 1.0
    dispersion[several] = np.maximum((squares + 2 * run) / (freedom + 2), 1.0)
    return dispersion


def _unlike(shift: Array, error: Array, kinds: Sequence[Flags], same: Flags) -> Array:
    """By how much the run's tests scatter more than their errors say: at least 1, a factor a test.

    Tests whose code is the ``same`` show it, tails and all. Where there are none, those below the median do: most of them did not
    change, whatever became dearer (Efron 2004 fits the null to the middle of all tests; here one side of it, since a change makes
    many tests dearer more often than not).
    """
    factor = np.ones(len(shift))
    for kind in kinds:
        told = kind & (error > 0)
        unchanged = told & same
        if unchanged.sum() >= _ENOUGH_SAME:
            own = _own_offset(shift[unchanged], error[unchanged])
            factor[told] = np.hypot(error[told], own) / error[told]
            continue
        if told.sum() < _MANY:
            continue
        standard = shift[told] / error[told]
        away = np.median(standard) - standard
        factor[kind] = np.clip(1.4826 * np.median(away[away >= 0]), 1.0, _MOST_STRETCH)
    return factor


def _own_offset(shift: Array, error: Array) -> float:
    """Standard deviation of what each test has of its own beside its error (how its process lies in memory, bursts of others),
    so that all of them together scatter as they should: found by halving."""
    low, high = 0.0, 4.0
    if _tails(shift / error) <= 1:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _tails(shift / np.hypot(error, middle)) > 1 else (low, middle)
    return high


def _tails(standard: Array) -> float:
    """By how much wider than a normal distribution of variance 1 this is: in its middle or, where enough tests tell, beyond."""
    away = np.abs(standard - np.median(standard))
    shares = [0.5, *(share for share in (0.9, 0.95, 0.98, 0.99) if len(away) * (1 - share) >= _TELL_A_TAIL)]
    return max(float(np.quantile(away, share)) / float(ndtri((1 + share) / 2)) for share in shares)


def _common(shift: Array, kinds: Sequence[Flags]) -> list[str | None]:
    said: list[str | None] = [None] * len(shift)
    for kind in kinds:
        if kind.sum() < _MANY:
            continue
        here = shift[kind]
        centre = float(np.median(here))
        away = 1.4826 * float(np.median(np.abs(here - centre)))
        if abs(centre) > max(0.02, 4 * 1.25 * away / math.sqrt(len(here))):
            text = f"all {len(here)} tests moved together, {math.exp(centre):.2f}× at the median: the machine, or what they share"
            for index in np.flatnonzero(kind):
                said[index] = text
    return said
