"""What a second of each part is worth, in one domain: by regression on its counter, or alike for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pytest_joules.account.estimate import Piece, Watts, fit
from pytest_joules.account.intervals import Floats, Integers, spread
from pytest_joules.account.pooled import Pooled
from pytest_joules.account.power import Power
from pytest_joules.account.timeline import NOT_OF_TEST
from pytest_joules.account.totals import Totals
from pytest_joules.model.account_records import SharedBy

#: Parts with watts of their own; the rest have one common figure.
MOST_PARTS = 100
#: Of what its size alone would tell, how much may be unknown of a part's watts for it to be told apart.
_UNKNOWN = 0.5
#: A smaller share of the busy time is not worth a look whether it can be told apart.
_SMALL = 0.01
#: Correlation of two parts' watts below which it is their sum that is known.
_LINKED = -0.2
#: Share of the busy time of parts that cannot be told apart, from which on all have one figure.
_MOSTLY = 0.9
#: Share of the busy time that is the test's, from which on the counter tells its watts from those of what lies between.
_OWN = 0.2


@dataclass(frozen=True, slots=True)
class Rates:
    """Weights by which a domain's joules are shared out."""

    busy: Floats
    """By flat part, then nobody's: of a busy second."""
    idle: float
    """Of a second."""
    draws: Floats | None
    """Draws of the same, one row a draw: by flat part, nobody's, idle."""
    shared_by: SharedBy
    why: str | None
    idle_known: bool = False
    groups: tuple[tuple[int, ...], ...] = ()
    """Flat parts that cannot be told apart."""
    explained: float | None = None
    counted: float = 0.0
    """Joules of the intervals that were used."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """A domain's counter in the traced rounds, and who ran in its intervals."""

    columns: Integers
    """Which column each flat part is, then nobody; -1: it never ran on this device, or was never busy."""
    count: int
    rounds: tuple[tuple[Piece, ...], ...]
    why: str | None = None
    """Why there are none."""
    beside: frozenset[int] = frozenset()
    """Columns of what is none of the test's."""


def intervals_of(
    pooled: Pooled, totals: Totals, powers: Sequence[Sequence[Power]], device: int, most: int = MOST_PARTS
) -> Intervals:
    """The busy seconds of each part in each interval of a domain's counter.

    Args:
        pooled: the traced rounds
        totals: of the same
        powers: by round, of this domain alone
        device: index of the device whose lanes it pays
        most: columns; parts that are busy for less have one together
    """
    columns, count = _columns(pooled, totals, device, most)
    if not count:
        return Intervals(columns, 0, (), "no CPU time was recorded")
    rounds: list[tuple[Piece, ...]] = []
    early = late = 0
    for stretches, (begin, end), given in zip(pooled.rounds, pooled.bodies, powers, strict=True):
        here = (stretches.device == device) & (stretches.busy > 0)
        column = np.full(len(stretches.node), columns[-1])
        owned = stretches.node >= 0
        pair = totals.pair_of[stretches.node[owned], stretches.device[owned]]
        column[owned] = columns[totals.pair_flat[pair]]
        pieces = []
        for power in given:
            early, late = early + int((power.at < begin).sum()), late + int((power.at > end).sum())
            edges, joules = _within(power, begin, end)
            if len(edges) < 2:
                continue
            busy = spread(
                stretches.begin[here], stretches.end[here], stretches.busy[here], column[here], columns=count, edges=edges
            )
            pieces.append(Piece(np.diff(edges) / 1e9, np.diff(joules), busy, power.stamp_seconds))
        rounds.append(tuple(pieces))
    why = None
    if not any(rounds):
        outside = early + late
        why = (
            f"none of the counter's {outside} readings lies within a traced round: the clocks do not fit, or the rounds are "
            "shorter than the time between two readings"
            if outside
            else "no power was sampled"
        )
    beside = frozenset(
        int(columns[index]) for index, flat in enumerate(pooled.flats) if flat.name in NOT_OF_TEST and columns[index] >= 0
    )
    return Intervals(columns, count, tuple(rounds), why, beside)


