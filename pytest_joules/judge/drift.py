"""The smallest change that a run's noise carries: what a machine moves between two groups of rounds, which rounds do not show.

The rounds of a group may agree to a per mille and the next group stand two per cent higher: a kernel's timer, a fan, another
neighbour. Where that happens between the two sides, no statistics of these two sides tell it from a change. Loaded when judging.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_joules.judge.two_samples import Array

#: What is reckoned with where the run does not show better (relative): steps of 1.1 % sd on each side, of which one in a hundred
#: comes to this (benchmarks/verdicts.py --only replay).
ASSUMED = 0.035

#: No run is believed to carry less: it shows what its own moments did.
_LEAST = 0.01

#: Tests of a kind from which on they show what an unchanged test passes about once in a hundred times.
_SHOWN_BY = 100


def carried(shift: Array, high: Array, kinds: Sequence[NDArray[np.bool_]]) -> Array:
    """The change that only one unchanged test in a hundred surely passes, a case; logarithms in and out.

    ``shift``, ``high``: now over before, and its interval's upper bound. What became cheaper is no regression: how far the surest
    of it passes the middle of all tests, and how far that stands off, shows what noise does to the others as well.
    """
    found = np.full(len(shift), math.log1p(ASSUMED))
    for kind in kinds:
        if kind.sum() < _SHOWN_BY:
            continue
        middle = float(np.median(shift[kind]))
        surest = float((middle - high[kind]).max())
        found[kind] = np.clip(max(surest, 0.0) + abs(middle), math.log1p(_LEAST), math.log1p(ASSUMED))
    return found
