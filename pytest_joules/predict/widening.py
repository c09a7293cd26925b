"""How far intervals have to be widened so that they hold what is measured on this project."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_joules.model import PredictionRecord, ReportedPredicting
from pytest_joules.predict.protocol import Answer

#: What an interval is to hold.
LEVEL = 0.8
#: Predictions from which on they tell anything, and accounts of sessions that they are taken from.
FEWEST, SESSIONS = 20, 50
#: No interval is widened more.
MOST = 5.0

#: Chance fails a project whose intervals hold this seldom.
_ALPHA = 0.05
#: Of a standard deviation, half the width that holds 80 % of a normal distribution.
_HALF = 1.2816
#: A stretch that no interval has: what was predicted without any width, and was not so.
_ENDLESS = 99.0


@dataclass(frozen=True, slots=True)
class Held:
    """How often the intervals of past predictions held, and what follows."""

    intervals: int
    held: int
    factor: float
    """On the logarithms of intervals: 1 where they hold as often as they should, or too few tell."""

    def sentence(self) -> str | None:
        """What there is to say of it: nothing where nothing is widened."""
        if self.factor == 1:
            return None
        share = 100 * self.held / self.intervals
        return f"intervals held {share:.0f} % of {self.intervals}: widened {self.factor:.2g} times from now on"


def stretch(prediction: PredictionRecord) -> float | None:
    """By which factor the interval had to be wider (on a scale of logarithms, from what was expected) to hold what was measured:
    at most 1 where it does. ``None`` where the measurement cannot tell.

    What rounds and sessions do to a measurement is allowed for: an interval and noise that are independent add as squares do. A
    prediction that an older version kept has no noise, and is taken as it was.
    """
    measured, expected, interval = prediction["measured"], prediction["joules"], prediction["interval"]
    noise = prediction["noise"] if prediction["verdict"] is not None else 0.0
    if not measured or not expected or interval is None or noise is None or prediction["state"] not in ("changed", "new"):
        return None
    end = interval[1] if measured > expected else interval[0]
    away = abs(math.log(measured / expected))
    beyond = math.sqrt(max(away**2 - (_HALF * noise) ** 2, 0.0))
    half = abs(math.log(end / expected)) if end > 0 else math.inf
    return min(beyond / half, _ENDLESS) if half else (_ENDLESS if beyond else 0.0)


def widening(stretches: Iterable[float]) -> Held:
    """What past predictions say of the next intervals: widened so that 80 % of the past ones had held, where fewer held than
    chance allows (one-sided binomial test, 5 %), and 20 or more can be told."""
    known = sorted(stretches)
    held = sum(one <= 1 for one in known)
    if len(known) < FEWEST or _at_most(held, len(known)) > _ALPHA:
        return Held(len(known), held, 1.0)
    return Held(len(known), held, min(max(known[math.ceil(LEVEL * len(known)) - 1], 1.0), MOST))


def stretches_of(accounts: Sequence[ReportedPredicting], model: str | None = None) -> list[float]:
    """Of the latest sessions (an account each), with this ``model`` if one is named."""
    same = (account for account in accounts[:SESSIONS] if model is None or account.get("model") == model)
    return [one for account in same for one in account.get("stretches", ())]


def _at_most(held: int, number: int) -> float:
    """The chance that so few or fewer of ``number`` intervals hold, if each does in 80 of 100 cases."""
    return math.fsum(math.comb(number, k) * LEVEL**k * (1 - LEVEL) ** (number - k) for k in range(held + 1))


def widened(answer: Answer, factor: float) -> Answer:
    """An answer whose interval and quantiles are so many times as wide, on a scale of logarithms, from what it expects."""
    if factor == 1 or not answer.joules or answer.interval is None:
        return answer
    centre = float(answer.joules)

    def away(value: float) -> float:
        # No joules that can be are so far away.
        return float(centre * math.exp(min(factor * math.log(value / centre), 200.0))) if value > 0 else 0.0

    low, high = map(away, answer.interval)
    return replace(answer, interval=(low, high), quantiles=tuple(map(away, answer.quantiles)))
