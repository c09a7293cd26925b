"""What a predictor is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pytest_joules.model import Outside
    from pytest_joules.predict.facts.of_test import TestFacts


@dataclass(frozen=True, slots=True)
class Before:
    """A test's last measurement."""

    joules: float
    """The median, per iteration."""
    seconds: float
    sources: Mapping[str, str]
    """What the functions and module statements in its path read then, by key."""
    counts: Mapping[str, Sequence[float]]
    """How often each was called, and how often each of its statements ran, by place."""
    created: str
    """When, as ISO 8601 in UTC."""
    outside: Outside = field(default_factory=dict)
    """What calls out of the project cost in that run."""

    @classmethod
    def of(cls, facts: TestFacts, joules: float, seconds: float, created: str) -> Before:
        """``facts``: as they were then."""
        return cls(joules, seconds, facts.sources, facts.counts, created, facts.outside)


@dataclass(frozen=True, slots=True)
class Question:
    """What will this test cost now?"""

    facts: TestFacts
    """The code as it is now; ``counts`` are last time's, of the functions that existed then; ``{}`` for a test never run."""
    before: Before | None
    """Its last measurement; ``None``: it was never measured."""
    changed: tuple[str, ...]
    """Keys in its path that differ from ``before``, of all kinds, ``<distributions>`` included."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a predictor expects of a test."""

    joules: float | None
    """Expected now; ``None``: unknown."""
    interval: tuple[float, float] | None
    """In joules; holds the next measurement in 80 of 100 cases."""
    because: tuple[str, ...] = ()
    """The places that it lies at, the most responsible first."""
    why: str = ""
    """One short sentence: why it is unknown, or what was seen ("its loop runs 4x as often")."""
    exposure: float | None = None
    """Share of its last joules that what changed was seen to take, 0 to 1; ``None``: not known."""
    quantiles: Sequence[float] = ()
    """Joules at equally likely places of what is expected, ascending: of five, those that it is below in 1/6, 2/6, ... of the
    cases. Empty: only the interval is known."""


@runtime_checkable
class Predictor(Protocol):
    """Anything that can say what tests will cost; offered with the hook ``pytest_joules_predictors``."""

    name: str

    def predict(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """One answer for each question, in their order."""