def rates_of(totals: Totals, intervals: Intervals, device: int, only: Sequence[int] | None = None, every: int = 1) -> Rates:
    """What the intervals tell, or equal rates where they tell nothing.

    Args:
        totals: of the traced rounds
        intervals: of the domain
        device: index of the device
        only: the rounds to use; all
        every: how many intervals are taken as one
    """
    chosen = range(len(intervals.rounds)) if only is None else only
    if intervals.why is not None:
        return _alike(totals, intervals, device, intervals.why)
    pieces = [_sparser(piece, every) for number in chosen for piece in intervals.rounds[number]]
    columns = np.arange(intervals.count)
    watts = fit(pieces)
    for _ in range(3):
        if isinstance(watts, str):
            return _alike(totals, intervals, device, watts)
        joined = _joined(pieces, watts)
        if joined is None:
            break
        columns = joined[columns]
        pieces = [replace(piece, busy=_added(piece.busy, joined)) for piece in pieces]
        watts = fit(pieces)
    if isinstance(watts, str):
        return _alike(totals, intervals, device, watts)
    if _mostly_joined(totals, intervals, columns) or _hardly_known(intervals, pieces, columns, watts):
        return _in_common(totals, intervals, device, pieces, columns)
    return _spread_out(watts, intervals, columns, pieces)


def _columns(pooled: Pooled, totals: Totals, device: int, most: int) -> tuple[Integers, int]:
    busy = totals.busy.sum(axis=0)
    mine = [index for index, flat in enumerate(pooled.flats) if flat.device == pooled.devices[device] and busy[index] > 0]
    mine.sort(key=lambda index: -busy[index])
    columns = np.full(len(pooled.flats) + 1, -1, dtype=np.int64)
    for place, index in enumerate(mine):
        columns[index] = min(place, most)
    count = min(len(mine), most + 1)
    if totals.nobody_busy[:, device].sum() > 0:
        columns[-1] = count
        count += 1
    return columns, count


def _within(power: Power, begin: int, end: int) -> tuple[Integers, Floats]:
    """Its readings within the body.

    Raises:
        ValueError: it is none that a counter gives.
    """
    at, joules = np.asarray(power.at, dtype=np.int64), np.asarray(power.joules, dtype=np.float64)
    if len(at) != len(joules):
        raise ValueError(f"power of {power.domain}: {len(at)} times for {len(joules)} readings")
    if not np.isfinite(joules).all():
        raise ValueError(f"power of {power.domain}: reading {int(np.argmin(np.isfinite(joules)))} is no finite number of joules")
    for wrong, what in ((np.diff(at) <= 0, "is not later"), (np.diff(joules) < 0, "is lower")):
        if wrong.any():
            raise ValueError(
                f"power of {power.domain}: reading {int(np.argmax(wrong)) + 1} {what} than the one before: give readings of a "
                "counter that only rises, in order"
            )
    inside = (at >= begin) & (at <= end)
    return at[inside], joules[inside]


def _sparser(piece: Piece, every: int) -> Piece:
    count = len(piece.seconds) // every * every
    if every == 1 or not count:
        return piece if every == 1 else Piece(piece.seconds[:0], piece.joules[:0], piece.busy[:0], piece.stamp_seconds)
    first = np.arange(0, count, every)
    add = np.add.reduceat
    return Piece(
        add(piece.seconds[:count], first),
        add(piece.joules[:count], first),
        add(piece.busy[:count], first, axis=0),
        piece.stamp_seconds,
    )


def _joined(pieces: Sequence[Piece], watts: Watts) -> Integers | None:
    """New columns, in which parts that cannot be told apart have one; ``None`` where all can."""
    busy = np.sum([piece.busy.sum(axis=0) for piece in pieces], axis=0)
    unknown = (watts.alone > _UNKNOWN) & (busy >= _SMALL * busy.sum())
    linked = (watts.apart > _UNKNOWN) & (watts.linked < _LINKED) & unknown[:, None] & unknown[None, :]
    np.fill_diagonal(linked, False)
    if not linked.any():
        return None
    from scipy.sparse.csgraph import connected_components

    _, labels = connected_components(linked, directed=False)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _mostly_joined(totals: Totals, intervals: Intervals, columns: Integers) -> bool:
    """Whether most of what the test's parts did is of parts that cannot be told apart: an account of one line is none."""
    own = [flat for flat, column in enumerate(intervals.columns[:-1].tolist()) if column >= 0 and column not in intervals.beside]
    busy = totals.busy.sum(axis=0)
    alone = np.bincount(columns, minlength=int(columns.max()) + 1) == 1
    together = sum(float(busy[flat]) for flat in own if not alone[columns[intervals.columns[flat]]])
    return len(own) > 1 and together > _MOSTLY * sum(float(busy[flat]) for flat in own)


