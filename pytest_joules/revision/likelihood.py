"""Whether a commit costs what the good one does, or what the bad one does."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt

#: So many times likelier is sure enough.
_SURE = log(100)
#: Half a 95 % interval over its standard deviation.
_Z95 = 1.96
#: No standard deviation of a ratio is believed to be smaller: that of the same code, measured in turn.
_LEAST = 0.004


def dearer(estimates: Sequence[tuple[float, float, float]], ends: float) -> bool | None:
    """Whether a commit costs what the bad one does; ``None``: that cannot be told.

    It can where one is a hundred times likelier than the other: Wald's sequential probability ratio test (1945), normal errors,
    between two levels of the logarithm: 0 and that of ``ends``. Or where the 95 % interval lies on one side of the middle between
    them: a commit may cost something else. Where several have made a test dearer, the one is found that crosses the middle.

    Args:
        estimates: each a ratio to the good commit with its 95 % interval
        ends: the ratio of the bad commit to the good one, above 1
    """
    step, weights, total = log(ends), 0.0, 0.0
    for ratio, low, high in estimates:
        weight = max((log(high) - log(low)) / 2 / _Z95, _LEAST) ** -2
        weights += weight
        total += weight * (log(ratio) - step / 2)
    # How far their mean is from the middle: over its standard deviation, and as logarithm of the odds.
    sure = abs(total) >= _Z95 * sqrt(weights) or step * abs(total) >= _SURE
    return total > 0 if sure else None
