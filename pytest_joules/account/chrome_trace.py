"""A timeline as a trace for Perfetto (https://ui.perfetto.dev) or ``chrome://tracing``, with a track of power beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from pytest_joules.account.power import Power
from pytest_joules.account.timeline import NOBODY, Timeline
from pytest_joules.files import atomic
from pytest_joules.files.strict_json import text
from pytest_joules.model import AccountRecord, NodeRecord

#: Points of a track of power: more cannot be seen, and make the file large.
_POINTS = 20_000


def write(timeline: Timeline, powers: Sequence[Power], path: str | os.PathLike[str]) -> None:
    """Write the stretches, lane by lane, and the watts of each domain; times in microseconds from the first stretch on.

    Raises:
        pytest_joules.files.atomic.ReportPathError: the file cannot be written.
    """
    _write(_events(timeline, powers), path)


def write_tree(record: AccountRecord, path: str | os.PathLike[str]) -> None:
    """Write an account without its timeline: the tree laid out by joules, a second for each joule. Raises as :func:`write`."""
    _write(_laid_out(record), path)


def _write(events: Iterator[dict[str, object]], path: str | os.PathLike[str]) -> None:
    def lines() -> Iterator[str]:
        yield '{"displayTimeUnit":"ms","traceEvents":['
        for number, event in enumerate(events):
            yield (",\n" if number else "\n") + text(event)
        yield "\n]}\n"

    atomic.atomically(path, lambda file: file.writelines(lines()), "Chrome trace")


def _events(timeline: Timeline, powers: Sequence[Power]) -> Iterator[dict[str, object]]:
    start = int(timeline.begin.min()) if len(timeline.begin) else 0
    yield {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "parts"}}
    for number, lane in enumerate(timeline.lanes):
        name = lane.name if lane.device == "cpu" else f"{lane.name} ({lane.device})"
        yield {"ph": "M", "name": "thread_name", "pid": 1, "tid": number + 1, "args": {"name": name}}
    columns = (timeline.begin - start, timeline.end - timeline.begin, timeline.part, timeline.lane, timeline.busy)
    for begin, length, place, lane_place, busy in zip(*(column.tolist() for column in columns), strict=True):
        if place == NOBODY:
            continue
        part = timeline.parts[place]
        event = {"ph": "X", "name": part.name, "cat": part.direction or part.kind, "pid": 1, "tid": lane_place + 1}
        yield {**event, "ts": begin / 1e3, "dur": length / 1e3, "args": {"busy ms": round(busy * 1e3, 6)}}
    if powers:
        yield {"ph": "M", "name": "process_name", "pid": 2, "tid": 0, "args": {"name": "power"}}
    for power in powers:
        yield from _counter(power, start)


def _counter(power: Power, start: int) -> Iterator[dict[str, object]]:
    """The mean watts from each reading to the next."""
    step = max(1, len(power.at) // _POINTS)
    at, joules = power.at[::step], power.joules[::step]
    watts = np.diff(joules) / (np.diff(at) / 1e9)
    for time, value in zip((at[:-1] - start).tolist(), watts.tolist(), strict=True):
        yield {"ph": "C", "name": f"{power.domain} W", "pid": 2, "tid": 0, "ts": time / 1e3, "args": {"W": round(value, 6)}}
    yield {"ph": "C", "name": f"{power.domain} W", "pid": 2, "tid": 0, "ts": (int(at[-1]) - start) / 1e3, "args": {"W": 0}}


def _laid_out(record: AccountRecord) -> Iterator[dict[str, object]]:
    yield {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "joules, one second each"}}
    at = 0.0
    for node in record["tree"]:
        yield from _node(node, at)
        at += max(node["joules"], 0.0)
    if (rest := record["unattributed"]["joules"]) > 0:
        yield {"ph": "X", "name": "unattributed", "pid": 1, "tid": 1, "ts": at * 1e6, "dur": rest * 1e6, "args": {"J": rest}}


def _node(node: NodeRecord, at: float) -> Iterator[dict[str, object]]:
    if node["joules"] <= 0:
        return
    details = {"J": node["joules"], "own J": node["own"], "seconds": node["seconds"], "calls": node["calls"]}
    event = {"ph": "X", "name": node["name"], "cat": node["direction"] or "part", "pid": 1, "tid": 1}
    yield {**event, "ts": at * 1e6, "dur": node["joules"] * 1e6, "args": details}
    for child in node["children"]:
        yield from _node(child, at)
        at += max(child["joules"], 0.0)
