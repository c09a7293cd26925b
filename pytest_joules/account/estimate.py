"""How many watts each part draws, told from what a counter counted while they ran.

The joules of an interval are ``idle x seconds + sum of k_m x busy seconds of part m in it``. The ``k_m`` come from one normal
distribution, whose spread is learnt from the same data (empirical Bayes: Efron and Morris, "Data analysis using Stein's estimator
and its generalizations", 1975): where the data say little, each part gets the common watts: the plain share of busy time.

A reading whose time stamp is off takes from one interval what it gives to the next, so errors of neighbours are correlated: what
differs between readings is known far better over long times than over short ones. Background is an error of each interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, cholesky_banded, solve_banded, solve_triangular
from scipy.optimize import nnls

from pytest_joules.account.intervals import Floats

#: Fewer intervals tell nothing.
FEWEST = 8
#: Spread of the watts over their mean, as it may be; the first is none.
_SPREADS = (1e-4, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.4)
#: Variance of an interval's own error over that of a reading's time stamp, as it may be.
_RATIOS = (1e-3, 0.03, 0.3, 3.0, 30.0, 300.0)
#: How much likelier equal watts are beforehand than each spread: for the account, so that it is not worse than the share of time
#: unless the evidence is strong; for its intervals, which have to hold where it is not.
_EQUAL, _EQUAL_DRAWN = 1000.0, 4.0
#: What the declared error of a time stamp weighs, in readings.
_PRIOR_READINGS = 4.0
#: Standard deviations from which a reading is taken for a wrong one.
_WRONG = 5.0
#: Relative uncertainty up to which idle watts are told.
_IDLE_KNOWN = 0.2
_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Piece:
    """Intervals of one counter that follow one another."""

    seconds: Floats
    joules: Floats
    busy: Floats
    """One row an interval, one column a part: CPU-seconds, or seconds that a device worked."""
    stamp_seconds: float


@dataclass(frozen=True, slots=True)
class Watts:
    """What the counter tells of the parts."""

    busy: Floats
    """By part: watts while it is busy, on top of ``idle``."""
    idle: float
    """Watts whatever runs."""
    idle_known: bool
    """Whether the data tell ``idle`` from the parts' own."""
    draws: Floats
    """Draws from the posterior: one row a draw, the parts' watts, then idle."""
    explained: float
    """Joules that the model gives the intervals, over what was counted."""
    apart: Floats
    """By pair of parts: how little the data say of the difference of their watts; 0 all, 1 nothing."""
    alone: Floats
    """By part: how little they say of its own watts."""
    linked: Floats
    """By pair: correlation of what is known of both; negative where only their sum is."""


def fit(pieces: Sequence[Piece], seed: int = 0) -> Watts | str:
    """The watts of all parts, or why the readings cannot tell.

    Args:
        pieces: intervals of one domain's counter, all with the same parts
        seed: of the draws
    """
    kept = [piece for piece in pieces if len(piece.seconds)]
    count = sum(len(piece.seconds) for piece in kept)
    if count < FEWEST:
        return f"{count} intervals of the counter lie within the traced rounds: {FEWEST} are needed"
    total, seconds = sum(float(piece.joules.sum()) for piece in kept), sum(float(piece.seconds.sum()) for piece in kept)
    if not np.isfinite(total) or total <= 0:
        return "the counter counted nothing in the traced rounds"
    for _ in range(3):
        posterior = _Posterior(kept, total / seconds)
        thinner = posterior.without_wrong(kept)
        if thinner is None:
            break
        kept = thinner
    return posterior.watts(seed)


