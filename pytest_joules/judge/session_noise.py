"""How much a test's cost differs between sessions of the same code, learnt from its history. Loaded when judging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.special import chdtri, digamma, polygamma

from pytest_joules.judge.two_samples import Array

#: No history is steadier than this (relative), however alike its few sessions look.
_STEADIEST = 1e-4


def references(levels: Sequence[Sequence[float]]) -> tuple[Array, Array]:
    """Centre and variance of each test's sessions: logarithms in; the Hodges-Lehmann centre, variance 0 for a single session.

    The centre is hardly moved by a session on a busy machine. The variance is, on purpose: what such sessions do to a cost
    once, they do again.
    """
    centre, variance = np.zeros(len(levels)), np.zeros(len(levels))
    groups: dict[int, list[int]] = defaultdict(list)
    for index, level in enumerate(levels):
        groups[len(level)].append(index)
    for size, members in groups.items():
        rows = np.array([levels[index] for index in members])
        left, right = np.triu_indices(size)
        centre[members] = np.median((rows[:, left] + rows[:, right]) / 2, axis=1)
        if size > 1:
            variance[members] = rows.var(axis=1, ddof=1) + _STEADIEST**2
    return centre, variance


def moderated(variance: Array, freedom: Array) -> tuple[Array, Array]:
    """Each test's variance drawn to what the run's tests show, and its degrees of freedom.

    Empirical Bayes for variances (Smyth 2004, section 6.2): their prior is a scaled inverse chi-square whose two parameters are
    fitted to the logarithms. Few tests or very unlike ones leave every test to its own.
    """
    if len(variance) < 3:
        return variance, freedom
    logs = np.log(variance) - digamma(freedom / 2) + np.log(freedom / 2)
    beyond = float(logs.var(ddof=1) - polygamma(1, freedom / 2).mean())
    # More pooled degrees of freedom than the run's tests have together cannot be had.
    prior = min(2 * _inverse_trigamma(beyond) if beyond > 1e-8 else np.inf, float(freedom.sum()))
    centre = float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2)))
    return (prior * centre + freedom * variance) / (prior + freedom), freedom + prior


def _inverse_trigamma(value: float) -> float:
    """Newton's iteration of Smyth (2004), appendix; monotone, so it needs no bracket."""
    if value > 1e7:
        return float(1 / np.sqrt(value))
    found = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, found))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, found))
        found += step
        if -step / found < 1e-8:
            break
    return float(found)


def share_of_processes(blocks: Sequence[Array], variance: Array) -> tuple[float, float]:
    """Which share of the sessions' variance a fresh process draws anew, so that measuring again averages it: 0 to 1, and at most.

    ``blocks``: the shifts of the blocks of each test that has several, ``variance``: between its sessions. All such tests of
    the run tell it together, for one test alone hardly does. The second value is the upper limit of the 95 % that are likely.
    """
    freedom = sum(len(block) - 1 for block in blocks)
    if not freedom:
        return 0.0, 1.0
    seen = sum(float(((block - block.mean()) ** 2).sum()) / spread for block, spread in zip(blocks, variance, strict=True))
    return min(seen / freedom, 1.0), min(seen / float(chdtri(freedom, 0.95)), 1.0)
