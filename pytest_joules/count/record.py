"""What the rounds that were counted come to: a test's instructions, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_joules.count.counter import Counts
from pytest_joules.model import CountRecord

#: Counts that differ by more are not of the same work, relative; by fewer instructions they may, whatever the work: a collision
#: in a dict, a path of another length.
SCATTERED, SLACK = 0.005, 2000


def record_of(counter: str, counts: Counts, functions: Mapping[str, int], misses: int | None = None) -> CountRecord:
    """The record of a test; ``functions`` of the C level and ``misses`` as its account has them."""
    settled = counts["counts"][-counts["settled"] :]
    return {
        "counter": counter,
        "count": min(settled),
        "counts": counts["counts"],
        "warm": counts["warm"],
        "spread": spread_of(settled),
        "doubts": counts["doubts"],
        "functions": dict(functions),
        "misses": misses,
        "ran": {},
        "budget": None,
        "comparison": None,
    }


def spread_of(counts: Sequence[int]) -> float | None:
    """What counts differ by, relative to the least; ``None`` of one alone."""
    if len(counts) < 2 or not min(counts):
        return None
    difference = max(counts) - min(counts)
    return difference / min(counts) if difference > SLACK else 0.0
