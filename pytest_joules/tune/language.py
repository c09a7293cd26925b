"""The language model as a family: only where its extra is installed and somebody asks for it, as each fit takes minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_joules.language_model import base, extra
from pytest_joules.language_model.base import Base
from pytest_joules.language_model.network import Network
from pytest_joules.language_model.settings import Settings
from pytest_joules.language_model.texts import text_of
from pytest_joules.language_model.training import Teacher
from pytest_joules.predict.choices import LANGUAGE_MODEL
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.tune.configurations import Configuration
from pytest_joules.tune.problem import Problem

#: What it reads, and the sizes that are searched: rank, layers, tokens, epochs.
_READS = "source"
_SIZES = ((4, 2, 48, 3), (8, 3, 96, 3))


@dataclass(frozen=True, slots=True)
class LanguageFitted:
    """A network that was trained on all tests, loaded."""

    configuration: Configuration
    network: Network
    centre: float
    scale: float
    costs: tuple[float, float]
    """The least and the most that training met."""

    @property
    def stored(self) -> int:
        """Bytes of what is trained: the base model, which is installed, is not in its file."""
        return int(sum(array.nbytes for array in self.network.numbers().values()))

    @property
    def description(self) -> str:
        """What it is made of."""
        return f"{sum(array.size for array in self.network.numbers().values())} numbers that adapt an encoder"

    def predict(self, asked: Sequence[TestFacts], measured: Sequence[tuple[TestFacts, float]]) -> Array:
        """log10 joules; see :class:`~pytest_joules.tune.family.Fitted`."""
        texts = [text_of(one, _READS, self.network.settings.tokens) for one in asked]
        said = self.network.score(self.network.tokens(texts))[:, 0] * self.scale + self.centre
        return np.asarray(np.clip(said, *self.costs))


@dataclass(frozen=True, slots=True)
class LanguageFold:
    """A training without a fold; see :data:`~pytest_joules.tune.family.Fold`."""

    unit: Configuration
    base: Base
    settings: Settings
    texts: Sequence[str]
    truth: Array

    def __call__(self, inside: Array, out: Array) -> Array:
        fitted = self.fitted(inside)
        network = fitted.network
        said = network.score(network.tokens([self.texts[place] for place in out]))[:, 0] * fitted.scale + fitted.centre
        return np.asarray(np.clip(said, *fitted.costs))

    def fitted(self, inside: Array) -> LanguageFitted:
        """From these tests."""
        truth = self.truth[inside]
        centre, scale = float(truth.mean()), max(float(truth.std()), 1e-3)
        network = Network(self.base, self.settings, 1)
        ids = network.tokens([self.texts[place] for place in inside])
        teacher = Teacher(network, ids, ((truth - centre) / scale)[:, None], 0)
        for epoch in range(self.settings.epochs):
            teacher.epoch(epoch)
        return LanguageFitted(self.unit, network, centre, scale, (float(truth.min()), float(truth.max())))


class Language:
    """The family; see :class:`~pytest_joules.tune.family.Family`.

    Raises:
        ModelError: what it needs is not installed.
    """

    def __init__(self, problem: Problem) -> None:
        extra.need()
        self._base = base.find()
        self._problem = problem
        self._texts: dict[int, list[str]] = {}

    def units(self) -> Sequence[Configuration]:
        """Two sizes that read the source of a test that never ran."""
        names = ("rank", "layers", "tokens", "epochs")
        options = (tuple(sorted(zip(names, sizes, strict=True))) for sizes in _SIZES)
        return [Configuration(LANGUAGE_MODEL, (_READS,), ran=False, options=each) for each in options]

    def fold(self, unit: Configuration) -> LanguageFold:
        """A training from the seed of the search."""
        given: dict[str, Any] = unit.given
        settings = Settings(**given, seed=self._problem.seed)
        if settings.tokens not in self._texts:
            facts = [row.facts.without_run() for row in self._problem.rows]
            self._texts[settings.tokens] = [text_of(one, _READS, settings.tokens) for one in facts]
        return LanguageFold(unit, self._base, settings, self._texts[settings.tokens], self._problem.truth)

    def corrected(self, unit: Configuration, predicted: Array, known: Array) -> Array | None:
        """Measured tests do not move it."""
        return None

    def whole(self, configuration: Configuration, predicted: Array, known: Array) -> LanguageFitted:
        """Trained on all tests."""
        return self.fold(configuration.unit).fitted(np.arange(len(self._problem.rows)))
