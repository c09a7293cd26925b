"""A small drawing of values in the order of time, of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_joules import stats

#: Lines of a drawing.
_LINES = 3
#: How full a character is, from empty to full, and what encodings without blocks have.
_BLOCKS, _ASCII = " ▁▂▃▄▅▆▇█", " .:|"


def drawn(values: Sequence[float], width: int, encoding: str) -> list[str]:
    """The values as columns, the lowest one the lowest step there is: the scale does not begin at zero. Where there are more than
    ``width`` of them, medians of as many neighbours as need be."""
    if not values:
        return []
    marks = _marks(encoding)
    share = max(1, math.ceil(len(values) / max(1, width)))
    columns = [stats.median(values[begin : begin + share]) for begin in range(0, len(values), share)]
    low, high = min(columns), max(columns)
    steps = (len(marks) - 1) * _LINES
    # Equal values are in the middle.
    heights = [1 + round((value - low) / (high - low) * (steps - 1)) if high > low else steps // 2 for value in columns]
    lines = []
    for line in reversed(range(_LINES)):
        filled = (min(max(height - line * (len(marks) - 1), 0), len(marks) - 1) for height in heights)
        lines.append("".join(marks[part] for part in filled).rstrip())
    return [line for line in lines if line]


def _marks(encoding: str) -> str:
    try:
        _BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _ASCII
    return _BLOCKS
