"""Successive halving (Jamieson and Talwalkar 2016): all configurations are tried on few held-out packages, the better half of
each sort on more of them, and so on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.tune.configurations import CALLS, CONSTANT, Configuration
from pytest_joules.tune.family import Family, Fold
from pytest_joules.tune.problem import Problem
from pytest_joules.tune.state import State

#: Held-out folds, of ten, that the configurations of each rung have been tried on.
_RUNGS = (2, 5, 10)


@dataclass(frozen=True, slots=True)
class Survivors:
    """What a search came to."""

    units: Sequence[Configuration]
    folds: int
    """All of them were tried on that many."""
    complete: bool
    """The search was not ended before its time."""


@dataclass(frozen=True, slots=True)
class Search:
    """A problem with what is known of it."""

    problem: Problem
    state: State
    family_of: Callable[[Configuration], Family]
    over: Callable[[], bool]
    """Whether the time is up."""
    told: Callable[[str], None]

    def halve(self, units: Sequence[Configuration]) -> Survivors:
        """The units that are left in the end, in their order; none where the time was up before one had been tried."""
        alive, folds = list(units), 0
        for rung in sorted({max(1, rung * self.problem.folds // 10) for rung in _RUNGS}):
            done = self.tried(alive, rung, f"fold {rung} of {self.problem.folds}")
            if len(done) < len(alive):
                return Survivors(alive if folds else done, folds or rung, complete=False)
            folds = rung
            if rung < self.problem.folds:
                alive = self._better(alive, rung)
        return Survivors(alive, folds, complete=True)

    def tried(self, units: Sequence[Configuration], folds: int, what: str) -> list[Configuration]:
        """Try units on the first ``folds``; those for which there was time."""
        import joblib

        for number, unit in enumerate(units):
            todo = [fold for fold in range(folds) if (unit.text, fold) not in self.state.folds]
            if not todo:
                continue
            if self.over():
                break
            self.told(f"{what}: {unit.label}, {number + 1} of {len(units)}")
            fold_of = self.family_of(unit).fold(unit)
            step = max(1, joblib.effective_n_jobs())
            for begin in range(0, len(todo), step):
                some = todo[begin : begin + step]
                found = joblib.Parallel()(joblib.delayed(one_fold)(fold_of, self.problem.fold, fold) for fold in some)
                self.state.folds |= {(unit.text, fold): values for fold, values in zip(some, found, strict=True)}
                done = self.over()
                self.state.save()
                if done:
                    break
        return [unit for unit in units if all((unit.text, fold) in self.state.folds for fold in range(folds))]

    def predicted(self, unit: Configuration) -> Array:
        """Held-out predictions of all tests; not a number where its fold was not tried."""
        return self.state.predicted(unit.text, self.problem.fold)

    def error(self, unit: Configuration, folds: int) -> float:
        """The median error on the first ``folds``."""
        judged = self.problem.judged(folds)
        return float(np.median(np.abs(self.problem.truth[judged] - self.predicted(unit)[judged])))

    def _better(self, units: Sequence[Configuration], folds: int) -> list[Configuration]:
        """The better half of each sort; what all others are compared with stays."""
        rivals: dict[object, list[Configuration]] = {}
        for unit in units:
            if unit not in (CONSTANT, CALLS):
                rivals.setdefault(unit.rivals, []).append(unit)
        kept = {CONSTANT, CALLS}
        for some in rivals.values():
            # Of equals the one that stands first: the smaller.
            kept |= {*sorted(some, key=lambda unit: self.error(unit, folds))[: (len(some) + 1) // 2]}
        return [unit for unit in units if unit in kept]


def one_fold(fold_of: Fold, fold: Array, number: int) -> Array:
    """What is predicted of the tests of a fold without them; ``fold``: of each test."""
    return fold_of(np.flatnonzero(fold != number), np.flatnonzero(fold == number))
