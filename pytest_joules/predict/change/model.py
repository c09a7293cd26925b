"""The model ``change``: a test's last joules times the modelled effect of what changed in its path.

The backbone is :mod:`pytest_joules.predict.change.modelling`. How far that is off was learned on measured pairs of versions: its
usual error by how much of the test is exposed to the change, how much of that was written anew, and how much could not be
priced; and from the errors themselves, in units of that, a whole distribution of the ratio (conformal prediction, Vovk, Gammerman
and Shafer, 2005; with errors divided by their usual size, Lei et al., 2018; by groups of what is unknown, Vovk, 2012). What is
loaded and scored here is numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pytest_joules.files.checked import Bad
from pytest_joules.predict.change.effect import COLUMN, FEATURES, Effect
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.protocol import Answer, Question
from pytest_joules.predict.scoring.arrays import Array, floats, pack, unpack

#: Equally likely places of what is expected that an answer has, and those of them that its 80 % interval ends at.
PLACES = 19
LOW, MIDDLE, HIGH = 1, 9, 17
#: Up to which share that is unknown or written anew tests are of the first, and of the second group.
GROUPS = (0.02, 0.3)
#: Places that are named.
_MOST_PLACES = 5
#: log10: no ratio is believed to be beyond it.
_FURTHEST = 6.0
#: log10: an interval wider than that says nothing.
WIDEST = 1.0

_UNKNOWN = "what changed in its path is no function that it was seen to call"
_TOO_WIDE = "too much of what it does is written anew or cannot be priced"


def sizes(features: Array) -> Array:
    """What the usual error is a sum of, for each row of ``features`` (columns as in :data:`FEATURES`): what any two measurements
    differ by, and what is exposed, written anew, guessed, and not known."""
    column = features.T
    churn, guessed = np.log10(1 + column[COLUMN["churn"]]), column[COLUMN["up"]] + column[COLUMN["down"]]
    parts = (
        np.ones(len(features)),
        column[COLUMN["exposure"]],
        column[COLUMN["reach"]],
        churn,
        np.abs(column[COLUMN["physical"]]),
        np.minimum(guessed, 2.0),
        column[COLUMN["unknown"]],
    )
    return np.stack(parts, axis=1)


def groups(features: Array) -> Array:
    """The group of each row, by what is unknown or written anew of it."""
    column = features.T
    share = column[COLUMN["churn"]] + column[COLUMN["unknown"]] + column[COLUMN["up"]] + column[COLUMN["down"]]
    return np.asarray(np.searchsorted(GROUPS, share))


@dataclass(frozen=True, slots=True)
class ChangeModel:
    """Answers questions about tests that were measured before."""

    trust: float
    """How much of the modelled effect (log10) is believed."""
    scales: Array
    """Of the parts in :func:`sizes`, log10."""
    quantiles: Array
    """Of the errors in units of their usual size, for each group: :data:`PLACES` equally likely places."""
    error: Mapping[str, object] = field(default_factory=dict)
    """How good it was on what was held out."""

    def arrays(self) -> dict[str, Array]:
        return {
            "features": pack(FEATURES),
            "trust": np.array(self.trust),
            "scales": self.scales,
            "quantiles": self.quantiles.ravel(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], error: Mapping[str, object] | None = None) -> ChangeModel:
        """The model in a file.

        Raises:
            Bad: it is none, or one for other features.
        """
        if tuple(unpack(arrays, "features")) != FEATURES:
            raise Bad("looks at other features of a change than this version of pytest-joules")
        scales = floats(arrays, "scales", 1, sizes(np.zeros((1, len(FEATURES)))).shape[1])
        quantiles = floats(arrays, "quantiles", 1, (len(GROUPS) + 1) * PLACES).reshape(-1, PLACES)
        trust = float(floats(arrays, "trust", 0))
        if np.any(scales < 0) or scales[0] <= 0 or np.any(np.diff(quantiles) < 0) or not 0 <= trust <= 2:
            raise Bad("has a distribution of ratios that is none")
        return cls(trust, scales, quantiles, dict(error or {}))

    def ratios(self, features: Array) -> Array:
        """log10 of the ratio at :data:`PLACES` equally likely places, for each row of ``features``."""
        size = sizes(features) @ self.scales
        centre = self.trust * features[:, COLUMN["physical"]]
        found = centre[:, None] + size[:, None] * self.quantiles[groups(features)]
        return np.asarray(np.clip(found, -_FURTHEST, _FURTHEST))

    def predict(self, questions: Sequence[Question]) -> list[Answer]:
        """An answer for each; all of them have a ``before``."""
        found = effects(questions)
        if not found:
            return []
        rows = self.ratios(np.array([effect.features for effect in found]))
        return [_answer(question, effect, row) for question, effect, row in zip(questions, found, rows, strict=True)]


def _answer(question: Question, effect: Effect, ratios: Array) -> Answer:
    assert question.before is not None
    if not effect.known:
        return Answer(None, None, why=_UNKNOWN)
    if ratios[HIGH] - ratios[LOW] > WIDEST:
        return Answer(None, None, responsible(effect), _TOO_WIDE, exposure=effect.exposure)
    cases = tuple((question.before.joules * np.power(10.0, ratios)).tolist())
    interval = cases[LOW], cases[HIGH]
    return Answer(cases[MIDDLE], interval, responsible(effect), effect.why, effect.exposure, cases)


def responsible(effect: Effect) -> tuple[str, ...]:
    """The changed places that make the difference, the most responsible first."""
    largest = max((abs(value) for _, value in effect.places), default=0.0)
    return tuple(place for place, value in effect.places[:_MOST_PLACES] if abs(value) >= 0.05 * largest and place)
