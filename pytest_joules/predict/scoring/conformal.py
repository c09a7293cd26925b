"""Intervals that hold what they promise: conformal prediction from errors on what was held out.

Split conformal prediction (Vovk, Gammerman and Shafer, 2005) with three refinements: the errors are divided by how large they
usually are at that level (Lei et al., 2018), both ends have a quantile of their own, and all rows of one group (a project, a
test function with its parametrisations) together count as one draw (Lee, Barber and Willett, 2023), as what is asked about is
of a group that was not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_joules.files.checked import Bad
from pytest_joules.predict.scoring.arrays import Array, floats

#: The share of the measurements that shall lie inside.
LEVEL = 0.8

#: Rows a step of the scale has at least, and the most steps.
_STEP = 40
_MOST_STEPS = 8

#: No interval is narrower than ± 1 % of this many times: medians of measurements vary by as much.
_LEAST = 0.005


@dataclass(frozen=True, slots=True)
class Conformal:
    """How far the truth lies from a prediction, in the prediction's own units (log10)."""

    levels: Array
    """Predictions at which the scale is known, rising."""
    scales: Array
    """The usual error there; between them a straight line."""
    low: float
    """Lower and upper end of the interval, in scales."""
    high: float

    @classmethod
    def fit(
        cls, predicted: Array, residuals: Array, groups: Sequence[object] | Array | None = None, level: float = LEVEL
    ) -> Conformal:
        """From predictions of what was held out, and truth minus prediction (1-d, the same length, at least one).

        ``groups``: what each row belongs to; each counts the same however many rows it has. ``None``: every row for itself.
        With fewer groups than the level needs (nine for 80 %) the largest error seen takes the place of what cannot be known.
        """
        predicted, residuals = np.asarray(predicted, float), np.asarray(residuals, float)
        weights = _weights(len(residuals), groups)
        levels, scales = _scales(predicted, residuals)
        scores = residuals / np.interp(predicted, levels, scales)
        tail = (1 - level) / 2
        return cls(levels, scales, -_upper(-scores, weights, 1 - tail), _upper(scores, weights, 1 - tail))

    def interval(self, predicted: Array) -> tuple[Array, Array]:
        """Lower and upper ends for predictions (1-d)."""
        scale = np.interp(predicted, self.levels, self.scales)
        return predicted + np.minimum(self.low * scale, 0), predicted + np.maximum(self.high * scale, 0)

    def arrays(self) -> dict[str, Array]:
        return {"levels": self.levels, "scales": self.scales, "ends": np.array([self.low, self.high])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Conformal:
        """The intervals in a file.

        Raises:
            Bad: they are none.
        """
        levels = floats(arrays, "levels", 1)
        scales, ends = floats(arrays, "scales", 1, len(levels)), floats(arrays, "ends", 1, 2)
        if not len(levels) or np.any(np.diff(levels) <= 0) or np.any(scales <= 0) or ends[0] > ends[1]:
            raise Bad("has intervals that are none")
        return cls(levels, scales, float(ends[0]), float(ends[1]))


def _weights(rows: int, groups: Sequence[object] | Array | None) -> Array:
    """What each row counts: 1 over the groups plus the one that is asked about, shared among the group's rows."""
    if groups is None:
        return np.full(rows, 1 / (rows + 1))
    names = list(groups)
    sizes: dict[object, int] = {}
    for name in names:
        sizes[name] = sizes.get(name, 0) + 1
    return np.array([1 / sizes[name] for name in names]) / (len(sizes) + 1)


def _upper(scores: Array, weights: Array, share: float) -> float:
    """The smallest score at or below which lies at least ``share``; what is missing to 1 lies at infinity."""
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, share - 1e-9))
    return float(scores[order[min(place, len(order) - 1)]])


def _scales(predicted: Array, residuals: Array) -> tuple[Array, Array]:
    """Steps of the predictions with about as many rows each: their middles, and the mean absolute error there."""
    sizes = np.maximum(np.abs(residuals), _LEAST)
    everywhere = float(sizes.mean())
    order = np.argsort(predicted, kind="stable")
    steps = np.array_split(order, int(np.clip(len(order) // _STEP, 1, _MOST_STEPS)))
    levels: list[float] = []
    scales: list[float] = []
    for step in steps:
        middle = float(np.median(predicted[step]))
        if levels and middle <= levels[-1]:
            continue  # many rows with the same prediction
        # A step's own mean is uncertain: the mean of all counts for as much as ten rows.
        levels.append(middle)
        scales.append((float(sizes[step].sum()) + 10 * everywhere) / (len(step) + 10))
    return np.array(levels), np.array(scales)
