"""What a call costs, by the counts of the test's last run: of functions in its path, with all that these call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pytest_joules.predict.change.costs import KNOWN
from pytest_joules.predict.change.flow import Observed, Run, Work, seen
from pytest_joules.predict.change.reading import code_of
from pytest_joules.predict.change.steps import Code
from pytest_joules.predict.protocol import Before

#: How deep the cost of what is called is followed.
_DEEPEST = 6


class Calls:
    """Of one test."""

    def __init__(self, before: Before) -> None:
        self.before, self.counts = before.sources, before.counts
        self.seconds = max(before.seconds, 1e-9)
        self._by_name: dict[str, list[str]] | None = None
        self._costs: dict[str, tuple[float, float]] = {}

    def places(self, name: str) -> list[str]:
        """Functions in the path that a call of ``name`` may mean."""
        if self._by_name is None:
            self._by_name = {}
            for place, counts in self.counts.items():
                if counts and counts[0] > 0:
                    for called in _called_as(place):
                        self._by_name.setdefault(called, []).append(place)
        if name.startswith("@"):
            return [place for place in self._by_name.get(name[1:], ()) if _is_property(self.before.get(place, ""))]
        bare = name.rpartition(".")[2]
        found = self._by_name.get(bare, [])
        if name.startswith(".") and _common(bare):
            return []  # rather a list's
        return [place for place in found if not _is_property(self.before.get(place, ""))]

    def cost(self, place: str, above: frozenset[str] = frozenset()) -> tuple[float, float]:
        """Nanoseconds of one call with all that it calls, and the part of these that is guessed."""
        known = self._costs.get(place)
        if known is not None:
            return known
        counts, source = self.counts.get(place), self.before.get(place)
        if not counts or counts[0] <= 0 or source is None or place in above or len(above) > _DEEPEST:
            return 0.0, 0.0
        code = code_of(source, (), len(counts) - 1)
        if code is None:
            return 300.0, 300.0
        work = as_counted(code, counts)
        total, guessed = work.nanoseconds, work.guessed
        for name, times in work.sites.items():
            several = self.places(name)
            more = [self.cost(other, above | {place}) for other in several if other != place]
            if more:
                # No more often than it was called at all.
                often = min(times, sum(self.counts[other][0] for other in several))
                total += often * sum(cost for cost, _ in more) / len(more)
                guessed += often * sum(part for _, part in more) / len(more)
        result = min(total / counts[0], self.seconds * 1e9 / counts[0]), guessed / counts[0]
        if not above:
            self._costs[place] = result
        return result

    @staticmethod
    def unknown(name: str) -> float:
        """Nanoseconds of a call of which nothing is known."""
        return 0.0 if name.startswith(("@", "?")) or _common(name.rpartition(".")[2]) else 200.0


def as_counted(code: Code, counts: Sequence[float]) -> Work:
    """What a function did in the test's last run."""
    return as_seen(code, seen(code, counts), float(counts[0]))


def as_seen(code: Code, looked: Observed, calls: float) -> Work:
    run = Run(lambda step: (looked.rates[step], step) if step in looked.rates else None, looked.sizes.get, lambda name: None)
    run.block(code.steps, calls)
    return run.work


@lru_cache(maxsize=16384)
def _called_as(place: str) -> tuple[str, ...]:
    """By which names a function is called: its own, and that of its class where it makes one."""
    owner, _, last = place.partition("::")[2].rpartition(".")
    return (last, owner.rpartition(".")[2]) if last in ("__init__", "__new__", "__call__") else (last,)


@lru_cache(maxsize=4096)
def _is_property(source: str) -> bool:
    head = source.partition("def ")[0]
    return "property" in head or ".setter" in head


def _common(name: str) -> bool:
    return name in KNOWN
