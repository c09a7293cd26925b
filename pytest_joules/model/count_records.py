"""The records of instructions: plain JSON types with named fields, as those in :mod:`pytest_joules.model.records`."""

from __future__ import annotations

from typing import TypedDict

from pytest_joules.model.words import BudgetVerdict, CountVerdict


class CountComparisonRecord(TypedDict):
    """Of a test's instructions with those of a baseline; made by :func:`pytest_joules.judge.instructions.compare`."""

    baseline: str
    ratio: float | None
    """Instructions now over before."""
    before: int | None
    now: int | None
    verdict: CountVerdict
    why: str
    held: float
    """The relative threshold that it was held at: the one asked for, or what repeated counts of this test differ by."""
    processes: int
    """That counted it now."""
    changed: list[str]
    """What is changed and can be the cause, the likeliest first, by ``path::qualname``."""
    where: list[str]
    """What has more to do than before, in words, what has most first."""


class CountBudgetRecord(TypedDict):
    instructions: int
    """That the test may take."""
    verdict: BudgetVerdict
    why: str | None


class CountRecord(TypedDict):
    """Instructions of a test's body; made by :func:`pytest_joules.count.record.record_of`, but for the last three."""

    counter: str
    """What counted: ``callgrind 3.19.0``, ``perf``."""
    count: int
    counts: list[int]
    """Of each counted round, in turn."""
    warm: int
    """Rounds before those, which were not counted."""
    spread: float | None
    """What the last of them differ by, relative; ``None``: it was counted once."""
    doubts: list[str]
    """What of the test's work is no instruction of its own thread, such as threads, processes, waiting."""
    functions: dict[str, int]
    """Instructions that functions of the C level spent in themselves, the dearest."""
    misses: int | None
    """What of the count went into attributes that were not in the interpreter's cache, by chance of where names are in memory;
    ``None`` where that is not known."""
    ran: dict[str, list[int]]
    """How often functions of the project were called in one round, and each of their statements ran, by ``path::qualname``: those
    that ran most; under :data:`~pytest_joules.model.OTHER`, calls of all others. Empty where that is not known."""
    budget: CountBudgetRecord | None
    """By session/counting."""
    comparison: CountComparisonRecord | None
    """By session/counting."""


class CountingRecord(TypedDict):
    """What decides a count besides the code; made by :func:`pytest_joules.count.identity.identity`."""

    facts: dict[str, str]
    packages: dict[str, str]
    """Versions of what is installed, by name."""
    folder: int | None
    """Bytes of the path of the project's folder; ``None``: not known."""
