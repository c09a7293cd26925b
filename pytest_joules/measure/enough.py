"""When the measured rounds of a test are enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

from pytest_joules import stats
from pytest_joules.measure.meter import Meter
from pytest_joules.measure.summary import LEAST, MOST, Round
from pytest_joules.model import Effort

#: ``auto`` stops when the median's 95 % interval is within this of the median.
PRECISION = 0.02
#: Rounds in a row without a number before a test is given up.
GIVE_UP = 3


class Enough:
    """Of one test. ``worth``: whether a body of so many seconds is worth rounds that will not reach the precision; without, every
    one is."""

    def __init__(self, meter: Meter, effort: Effort, worth: Callable[[float], bool] | None) -> None:
        self._meter = meter
        self._asked = effort.rounds
        self._worth = worth
        self._energies: list[float] = []
        self._missing = 0

    def rounds(self, rounds: Sequence[Round], joules: Sequence[float | None]) -> bool:
        """Whether these are; ``joules`` of the last one by channel. To be asked after each."""
        number, last = len(rounds), rounds[-1]
        seconds = last.body.seconds if last.body else None
        total = self._meter.total(joules) if self._meter.counts else seconds
        if total is None:
            self._missing += 1
            if self._missing >= GIVE_UP and not self._energies:
                return True
        elif not last.shared:
            self._energies.append(total)
        clean = len(self._energies)
        if self._asked is not None:
            return number >= self._asked
        if clean >= MOST or number >= 2 * MOST:
            return True
        return clean >= LEAST and self._as_precise_as_it_gets(self._energies, seconds)

    def block(self, rounds: Sequence[Round]) -> bool:
        """Whether these are, which were run as one block: of a number that makes groups alike."""
        number = len(rounds)
        if self._asked is not None:
            return number >= self._asked and not number % self._asked
        if number < LEAST or (number > MOST and number % MOST):
            return False
        if number >= MOST:
            return True
        shares = [entry.body.cpu_seconds for entry in rounds if entry.body is not None]
        last = rounds[-1].body
        return self._as_precise_as_it_gets(shares, last.seconds if last else None)

    def _as_precise_as_it_gets(self, values: Sequence[float], seconds: float | None) -> bool:
        """Whether the precision is reached; or, of a test that is not worth more, whether the rounds that are left cannot reach
        it: the interval shrinks with the square root of their number."""
        width = stats.relative_half_width(values)
        if width <= PRECISION:
            return True
        foreseen = width * sqrt(len(values) / MOST)
        return self._worth is not None and seconds is not None and foreseen > PRECISION and not self._worth(seconds)
