"""What a kind of predictor must be able to do to be searched: a family of configurations is one object of this protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.tune.configurations import Configuration
from pytest_joules.tune.problem import Problem

#: A fit without a fold: given which tests to learn from and which to predict (places), log10 of these; it must be picklable.
Fold: TypeAlias = Callable[[Array, Array], Array]


class Fitted(Protocol):
    """A predictor that was trained on all tests."""

    @property
    def configuration(self) -> Configuration:
        """What it was trained as."""

    @property
    def stored(self) -> int:
        """Bytes of the file that it is kept in."""

    @property
    def description(self) -> str:
        """What it is, for people."""

    def predict(self, asked: Sequence[TestFacts], measured: Sequence[tuple[TestFacts, float]]) -> Array:
        """log10 joules of tests of one package; ``measured``: its tests with the log10 of what they cost."""


class Family(Protocol):
    """Configurations that are fitted in one way."""

    def units(self) -> Sequence[Configuration]:
        """What is searched."""

    def fold(self, unit: Configuration) -> Fold:
        """How this unit is fitted and asked."""

    def corrected(self, unit: Configuration, predicted: Array, known: Array) -> Array | None:
        """Held-out predictions of ``known`` tests (places, whole packages) moved by the measured ones; ``None``: it cannot."""

    def whole(self, configuration: Configuration, predicted: Array, known: Array) -> Fitted:
        """Trained on all tests; ``predicted``: log10 of each, held out, true where ``known``."""


#: Makes a family for a problem.
MakesFamily: TypeAlias = Callable[[Problem], Family]
