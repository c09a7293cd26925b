"""Points of several costs against each other: which are dominated, which is the knee; what cannot be told is not decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from pytest_joules import stats
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.tune.configurations import CONSTANT, Configuration
from pytest_joules.tune.errors import DRAWS, Error
from pytest_joules.tune.measuring import Taken

Verdict = Literal["front", "dominated", "tied"]


@dataclass(slots=True)
class Point:
    """A finalist, and what came of it."""

    configuration: Configuration
    error: Error
    bytes: int
    taken: Taken | None
    description: str = ""
    verdict: Verdict = "front"
    by: list[int] = field(default_factory=list)
    """Places of the points that it is dominated by or tied with."""


def compared(one: Point, other: Point, target: str) -> int | None:
    """1: ``one`` is surely better (95 %), -1: surely worse, 0: exactly the same; ``None``: cannot be told."""
    if target == "bytes":
        return (one.bytes < other.bytes) - (one.bytes > other.bytes)
    if target == "error":
        differences = one.error.draws - other.error.draws
        low, high = np.quantile(differences, (0.025, 0.975))
        if not differences.any():
            return 0
    else:
        ratios = _ratios(one, other, target)
        interval = stats.median_interval(ratios) if len(ratios) >= 6 else None
        if interval is None:
            return None
        low, high = interval
    return 1 if high < 0 else -1 if low > 0 else None


def _ratios(one: Point, other: Point, target: str) -> list[float]:
    """Logarithms, of the blocks that both have: what disturbs a block disturbs both."""
    if one.taken is None or other.taken is None:
        return []
    column = 0 if target == "joules" else 1
    pairs = zip(one.taken.blocks[:, column], other.taken.blocks[:, column], strict=False)
    return [math.log(a / b) for a, b in pairs if math.isfinite(a) and math.isfinite(b) and a > 0 and b > 0]


def judge(points: Sequence[Point], targets: Sequence[str]) -> None:
    """Give each point its verdict.

    *dominated*: another is surely better by every target (or exactly the same by some). *tied*: another is surely better by one
    and not known to be worse by any. *front*: all others.
    """
    for one in points:
        found = {}
        for place, other in enumerate(points):
            if other is not one:
                found[place] = [compared(other, one, target) for target in targets]
        dominated = [place for place, signs in found.items() if 1 in signs and all(sign in (0, 1) for sign in signs)]
        tied = [place for place, signs in found.items() if 1 in signs and -1 not in signs]
        one.verdict = "dominated" if dominated else "tied" if tied else "front"
        one.by = dominated or tied


class Knee(NamedTuple):
    """Where more costs more than it brings."""

    place: int
    tied: list[int]
    """Places of those that cannot be told from it, without it."""
    why: str


def knee(points: Sequence[Point], targets: Sequence[str], seed: int) -> Knee | None:
    """The point that lies highest above the straight line from the constant to the most exact point, the logarithm of what a
    prediction takes across and the gain in error upwards (Satopää et al. 2011). Of points that cannot be told from it, by draws
    of packages and blocks, the cheapest is taken. ``None``: there is no cost that is known of two points.
    """
    cost = next((name for name in ("joules", "seconds", "bytes") if name in targets and _known(points, name)), None)
    if cost is None:
        return None
    alive = [place for place in _known(points, cost) if points[place].verdict != "dominated"]
    start = next((place for place in alive if points[place].configuration == CONSTANT), None)
    if start is None or len(alive) < 2:
        return None
    best = min(alive, key=lambda place: points[place].error.median)
    costs = {place: _costs(points[place], cost, seed) for place in alive}
    if points[best].error.median >= points[start].error.median:
        return Knee(start, [], "nothing is more exact than the constant")
    span = costs[best] - costs[start]
    gained = points[start].error.draws - points[best].error.draws
    scores = {
        place: (points[start].error.draws - points[place].error.draws) / np.where(gained > 0, gained, np.nan)
        - (costs[place] - costs[start]) / np.where(span > 0, span, np.nan)
        for place in alive
    }
    middle = {place: float(np.nanmedian(values)) for place, values in scores.items()}
    if not all(map(math.isfinite, middle.values())):
        return Knee(best, [], "the most exact is no dearer than the constant")
    # The constant is where the line begins.
    others = [place for place in alive if place != start]
    highest = max(others, key=lambda place: middle[place])
    level = [place for place in others if np.nanquantile(scores[place] - scores[highest], 0.975) >= 0]
    level.sort(key=lambda place: float(np.median(costs[place])))
    taken, *tied = level
    share = 100 * (points[start].error.median - points[taken].error.median)
    share /= points[start].error.median - points[best].error.median
    cheaper = 10 ** float(np.median(costs[best] - costs[taken]))
    per = {"joules": "the joules of a prediction", "seconds": "the CPU time of a prediction", "bytes": "the bytes"}[cost]
    why = f"{share:.0f} % of the best gain over the constant"
    why += f" for 1/{cheaper:.3g} of {per}" if cheaper >= 1.05 else f" at {1 / cheaper:.2g} times {per} of the most exact"
    return Knee(taken, tied, why)


def _known(points: Sequence[Point], cost: str) -> list[int]:
    if cost == "bytes":
        return list(range(len(points)))
    column = 0 if cost == "joules" else 1
    return [
        place
        for place, point in enumerate(points)
        if point.taken is not None and np.isfinite(point.taken.blocks[:, column]).any()
    ]


def _costs(point: Point, cost: str, seed: int) -> Array:
    """log10, the median of blocks drawn with replacement, or always the same; of one seed, points have the same blocks drawn."""
    if cost == "bytes" or point.taken is None:
        return np.full(DRAWS, math.log10(max(point.bytes, 1)))
    values = point.taken.blocks[:, 0 if cost == "joules" else 1]
    values = np.log10(values[np.isfinite(values) & (values > 0)])
    chance = np.random.default_rng(seed)
    result: Array = np.median(values[chance.integers(len(values), size=(DRAWS, len(values)))], axis=1)
    return result


class Lesson(NamedTuple):
    """A student beside its teacher; both as places. Intervals of 95 %."""

    student: int
    teacher: int
    gain: float
    """The student's gain in error over the constant, in parts of the teacher's."""
    gain_interval: tuple[float, float] | None
    joules: float | None
    """The student's joules in parts of the teacher's."""
    joules_interval: tuple[float, float] | None


def lesson(points: Sequence[Point], student: int, teacher: int, constant: int) -> Lesson:
    """How much of its teacher's gain a student kept, at which part of its joules."""
    one, other, base = (points[place].error for place in (student, teacher, constant))
    whole = base.median - other.median
    gain = (base.median - one.median) / whole if whole > 0 else math.nan
    drawn = base.draws - other.draws
    shares = (base.draws - one.draws)[drawn > 0] / drawn[drawn > 0]
    interval = (float(np.quantile(shares, 0.025)), float(np.quantile(shares, 0.975))) if len(shares) > DRAWS // 2 else None
    ratios = _ratios(points[student], points[teacher], "joules")
    around = stats.median_interval(ratios)
    joules = math.exp(stats.median(ratios)) if ratios else None
    return Lesson(student, teacher, gain, interval, joules, (math.exp(around[0]), math.exp(around[1])) if around else None)
