"""What is said of a change in one test: what it is expected to make of its cost, how far that may be off, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The columns of an effect as numbers, in their order. Shares are of the nanoseconds that the test was measured to take.
FEATURES = (
    "physical",  # log10 of the modelled ratio
    "up",  # log10: how far above it may be by what is guessed and not known
    "down",  # log10: how far below
    "churn",  # share: steps that are gone and steps that are new, and calls that are more or fewer
    "exposure",  # share: what the changed functions did by themselves
    "reach",  # share: with all that they call
    "unknown",  # share: changed functions of which the statements were not counted, or that are gone
    "memory",  # log10 of how much more often a function runs that no longer remembers its results
    "seconds",  # log10 of the test's measured time
)
COLUMN = {name: number for number, name in enumerate(FEATURES)}

#: A ratio is between these.
_LEAST, _MOST = 0.02, 1e5


@dataclass(slots=True)
class Effect:
    """What is expected of a change, in one test."""

    features: Array
    places: list[tuple[str, float]] = field(default_factory=list)
    """Changed keys, and the share of the test's time that each adds; the largest first."""
    why: str = ""
    known: bool = True
    """Something could be said at all."""

    @property
    def physical(self) -> float:
        """log10 of the modelled ratio."""
        return float(self.features[0])

    @property
    def exposure(self) -> float:
        """Share of the test's cost that the changed functions had by themselves."""
        return float(self.features[COLUMN["exposure"]])


@dataclass(slots=True)
class Sum:
    """Of all changed functions of a test, in nanoseconds."""

    added: float = 0.0
    removed: float = 0.0
    least: float = 0.0
    """The difference, if all that is not known costs the least."""
    most: float = 0.0
    churn: float = 0.0
    own: float = 0.0
    reach: float = 0.0
    unknown: float = 0.0
    memory: float = 0.0
    literal: float = 0.0
    """log10 of how much the largest number that is new is larger than the largest that is gone."""
    whys: list[tuple[float, str]] = field(default_factory=list)
    places: dict[str, float] = field(default_factory=dict)

    def add(self, place: str, each: float, least: float, most: float) -> None:
        """Nanoseconds that the test takes more (less) because of a changed place: expected, the least and the most."""
        if each > 0:
            self.added += each
        else:
            self.removed -= each
        self.least += min(each, least, most)
        self.most += max(each, least, most)
        self.places[place] = self.places.get(place, 0.0) + each

    def effect(self, seconds: float, pace: float = 1.0, unknown: str = "") -> Effect:
        """In a test that took so many ``seconds``, and ``pace`` times as many where it was measured; ``unknown``: why nothing can
        be said of it."""
        total, measured = self, seconds * 1e9
        # The model may take what was there for dearer than all of the test was.
        scale = min(1.0, measured / total.own) if total.own > 0 else 1.0
        share = scale / measured
        ratio = _ratio(1 + (total.added - min(total.removed, 0.98 / share)) * share)
        reach = min(total.reach * share, 1.0)
        # What a larger number makes larger, or a smaller one smaller, is not known.
        grown = math.log10(_ratio(1 + reach * (10**total.literal - 1)))
        values = {
            "physical": math.log10(ratio),
            "up": math.log10(max(_ratio(1 + total.most * share) / ratio, 1.0)) + max(grown, 0.0),
            "down": math.log10(max(ratio / _ratio(1 + total.least * share), 1.0)) + max(-grown, 0.0),
            "churn": min(total.churn * share, 10.0),
            "exposure": min(total.own * share, 1.0),
            "reach": reach,
            "unknown": min(total.unknown * share, 1.0),
            "memory": total.memory,
            "seconds": math.log10(seconds * pace),
        }
        places = sorted(((key, value * share) for key, value in total.places.items()), key=lambda entry: -abs(entry[1]))
        why = max(total.whys, key=lambda entry: entry[0])[1] if total.whys else ""
        return Effect(np.array([values[name] for name in FEATURES]), places, unknown or why, not unknown)


def _ratio(value: float) -> float:
    return min(max(value, _LEAST), _MOST)
