"""Joules by part, from what a second of each is worth in each domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_joules.account.intervals import Floats
from pytest_joules.account.pooled import Pooled
from pytest_joules.account.rates import Intervals, Rates
from pytest_joules.account.totals import Totals

_DRAWS = 400


@dataclass(frozen=True, slots=True)
class DomainShares:
    """One domain: its joules, and how they are shared out."""

    domain: str
    device: int | None
    """Whose lanes it pays; ``None``: nobody ran there."""
    joules: float
    rates: Rates | None
    intervals: Intervals | None


@dataclass(frozen=True, slots=True)
class Shares:
    """Joules of one iteration."""

    pairs: Floats
    """By pair of part and device."""
    flats: Floats
    """By flat part."""
    unattributed: float
    draws: Floats | None
    """Draws of the same: one row a draw; by flat part, then unattributed. ``None`` where watts were not told by a counter."""
    groups: tuple[tuple[int, ...], ...]
    """Flat parts that cannot be told apart."""


def weights(totals: Totals, rates: Rates, device: int, mine: Floats, rounds: Sequence[int] | None = None) -> Floats:
    """Model joules of the given rounds by flat part, then nobody's.

    Args:
        totals: of the traced rounds
        rates: of the domain
        device: its index
        mine: by flat part, 1 where it is of this device and 0 elsewhere
        rounds: which; all
    """
    chosen = slice(None) if rounds is None else list(rounds)
    idle = np.append(totals.idle[chosen].sum(axis=0) * mine, totals.nobody_idle[chosen, device].sum())
    busy = np.append(totals.busy[chosen].sum(axis=0) * mine, totals.nobody_busy[chosen, device].sum())
    result: Floats = rates.busy * busy + rates.idle * idle
    return result


def shares_of(
    pooled: Pooled, totals: Totals, domains: Sequence[DomainShares], joules: float, ci95: Sequence[float] | None
) -> Shares:
    """Add up what all domains give to each part."""
    count = len(pooled.flats)
    pairs, flats, unattributed = np.zeros(len(totals.pairs)), np.zeros(count), 0.0
    draws = np.zeros((_DRAWS, count + 1))
    groups: list[tuple[int, ...]] = []
    told = bool(domains)
    for each in domains:
        if each.rates is None or each.device is None:
            unattributed += each.joules
            draws[:, -1] += each.joules
            continue
        mine = np.array([float(flat.device == pooled.devices[each.device]) for flat in pooled.flats])
        own = weights(totals, each.rates, each.device, mine)
        whole = own.sum()
        if not whole > 0:
            unattributed += each.joules
            draws[:, -1] += each.joules
            continue
        scale = each.joules / whole
        unattributed += own[-1] * scale
        here = totals.pairs[:, 1] == each.device
        rate = each.rates.busy[totals.pair_flat]
        by_pair = np.where(here, rate * totals.pair_busy + each.rates.idle * totals.pair_idle, 0.0) * scale
        pairs += by_pair
        flats += np.bincount(totals.pair_flat, weights=by_pair, minlength=count)
        if each.rates.draws is None:
            told = told and each.joules == 0
            continue
        idle = np.append(totals.idle.sum(axis=0) * mine, totals.nobody_idle[:, each.device].sum())
        busy = np.append(totals.busy.sum(axis=0) * mine, totals.nobody_busy[:, each.device].sum())
        drawn = each.rates.draws[:, :-1] * busy + each.rates.draws[:, -1:] * idle
        draws += each.joules * drawn / np.maximum(drawn.sum(axis=1, keepdims=True), 1e-300)
        groups += [group for group in each.rates.groups if group not in groups]
    if told and joules > 0 and ci95 is not None:
        draws *= np.maximum(_of_test(joules, ci95), 0.0)[:, None] / joules
    return Shares(pairs, flats, float(unattributed), draws if told else None, _apart(groups))


def _of_test(joules: float, ci95: Sequence[float]) -> Floats:
    """Draws of the test's joules: normal, with a half of its own on either side."""
    normal = np.random.default_rng(1).standard_normal(_DRAWS)
    below, above = max(joules - ci95[0], 0.0) / 1.96, max(ci95[1] - joules, 0.0) / 1.96
    return joules + normal * np.where(normal < 0, below, above)


def _apart(groups: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Groups of several domains as ones that share no part."""
    result: list[set[int]] = []
    for group in groups:
        new = set(group)
        for known in [known for known in result if known & new]:
            new |= known
            result.remove(known)
        result.append(new)
    return tuple(tuple(sorted(group)) for group in result)
