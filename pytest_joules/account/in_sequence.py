"""Short traced rounds, one after the other, as one long one: a counter is read less often than each of them lasts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pytest_joules.account.timeline import BETWEEN, Lane, Part, Timeline


class Body(NamedTuple):
    """What one of them showed."""

    timeline: Timeline
    begin: int
    """Nanoseconds."""
    end: int
    cpu_begun: float
    """CPU-seconds of the process when it began."""
    cpu_ended: float


def in_sequence(bodies: Sequence[Body]) -> Timeline:
    """One timeline of all bodies, and of what lies between them, which is a part of its own on one lane of each device.

    Args:
        bodies: at least one, in the order in which they ran
    """
    parts: list[Part] = []
    numbers: dict[Part, int] = {}
    calls: list[int] = []
    lanes: dict[tuple[Lane, int], int] = {}
    """With how many of the same name there are before it in its body."""
    columns: list[tuple[np.ndarray, ...]] = []
    for body in bodies:
        line = body.timeline
        new = np.zeros(len(line.parts) + 1, dtype=np.int32)
        new[-1] = -1  # nobody
        for index, part in enumerate(line.parts):
            above = None if part.parent is None else int(new[part.parent])
            new[index] = _number(Part(part.name, above, part.kind, part.direction), parts, numbers, calls)
            calls[new[index]] += int(line.calls[index])
        alike = [(lane, line.lanes[:number].count(lane)) for number, lane in enumerate(line.lanes)]
        places = np.array([lanes.setdefault(lane, len(lanes)) for lane in alike], dtype=np.int32)
        columns.append((line.begin, line.end, line.busy, new[line.part], places[line.lane]))
    if len(bodies) > 1:
        between = _number(Part(BETWEEN, None, "function"), parts, numbers, calls)
        lanes = lanes or {(Lane("main"), 0): 0}
        devices = {lane.device: number for (lane, _), number in reversed(lanes.items())}
        columns += [_gaps(bodies, between, number, works=device == "cpu") for device, number in devices.items()]
    begin, end, busy, owner, place = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Timeline(
        tuple(parts), tuple(lane for lane, _ in lanes), np.array(calls, dtype=np.int64), begin, end, busy, owner, place
    )


def _number(part: Part, parts: list[Part], numbers: dict[Part, int], calls: list[int]) -> int:
    if part not in numbers:
        numbers[part] = len(parts)
        parts.append(part)
        calls.append(0)
    return numbers[part]


def _gaps(bodies: Sequence[Body], part: int, lane: int, *, works: bool) -> tuple[np.ndarray, ...]:
    begin = np.array([one.end for one, _ in pairwise(bodies)], dtype=np.int64)
    end = np.array([other.begin for _, other in pairwise(bodies)], dtype=np.int64)
    spent = np.array([max(other.cpu_begun - one.cpu_ended, 0.0) if works else 0.0 for one, other in pairwise(bodies)])
    return begin, end, spent, np.full(len(begin), part, dtype=np.int32), np.full(len(begin), lane, dtype=np.int32)
