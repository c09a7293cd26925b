"""What a recorder of functions or of modules notes while a test runs, and the timeline that it comes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pytest_joules.account.timeline import NOBODY, RECORDING, Lane, Part, Timeline

#: What an event says of its part: it is left, called, or gone on with; of none: nothing but the time; all that is on top and of a
#: backward pass is left.
LEFT, CALLED, RESUMED, MARK, BACK = range(5)

#: A timeline has so many parts at most: what runs deeper is its caller's.
MOST_PARTS = 5_000


#: Nanoseconds of the wall clock, the thread's identity, the key of what ran, what it did (see above), CPU time, nanoseconds:
#: the thread's, and the process's with the threads that native code has started. To read it costs several times what the rest
#: does: ``None`` where the latest is not old. Last, nanoseconds that it has taken until then to be told of what is no event.
Event = tuple[int, int, object, int, "tuple[int, int] | None", int]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Of one body."""

    events: Sequence[Event]
    parts: Mapping[object, Part]
    """By key, what ran; their parents are of no account."""
    lanes: Mapping[int, str]
    """Names of threads by identity."""
    left_out: Collection[object] = ()
    """Keys of what counts as its caller."""
    noting: float = 0.0
    """Seconds that an event takes."""
    dearer: float = 1.0
    """By how much recording took more than it was found to."""
    devices: Mapping[int, str] = field(default_factory=dict)
    """Of threads that wait for a device at each event: its domain. Its lane stands beside the thread's."""

    @property
    def process_seconds(self) -> tuple[float, float]:
        """CPU-seconds of the process when the body began and when it ended."""
        looks = [event[4][1] / 1e9 for event in (*self.events[:1], *self.events[-1:]) if event[4] is not None]
        return (looks[0], looks[-1]) if looks else (0.0, 0.0)

    @property
    def cost(self) -> float:
        """Seconds that recording took."""
        if not self.events:
            return 0.0
        return len(self.events) * self.noting + (self.events[-1][5] - self.events[0][5]) / 1e9


def timeline(recorded: Recorded) -> Timeline:
    """Stretches of each thread from its first event to its last.

    A part that is below itself (recursion) is the same part. What was left without an event (a thread that was stopped) ends
    when what is around it does. CPU time between two looks at its clock goes to the stretches between them in turn, to each no
    more than it lasts, and what remains to the last: recorders look at the end of each stretch that is not short. With one thread
    it is the process's. What recording has taken of each stretch is a stretch of its own.
    """
    by_lane: dict[int, list[Event]] = {}
    for event in recorded.events:
        by_lane.setdefault(event[1], []).append(event)
    tree = _Tree(recorded.parts)
    lanes: list[Lane] = []
    stretches: list[_Stretch] = []
    for thread, events in by_lane.items():
        found = _stretches(recorded, events, tree, clock=1 if len(by_lane) == 1 else 0, lane=len(lanes))
        lanes.append(Lane(recorded.lanes.get(thread, f"thread {len(lanes) + 1}")))
        stretches += found
        if (device := recorded.devices.get(thread)) is not None:
            # Each event waited until the device had done its work.
            stretches += [
                _Stretch(one.begin, one.end, one.part, len(lanes), float(one.end - one.begin) * (one.part != NOBODY))
                for one in found
            ]
            lanes.append(Lane(device, device))
    return Timeline(
        parts=tuple(tree.parts),
        lanes=tuple(lanes),
        calls=np.array(tree.calls, np.int64),
        begin=np.array([one.begin for one in stretches], np.int64),
        end=np.array([one.end for one in stretches], np.int64),
        busy=np.array([one.busy / 1e9 for one in stretches], np.float64),
        part=np.array([one.part for one in stretches], np.int32),
        lane=np.array([one.lane for one in stretches], np.int32),
    )


@dataclass(slots=True)
class _Stretch:
    begin: int
    end: int
    part: int
    lane: int
    busy: float = 0.0
    """CPU time, nanoseconds."""


class _Tree:
    """Parts by their place."""

    def __init__(self, named: Mapping[object, Part]) -> None:
        self._named = named
        self.parts: list[Part] = []
        self.calls: list[int] = []
        self._children: dict[tuple[int, object], int] = {}
        self._recording: int | None = None
        self._above: list[dict[object, int]] = []
        """By part, those on the way to it, with itself."""

    def recording(self) -> int:
        """The part that is the recorder's own time."""
        if self._recording is None:
            self._recording = len(self.parts)
            self.parts.append(Part(RECORDING, None, "function"))
            self.calls.append(0)
            self._above.append({})
        return self._recording

    def below(self, parent: int, key: object) -> int:
        """The part with this key below that one."""
        if parent != NOBODY and (same := self._above[parent].get(key)) is not None:
            return same
        place = parent, key
        known = self._children.get(place)
        if known is not None:
            return known
        if len(self.parts) >= MOST_PARTS and parent != NOBODY:
            return parent
        number = self._children[place] = len(self.parts)
        named = self._named[key]
        self.parts.append(Part(named.name, None if parent == NOBODY else parent, named.kind, named.direction))
        self.calls.append(0)
        self._above.append({**(self._above[parent] if parent != NOBODY else {}), key: number})
        return number


def _stretches(recorded: Recorded, events: Sequence[Event], tree: _Tree, *, clock: int, lane: int) -> list[_Stretch]:
    left_out, noting = recorded.left_out, recorded.noting * 1e9
    found: list[_Stretch] = []
    stack: list[tuple[object, int]] = []
    waiting: list[tuple[_Stretch, int]] = []
    """Pieces of stretches that have no CPU time yet, with what they last."""
    last = events[0][0]
    spent: int | None = None
    before = events[0][5]

    def goes_on(until: int, part: int) -> None:
        nonlocal last
        if until > last:
            if not found or found[-1].part != part:
                found.append(_Stretch(last, until, part, lane))
            found[-1].end = until
            waiting.append((found[-1], until - last))
            last = until

    for wall, _, key, does, cpu, silent in events:
        # A half of each event lies behind its time stamp, the other half before the next one's.
        own = min(wall - last, round(recorded.dearer * (noting + silent - before)))
        before = silent
        goes_on(wall - own, stack[-1][1] if stack else NOBODY)
        if own > 0:
            goes_on(wall, tree.recording())
        if cpu is not None:
            _share_out(waiting, None if spent is None else cpu[clock] - spent)
            spent = cpu[clock]
        if does == MARK or key in left_out:
            continue
        if does == BACK:
            while stack and tree.parts[stack[-1][1]].direction == "backward":
                stack.pop()
            continue
        if does == LEFT:
            at = next((at for at in range(len(stack) - 1, -1, -1) if stack[at][0] == key), None)
            if at is not None:
                del stack[at:]
            continue
        part = tree.below(stack[-1][1] if stack else NOBODY, key)
        tree.calls[part] += does == CALLED
        stack.append((key, part))
    _share_out(waiting, None)
    return found


def _share_out(waiting: list[tuple[_Stretch, int]], spent: int | None) -> None:
    """``None``, or less than nothing (another thread with the same identity): not known, and all of it short."""
    known = spent is not None and spent >= 0
    left = spent if spent is not None and known else sum(lasts for _, lasts in waiting)
    for number, (stretch, lasts) in enumerate(waiting, 1):
        part = left if number == len(waiting) and known else min(lasts, left)
        stretch.busy += part
        left -= part
    waiting.clear()
