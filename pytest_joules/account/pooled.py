"""Several traced rounds as one: checked, cut to the test's body, and with one numbering of the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pytest_joules.account.intervals import Floats, Integers, shared_seconds
from pytest_joules.account.timeline import NOBODY, NOT_OF_TEST, Kind, Part, Pass, Timeline
from pytest_joules.account.traced_round import TracedRound

#: Nanoseconds by which stretches of one lane may overlap: files round their times to that.
_ROUNDED = 2_000


class Flat(NamedTuple):
    """A part wherever it ran, on one device."""

    name: str
    direction: Pass
    device: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Stretches:
    """Of one round, within its body. All arrays have one entry a stretch."""

    begin: Integers
    end: Integers
    busy: Floats
    node: Integers
    """Index of the pooled part, or ``NOBODY``."""
    device: Integers
    """Index of the device."""
    idle: Floats
    """Seconds, where those that run at once on the device share a second equally; nobody's stretches have none."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """All rounds."""

    parts: tuple[Part, ...]
    calls: Integers
    devices: tuple[str, ...]
    rounds: tuple[Stretches, ...]
    bodies: tuple[tuple[int, int], ...]
    flats: tuple[Flat, ...]
    flat_of: dict[tuple[int, int], int]
    """Index of the flat part by index of the part and of the device."""

    def paid(self, device: int) -> Floats:
        """By flat part: 1 where joules of this device may go to it, else 0. Some are no part of the test."""
        name = self.devices[device]
        return np.array([float(flat.device == name and flat.name not in NOT_OF_TEST) for flat in self.flats])

    @property
    def seconds(self) -> float:
        """Of all bodies."""
        return sum(end - begin for begin, end in self.bodies) / 1e9


def pool(rounds: Sequence[TracedRound]) -> Pooled:
    """The rounds with one numbering: parts are the same if their paths are.

    Raises:
        ValueError: a timeline contradicts itself; the message says where.
    """
    parts: list[Part] = []
    numbers: dict[Part, int] = {}
    calls: list[int] = []
    devices: dict[str, int] = {"cpu": 0}
    kept: list[Stretches] = []
    for number, each in enumerate(rounds, 1):
        check(each.timeline, f"traced round {number}")
        if each.end < each.begin:
            raise ValueError(f"traced round {number}: its body ends before it begins ({each.end} < {each.begin} ns)")
        new = np.zeros(len(each.timeline.parts), dtype=np.int64)
        for index, part in enumerate(each.timeline.parts):
            above = None if part.parent is None else int(new[part.parent])
            placed = Part(part.name, above, part.kind, part.direction)
            new[index] = numbers.setdefault(placed, len(parts))
            if new[index] == len(parts):
                parts.append(placed)
                calls.append(0)
            calls[new[index]] += int(each.timeline.calls[index])
        lanes = np.array([devices.setdefault(lane.device, len(devices)) for lane in each.timeline.lanes], dtype=np.int64)
        kept.append(_cut(each, new, lanes))
    names = tuple(devices)
    flats: dict[Flat, int] = {}
    flat_of: dict[tuple[int, int], int] = {}
    for stretches in kept:
        owned = stretches.node >= 0
        pairs = np.unique(np.stack([stretches.node[owned], stretches.device[owned]], axis=1), axis=0)
        for node, device in pairs.tolist():
            part = parts[node]
            flat = Flat(part.name, part.direction, names[device], part.kind)
            flat_of[node, device] = flats.setdefault(flat, len(flats))
    bodies = tuple((each.begin, each.end) for each in rounds)
    return Pooled(tuple(parts), np.array(calls, dtype=np.int64), names, tuple(kept), bodies, tuple(flats), flat_of)


def check(timeline: Timeline, where: str) -> None:
    """Refuse a timeline that cannot be one.

    Raises:
        ValueError: what is wrong, and at which stretch or part.
    """
    arrays = (timeline.begin, timeline.end, timeline.busy, timeline.part, timeline.lane)
    if len({len(array) for array in arrays}) != 1:
        raise ValueError(
            f"{where}: its arrays have {', '.join(str(len(array)) for array in arrays)} entries; give one a stretch each"
        )
    if len(timeline.calls) != len(timeline.parts):
        raise ValueError(f"{where}: {len(timeline.calls)} counts of calls for {len(timeline.parts)} parts")
    for index, part in enumerate(timeline.parts):
        if part.parent is not None and not 0 <= part.parent < index:
            raise ValueError(f"{where}: part {index} ({part.name}) names {part.parent} as its parent: parents come first")
    for wrong, what in (
        ((timeline.part < NOBODY) | (timeline.part >= len(timeline.parts)), "is of a part that there is not"),
        ((timeline.lane < 0) | (timeline.lane >= len(timeline.lanes)), "is on a lane that there is not"),
        (timeline.end < timeline.begin, "ends before it begins"),
        (~(np.isfinite(timeline.busy) & (timeline.busy >= 0)), "has a busy time that is negative or no number"),
    ):
        if wrong.any():
            raise ValueError(f"{where}: stretch {int(np.argmax(wrong))} {what}")
    order = np.lexsort((timeline.end, timeline.begin, timeline.lane))
    same = timeline.lane[order][1:] == timeline.lane[order][:-1]
    over = same & (timeline.end[order][:-1] - timeline.begin[order][1:] > _ROUNDED)
    if over.any():
        place = int(np.argmax(over))
        lane = timeline.lanes[int(timeline.lane[order[place]])].name
        raise ValueError(
            f"{where}: stretches {order[place]} and {order[place + 1]} of lane {lane!r} overlap: one lane runs one thing at a "
            "time; give each part only the time when nothing below it ran"
        )


def _cut(each: TracedRound, new: Integers, lanes: Integers) -> Stretches:
    """Its stretches within the body; of one that reaches beyond, as much of its busy time as of its length."""
    timeline = each.timeline
    begin, end = np.maximum(timeline.begin, each.begin), np.minimum(timeline.end, each.end)
    length = timeline.end - timeline.begin
    inside = (end > begin) | ((length == 0) & (end >= begin))
    part = np.where(length > 0, (end - begin) / np.maximum(length, 1), 1.0)
    begin, end = begin[inside].astype(np.int64), end[inside].astype(np.int64)
    busy = (timeline.busy * part)[inside].astype(np.float64)
    node = timeline.part[inside].astype(np.int64)
    node[node >= 0] = new[node[node >= 0]]
    device = lanes[timeline.lane[inside]] if len(lanes) else np.zeros(0, dtype=np.int64)
    idle = np.zeros(len(begin))
    for one in np.unique(device):
        here = (device == one) & (node >= 0)
        idle[here] = shared_seconds(begin[here], end[here])[0]
    return Stretches(begin, end, busy, node, device, idle)
