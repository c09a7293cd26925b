"""What a process that ran tests hands to the one that reports, when its tests are done."""

from __future__ import annotations

from typing import TypedDict

from pytest_joules.model import ComparisonRecord


class Totals(TypedDict):
    """What it drew in all; made by session/measuring or session/against."""

    joules: float | None
    idle_watts: float | None
    lost: str
    """Why the joules are not known, where a counter jumped; else empty."""
    mirrors: list[str]
    """What its sources show twice."""


class Judged(TypedDict):
    """Its verdicts; made by session/judging or session/against."""

    comparisons: dict[str, ComparisonRecord]
    """By node id."""
    troubles: list[str]
