"""A model with the configuration of a point of a front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.model import LearnedFrom, Model, level_key
from pytest_joules.predict.train.fitting import TrainingError, need_scikit_learn
from pytest_joules.predict.train.level import MEASURED, Row, errors_of
from pytest_joules.tune.configurations import Configuration
from pytest_joules.tune.distilling import Taught, parts
from pytest_joules.tune.halving import one_fold
from pytest_joules.tune.levels import Levels
from pytest_joules.tune.problem import TARGET, problem


def train_like(
    configuration: Configuration,
    rows: Sequence[Row],
    unlabelled: Sequence[tuple[str, TestFacts]],
    summary: LearnedFrom,
    seed: int,
) -> Model:
    """Train this configuration on tests, as the search that it is from did on its own; a student with its teacher.

    Args:
        unlabelled: code without a cost, with its package; of use for students alone
        summary: what the tests are of

    Raises:
        TrainingError: there is too little to learn from, or the configuration cannot be kept in a model file.
    """
    import joblib

    need_scikit_learn()
    given = problem(rows, seed)
    unit = configuration.unit
    family = Levels(given) if unit.teacher is None else Taught(given, [*unlabelled, *parts(given)], [unit])
    fold_of, folds = family.fold(unit), range(given.folds)
    found = joblib.Parallel()(joblib.delayed(one_fold)(fold_of, given.fold, fold) for fold in folds)
    predicted = np.empty(len(given.rows))
    for fold, values in zip(folds, found, strict=True):
        predicted[given.fold == fold] = values
    everything = np.arange(len(given.rows))
    scored = {unit.kind: errors_of(predicted, given.truth, given.fold, given.groups).as_record()}
    if configuration.adapted:
        moved = family.corrected(unit, predicted, everything)
        if moved is None:
            raise TrainingError(f"{configuration.label}: nothing is left to look at in these tests: train it on others")
        judged = ~given.measured
        scored[f"{unit.kind}+{MEASURED}"] = errors_of(moved[judged], given.truth[judged]).as_record()
    model = family.whole(configuration, predicted, everything).model
    key = level_key(TARGET, ran=unit.ran)
    error = {"split": "project", "chosen": unit.kind, "representations": list(unit.representations), "models": scored}
    own: LearnedFrom = {**summary, "tests": len(given.rows), "projects": len(given.packages), "pairs": {}}
    return Model(unit.kind, {key: model}, summary=own, error={key: error})
