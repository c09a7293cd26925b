"""Stretches spread over the intervals of a counter, and seconds shared by those who ran at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def spread(begin: Integers, end: Integers, amount: Floats, column: Integers, *, columns: int, edges: Integers) -> Floats:
    """How much of each column lies in each interval, if what a stretch holds is even over its length.

    Args:
        begin: of the stretches, nanoseconds
        end: of the stretches; one that takes no time counts where it begins
        amount: what each stretch holds, such as CPU-seconds
        column: whose it is, by stretch, below ``columns``
        columns: how many there are
        edges: rising; interval ``i`` goes from edge ``i`` to edge ``i + 1``

    Returns:
        One row an interval, one column each; what lies outside of all edges is left out.
    """
    intervals = len(edges) - 1
    if intervals < 1 or not len(begin):
        return np.zeros((max(intervals, 0), columns))
    first = np.searchsorted(edges, begin, side="right") - 1
    last = np.maximum(np.searchsorted(edges, end, side="left") - 1, first)
    pieces = last - first + 1
    stretch = np.repeat(np.arange(len(begin)), pieces)
    interval = np.arange(len(stretch)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + first[stretch]
    inside = (interval >= 0) & (interval < intervals)
    stretch, interval = stretch[inside], interval[inside]
    length = (end - begin)[stretch]
    common = np.minimum(end[stretch], edges[interval + 1]) - np.maximum(begin[stretch], edges[interval])
    part = np.where(length > 0, common / np.maximum(length, 1), 1.0)
    cells: Floats = np.bincount(
        interval * columns + column[stretch], weights=amount[stretch] * part, minlength=intervals * columns
    ).astype(np.float64)
    return cells.reshape(intervals, columns)


def shared_seconds(begin: Integers, end: Integers) -> tuple[Floats, float]:
    """Seconds of each stretch, where those that run at once share a second equally; and the seconds in which any ran.

    Args:
        begin: of the stretches, nanoseconds
        end: of the stretches

    Returns:
        The first adds up to the second.
    """
    if not len(begin):
        return np.zeros(0), 0.0
    times, place = np.unique(np.concatenate([begin, end]), return_inverse=True)
    changes = np.zeros(len(times))
    np.add.at(changes, place[: len(begin)], 1.0)
    np.add.at(changes, place[len(begin) :], -1.0)
    running = np.cumsum(changes)[:-1]
    lengths = np.diff(times) / 1e9
    shares = np.where(running > 0.5, lengths / np.maximum(running, 1.0), 0.0)
    until = np.concatenate([[0.0], np.cumsum(shares)])
    return until[place[len(begin) :]] - until[place[: len(begin)]], float(lengths[running > 0.5].sum())
