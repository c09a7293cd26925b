"""What a test scored beside its cost: a value a round, or a list of them, with an interval and a direction."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, isfinite, sqrt

from pytest_joules import stats
from pytest_joules.model import ScoreRecord

#: Resamples of the bootstrap; and the entries from which on its normal limit differs by less than what resampling scatters.
_RESAMPLES, _MOST = 1000, 1000


@dataclass(slots=True)
class Score:
    """One name's values."""

    higher_is_better: bool | None = None
    rounds: list[list[float]] = field(default_factory=list)
    """A list a round; of a single number one entry."""
    single: bool = True
    """Numbers, no lists."""


class Scores:
    """Of one test: rounds that count are kept, the one that runs is the last."""

    def __init__(self) -> None:
        self._kept: dict[str, Score] = {}
        self._round: dict[str, list[float]] = {}
        self._single: dict[str, bool] = {}
        self._directions: dict[str, bool] = {}
        self._before: dict[str, list[float]] = {}

    def new_test(self) -> None:
        self._kept, self._round, self._before = {}, {}, {}
        self._single, self._directions = {}, {}

    def new_round(self, *, measured: bool) -> None:
        """As :meth:`pytest_joules.measure.regions.Energy.new_round`."""
        self.end_round(measured=measured)
        if not measured:
            self._kept = {}
        self._before, self._round = self._round, {}

    def end_round(self, *, measured: bool) -> None:
        """Keep what the round scored, if it counts."""
        for name, values in self._round.items() if measured else ():
            self._kept.setdefault(name, Score()).rounds.append(values)

    def cut_off(self) -> None:
        """The round that runs did not pass: what stands is what the ones before told."""
        self._round = self._before

    def add(self, name: str, given: object, higher_is_better: bool | None) -> None:
        """A score of the round that runs; the last one of a name stands.

        Raises:
            TypeError: it is no number and no list of numbers.
            ValueError: an empty list, or another direction than before.
        """
        listed = _listed(name, given)
        single = listed is None
        values = [number(name, given)] if listed is None else listed
        if not values:
            raise ValueError(f"energy.score({name}=[]): a list of values, one for each item, has at least one")
        if higher_is_better is not None:
            known = self._directions.setdefault(name, bool(higher_is_better))
            if known != higher_is_better:
                raise ValueError(
                    f"energy.score({name}=..., higher_is_better={higher_is_better}): this test has said {known} of it before: "
                    "give each score one direction"
                )
        self._round[name], self._single[name] = values, single

    def values(self) -> dict[str, float]:
        """Each name's value in the round that runs or ran last: where no round counted."""
        return {name: _mean(values) for name, values in self._round.items()}

    def records(self) -> dict[str, ScoreRecord]:
        """What the rounds come to; where none counted, the one that ran last."""
        names = {**self._kept, **self._round}
        return {
            name: record(
                self._kept[name].rounds if name in self._kept else [self._round[name]],
                single=self._single[name],
                higher_is_better=self._directions.get(name),
            )
            for name in names
        }


def record(rounds: Sequence[Sequence[float]], *, single: bool, higher_is_better: bool | None) -> ScoreRecord:
    """The record of one score, of a list a round."""
    samples = [_mean(values) for values in rounds]
    lengths = {len(values) for values in rounds}
    items: list[float] | None = None
    if not single:
        # Rounds are no samples of the items: the same items again say nothing new of other ones.
        pooled = [value for values in rounds for value in values]
        items = [_mean(column) for column in zip(*rounds, strict=True)] if len(lengths) == 1 else pooled
    ci95 = interval(items if items is not None else samples)
    spread = [min(samples), max(samples)]
    return {
        "value": _mean(samples),
        "ci95": ci95,
        "higher_is_better": higher_is_better,
        "samples": samples,
        "spread": spread if spread[0] < spread[1] else None,
        "items": items,
    }


def joined(records: Sequence[Mapping[str, ScoreRecord]]) -> dict[str, ScoreRecord]:
    """The scores of the blocks of a test."""
    found: dict[str, ScoreRecord] = {}
    for name in dict.fromkeys(name for scores in records for name in scores):
        parts = [scores[name] for scores in records if name in scores]
        directions = {part["higher_is_better"] for part in parts} - {None}
        direction = directions.pop() if len(directions) == 1 else None
        items = [part["items"] for part in parts if part["items"] is not None]
        made = record(
            items or [[value] for part in parts for value in part["samples"]], single=not items, higher_is_better=direction
        )
        samples = [value for part in parts for value in part["samples"]]
        low, high = min(samples), max(samples)
        found[name] = {**made, "samples": samples, "value": _mean(samples), "spread": [low, high] if low < high else None}
    return found


def interval(values: Sequence[float]) -> list[float] | None:
    """The 95 % interval of a mean, by the percentile bootstrap (Efron and Tibshirani 1993, section 13.3), beyond
    :data:`_MOST` values by its normal limit; ``None`` where fewer than two differ, or one is not finite.

    The resamples are the same in every run.
    """
    n = len(values)
    if len(set(values)) < 2 or not all(map(isfinite, values)):
        return None
    if n > _MOST:
        mean = _mean(values)
        half = 1.96 * sqrt(fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
        return [mean - half, mean + half]
    draw = random.Random(20_250_101)
    means = sorted(_mean(draw.choices(values, k=n)) for _ in range(_RESAMPLES))
    return [stats.quantile(means, 0.025), stats.quantile(means, 0.975)]


def _listed(name: str, given: object) -> list[float] | None:
    """The values of a list, an array or the like; ``None`` for anything else."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable) or getattr(given, "shape", None) == ():
        return None
    return [number(name, one) for one in given]


def number(name: str, value: object) -> float:
    """Raises ``TypeError`` for what is no number."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"energy: {name}={value!r} is not a number")
    return float(value)


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(set(values)) == 1 else fsum(values) / len(values)
