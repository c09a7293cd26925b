"""What all configurations are tried on: the tests, their folds by package, and which of them count as measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.level.model import file_of
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.train import splits
from pytest_joules.predict.train.fitting import TrainingError
from pytest_joules.predict.train.level import FEWEST_TESTS, MEASURED, Row, without_twins

#: Folds at most; with fewer packages, each is one.
FOLDS = 10
#: What is predicted of tests.
TARGET = "joules"


@dataclass(frozen=True, slots=True)
class Problem:
    """Tests x what is known of each; arrays have one entry a test."""

    rows: Sequence[Row]
    truth: Array
    """log10 joules."""
    groups: Array
    """The number of its package."""
    packages: Sequence[str]
    """By number."""
    fold: Array
    """In which its package is held out."""
    measured: Array
    """True: a new package's tests that are measured, and move the others. Nobody is judged by these."""
    seed: int

    @property
    def folds(self) -> int:
        """How many there are."""
        return int(self.fold.max()) + 1

    @property
    def files(self) -> list[str]:
        """The test file of each test."""
        return [f"{row.project}/{file_of(row.facts)}" for row in self.rows]

    def judged(self, folds: int) -> Array:
        """The places of the tests by which configurations are judged that were tried on the first ``folds``."""
        return np.flatnonzero((self.fold < folds) & ~self.measured)


def problem(rows: Sequence[Row], seed: int) -> Problem:
    """The problem that these tests pose.

    Raises:
        TrainingError: there are too few tests or packages.
    """
    rows = without_twins([row for row in rows if TARGET in row.log10])
    packages = list(dict.fromkeys(row.project for row in rows))
    if len(rows) < FEWEST_TESTS or len(packages) < splits.FEWEST_PROJECTS:
        raise TrainingError(
            f"{len(rows)} tests of {len(packages)} packages are too few to hold packages out: collect {FEWEST_TESTS} tests of "
            f"{splits.FEWEST_PROJECTS} packages or more"
        )
    groups = splits.by_project([row.project for row in rows])
    chance = np.random.default_rng(seed)
    measured = np.zeros(len(rows), dtype=bool)
    for group in range(len(packages)):
        own = np.flatnonzero(groups == group)
        # A package with few tests is judged by half of them.
        measured[chance.permutation(own)[: min(MEASURED, len(own) // 2)]] = True
    truth = np.array([row.log10[TARGET] for row in rows])
    return Problem(rows, truth, groups, packages, splits.folds(groups, FOLDS, seed), measured, seed)


@dataclass(frozen=True, slots=True)
class Batch:
    """Tests of one package that are predicted together."""

    asked: Sequence[TestFacts]
    measured: Sequence[tuple[TestFacts, float]]
    """With the log10 of what each cost."""

    def static(self) -> Batch:
        """The same as if nothing had ever run."""
        return Batch([one.without_run() for one in self.asked], [(one.without_run(), cost) for one, cost in self.measured])


#: Of how many packages, and of each how many tests, predictions are measured.
_PACKAGES, _TESTS = 3, 25


def sample(given: Problem) -> list[Batch]:
    """Whole packages by chance, of large ones some tests: what predictions are measured on."""
    order = np.random.default_rng(given.seed).permutation(len(given.packages))
    found = []
    for group in order[:_PACKAGES]:
        own = np.flatnonzero(given.groups == group)
        asked, known = own[~given.measured[own]][:_TESTS], own[given.measured[own]]
        measured = [(given.rows[place].facts, float(given.truth[place])) for place in known]
        found.append(Batch([given.rows[place].facts for place in asked], measured))
    return found
