"""How alike accounts are that were made from less: what the literature reports in place of an error."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from pytest_joules.account.intervals import Floats
from pytest_joules.account.pooled import Pooled
from pytest_joules.account.rates import rates_of
from pytest_joules.account.shares import DomainShares, weights
from pytest_joules.account.totals import Totals
from pytest_joules.model.account_records import SimilarityRecord

_SPARSER = (2, 4, 8)
#: Rounds that are compared with each other: the pairs grow with their square.
_MOST_ROUNDS = 6


def similarity(pooled: Pooled, totals: Totals, domains: Sequence[DomainShares]) -> SimilarityRecord | None:
    """Pearson correlations of accounts; ``None`` where there are not two parts, or no counter told their watts."""
    shared = [each for each in domains if each.rates is not None and each.joules > 0]
    if len(pooled.flats) < 2 or not any(each.rates is not None and each.rates.shared_by == "regression" for each in shared):
        return None
    rounds = len(pooled.rounds)
    whole = _joules(pooled, totals, shared)
    sparser = {}
    for every in _SPARSER:
        correlation = _correlation(whole, _joules(pooled, totals, shared, every=every))
        if correlation is not None:
            sparser[str(every)] = correlation
    more = between = None
    if rounds > 1:
        more = _correlation(whole, _joules(pooled, totals, shared, only=range(0, rounds, 2)))
        single = [_joules(pooled, totals, shared, only=[number]) for number in range(min(rounds, _MOST_ROUNDS))]
        pairs = [value for one, other in combinations(single, 2) if (value := _correlation(one, other)) is not None]
        between = float(np.median(pairs)) if pairs else None
    return SimilarityRecord(sparser=sparser, more_runs=more, between_runs=between)


def _joules(
    pooled: Pooled, totals: Totals, domains: Sequence[DomainShares], only: Sequence[int] | None = None, every: int = 1
) -> Floats:
    """The flat account from these rounds, and every so manieth reading."""
    result = np.zeros(len(pooled.flats))
    for each in domains:
        if each.device is None or each.intervals is None or each.rates is None:
            continue
        changed = only is not None or every > 1
        rates = rates_of(totals, each.intervals, each.device, only, every) if changed else each.rates
        mine = pooled.paid(each.device)
        own = weights(totals, rates, each.device, mine, only)
        if own.sum() > 0:
            result += each.joules * own[:-1] / own.sum()
    return result


def _correlation(one: Floats, other: Floats) -> float | None:
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])