def _own(intervals: Intervals, columns: Integers) -> NDArray[np.bool_]:
    """By column, whether it is a part of the test."""
    result = np.ones(int(columns.max()) + 1, dtype=bool)
    result[[int(columns[column]) for column in intervals.beside]] = False
    return result


def _hardly_known(intervals: Intervals, pieces: Sequence[Piece], columns: Integers, watts: Watts) -> bool:
    """Whether the readings say little of what the test's parts draw, as where most of the time lies between short bodies."""
    own = _own(intervals, columns)
    busy = np.sum([piece.busy.sum(axis=0) for piece in pieces], axis=0)
    if busy[own].sum() < _OWN * busy.sum():
        return True
    return float(busy[own] @ watts.alone[own]) > _UNKNOWN * float(busy[own].sum())


def _in_common(totals: Totals, intervals: Intervals, device: int, pieces: Sequence[Piece], columns: Integers) -> Rates:
    """One figure for a busy second of any part of the test, and idle watts apart where the counter tells them."""
    why = "the counter's readings do not tell apart what the parts draw"
    own = _own(intervals, columns)
    busy = np.sum([piece.busy.sum(axis=0) for piece in pieces], axis=0)
    # What lies between bodies draws something else, if there is enough of both to tell.
    kind = np.where(own | (busy[own].sum() < _OWN * busy.sum()), 0, 1).astype(np.int64)
    watts = fit([replace(piece, busy=_added(piece.busy, kind)) for piece in pieces])
    if isinstance(watts, str) or not watts.idle_known:
        return _alike(totals, intervals, device, why)
    rates = np.zeros(len(intervals.columns))
    has = intervals.columns >= 0
    rates[has] = watts.busy[kind[columns[intervals.columns[has]]]]
    counted = float(sum(piece.joules.sum() for piece in pieces))
    return Rates(rates, watts.idle, None, "busy time", why, idle_known=True, explained=watts.explained, counted=counted)


def _added(busy: Floats, columns: Integers) -> Floats:
    result = np.zeros((len(busy), int(columns.max()) + 1))
    np.add.at(result.T, columns, busy.T)
    return result


def _spread_out(watts: Watts, intervals: Intervals, columns: Integers, pieces: Sequence[Piece]) -> Rates:
    """The columns' watts as those of the flat parts."""
    has = intervals.columns >= 0
    column = columns[intervals.columns[has]]
    busy, draws = np.zeros(len(has)), np.zeros((len(watts.draws), len(has) + 1))
    busy[has], draws[:, :-1][:, has], draws[:, -1] = watts.busy[column], watts.draws[:, column], watts.draws[:, -1]
    groups = []
    for one in range(int(columns.max()) + 1):
        first = np.flatnonzero(columns == one)
        if len(first) > 1:
            groups.append(tuple(np.flatnonzero(np.isin(intervals.columns[:-1], first)).tolist()))
    return Rates(
        busy=busy,
        idle=watts.idle,
        draws=draws,
        shared_by="regression",
        why=None,
        idle_known=watts.idle_known,
        groups=tuple(group for group in groups if len(group) > 1),
        explained=watts.explained,
        counted=float(sum(piece.joules.sum() for piece in pieces)),
    )


def _alike(totals: Totals, intervals: Intervals, device: int, why: str) -> Rates:
    """Each busy second is worth the same; without any, each second."""
    has = intervals.columns >= 0
    if has.any():
        return Rates(has.astype(np.float64), 0.0, None, "busy time", why)
    return Rates(np.zeros(len(has)), 1.0, None, "seconds", why)


def with_idle(pooled: Pooled, totals: Totals, intervals: Intervals, device: int, *, watts: float, joules: float) -> Rates:
    """Equal rates of busy seconds above idle watts that are known: those of the model that an estimate is made by.

    Args:
        pooled: the traced rounds
        totals: of the same
        intervals: of the domain
        device: index of the device
        watts: idle ones
        joules: of the domain, of all traced rounds if nothing were recorded
    """
    mine = pooled.paid(device)
    busy = float((totals.busy.sum(axis=0) * mine).sum() + totals.nobody_busy[:, device].sum())
    seconds = float((totals.idle.sum(axis=0) * mine).sum() + totals.nobody_idle[:, device].sum())
    alike = _alike(totals, intervals, device, "no power was sampled; idle watts are the estimate's")
    if not (busy > 0 and seconds > 0):
        return alike
    idle = min(watts, joules / seconds)
    return replace(alike, busy=alike.busy * (joules - idle * seconds) / busy, idle=idle, shared_by="busy time", idle_known=True)
