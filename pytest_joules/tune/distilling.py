"""Small models taught by large ones: a student learns from the tests that were measured and from what its teacher says of code
that nobody measured (Hinton, Vinyals and Dean, 2015; here for regression)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.level.model import features_of
from pytest_joules.predict.level.regressors import Additive, Linear, Regressor
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.train.fitting import Table, fit
from pytest_joules.tune.configurations import Configuration, Growth, boosted
from pytest_joules.tune.levels import LevelFold, Levels, held_out
from pytest_joules.tune.problem import Problem

#: What teachers said in this process, the oldest first, and how much of that is kept.
_SAID: dict[int, Array] = {}
_LESSONS = 24
#: Parts of tests that are made, at most.
_PARTS = 1500
#: A student's share of its teacher's joules, at most, and of its gain over the constant, at least, for it to have been worth it.
MOST_JOULES, LEAST_GAIN = 0.05, 0.90


def students(teacher: Configuration) -> list[Configuration]:
    """What may be taught: a straight line, costs that add up, few shallow trees, on what costs next to nothing to look at."""
    looks = ("counts",) if teacher.ran else ("text",)
    first = Configuration(Additive.kind if teacher.ran else Linear.kind, looks, teacher.ran)
    taught = first, boosted(looks, Growth(60, 4) if teacher.ran else Growth(20, 3), ran=teacher.ran)
    return [dataclasses.replace(one, teacher=teacher.unit) for one in taught]


def teachers(units: Sequence[Configuration], error: Callable[[Configuration], float]) -> list[Configuration]:
    """Of those that parse code, the most exact that looks at a run and the most exact that does not."""
    large = sorted((one for one in units if {"ast", "bytecode", "source"} & {*one.representations}), key=error)
    return [next(one for one in large if one.ran == ran) for ran in {one.ran: None for one in large}]


def parts(given: Problem) -> list[tuple[str, TestFacts]]:
    """Pieces of tests, with their package: half of the functions in a test's path, as if they had run more or less often. Nobody
    measured what they cost."""
    chance = np.random.default_rng(given.seed)
    found = []
    for place in range(0, len(given.rows), max(1, len(given.rows) // _PARTS)):
        row = given.rows[place]
        names = [name for name in row.facts.sources if chance.random() < 0.5]
        factor = 10 ** chance.uniform(-1, 1)
        if names:
            sources = {name: row.facts.sources[name] for name in names}
            counts = {name: [max(1.0, round(value * factor)) if value else 0.0 for value in row.facts.counts[name]]
                      for name in names if row.facts.counts.get(name)}  # fmt: skip
            if counts:
                found.append((row.project, dataclasses.replace(row.facts, sources=sources, counts=counts)))
    return found


class Taught(Levels):
    """Students as a family.

    Args:
        unlabelled: code without a cost, with its package
        wanted: the students
    """

    def __init__(
        self, problem: Problem, unlabelled: Sequence[tuple[str, TestFacts]], wanted: Sequence[Configuration] = ()
    ) -> None:
        super().__init__(problem)
        numbers = {name: number for number, name in enumerate(problem.packages)}
        self._extra = [facts for _, facts in unlabelled]
        self._wanted = wanted
        # A package that is not held out ever has no number.
        self._groups = np.concatenate((problem.groups, [numbers.get(package, -1) for package, _ in unlabelled])).astype(np.intp)

    def units(self) -> Sequence[Configuration]:
        """The students."""
        return self._wanted

    def _features(self, unit: Configuration) -> list[dict[str, float]]:
        extra = [one if unit.ran else one.without_run() for one in self._extra]
        return super()._features(unit) + [features_of(one, unit.representations) for one in extra]

    def fold(self, unit: Configuration) -> TaughtFold:
        """The teacher learns from the same tests as its student, and speaks of no code of packages that are held out."""
        assert unit.teacher is not None
        return TaughtFold(
            unit, self.table(unit), self.problem.truth, self.problem.seed, unit.teacher, self.table(unit.teacher), self._groups
        )

    def _fit(self, unit: Configuration) -> Regressor:
        everything = np.arange(len(self.problem.rows))
        return self.fold(unit).fitted(everything, everything[:0])


@dataclass(frozen=True, slots=True)
class TaughtFold(LevelFold):
    """A teacher and its student without a fold; tables and groups have the code without a cost behind the tests."""

    teacher: Configuration
    large: Table
    groups: Array

    def fitted(self, inside: Array, out: Array) -> Regressor:
        """The student."""
        extra = np.arange(len(self.truth), len(self.groups))
        extra = extra[~np.isin(self.groups[extra], self.groups[out])]
        both = np.concatenate((inside, extra))
        truth = np.concatenate((self.truth[inside], self._said(inside, extra)))
        return fit(self.unit.kind, self.table.part(both), truth, self.seed, self.unit.growth)

    def _said(self, inside: Array, extra: Array) -> Array:
        """What the teacher says of the code without a cost; asked by several students, it learns once in a process."""
        arrays = inside, extra, self.truth, self.large.matrix.data
        key = hash((self.teacher, self.seed, *(array.tobytes() for array in arrays)))
        if key not in _SAID:
            truth = self.truth[inside]
            teacher = fit(self.teacher.kind, self.large.part(inside), truth, self.seed, self.teacher.growth)
            _SAID[key] = held_out(teacher, self.large.part(extra), truth)
            while len(_SAID) > _LESSONS:
                del _SAID[next(iter(_SAID))]
        return _SAID[key]
