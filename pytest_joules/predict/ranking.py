"""The order of tests by what is at risk, and which of them a share of the joules is spent on."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from pytest_joules.model import PredictionRecord

T = TypeVar("T")

#: Below this chance of costing more than its limit, a changed test need not be run.
NEGLIGIBLE = 0.05

_NOBODY_KNOWS, _FLAGGED, _CHANGED, _UNCHANGED = range(4)


def key(prediction: PredictionRecord | None) -> tuple[int, float, float]:
    """Sorts tests, the likeliest to have become dearer first: those of which nobody can say, the flagged ones, the others by
    the chance that they cost more than their limit, for each joule that it takes to find out (so that a share of the joules finds
    the most of them; ``benchmarks/predictor_pairs.py`` has other orders beside it); unchanged ones last, as they stood."""
    if prediction is None or (prediction["state"] != "unchanged" and prediction["chance"] is None):
        return _NOBODY_KNOWS, 0.0, 0.0
    if prediction["state"] == "unchanged":
        return _UNCHANGED, 0.0, 0.0
    if prediction["state"] == "unknown":
        return _NOBODY_KNOWS, 0.0, 0.0
    rank = _FLAGGED if prediction["flagged"] else _CHANGED
    chance, last = prediction["chance"] or 0.0, prediction["last"]
    return rank, -chance / last if last else -math.inf, -(prediction["at_risk"] or 0.0)


def ranked(predictions: Mapping[str, PredictionRecord]) -> list[str]:
    """Their node ids in that order."""
    return sorted(predictions, key=lambda nodeid: key(predictions[nodeid]))


def in_groups(
    items: Sequence[T], rank: Callable[[T], tuple[float, ...]], together: Sequence[Callable[[T], Hashable | None]]
) -> list[T]:
    """Sorted by ``rank``, but for items of one group: these stay together, where the best of them would stand.

    ``together``: of an item, its group on each level, the widest first; ``None``: it is in none. What ranks alike keeps its
    order.
    """
    blocks: dict[tuple[int, Hashable], list[T]] = {}
    for number, item in enumerate(items):
        groups = ((depth, group) for depth, of in enumerate(together) if (group := of(item)) is not None)
        blocks.setdefault(next(groups, (len(together), number)), []).append(item)
    found = [in_groups(block, rank, together[depth + 1 :]) if len(block) > 1 else block for (depth, _), block in blocks.items()]
    return [item for block in sorted(found, key=lambda block: min(map(rank, block))) for item in block]


def affected(predictions: Iterable[PredictionRecord]) -> float:
    """Joules of the tests whose path changed, as last measured."""
    return math.fsum(entry["last"] or 0.0 for entry in predictions if entry["state"] != "unchanged")


def to_run(predictions: Mapping[str, PredictionRecord], share: float | None) -> set[str]:
    """The tests that are worth running: the flagged ones, those of which nobody can say, and of the changed ones those with a
    chance of :data:`NEGLIGIBLE` or more.

    ``share`` (0 to 1): instead of these changed ones the likeliest, until all that run have spent this share of the affected
    joules; what does not fit any more makes room for what does.
    """
    found: set[str] = set()
    left = (share or 0.0) * affected(predictions.values())
    for nodeid in ranked(predictions):
        entry = predictions[nodeid]
        if entry["state"] == "unchanged":
            continue
        joules = entry["last"] or 0.0
        sure = entry["flagged"] or entry["state"] in ("new", "unknown") or entry["chance"] is None
        fits = joules <= left * (1 + 1e-9) if share is not None else (entry["chance"] or 0.0) >= NEGLIGIBLE
        if sure or fits:
            found.add(nodeid)
            left = max(left - joules, 0.0)
    return found


def reaches(prediction: PredictionRecord) -> bool:
    """Whether its interval reaches beyond its limit."""
    interval, limit = prediction["interval"], prediction["limit"]
    return interval is not None and limit is not None and interval[1] > limit


def found_within(share: float, predictions: Sequence[PredictionRecord]) -> tuple[float, int]:
    """How many of the tests that became dearer were run when ``share`` of the affected joules was spent in this order, and how
    many there are. Of the test that is running then, the part that has run: a random order finds ``share`` of them."""
    ordered = sorted((entry for entry in predictions if entry["state"] != "unchanged" and entry["last"]), key=key)
    left, found, dearer = share * affected(ordered), 0.0, 0
    for entry in ordered:
        joules = entry["last"] or 0.0
        if entry["dearer"]:
            dearer += 1
            found += min(max(left / joules, 0.0), 1.0)
        left -= joules
    return found, dearer
