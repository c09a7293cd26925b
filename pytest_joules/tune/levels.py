"""The level models as a family: linear, bags of words, trees, costs that add up, on any of the representations."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.level.adaptation import Adaptation
from pytest_joules.predict.level.model import FEWEST_MEASURED, LevelModel
from pytest_joules.predict.level.regressors import Constant, Regressor
from pytest_joules.predict.model import Model, level_key
from pytest_joules.predict.model_file import save
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.train.fitting import Table, fit
from pytest_joules.predict.train.level import Apart, adaptation_of, features, seen_by
from pytest_joules.tune.configurations import Configuration, space
from pytest_joules.tune.family import Fold
from pytest_joules.tune.problem import TARGET, Problem


@dataclass(frozen=True, slots=True)
class LevelFitted:
    """A level model that was trained on all tests."""

    configuration: Configuration
    model: LevelModel
    stored: int

    @property
    def description(self) -> str:
        """What it is made of."""
        return f"{len(self.model.regressor.names)} features of {len(self.model.seen.names)}"

    def predict(self, asked: Sequence[TestFacts], measured: Sequence[tuple[TestFacts, float]]) -> Array:
        """log10 joules; see :class:`~pytest_joules.tune.family.Fitted`."""
        if isinstance(self.model.regressor, Constant):
            return np.full(len(asked), self.model.regressor.value)  # it needs no look at any test
        return self.model.predict(asked, measured if self.configuration.adapted else ()).values


class Levels:
    """The family; see :class:`~pytest_joules.tune.family.Family`. What tests look like is found out once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._tables: dict[tuple[bool, tuple[str, ...]], Table] = {}
        self._wholes: dict[Configuration, Regressor] = {}
        self._adaptations: dict[Configuration, Adaptation] = {}

    def units(self) -> Sequence[Configuration]:
        """The declared space."""
        return space()

    def table(self, unit: Configuration) -> Table:
        """What a unit looks at, of all tests."""
        view = unit.ran, unit.representations
        if view not in self._tables:
            self._tables[view] = Table.of(self._features(unit))
        return self._tables[view]

    def _features(self, unit: Configuration) -> list[dict[str, float]]:
        return features(self.problem.rows, unit.representations, ran=unit.ran)

    def fold(self, unit: Configuration) -> Fold:
        """Fits on some tests and predicts others."""
        return LevelFold(unit, self.table(unit), self.problem.truth, self.problem.seed)

    def regressor(self, unit: Configuration) -> Regressor:
        """Fitted on all tests."""
        if unit not in self._wholes:
            self._wholes[unit] = self._fit(unit)
        return self._wholes[unit]

    def _fit(self, unit: Configuration) -> Regressor:
        return fit(unit.kind, self.table(unit), self.problem.truth, self.problem.seed, unit.growth)

    def corrected(self, unit: Configuration, predicted: Array, known: Array) -> Array | None:
        """Each package's tests, moved by its measured ones."""
        regressor = self.regressor(unit)
        if not len(regressor.names):
            return None
        given = self.problem
        own = self.table(unit).part(known).entries(regressor.names)
        files = given.files
        files = [files[place] for place in known]
        groups = np.unique(given.groups[known], return_inverse=True)[1]
        truth, said = given.truth[known], predicted[known]
        adaptation, _ = adaptation_of(own, files, truth, said, Apart(groups, given.fold[known]))
        self._adaptations[unit] = adaptation
        kernels, moved = adaptation.kernels(own, files), said.copy()
        for group in range(int(groups.max()) + 1):
            inside = groups == group
            measured = np.flatnonzero(inside & given.measured[known])
            asked = np.flatnonzero(inside & ~given.measured[known])
            if len(asked) and len(measured) >= FEWEST_MEASURED:
                rest = truth[measured] - said[measured]
                moved[asked] += adaptation.correct(kernels.part(asked), kernels.part(measured), rest)[0]
        return moved

    def whole(self, configuration: Configuration, predicted: Array, known: Array) -> LevelFitted:
        """With intervals by the held-out predictions."""
        given, unit = self.problem, configuration.unit
        if configuration.adapted and unit not in self._adaptations:
            self.corrected(unit, predicted, known)
        conformal = Conformal.fit(predicted[known], given.truth[known] - predicted[known], given.groups[known])
        seen = seen_by(self.table(unit).part(np.arange(len(given.rows))), given.truth, given.fold)
        adaptation = self._adaptations[unit] if configuration.adapted else None
        model = LevelModel(unit.representations, self.regressor(unit), conformal, seen, adaptation)
        return LevelFitted(configuration, model, _stored(unit, model))


def _stored(unit: Configuration, model: LevelModel) -> int:
    """Bytes of the model's file."""
    with tempfile.TemporaryDirectory(prefix="joules-tune-") as folder:
        path = Path(folder, "model.npz")
        save(path, Model(unit.kind, {level_key(TARGET, ran=unit.ran): model}, created="2000-01-01T00:00:00+00:00"))
        return path.stat().st_size


@dataclass(frozen=True, slots=True)
class LevelFold:
    """A fit without a fold."""

    unit: Configuration
    table: Table
    truth: Array
    seed: int

    def __call__(self, inside: Array, out: Array) -> Array:
        """See :data:`~pytest_joules.tune.family.Fold`."""
        return held_out(self.fitted(inside, out), self.table.part(out), self.truth[inside])

    def fitted(self, inside: Array, out: Array) -> Regressor:
        """From the tests inside; nothing may be known of packages that have tests ``out``."""
        return fit(self.unit.kind, self.table.part(inside), self.truth[inside], self.seed, self.unit.growth)


def held_out(model: Regressor, asked: Table, met: Array) -> Array:
    """What a model says: no more and no less than anything that training met, as the whole model will."""
    found: Array = np.clip(model.score(asked.entries(model.names)), met.min(), met.max())
    return found
