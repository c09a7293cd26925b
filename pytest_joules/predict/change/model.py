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
from pytest_joules.predict.change.pace import pace
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
#: log10: an interval wider than that says nothing, and neither does one of a test that may be so much dearer by what is guessed,
#: and by more than it surely is: of released changes a fifth of the tests, with half of those that became dearer.
_WIDEST, _OPEN = 1.0, 0.25
#: log10: so large an effect is one. Of the usual error, which an 80 % interval has 1.3 times on each side, what guesses leave
#: open.
_SURE, _GUESSED = 0.08, 0.38

_CHEAPER = "it looks cheaper, and what looks so is mostly done in another place"
_TOO_WIDE = "too much of what it does is written anew or cannot be priced"


def centres(features: Array) -> Array:
    """log10 of the ratio that is expected, for each row of ``features``: the modelled effect where it is sure that there is one,
    else as much of it as is.

    On released changes an effect that rests on guesses came true no more often than none (``benchmarks/predictor_pairs.py``).
    Neither does the share of what nobody could look into count.
    """
    column, sure = features.T, surely(features)
    return np.where(sure > _SURE, column[COLUMN["physical"]] * (1 - column[COLUMN["unknown"]]), sure)


def surely(features: Array) -> Array:
    """log10 of the modelled ratio with all that is guessed taken for whatever makes it the least of an effect, for each row."""
    column = features.T
    sure = np.maximum(column[COLUMN["physical"]] - column[COLUMN["down"]], 0.0)
    return np.asarray(sure * (1 - column[COLUMN["unknown"]]))


def _looks_cheaper(features: Array) -> Array:
    """Whether a test costs less with all that is guessed taken for what makes it cost most, for each row.

    Of such tests under released changes two in five cost the same: what is no longer done in one place is done in another.
    """
    column = features.T
    return np.asarray((column[COLUMN["physical"]] + column[COLUMN["up"]]) * (1 - column[COLUMN["unknown"]]) < -_SURE)


def spreads(features: Array) -> Array:
    """The least that the usual error is, for each row: where an effect is expected, what the guesses in it leave open."""
    column = features.T
    return np.where(surely(features) > _SURE, _GUESSED * (column[COLUMN["up"]] + column[COLUMN["down"]]), 0.0)


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
        np.minimum(np.abs(column[COLUMN["physical"]]) + guessed, 2.0),
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

    scales: Array
    """Of the parts in :func:`sizes`, log10."""
    quantiles: Array
    """Of the errors in units of their usual size, for each group: :data:`PLACES` equally likely places."""
    error: Mapping[str, object] = field(default_factory=dict)
    """How good it was on what was held out."""

    def arrays(self) -> dict[str, Array]:
        return {
            "features": pack(FEATURES),
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
        if np.any(scales < 0) or scales[0] <= 0 or np.any(np.diff(quantiles) < 0):
            raise Bad("has a distribution of ratios that is none")
        return cls(scales, quantiles, dict(error or {}))

    @staticmethod
    def says(features: Array, ratios: Array) -> Array:
        """Whether anything can be said, for each row."""
        column, sure = features.T, surely(features)
        beyond = column[COLUMN["physical"]] + column[COLUMN["up"]] - sure
        narrow = ratios[:, HIGH] - ratios[:, LOW] <= _WIDEST
        return np.asarray(((sure > _SURE) & (ratios[:, LOW] > 0)) | (narrow & (beyond <= _OPEN) & ~_looks_cheaper(features)))

    def ratios(self, features: Array) -> Array:
        """log10 of the ratio at :data:`PLACES` equally likely places, for each row of ``features``."""
        size = sizes(features) @ self.scales + spreads(features)
        found = centres(features)[:, None] + size[:, None] * self.quantiles[groups(features)]
        return np.asarray(np.clip(found, -_FURTHEST, _FURTHEST))

    def predict(self, questions: Sequence[Question]) -> list[Answer]:
        """An answer for each; all of them have a ``before``."""
        found = effects(questions, pace())
        if not found:
            return []
        features = np.array([effect.features for effect in found])
        rows = self.ratios(features)
        said = self.says(features, rows).tolist()
        return [_answer(*each) for each in zip(questions, found, rows, said, strict=True)]


def _answer(question: Question, effect: Effect, ratios: Array, said: bool) -> Answer:
    assert question.before is not None
    if not effect.known:
        return Answer(None, None, why=effect.why)
    if not said:
        why = _CHEAPER if _looks_cheaper(effect.features) else _TOO_WIDE
        return Answer(None, None, responsible(effect), why, exposure=effect.exposure)
    cases = tuple((question.before.joules * np.power(10.0, ratios)).tolist())
    interval = cases[LOW], cases[HIGH]
    return Answer(cases[MIDDLE], interval, responsible(effect), effect.why, effect.exposure, cases)


def responsible(effect: Effect) -> tuple[str, ...]:
    """The changed places that make the difference, the most responsible first."""
    largest = max((abs(value) for _, value in effect.places), default=0.0)
    return tuple(place for place, value in effect.places[:_MOST_PLACES] if abs(value) >= 0.05 * largest and place)
