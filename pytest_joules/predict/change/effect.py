"""What is said of a change in one test: a row of numbers, the responsible places, and a sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The columns, in their order.
FEATURES = (
    "physical",  # log10 of the modelled ratio
    "upper",  # log10, with all that is guessed taken twice
    "added",  # log10(1 + what is added), of the test's measured time
    "removed",
    "guessed",  # share of the difference that rests on guesses
    "share",  # of the changed functions in the test, as they were
    "share_guessed",  # of what they did before that was guessed
    "functions",  # log10(1 + how many changed)
    "others",  # how many module statements, and what is no code
    "calls",  # log10(1 + how often the changed functions are called)
    "per_call",  # log10 of nanoseconds added per call of a changed function
    "unmatched",  # share of the new steps that stand for none of the old
    "lost",  # share of the old steps that are gone
    "memory",  # a function no longer remembers its results
    "loops",  # new loops
    "inside",  # new loops inside loops
    "new_calls",  # log10(1 + calls that are new), of functions that nothing is known of
    "helpers",  # functions that are new
    "uncounted",  # changed functions whose statements were not counted
    "literal",  # log10 of how much the largest number in a call or a module statement grew
    "seconds",  # log10 of the test's measured time
)

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


@dataclass(slots=True)
class Sum:
    """Of all changed functions of a test."""

    added: float = 0.0
    removed: float = 0.0
    guessed: float = 0.0
    old: float = 0.0
    old_guessed: float = 0.0
    calls: float = 0.0
    unmatched: float = 0.0
    lost: float = 0.0
    steps: int = 0
    old_steps: int = 0
    memory: float = 0.0
    loops: int = 0
    inside: int = 0
    new_calls: float = 0.0
    helpers: int = 0
    uncounted: int = 0
    literal: float = 0.0
    others: int = 0
    whys: list[tuple[float, str]] = field(default_factory=list)
    places: dict[str, float] = field(default_factory=dict)

    def add(self, place: str, nanoseconds: float, guessed: float) -> None:
        """Nanoseconds that the test takes more (less) because of a changed place, and the part of them that is guessed."""
        if nanoseconds > 0:
            self.added += nanoseconds
        else:
            self.removed -= nanoseconds
        self.guessed += min(guessed, abs(nanoseconds))
        self.places[place] = self.places.get(place, 0.0) + nanoseconds

    def effect(self, seconds: float, functions: int, known: bool) -> Effect:
        """In a test that took so many ``seconds``, of which so many ``functions`` changed."""
        total, measured = self, seconds * 1e9
        # The model may take what was there for dearer than all of the test was.
        scale = min(1.0, measured / total.old) if total.old > 0 else 1.0
        added, removed, guessed = (value * scale / measured for value in (total.added, total.removed, total.guessed))
        removed = min(removed, 0.98)
        ratio = min(max(1 + added - removed, _LEAST), _MOST)
        upper = min(max(ratio + guessed, _LEAST), _MOST)
        difference = added + removed
        steps, old_steps = max(total.steps, 1), max(total.old_steps, 1)
        values = {
            "physical": math.log10(ratio),
            "upper": math.log10(upper),
            "added": math.log10(1 + added),
            "removed": math.log10(1 + removed),
            "guessed": guessed / difference if difference > 0 else 0.0,
            "share": min(total.old * scale / measured, 1.0),
            "share_guessed": total.old_guessed / total.old if total.old > 0 else 0.0,
            "functions": math.log10(1 + functions),
            "others": float(total.others),
            "calls": math.log10(1 + total.calls),
            "per_call": math.log10(1 + max(total.added - total.removed, 0.0) / max(total.calls, 1.0)),
            "unmatched": total.unmatched / steps,
            "lost": total.lost / old_steps,
            "memory": total.memory,
            "loops": float(min(total.loops, 5)),
            "inside": float(min(total.inside, 5)),
            "new_calls": math.log10(1 + total.new_calls),
            "helpers": float(min(total.helpers, 5)),
            "uncounted": float(min(total.uncounted, 5)),
            "literal": total.literal,
            "seconds": math.log10(seconds),
        }
        places = sorted(
            ((key, value * scale / measured) for key, value in total.places.items()), key=lambda entry: -abs(entry[1])
        )
        why = max(total.whys, key=lambda entry: entry[0])[1] if total.whys else ""
        return Effect(np.array([values[name] for name in FEATURES]), places, why, known)
