"""What an answer says of a limit: how likely it is that a test costs more, and how many joules are at risk."""

from __future__ import annotations

import math

from pytest_joules.predict.protocol import Answer


def _cases(answer: Answer) -> list[float]:
    """Joules, each as likely as the others; of an interval alone its ends, and what is expected in six of ten cases."""
    if answer.quantiles or answer.joules is None or answer.interval is None:
        return [float(value) for value in answer.quantiles]
    low, high = map(float, answer.interval)
    return [low] * 2 + [float(answer.joules)] * 6 + [high] * 2


def chance(answer: Answer, limit: float | None) -> float | None:
    cases = _cases(answer)
    return sum(case > limit for case in cases) / len(cases) if cases and limit is not None else None


def at_risk(answer: Answer, last: float | None) -> float | None:
    cases = _cases(answer)
    return math.fsum(max(case - last, 0.0) for case in cases) / len(cases) if cases and last is not None else None
