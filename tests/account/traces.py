"""Traced rounds whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_joules.account.power import Power
from pytest_joules.account.timeline import Lane, Part, Timeline
from pytest_joules.account.traced_round import TracedRound

MS = 1_000_000


def function(name: str, parent: int | None = None) -> Part:
    return Part(name, parent, "function")


def timeline(
    parts: Sequence[Part],
    stretches: Sequence[tuple[int, int, int] | tuple[int, int, int, int] | tuple[int, int, int, int, float]],
    lanes: Sequence[Lane] = (Lane("main"),),
) -> Timeline:
    """Stretches as (part, begin, end in milliseconds, lane = 0, busy seconds = all of it)."""
    columns = [(*each, 0)[:4] for each in stretches]
    part, begin, end, lane = (np.array([each[place] for each in columns], dtype=np.int64) for place in range(4))
    busy = [each[4] if len(each) > 4 else (each[2] - each[1]) / 1e3 for each in stretches]
    calls = np.bincount(part[part >= 0], minlength=len(parts))
    return Timeline(
        tuple(parts),
        tuple(lanes),
        calls,
        begin * MS,
        end * MS,
        np.array(busy, dtype=np.float64),
        part.astype(np.int32),
        lane.astype(np.int32),
    )


def in_turn(
    watts: Sequence[float],
    *,
    seconds: float = 2.0,
    seed: int = 0,
    idle: float = 0.0,
    load: Sequence[float] | None = None,
    event: float = 1e-3,
):
    """A round whose parts run in random order, and joules by part.

    Args:
        watts: of each part while it is busy
        seconds: of the round
        seed: of the order
        idle: watts all along
        load: of each part, which share of its time it is busy
        event: seconds that each runs at a time, on average
    """
    random = np.random.default_rng(seed)
    count = int(seconds / event)
    part = random.integers(0, len(watts), count)
    edges = np.concatenate([[0.0], np.cumsum(random.uniform(0.5, 1.5, count) * event)])
    length = np.diff(edges)
    busy = length * np.asarray(load or [1.0] * len(watts))[part]
    drawn = np.asarray(watts)[part] * busy + idle * length
    at = np.arange(0.001, edges[-1], 0.010)
    joules = np.interp(at, edges, np.concatenate([[0.0], np.cumsum(drawn)]))
    stamps = np.round((at + random.normal(0, 30e-6, len(at))) * 1e9).astype(np.int64)
    power = Power("package-0", "cpu", stamps, joules - joules[0])
    parts = tuple(function(f"part {number}") for number in range(len(watts)))
    begin, end = np.round(edges[:-1] * 1e9).astype(np.int64), np.round(edges[1:] * 1e9).astype(np.int64)
    calls = np.bincount(part, minlength=len(watts))
    lane = np.zeros(count, np.int32)
    traced = Timeline(parts, (Lane("main"),), calls, begin, end, busy, part.astype(np.int32), lane)
    return TracedRound(traced, [power], 0, int(end[-1])), np.bincount(part, weights=drawn, minlength=len(watts))
