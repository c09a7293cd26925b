"""From events that contain each other to stretches in which one of them was on top."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_joules.account.trace_parts import Parts
from pytest_joules.account.trace_rows import NONE, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: By how much a contained event may end after its container before that is said, nanoseconds: profilers round.
_ROUNDING = 2000


@dataclass(slots=True)
class Stretches:
    """Times in nanoseconds of the trace's clock, and the event that was on top."""

    begin: array[int] = field(default_factory=lambda: array("q"))
    end: array[int] = field(default_factory=lambda: array("q"))
    event: array[int] = field(default_factory=lambda: array("i"))


class Nesting:
    """Built from events in the order of time."""

    def __init__(self, rows: Rows, device: NDArray[np.bool_]) -> None:
        """``device``: by event, whether it ran on one."""
        self.parts, self.stretches = Parts(), Stretches()
        self.part = array("i", bytes(4 * len(rows.begin)))
        """Of each event."""
        self.container = array("i", bytes(4 * len(rows.begin)))
        """The event that it ran in, on its lane; -1: in none."""
        self.clipped = 0
        self._rows = rows
        self._names = list(rows.names)
        self._device = device
        sequence, backward = np.frombuffer(rows.sequence, np.int64), np.frombuffer(rows.backward, np.uint8) > 0
        self._wanted = set(sequence[backward].tolist()) - {NONE}
        self._forward: dict[int, int] = {}
        """The module of the forward operation, by sequence number."""

    def run(self, order: NDArray[np.int64]) -> None:
        """Take in the events of these places, each after what contains it: first those of the host, then those of devices."""
        split = len(order) - int(np.count_nonzero(self._device[order]))
        self._nest(order[:split].tolist())
        if split < len(order):
            launched = self._launched(order[:split], order[split:])
            self._nest(order[split:].tolist(), dict(zip(order[split:].tolist(), launched.tolist(), strict=True)))

    def _nest(self, order: Iterable[int], given: dict[int, int] | None = None) -> None:
        begins, lengths, lanes, container = self._rows.begin, self._rows.length, self._rows.lane, self.container
        stacks: dict[int, tuple[list[int], list[int], list[int]]] = {}
        emit_begin, emit_end, emit_event = self.stretches.begin.append, self.stretches.end.append, self.stretches.event.append
        for event in order:
            begin = begins[event]
            end = begin + lengths[event]
            lane = lanes[event]
            if (stack := stacks.get(lane)) is None:
                stack = stacks[lane] = ([], [], [])
            ends, since, events = stack
            while ends and ends[-1] <= begin:
                self._close(ends, since, events)
            # What overlaps loses the shorter end: the call that opened a region ends after the region has begun.
            while ends and end > ends[-1]:
                self.clipped += min(end - ends[-1], ends[-1] - begin) > _ROUNDING
                if end - ends[-1] <= ends[-1] - begin:
                    end = ends[-1]
                else:
                    ends[-1] = begin
                    self._close(ends, since, events)
            if ends:
                if begin > since[-1]:
                    emit_begin(since[-1])
                    emit_end(begin)
                    emit_event(events[-1])
                container[event] = events[-1]
            else:
                container[event] = -1
            self.part[event] = self._part_of(event, given)
            ends.append(end)
            since.append(begin)
            events.append(event)
        for ends, since, events in stacks.values():
            while ends:
                self._close(ends, since, events)

    def _close(self, ends: list[int], since: list[int], events: list[int]) -> None:
        end, begin, event = ends.pop(), since.pop(), events.pop()
        if end > begin:
            self.stretches.begin.append(begin)
            self.stretches.end.append(end)
            self.stretches.event.append(event)
        if since:
            since[-1] = end

    def _part_of(self, event: int, given: dict[int, int] | None) -> int:
        rows, container = self._rows, self.container[event]
        if given is not None and given[event] >= 0:
            return given[event]
        what, name = self._names[rows.name[event]]
        parent = self.part[container] if container >= 0 else -1
        sequence, backward = rows.sequence[event], bool(rows.backward[event])
        if backward and (container < 0 or not rows.backward[container]) and sequence in self._forward:
            parent = self._forward[sequence]
        place = self.parts.enter(what, name, parent, backward)
        if not backward and sequence in self._wanted:
            self._forward[sequence] = self.parts.scope_of(place)
        return place

    def _launched(self, host: NDArray[np.int64], device: NDArray[np.int64]) -> NDArray[np.int64]:
        """By event of a device: the part that launched it; -1: not known."""
        part, container = np.frombuffer(self.part, np.int32), np.frombuffer(self.container, np.int32)
        found = np.full(len(device), -1, np.int64)
        for column, through in ((self._rows.correlation, True), (self._rows.launch, False)):
            ids = np.frombuffer(column, np.int64)
            with_id = host[ids[host] > 0]
            with_id = with_id[np.argsort(ids[with_id], kind="stable")]  # in the order of time within an id
            if not len(with_id):
                continue
            wanted = ids[device]
            place = np.minimum(np.searchsorted(ids[with_id], wanted), len(with_id) - 1)
            event = with_id[place]
            fits = (wanted > 0) & (ids[event] == wanted)
            # A call of the device's library is known by its correlation: the operation is what called it.
            caller = np.where((container[event] >= 0) & through, container[event], event)
            found = np.where(fits, part[caller], found)
        return found

    def busy(self) -> NDArray[np.float64]:
        """Seconds of CPU (or of the device's work) by stretch: as thread time tells it, all of it where there is none."""
        begin, end = np.frombuffer(self.stretches.begin, np.int64), np.frombuffer(self.stretches.end, np.int64)
        seconds = (end - begin) / 1e9
        thread = np.frombuffer(self._rows.thread, np.int64)
        known = (thread != NONE) & ~self._device
        if not known.any():
            return seconds
        event = np.frombuffer(self.stretches.event, np.int32)
        length = np.frombuffer(self._rows.length, np.int64)
        container = np.frombuffer(self.container, np.int32)
        below = np.flatnonzero(container >= 0)
        inner = np.bincount(container[below], np.where(known, thread, length)[below], len(length))
        own = np.bincount(event, seconds, len(length))
        share = np.clip((thread - inner) / 1e9 / np.maximum(own, 1e-12), 0, 1)
        return seconds * np.where(known, share, 1.0)[event]
