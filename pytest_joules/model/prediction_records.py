"""The records of predictions: of a test, and of a session's predicting. Joules, seconds; ``None`` means *unavailable*."""

from __future__ import annotations

from typing import Literal, TypedDict

from pytest_joules.model.words import PredictionOutcome, State, Verdict


class PredictionRecord(TypedDict):
    """Made by :func:`pytest_joules.predict.questions.foretell`; the last six by :func:`pytest_joules.predict.outcomes.hold`."""

    model: str | None
    state: State
    joules: float | None
    """Expected."""
    interval: list[float] | None
    """Joules, 80 %."""
    ratio: float | None
    """Expected over last measured."""
    last: float | None
    """Joules as last measured."""
    since: str | None
    """When that was, ISO 8601."""
    because: list[str]
    changed: int
    """Functions in the test's path that are."""
    threshold: float
    limit: float | None
    """Joules from which on it is flagged."""
    limited_by: Literal["threshold", "budget"] | None
    flagged: bool
    exposure: float | None
    """Share of the last joules that what changed was seen to take."""
    chance: float | None
    """That it costs more than the limit; ``None``: nobody can say."""
    at_risk: float | None
    """Joules that it is expected to cost beyond its last, where it becomes dearer: their mean over all cases."""
    why: str
    failed: bool
    measured: float | None
    """Joules, where it was measured in the end."""
    verdict: Verdict | None
    """Of that against the last measurement, as ``--energy-compare`` has it; ``None`` in what older versions kept: there the
    measurement's own interval decided."""
    noise: float | None
    """Standard deviation of the natural logarithm of measured over last: what rounds and sessions do to it."""
    dearer: bool | None
    outcome: PredictionOutcome | None


class _Account(TypedDict):
    model: str | None
    tests: int
    unchanged: int
    changed: int
    new: int
    unknown: int
    flagged: int
    deselected: int
    seconds: float
    joules: float | None
    """That predicting drew."""
    provenance: Literal["measured", "estimated"] | None
    saved: float
    """Joules that the tests left out cost when they were measured last."""
    suite: float
    """Joules of all tests, as last measured."""


class LeftOutRecord(TypedDict):
    """What ``--energy-predict-only`` did not run, in tests."""

    unchanged: int
    changed: int
    reaching: int
    """Of the changed ones, those whose interval reaches beyond the limit."""
    joules: float
    """Of those, as last measured."""


class ReportedPredicting(_Account, total=False):
    """The predictor's account of a session, as the report and the history have it."""

    affected: float
    """Joules of the tests whose path changed, as last measured."""
    asked: int
    """Tests that the predictor was asked about."""
    asking: float
    """CPU seconds that it took."""
    not_asked: str | None
    """Why it was not."""
    widened: float
    """The factor by which (the logarithms of) its intervals were widened."""
    left_out: LeftOutRecord | None
    """Where ``--energy-predict-only`` left tests out."""
    share: float | None
    """Of the affected joules, that it was allowed."""
    reordered: int | None
    """Tests that ``--energy-predict-first`` moved."""
    why_not_first: str | None
    """Why it moved none."""
    stretches: list[float]
    """By session/forecast: the factors by which the intervals, as the predictor gave them, had to be widened to hold what was
    measured; at most 1 where one held."""
    outcomes: dict[str, int]
    """By session/forecast, when the tests have run."""


class PredictingRecord(ReportedPredicting, total=False):
    """The same as it is said before tests run; made by session/predicting, the last two by session/forecast."""

    intervals: str
    """What there is to say of how intervals have held."""

    balance: tuple[float, float] | None
    """Joules that predicting drew and saved over the latest sessions."""
    sessions: int
    """How many those are."""
