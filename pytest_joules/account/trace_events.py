"""A trace file of torch, TensorFlow, JAX or VizTracer as a timeline: Chrome's trace events.

Events of one lane contain each other; each stretch of time is the innermost one's. Who was whose parent, and flows, are not read:
what contains an event is told by time alone, so that what is written there can do no harm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_joules.account import trace_clock
from pytest_joules.account.timeline import Lane, Timeline
from pytest_joules.account.trace_clock import Clock
from pytest_joules.account.trace_file import TraceError, TraceFile
from pytest_joules.account.trace_lanes import lanes
from pytest_joules.account.trace_nesting import Nesting
from pytest_joules.account.trace_rows import UNNAMED, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Trace", "TraceError", "load", "read"]


@dataclass(frozen=True, slots=True)
class Trace:
    """What a file says."""

    timeline: Timeline
    clock: Clock
    notes: tuple[str, ...]
    """What a reader must know of it."""


def read(path: str | os.PathLike[str]) -> Timeline:
    """The timeline alone; raises as :func:`load`."""
    return load(path).timeline


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace, ``.json`` or ``.json.gz``.

    Its times become those of ``CLOCKS.wall()`` where the file tells how: by an annotation of ours
    (:func:`pytest_joules.account.trace_clock.mark`), or as time of day. Else they stay.

    Raises:
        TraceError: the file cannot be read, is no trace, has no events, or events without time.
    """
    file, rows = TraceFile(path), Rows()
    rows.read(file)
    begin, length = np.frombuffer(rows.begin, np.int64), np.frombuffer(rows.length, np.int64)
    _check(file, rows, begin, length)
    found = lanes(rows)
    lane = np.frombuffer(rows.lane, np.int32)
    kept = np.flatnonzero(np.array([one is not None for one in found])[lane])
    if not len(kept):
        raise file.wrong("none of its events is work: only tensors, allocators and summaries", "Trace the compute lanes too.")
    if not length[kept].any():
        raise file.wrong("none of its events has a duration")
    device = np.array([one is not None and one.device != "cpu" for one in found])[lane]
    nesting = Nesting(rows, device)
    nesting.run(kept[np.lexsort((-length[kept], begin[kept], device[kept]))])
    clock, ahead, said = trace_clock.ahead(file.facts, rows.marks, int(np.median(begin[kept])))
    return Trace(_timeline(nesting, found, lane, ahead), clock, (*said, *_notes(rows, nesting, len(kept))))


def _check(
    file: TraceFile,
    rows: Rows,
    begin: NDArray[np.int64],
    length: NDArray[np.int64],
) -> None:
    if not len(begin):
        raise file.wrong("it has no events with a duration", "Let the profiler run while the work is done, then stop it.")
    empty = int(np.count_nonzero((begin == 0) & (length == 0)))
    if empty * 2 >= len(begin):
        raise file.wrong(
            f"{empty} of its {len(begin)} events have neither a time nor a duration (ts and dur are 0): it is broken"
        )
    if rows.odd["unnamed"] == len(begin):
        raise file.wrong("none of its events has a name", "Trace with the names of operations.")


def _timeline(nesting: Nesting, found: list[Lane | None], lane: NDArray[np.int32], ahead: int) -> Timeline:
    busy = nesting.busy()
    event = np.frombuffer(nesting.stretches.event, np.int32)
    begin, end = np.frombuffer(nesting.stretches.begin, np.int64), np.frombuffer(nesting.stretches.end, np.int64)
    order = np.argsort(begin, kind="stable")
    used = [place for place, one in enumerate(found) if one is not None]
    places = np.full(len(found), -1, np.int32)
    places[used] = np.arange(len(used))
    return Timeline(
        parts=nesting.parts.done(),
        lanes=tuple(one for one in found if one is not None),
        calls=np.array(nesting.parts.calls, np.int64),
        begin=begin[order] + ahead,
        end=end[order] + ahead,
        busy=busy[order],
        part=np.frombuffer(nesting.part, np.int32)[event[order]],
        lane=places[lane[event[order]]],
    )


def _notes(rows: Rows, nesting: Nesting, events: int) -> list[str]:
    said = []
    if unnamed := rows.odd.pop("unnamed", 0):
        said.append(f"{unnamed} events have no name: they are {UNNAMED}")
    said += [f"{count} events were {what}" for what, count in rows.odd.items()]
    if nesting.clipped:
        said.append(
            f"{nesting.clipped} of {events} events overlap others of their lane without lying within them: "
            "what overlaps less is cut off"
        )
    if nesting.parts.deep:
        said.append(f"{nesting.parts.deep} events lie deeper than 100: they stand beside what they ran in")
    return said
