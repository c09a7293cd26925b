"""What a CPU second of ours draws and what one of others does, from rounds beside which others did more and less."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from pytest_joules import stats

#: So many rounds, and so many processors of spread in what others used: with less the two cannot be told apart.
FEWEST, SPREAD = 6, 0.1
#: Standard errors on either side: more than 95 % with few rounds (Student's t of 3 degrees of freedom is 3.18).
_WIDE = 3.2


class Rates(NamedTuple):
    """Of one round, each less what it was while this process slept, so that the idle watts are not in it."""

    watts: float
    own: float
    """Processors that this process tree used."""
    others: float
    """Processors that others used."""


def ratio_of(rounds: Sequence[Rates]) -> tuple[float, float, float] | None:
    """The others' watts in a CPU second over ours, at least, as fitted and at most; ``None`` where the rounds do not tell.

    Least squares of watts = k own + m others without a constant; the error of m / k by the delta method.
    """
    if len(rounds) < FEWEST or stats.deviation([entry.others for entry in rounds]) < SPREAD:
        return None
    own2 = sum(entry.own**2 for entry in rounds)
    both = sum(entry.own * entry.others for entry in rounds)
    others2 = sum(entry.others**2 for entry in rounds)
    determinant = own2 * others2 - both**2
    if determinant <= 1e-6 * own2 * others2:
        return None
    from_own = sum(entry.own * entry.watts for entry in rounds)
    from_others = sum(entry.others * entry.watts for entry in rounds)
    ours = (others2 * from_own - both * from_others) / determinant
    theirs = (own2 * from_others - both * from_own) / determinant
    if ours <= 0:
        return None
    residual = sum((entry.watts - ours * entry.own - theirs * entry.others) ** 2 for entry in rounds) / (len(rounds) - 2)
    ratio = theirs / ours
    # Variances of the two and their covariance, over the residual's: others2, own2 and -both over the determinant.
    error = sqrt(max(0.0, residual * (own2 + ratio**2 * others2 + 2 * ratio * both) / determinant)) / ours
    return ratio - _WIDE * error, ratio, ratio + _WIDE * error
