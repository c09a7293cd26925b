"""What ran for how long: seconds and busy time of each part, by round and in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pytest_joules.account.intervals import Floats, Integers
from pytest_joules.account.pooled import Pooled
from pytest_joules.account.timeline import NOT_OF_TEST


class Per(NamedTuple):
    """Factors that make sums of all traced rounds those of one iteration of the test."""

    calls: float
    seconds: float
    """Also brings the time of traced rounds to that of measured ones."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Arrays by round and flat part, or by pair of part and device, of all rounds."""

    busy: Floats
    """By round and flat part, seconds."""
    idle: Floats
    """By round and flat part: seconds, each shared equally by those who ran in it on the device."""
    seconds: Floats
    """By flat part, of all rounds."""
    nobody_busy: Floats
    """By round and device."""
    nobody_idle: Floats
    """By round and device: seconds in which no part ran there."""
    pair_of: Integers
    """Index of the pair, by node and device; -1 where the one never ran on the other."""
    pairs: Integers
    """Node and device, one row a pair."""
    pair_flat: Integers
    pair_busy: Floats
    pair_idle: Floats
    pair_seconds: Floats


def add_up(pooled: Pooled) -> Totals:
    """The totals of pooled rounds."""
    devices, flats, rounds = len(pooled.devices), len(pooled.flats), len(pooled.rounds)
    keys = sorted(pooled.flat_of)
    place = {key: index for index, key in enumerate(keys)}
    pair_flat = np.array([pooled.flat_of[key] for key in keys], dtype=np.int64)
    by_pair = np.zeros((3, len(keys)))
    busy, idle = np.zeros((rounds, flats)), np.zeros((rounds, flats))
    nobody_busy, nobody_idle = np.zeros((rounds, devices)), np.zeros((rounds, devices))
    lookup = np.full((len(pooled.parts), devices), -1, dtype=np.int64)
    for (node, device), index in place.items():
        lookup[node, device] = index
    for number, (stretches, (begin, end)) in enumerate(zip(pooled.rounds, pooled.bodies, strict=True)):
        owned = stretches.node >= 0
        pair = lookup[stretches.node[owned], stretches.device[owned]]
        wall = (stretches.end - stretches.begin) / 1e9
        for row, values in enumerate((stretches.busy, stretches.idle, wall)):
            by_pair[row] += np.bincount(pair, weights=values[owned], minlength=len(keys))
        busy[number] = np.bincount(pair_flat[pair], weights=stretches.busy[owned], minlength=flats)
        idle[number] = np.bincount(pair_flat[pair], weights=stretches.idle[owned], minlength=flats)
        nobody_busy[number] = np.bincount(stretches.device[~owned], weights=stretches.busy[~owned], minlength=devices)
        had = np.bincount(stretches.device[owned], weights=stretches.idle[owned], minlength=devices)
        nobody_idle[number] = np.maximum((end - begin) / 1e9 - had, 0.0)
    seconds = np.bincount(pair_flat, weights=by_pair[2], minlength=flats).astype(np.float64)
    pairs = np.array(keys, dtype=np.int64).reshape(-1, 2)
    return Totals(busy, idle, seconds, nobody_busy, nobody_idle, lookup, pairs, pair_flat, by_pair[0], by_pair[1], by_pair[2])


def per_iteration(pooled: Pooled, totals: Totals, calls_of_body: int, seconds: float | None) -> Per:
    """``calls_of_body``: in all traced rounds; ``seconds``: of one, where nothing is recorded."""
    calls = 1.0 / calls_of_body
    beside = [index for index, flat in enumerate(pooled.flats) if flat.name in NOT_OF_TEST]
    traced = pooled.seconds - float(totals.idle[:, beside].sum())
    return Per(calls, calls if seconds is None or traced <= 0 else seconds / traced)
