"""What predicting itself draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_joules.clock import CLOCKS
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from pytest_joules.model import Counters
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
