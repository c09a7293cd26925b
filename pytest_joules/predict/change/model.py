"""The model ``change``: a test's last joules times the modelled effect of what changed in its path.

The backbone is :mod:`pytest_joules.predict.change.modelling`; trees learned on measured pairs of versions correct it, others say
how far off it usually is with changes like this one, and from that follows the interval. What is loaded and scored here is
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pytest_joules.files.checked import Bad
from pytest_joules.predict.change.effect import FEATURES, Effect
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.protocol import Answer, Question
from pytest_joules.predict.scoring.arrays import Array, pack, unpack
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.scoring.trees import Trees

#: Places that are named.
_MOST_PLACES = 5
#: log10: no ratio is believed to be beyond it.
_FURTHEST = 6.0

_UNKNOWN = "what changed in its path is no function that it was seen to call"


@dataclass(frozen=True, slots=True)
class ChangeModel:
    """Answers questions about tests that were measured before."""

    correction: Trees | None
    """log10, added to the physical estimate; ``None``: too few pairs to learn one."""
    doubt: Trees | None
    """log10 of the usual error."""
    conformal: Conformal
    """By the doubt."""
    error: Mapping[str, object] = field(default_factory=dict)
    """How good it was on what was held out."""

    def arrays(self) -> dict[str, Array]:
        result = {"features": pack(FEATURES)}
        for name, trees in (("correction", self.correction), ("doubt", self.doubt)):
            if trees is not None:
                result |= {f"{name}_{key}": value for key, value in trees.arrays().items()}
        return result | {f"conformal_{key}": value for key, value in self.conformal.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], error: Mapping[str, object] | None = None) -> ChangeModel:
        """The model in a file.

        Raises:
            Bad: it is none, or one for other features.
        """
        if tuple(unpack(arrays, "features")) != FEATURES:
            raise Bad("looks at other features of a change than this version of pytest-joules")

        def under(name: str) -> dict[str, Array]:
            return {key.removeprefix(f"{name}_"): value for key, value in arrays.items() if key.startswith(f"{name}_")}

        trees = [Trees.from_arrays(found, len(FEATURES)) if (found := under(name)) else None for name in ("correction", "doubt")]
        return cls(trees[0], trees[1], Conformal.from_arrays(under("conformal")), dict(error or {}))

    def ratios(self, features: Array) -> tuple[Array, Array, Array]:
        """log10 of the expected ratio and its 80 % interval for each row of ``features``, columns as in :data:`FEATURES`."""
        centre = features[:, 0] + (self.correction.score(features) if self.correction is not None else 0.0)
        # A correction may take an effect back, but makes none of nothing.
        centre = np.clip(centre, -_FURTHEST, _FURTHEST)
        doubt = self.doubt.score(features) if self.doubt is not None else features[:, 0]
        low, high = self.conformal.interval(doubt)
        return centre, centre + (low - doubt), centre + (high - doubt)

    def predict(self, questions: Sequence[Question]) -> list[Answer]:
        """An answer for each; all of them have a ``before``."""
        found = effects(questions)
        known = [effect for effect in found if effect.known]
        if not known:
            return [Answer(None, None, why=_UNKNOWN) for _ in found]
        centre, low, high = self.ratios(np.array([effect.features for effect in known]))
        ratios = iter(np.power(10.0, np.stack((centre, low, high), axis=1)).tolist())
        return [
            _answer(question, effect, next(ratios)) if effect.known else Answer(None, None, why=_UNKNOWN)
            for question, effect in zip(questions, found, strict=True)
        ]


def _answer(question: Question, effect: Effect, ratios: Sequence[float]) -> Answer:
    assert question.before is not None
    centre, low, high = (question.before.joules * ratio for ratio in ratios)
    return Answer(centre, (min(low, centre), max(high, centre)), responsible(effect), effect.why)


def responsible(effect: Effect) -> tuple[str, ...]:
    """The changed places that make the difference, the most responsible first."""
    largest = max((abs(value) for _, value in effect.places), default=0.0)
    return tuple(place for place, value in effect.places[:_MOST_PLACES] if abs(value) >= 0.05 * largest and place)
