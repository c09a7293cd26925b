"""Which clock a trace's times are of, and what they are on ``CLOCKS.wall()``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pytest_joules.account.trace_file import TraceError
from pytest_joules.clock import CLOCKS

if TYPE_CHECKING:
    from pytest_joules.account.power import Power
    from pytest_joules.account.timeline import Timeline

#: mark: our own annotation; wall: it is ``CLOCKS.wall()``; unix: of the time of day; own: nobody knows.
Clock = Literal["mark", "wall", "unix", "own"]
_UNIX = time.time_ns
#: Nanoseconds of the time of day, 2001 to 2128.
_EPOCH = (10**18, 5 * 10**18)
#: Anchors that differ by more do not tell the same, nanoseconds.
_APART = 1_000_000


def unix_ahead() -> int:
    """What the time of day is ahead of ``CLOCKS.wall()`` now, nanoseconds."""
    return min((_UNIX() - CLOCKS.wall() for _ in range(3)), key=abs)


def mark() -> str:
    """The name of an annotation that anchors a trace: put it around nothing, at once, in whatever profiler is running."""
    return f"pytest-joules clock {CLOCKS.wall()}"


def ahead(facts: Mapping[str, Any], marks: Sequence[int], middle: int) -> tuple[Clock, int, list[str]]:
    """Which clock it is, what ``CLOCKS.wall()`` is ahead of it (nanoseconds), and what a reader must know.

    ``facts``: what the file says beside its events. ``marks``: what our own annotations say it is ahead. ``middle``: a time of
    the trace.
    """
    if marks:
        # The reading comes first, then the event: the least delayed is nearest.
        apart = max(marks) - min(marks)
        said = [f"its clock marks differ by {apart / 1e6:.1f} ms: its times are no better"] if apart > _APART else []
        return "mark", max(marks), said
    base = facts.get("baseTimeNanoseconds")
    if type(base) is int and _EPOCH[0] <= base + middle < _EPOCH[1]:
        return "unix", base - unix_ahead(), []
    if "viztracer_metadata" in facts:
        return "wall", 0, []
    if _EPOCH[0] <= middle < _EPOCH[1]:
        return "unix", -unix_ahead(), []
    return "own", 0, []


def check(timeline: Timeline, powers: Sequence[Power], clock: Clock, path: object) -> tuple[int, int]:
    """From when to when both the trace and the readings of the counters are known, nanoseconds of ``CLOCKS.wall()``.

    Raises:
        TraceError: they have no time, or less than a twentieth of the trace, in common; a device that something ran on has no
            readings.
    """
    begin, end = int(timeline.begin.min()), int(timeline.end.max())
    first, last = max(int(power.at[0]) for power in powers), min(int(power.at[-1]) for power in powers)
    common: tuple[int, int] = max(begin, first), min(end, last)
    if common[1] - common[0] < max(1, (end - begin) / 20):
        raise TraceError(f"{path}: {_apart(begin, end, first, last)}. {_REMEDY[clock]}")
    used = {timeline.lanes[place].device for place in np.unique(timeline.lane).tolist()}
    if lacking := sorted(used - {power.device for power in powers}):
        raise TraceError(
            f"{path}: what ran on {', '.join(lacking)} has no readings of power. "
            f"Give them too (a row's domain is {lacking[0] if lacking[0] != 'cpu' else 'package-0'}), or trace without it."
        )
    return common


_SAME = "Give the readings of the time in which the trace was taken: time_ns is Python's time.perf_counter_ns()."
_REMEDY: dict[Clock, str] = {
    "own": "The trace's clock is its profiler's own: run an annotation named by pytest_joules.account.trace_clock.mark() "
    "while it records, or write the readings with the trace's times.",
    "unix": "The trace has the time of day: give the readings of the same minutes, as unix_s or as time_ns of the same boot.",
    "wall": _SAME,
    "mark": _SAME,
}


def _apart(begin: int, end: int, first: int, last: int) -> str:
    lies = f"before the readings of power begin, {(first - begin) / 1e9:.3g} s" if begin < first else ""
    lies = lies or f"after they end, {(end - last) / 1e9:.3g} s"
    return (
        f"its clock does not fit the power: of {(end - begin) / 1e9:.3g} s of trace and {(last - first) / 1e9:.3g} s of readings "
        f"{max(0, min(end, last) - max(begin, first)) / 1e9:.3g} s are common; it lies {lies}"
    )
