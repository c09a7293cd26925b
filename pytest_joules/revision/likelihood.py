"""Whether a commit costs what the good one does, or what the bad one does."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

#: So many times likelier is sure enough: one of a hundred such answers is wrong, if both were as likely before.
_SURE = log(100)
#: Half a 95 % interval over its standard deviation.
_Z95 = 1.96
#: No standard deviation of a ratio is believed to be smaller: that of the same code, measured in turn.
_LEAST = 0.004


def dearer(estimates: Sequence[tuple[float, float, float]], ends: float) -> bool | None:
    """Whether a commit costs what the bad one does; ``None`` where neither is a hundred times likelier than the other.

    Wald's sequential probability ratio test (1945) between two levels of the logarithm, 0 and that of ``ends``, of normal errors.
    Between the two levels it says which is nearer: where several commits have made a test dearer, the one is found that crosses
    the middle.

    Args:
        estimates: each a ratio to the good commit with its 95 % interval
        ends: the ratio of the bad commit to the good one, above 1
    """
    step, odds = log(ends), 0.0
    for ratio, low, high in estimates:
        deviation = max((log(high) - log(low)) / 2 / _Z95, _LEAST)
        odds += step * (log(ratio) - step / 2) / deviation**2
    return odds > 0 if abs(odds) >= _SURE else None
