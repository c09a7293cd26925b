"""The best division of series into segments of one level each: exact, and of many series at once. Loaded when judging."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_joules.judge.two_samples import Array

#: Points of a segment at least: what lasts for less is a spike.
SHORTEST = 3

#: Cells (series × points) by points that are worked on at a time, of 24 bytes each: a processor's cache.
_AT_A_TIME = 1_000_000

_Index = NDArray[np.int64]


def segments(series: Sequence[Array], penalties: Array) -> list[list[int]]:
    """Where each series is best divided: the first point of each segment but the first, ascending.

    Best is what has the least sum of absolute distances to the medians of the segments and ``penalties`` (one of each series) for
    every division, among all divisions into segments of :data:`SHORTEST` points or more: optimal partitioning (Jackson et al.,
    2005) with an L1 cost.
    """
    order = sorted(range(len(series)), key=lambda place: len(series[place]))
    found: list[list[int]] = [[] for _ in series]
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * len(series[order[end]]) ** 2 <= _AT_A_TIME:
            end += 1
        members = order[begin:end]
        for place, divisions in zip(members, _together([series[place] for place in members], penalties[members]), strict=True):
            found[place] = divisions
        begin = end
    return found


def _together(series: Sequence[Array], penalties: Array) -> list[list[int]]:
    longest = max(map(len, series))
    values = np.zeros((longest, len(series)))
    for place, one in enumerate(series):
        values[: len(one), place] = one  # what follows is in no segment that ends in time
    least = np.full((longest + 1, len(series)), np.inf)
    least[0] = -penalties
    last = np.zeros((longest + 1, len(series)), dtype=np.int64)
    costs = _Costs(values)
    for begin in range(longest - SHORTEST + 1):
        # What ends before it is final: it is the beginning of a last segment now.
        offered = least[begin] + penalties + costs.of[SHORTEST - 1 :]
        better = offered < least[begin + SHORTEST :]
        least[begin + SHORTEST :][better] = offered[better]
        last[begin + SHORTEST :][better] = begin
        costs.leave()
    return [_traced(last[:, place], len(one)) for place, one in enumerate(series)]


def _traced(last: _Index, length: int) -> list[int]:
    found: list[int] = []
    place = int(last[length])
    while place > 0:
        found.append(place)
        place = int(last[place])
    return found[::-1]


class _Costs:
    """The least sum of absolute distances to one value, of all segments that begin at one point, which moves on.

    Each segment is a linked list of its points in the order of their values with a pointer to its (lower) median. It loses its
    first point with each step: the median moves by one place at most, and the cost falls by that point's distance to the medians
    of what is left.

    A segment is a cell, of ends × series; a point is written as its number × cells, so that its place in a cell is the sum.
    """

    def __init__(self, values: Array) -> None:
        points, self._series = values.shape
        self._points, self._cells = points, points * self._series
        self._cell = np.arange(self._cells)
        # The value of a point is the same in each cell of its series; the end of a list has none.
        self._values = np.vstack([values, np.zeros((1, self._series))]).repeat(points, 0).reshape(points + 1, -1)
        # Per point and cell, the next points above and below; the end of a list is one point more than there are.
        self._next = np.empty((2, points + 1, self._cells), dtype=np.int64)
        self._median = np.empty(self._cells, dtype=np.int64)
        self._begin = 0
        self._of = np.zeros(self._cells)
        self._even = (np.arange(points) % 2 == 1).repeat(self._series)
        """Of the segments that begin at the first point, those with an even number of points."""
        self._cell_below = self._cell + (points + 1) * self._cells
        # Where the median goes to: of an even number up, of an odd one down; by whether the first point's number is odd.
        self._beside = [np.where(self._even == first, self._cell, self._cell_below) for first in (True, False)]
        self._fill(values)
        self._low = self._values.ravel()[self._median + self._cell]

    @property
    def of(self) -> Array:
        """Of the segments that there are still, ends × series: the first ends after its one point."""
        return self._of[self._begin * self._series :].reshape(-1, self._series)

    def _fill(self, values: Array) -> None:
        """The segments that begin at the first point, from the longest on."""
        points, series, cells = self._points, self._series, self._cells
        rows = np.arange(series)
        order = np.argsort(values, axis=0, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(points)[:, None].repeat(series, 1), axis=0)
        above, below = (np.full((points + 1, series), points) for _ in range(2))
        np.put_along_axis(above, order[:-1], order[1:], axis=0)
        np.put_along_axis(below, order[1:], order[:-1], axis=0)
        median = order[(points - 1) // 2]
        for last in range(points - 1, -1, -1):
            cell = slice(last * series, (last + 1) * series)
            self._next[0, :, cell], self._next[1, :, cell] = above * cells, below * cells
            self._median[cell] = median * cells
            if last % 2:
                median = np.where(ranks[last] <= ranks[median, rows], above[median, rows], median)
            else:
                median = np.where(ranks[last] >= ranks[median, rows], below[median, rows], median)
            previous, following = below[last].copy(), above[last].copy()
            above[previous, rows], below[following, rows] = following, previous
        # The cost grows by the distance of each point to the medians of those before it.
        low = np.take_along_axis(values, self._median.reshape(points, series) // cells, axis=0)
        for last in range(1, points):
            cell = slice((last - 1) * series, last * series)
            highest = self._next[0].ravel()[self._median[cell] + self._cell[cell]] if last % 2 == 0 else self._median[cell]
            high = values[highest // cells, rows]
            self._of[last * series : (last + 1) * series] = self._of[cell] + _distance(values[last], low[last - 1], high)

    def leave(self) -> None:
        """The first point leaves every segment, and the one without another is gone."""
        gone, self._begin = self._begin, self._begin + 1
        rest = slice(self._begin * self._series, None)
        cell, value, point = self._cell[rest], self._values[gone, rest], gone * self._cells
        even = self._even[self._series : self._series + len(cell)]
        neighbours, values = self._next.ravel(), self._values.ravel()
        median, low = self._median[rest], self._low[rest]
        beside = neighbours.take(median + self._beside[gone % 2][rest])
        # Of equal values the first point is the lower one.
        median = np.where(((value <= low) == even) | (median == point), beside, median)
        above, below = self._next[0, gone, rest], self._next[1, gone, rest]
        neighbours[below + cell] = above
        neighbours[above + self._cell_below[rest]] = below
        self._median[rest] = median
        place = median + cell
        low = self._low[rest] = values.take(place)
        high = np.where(even, low, values.take(neighbours.take(place) + cell))
        self._of[rest] -= _distance(value, low, high)


def _distance(value: Array, low: Array, high: Array) -> Array:
    return np.maximum(np.maximum(low - value, value - high), 0.0)