class _Posterior:
    """Of ``(k_1 ... k_M, idle, common)``, averaged over what the errors and the spread of the watts may be."""

    def __init__(self, pieces: Sequence[Piece], mean: float) -> None:
        self.mean = mean
        self.busy = np.concatenate([piece.busy for piece in pieces])
        self.seconds = np.concatenate([piece.seconds for piece in pieces])
        self.joules = np.concatenate([piece.joules for piece in pieces])
        self.starts = np.cumsum([0, *[len(piece.seconds) for piece in pieces]])
        stamp = np.median([piece.stamp_seconds for piece in pieces])
        self.stamp = float(max(stamp, 1e-7)) * mean
        # A time stamp's error is worth what is drawn at that time.
        self.level = [self._levels(piece) for piece in pieces]
        self.parts = self.busy.shape[1]
        # d_m = k_m - common: the last two columns are idle and the common watts.
        self.design = np.column_stack([self.busy, self.seconds, self.busy.sum(axis=1)])
        load = float(self.busy.sum() / self.seconds.sum())
        self.scale = mean / max(load, 1e-3)
        """Watts per busy second if nothing were drawn idle."""
        self.weights: list[float] = []
        self.cells: list[tuple[Floats, Floats, Floats]] = []
        """For each ratio and spread the mean, the roots of the prior, and the factor of the precision in units of these."""
        self._best = (-np.inf, _RATIOS[0], self.stamp**2)
        for ratio in _RATIOS:
            self._over_spreads(ratio)
        self.weight = self._weighed(_EQUAL_DRAWN)
        """By cell, for draws: how wrong it may be."""
        likely = self._weighed(_EQUAL)
        self.centre = np.sum([weight * cell[0] for weight, cell in zip(likely, self.cells, strict=True)], axis=0)

    def _weighed(self, equal: float) -> Floats:
        """Weights of the cells, if equal watts are so many times likelier beforehand than each other spread."""
        logs = np.array(self.weights)
        logs[:: len(_SPREADS)] += np.log(equal)
        weight: Floats = np.exp(logs - logs.max())
        weight /= weight.sum()
        return weight

    def _levels(self, piece: Piece) -> Floats:
        """By reading of the piece, the power there over the mean."""
        power = np.clip(piece.joules / np.maximum(piece.seconds, 1e-9) / self.mean, 0.2, 20.0)
        return np.concatenate([[power[0]], (power[1:] + power[:-1]) / 2, [power[-1]]])

    def _bands(self, ratio: float) -> Floats:
        """Lower bands of the Cholesky factor of the errors' covariance, in units of a time stamp's variance."""
        variance = np.concatenate([level[:-1] ** 2 + level[1:] ** 2 for level in self.level])
        variance = variance + ratio * self.seconds / self.seconds.mean()
        beside = np.zeros(len(variance))
        for start, level in zip(self.starts[:-1], self.level, strict=True):
            beside[start : start + len(level) - 2] = -(level[1:-1] ** 2)
        bands: Floats = cholesky_banded(np.stack([variance, beside]), lower=True)
        return bands

    def _over_spreads(self, ratio: float) -> None:
        bands = self._bands(ratio)
        white = solve_banded((1, 0), bands, np.column_stack([self.design, self.joules]))
        x, y = white[:, :-1], white[:, -1]
        gram, projected, square = x.T @ x, x.T @ y, float(y @ y)
        determinant = 2 * float(np.log(bands[0]).sum())
        count, variance = len(y), self.stamp**2
        for spread in _SPREADS:
            prior = np.concatenate(
                [np.full(self.parts, (spread * self.scale) ** 2), [self.mean**2, (10 * self.scale) ** 2]],
            )
            root = np.sqrt(prior)
            # The errors' variance at its most likely, with the declared one as so many readings more.
            for _ in range(4):
                factor = cholesky(gram * np.outer(root, root) / variance + np.eye(len(root)), lower=True)
                centre = root * cho_solve((factor, True), root * projected / variance)
                rest = max(square - float(centre @ projected), 1e-30)
                variance = (rest + _PRIOR_READINGS * self.stamp**2) / (count + _PRIOR_READINGS)
            factor = cholesky(gram * np.outer(root, root) / variance + np.eye(len(root)), lower=True)
            centre = root * cho_solve((factor, True), root * projected / variance)
            rest = max(square - float(centre @ projected), 0.0)
            likelihood = -0.5 * (
                (count + _PRIOR_READINGS) * np.log(variance)
                + _PRIOR_READINGS * self.stamp**2 / variance
                + rest / variance
                + determinant
                + 2 * float(np.log(np.diag(factor)).sum())
            )
            likelihood -= float(np.log1p((spread / 0.5) ** 2))
            self.cells.append((centre, root, factor))
            self.weights.append(float(likelihood))
            if likelihood > self._best[0]:
                self._best = float(likelihood), ratio, variance

    def without_wrong(self, pieces: Sequence[Piece]) -> list[Piece] | None:
        """The pieces without readings that are far off, their two intervals as one; ``None`` where all are sound."""
        _, ratio, _ = self._best
        bands = self._bands(ratio)
        white = solve_banded((1, 0), bands, self.joules - self.design @ self.centre)
        upper = np.stack([np.concatenate([[0.0], bands[1][:-1]]), bands[0]])
        solved = solve_banded((0, 1), upper, white)
        found = False
        kept = []
        for start, stop, piece, level in zip(self.starts[:-1], self.starts[1:], pieces, self.level, strict=True):
            # What the error of each inner reading is, as the intervals beside it tell it, in its standard deviations.
            off = np.abs(solved[start : stop - 1] - solved[start + 1 : stop]) * level[1:-1]
            wrong = off > _WRONG * max(float(np.median(off)) * 1.48, 1e-30) if len(off) > 4 else np.zeros(len(off), bool)
            if not wrong.any() or wrong.mean() > 0.2:
                kept.append(piece)
                continue
            found = True
            first = np.concatenate([[0], 1 + np.flatnonzero(~wrong)])
            kept.append(
                Piece(
                    np.add.reduceat(piece.seconds, first),
                    np.add.reduceat(piece.joules, first),
                    np.add.reduceat(piece.busy, first, axis=0),
                    piece.stamp_seconds,
                )
            )
        return kept if found and sum(len(piece.seconds) for piece in kept) >= FEWEST else None

    def watts(self, seed: int) -> Watts:
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(len(self.cells), size=_DRAWS, p=self.weight))
        theta = random.standard_normal((_DRAWS, self.parts + 2))
        for cell in np.unique(chosen):
            centre, root, factor = self.cells[cell]
            theta[chosen == cell] = centre + root * solve_triangular(factor, theta[chosen == cell].T, lower=True, trans="T").T
        # They come by cell: in any order, or draws of several domains would go together.
        random.shuffle(theta)
        covariance = np.cov(theta.T) + 1e-12 * self.mean**2 * np.eye(self.parts + 2)
        centre = self._possible(self.centre, covariance)
        draws = theta[:, :-1].copy()
        draws[:, :-1] += theta[:, -1:]
        # Idle watts are not below zero, nor above what leaves each part some; what the parts then draw follows from them.
        spread = np.cov(draws.T)
        slope = spread[-1] / max(spread[-1, -1], 1e-30)
        draws += np.outer(np.maximum(draws[:, -1], 0.0) - draws[:, -1], slope)
        falling = slope[:-1] < -1e-6
        if falling.any():
            lower = np.minimum(draws[:, :-1][:, falling], 0.0) / -slope[:-1][falling]
            draws += np.outer(np.maximum(lower.min(axis=1), -draws[:, -1]), slope)
        draws = np.maximum(draws, 0.0)
        fitted = self.busy @ centre[: self.parts] + self.seconds * centre[self.parts]
        apart, alone, linked = self._told_apart()
        return Watts(
            busy=centre[: self.parts],
            idle=float(centre[self.parts]),
            idle_known=float(theta[:, self.parts].std()) <= _IDLE_KNOWN * self.mean,
            draws=draws,
            explained=float(fitted.sum() / self.joules.sum()),
            apart=apart,
            alone=alone,
            linked=linked,
        )

    def _possible(self, theta: Floats, covariance: Floats) -> Floats:
        """The parts' watts and idle; where one came out negative, the likeliest of all that have none negative."""
        transform = np.eye(self.parts + 1, self.parts + 2)
        transform[: self.parts, -1] = 1.0
        value = transform @ theta
        if (value >= 0).all():
            return value
        spread = transform @ covariance @ transform.T
        spread += 1e-9 * np.trace(spread) / len(spread) * np.eye(len(spread))
        factor = cholesky(spread, lower=True)
        rooted = solve_triangular(factor, np.eye(len(factor)), lower=True)
        solved: Floats = nnls(rooted, rooted @ value)[0]
        return solved

    def _told_apart(self) -> tuple[Floats, Floats, Floats]:
        """What the intervals alone would tell, if nothing but the size of the watts were known before."""
        _, ratio, variance = self._best
        # Given idle: what is not known of that is common to all.
        x = solve_banded((1, 0), self._bands(ratio), self.busy) * self.scale / np.sqrt(variance)
        covariance = np.linalg.inv(x.T @ x + np.eye(self.parts))
        single = np.maximum(np.diag(covariance), 1e-30)
        difference = np.sqrt(np.maximum(single[:, None] + single[None, :] - 2 * covariance, 0.0) / 2)
        return difference, np.sqrt(single), covariance / np.sqrt(np.outer(single, single))
