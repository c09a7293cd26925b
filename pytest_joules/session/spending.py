"""What predicting itself draws, and whether it is worth that."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import StatisticsError, linear_regression, mean, median
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_joules.clock import CLOCKS
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from pytest_joules.model import Counters, ReportedPredicting
    from pytest_joules.sources.base import Source


class Spent(NamedTuple):
    """What predicting drew."""

    seconds: float
    joules: float | None
    """``None`` where a counter cannot tell of so short a time."""
    provenance: Literal["measured", "estimated"] | None


class Spending:
    """Begins to count when it is made: by the sources that the run measures with, or by the CPU-time estimate."""

    def __init__(self, settings: Settings, sources: Sequence[Source]) -> None:
        self._sources = sources
        if not sources:
            from pytest_joules.sources.estimate import Estimate

            estimate = Estimate(settings.idle_watts, settings.max_watts)
            estimate.open()
            self._sources = (estimate,)
        self._begun, self._before = CLOCKS.wall(), self._read()

    def _read(self) -> list[Counters]:
        return [source.read() for source in self._sources]

    def end(self) -> Spent:
        after, seconds = self._read(), (CLOCKS.wall() - self._begun) / 1e9
        drawn: list[float | None] = []
        kinds = set()
        for source, before, now in zip(self._sources, self._before, after, strict=True):
            for domain, joules in zip(source.domains, source.between(before, now, seconds), strict=True):
                if source.in_total(domain):
                    drawn.append(joules)
                    kinds.add(source.provenance)
        known = [joules for joules in drawn if joules is not None]
        if not known or len(known) < len(drawn) or sum(known) <= 0:
            return Spent(seconds, None, None)
        return Spent(seconds, sum(known), "estimated" if "estimated" in kinds else "measured")


#: Of what it takes to run the tests in question once, predicting may take this much.
MOST = 0.05

#: Seconds that are asked for whatever the tests take: nobody notices them.
UNNOTICED = 0.05

#: Seconds that a predictor is taken to need before anybody has seen it: in all, and for each test.
_BEGINNING, _EACH = 0.04, 0.0003

#: Seconds that pytest takes around a test: its hooks, its reports.
_AROUND = 0.001

#: Sessions that say what predicting takes. One that asked nobody is among them, so that a bad moment is forgotten.
_SESSIONS = 10


def expected(accounts: Sequence[ReportedPredicting], asked: int) -> float:
    """CPU seconds that a predictor will take to answer so many questions, by earlier sessions (the newest first)."""
    known = [(many, account.get("asking", 0.0)) for account in accounts[:_SESSIONS] if (many := account.get("asked", 0))]
    if not known:
        return _BEGINNING + _EACH * asked
    numbers, seconds = zip(*known, strict=True)
    try:
        each, beginning = linear_regression(numbers, seconds)
    except StatisticsError:  # one session, or all of one number
        each = 0.0
    if each <= 0:
        each, beginning = _EACH, max(median(seconds) - _EACH * mean(numbers), 0.0)
    elif beginning < 0:
        each, beginning = sum(seconds) / sum(numbers), 0.0
    return float(beginning + each * asked)


def not_worth(accounts: Sequence[ReportedPredicting], known: Sequence[float], others: int) -> str | None:
    """Why a predictor is not to be asked: it would take more than :data:`MOST` of one pass of the tests in question.

    ``known``: seconds that each of them took last; ``others``: how many were never measured, which are taken to be like those.
    """
    asked = len(known) + others
    cost = expected(accounts, asked)
    tests = sum(known) + others * (median(known) if known else 0.0) + asked * _AROUND
    if cost <= max(MOST * tests, UNNOTICED):
        return None
    return (
        f"nobody was asked: predicting would take about {cost:.2g} s, more than {100 * MOST:.0f} % of running the "
        f"{asked} {'test' if asked == 1 else 'tests'} in question ({tests:.2g} s); --collect-only asks all the same"
    )
