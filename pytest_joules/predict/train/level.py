"""Training level models: cross validation without leaks, intervals, and what makes a model say "unknown"."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.level.adaptation import POWERS, Adaptation, Kernels
from pytest_joules.predict.level.model import STRANGE, LevelModel, Seen, features_of, file_of
from pytest_joules.predict.level.regressors import Additive, Boosted, Constant, Entries, Linear, Words
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.train import splits
from pytest_joules.predict.train.fitting import Table, TrainingError, fit, need_scikit_learn

#: With fewer tests than this, a level model has nothing to be validated on.
FEWEST_TESTS = 20

#: What each kind looks at if nothing else is said.
REPRESENTATIONS: Mapping[str, tuple[str, ...]] = {
    Constant.kind: ("ast",),
    Linear.kind: ("ast", "bytecode"),
    Words.kind: ("source",),
    Boosted.kind: ("ast", "bytecode"),
    Additive.kind: ("bytecode",),
}

FOLDS = 5
"""Of a split by function; a split by project leaves out one fifth of the projects, or one tenth where there are many."""

#: Measured tests of a new project that adapting is tried with.
MEASURED = 20

#: Rows below which several processes cost more than they save.
_FEW = 2000

#: Pairs of tests of one project that covariances are estimated from, at most.
_MOST_PAIRS = 4000


@dataclass(frozen=True, slots=True)
class Row:
    """One test to learn from."""

    facts: TestFacts
    project: str
    log10: Mapping[str, float]
    """Its costs, by target; a target that was not measured is missing."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How far a model was off on tests that it had not seen; all of log10."""

    tests: int
    r2: float | None
    spearman: float | None
    median_error: float
    """Median of |truth - prediction|."""
    coverage: float | None = None
    """Of the 80 % interval, each fold with intervals of the others."""

    def as_record(self) -> dict[str, float | None]:
        """For the manifest and JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Trained:
    """A level model with the errors that it, and those it was compared with, made."""

    model: LevelModel
    errors: Mapping[str, Errors]
    """By kind; ``NAME+20`` where twenty measured tests of each held-out project were used."""
    split: str
    """``"project"`` or ``"function"``."""


# Cross validation


def held_out(tables: Mapping[str, Table], truth: Array, fold: Array, seed: int = 0) -> dict[str, Array]:
    """What a model of each kind says of each test that was trained without the test's fold. ``tables``: by kind."""
    import joblib

    tasks = [(kind, table, number) for kind, table in tables.items() for number in range(int(fold.max()) + 1)]
    run = joblib.Parallel() if len(truth) >= _FEW else joblib.Parallel(n_jobs=1, backend="sequential")
    found = run(joblib.delayed(_one_fold)(kind, table, truth, fold == number, seed) for kind, table, number in tasks)
    result = {kind: np.empty(len(truth)) for kind in tables}
    for (kind, _, number), values in zip(tasks, found, strict=True):
        result[kind][fold == number] = values
    return result


def _one_fold(kind: str, table: Table, truth: Array, out: Array, seed: int) -> Array:
    model = fit(kind, table.part(np.flatnonzero(~out)), truth[~out], seed)
    # As the whole model will: no more and no less than anything it has seen.
    return np.clip(model.score(table.part(np.flatnonzero(out)).entries(model.names)), truth[~out].min(), truth[~out].max())


def errors_of(
    predicted: Array, truth: Array, fold: Array | None = None, groups: Array | None = None, deviations: Array | None = None
) -> Errors:
    """How good predictions were; with ``fold`` and ``groups`` also how often intervals held the truth. ``deviations``: by what
    each interval is scaled."""
    from scipy.stats import spearmanr

    total = float(((truth - truth.mean()) ** 2).sum())
    r2 = 1 - float(((truth - predicted) ** 2).sum()) / total if total > 0 else None
    varied = len(truth) > 2 and np.ptp(truth) > 0 and np.ptp(predicted) > 0
    rank = float(spearmanr(truth, predicted).statistic) if varied else None
    held = None
    if fold is not None and groups is not None and len(np.unique(fold)) > 1:
        scores = (truth - predicted) / (1.0 if deviations is None else deviations)
        inside = np.zeros(len(truth), dtype=bool)
        for number in np.unique(fold):
            out = fold == number
            low, high = Conformal.fit(predicted[~out], scores[~out], groups[~out]).interval(predicted[out])
            inside[out] = (low - predicted[out] <= scores[out]) & (scores[out] <= high - predicted[out])
        held = float(inside.mean())
    return Errors(len(truth), r2, rank, float(np.median(np.abs(truth - predicted))), held)


# A level model


def features(rows: Sequence[Row], representations: Sequence[str], *, ran: bool) -> list[dict[str, float]]:
    """The features of each test; without ``ran``, as if it had never run."""
    return [features_of(row.facts if ran else row.facts.without_run(), representations) for row in rows]


def train_level(
    rows: Sequence[Row],
    target: str,
    *,
    ran: bool,
    kinds: Sequence[str],
    representations: Sequence[str] | None = None,
    seed: int = 0,
) -> Trained:
    """The best of the ``kinds`` on held-out tests, trained on all; what the others were, beside it.

    Raises:
        TrainingError: there are too few tests with this target.
    """
    need_scikit_learn()
    rows = without_twins([row for row in rows if target in row.log10])
    if len(rows) < FEWEST_TESTS:
        raise TrainingError(f"{len(rows)} tests with a known cost are too few to train on: measure {FEWEST_TESTS} or more")
    truth = np.array([row.log10[target] for row in rows])
    projects = [row.project for row in rows]
    apart = len(set(projects)) >= splits.FEWEST_PROJECTS
    groups = splits.by_project(projects) if apart else splits.by_function([row.facts for row in rows], projects)
    fold = splits.folds(groups, 10 if int(groups.max()) >= 10 and apart else FOLDS, seed)
    if fold.max() < 1:
        raise TrainingError("all tests are parametrisations of one function: there is nothing to compare a model with")
    looks = {kind: tuple(representations or REPRESENTATIONS[kind]) for kind in kinds}
    made = {names: Table.of(features(rows, names, ran=ran)) for names in sorted(set(looks.values()))}
    tables = {Constant.kind: next(iter(made.values())), **{kind: made[names] for kind, names in looks.items()}}
    found = held_out(tables, truth, fold, seed)
    errors = {kind: errors_of(predicted, truth, fold, groups) for kind, predicted in found.items()}
    best = min(kinds, key=lambda kind: float(((truth - found[kind]) ** 2).mean()))
    table = tables[best]
    regressor = fit(best, table, truth, seed)
    adaptation = None
    if apart and len(regressor.names):
        files = [f"{row.project}/{file_of(row.facts)}" for row in rows]
        own = table.entries(regressor.names)
        adaptation, adapted = adaptation_of(own, files, truth, found[best], Apart(groups, fold))
        errors[f"{best}+{MEASURED}"] = adapted
    conformal = Conformal.fit(found[best], truth - found[best], groups)
    return Trained(
        LevelModel(looks[best], regressor, conformal, seen_by(table, truth, fold), adaptation),
        errors,
        "project" if apart else "function",
    )


def without_twins(rows: Sequence[Row]) -> list[Row]:
    """The rows, without those that are another's copy: the same project, code, counts and parameters."""
    seen: set[object] = set()
    kept = []
    for row in rows:
        facts = row.facts
        counts = tuple(sorted((place, tuple(numbers)) for place, numbers in facts.counts.items()))
        own = facts.sources.get(facts.test or "")
        others = tuple(sorted((key, text) for key, text in facts.sources.items() if key != facts.test))
        key = (row.project, splits.same_code(own) if own is not None else facts.nodeid, facts.parameters, hash(others), counts)
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def seen_by(table: Table, truth: Array, fold: Array) -> Seen:
    """What tests with these features and log10 costs show; ``fold``: what is strange is learned by leaving each out."""
    matrix = table.matrix.tocsc()
    largest = np.asarray(matrix.max(axis=0).todense()).ravel() if len(table.names) else np.zeros(0)
    shares = []
    whole = abs(table.matrix)
    for number in range(int(fold.max()) + 1):
        out = np.flatnonzero(fold == number)
        met = np.asarray(whole[np.flatnonzero(fold != number)].sum(axis=0)).ravel() > 0
        masses = np.asarray(whole[out].sum(axis=1)).ravel()
        unmet = masses - np.asarray(whole[out][:, np.flatnonzero(met)].sum(axis=1)).ravel()
        shares.append(unmet / np.maximum(masses, 1e-12))
    strange = max(STRANGE, float(np.quantile(np.concatenate(shares), 0.99)))
    return Seen(table.names, largest, strange, (float(truth.min()), float(truth.max())))


# Adapting to a project


class Apart(NamedTuple):
    """How tests are split: a group's tests are all in one fold."""

    groups: Array
    fold: Array


def adaptation_of(own: Entries, files: Sequence[str], truth: Array, predicted: Array, apart: Apart) -> tuple[Adaptation, Errors]:
    """What held-out projects' residuals have in common, and how far it brings a model that may measure twenty of their tests.

    ``own``: the tests with the model's own columns.
    """
    groups = apart.groups
    common = np.bincount(own.columns, minlength=own.shape[1])
    scale = np.zeros(own.shape[1])
    looked = np.argsort(-common, kind="stable")[:1000]
    # The inverse document frequency: what every test does tells little about which ones are alike.
    scale[looked] = np.log((1 + len(truth)) / (1 + common[looked])) + 0.1
    blank = Adaptation(np.zeros(2 + len(POWERS)), 1.0, scale, Conformal.fit(predicted, truth - predicted))
    kernels = blank.kernels(own, files)
    residuals = truth - predicted
    parts, noise = _covariance(kernels, residuals, groups)
    blank = dataclasses.replace(blank, parts=parts, noise=noise)
    asked, corrections, deviations = _tried(blank, kernels, residuals, groups)
    if not len(asked):
        return blank, errors_of(predicted, truth)
    better = predicted[asked] + corrections
    conformal = Conformal.fit(better, (truth[asked] - better) / deviations, groups[asked])
    errors = errors_of(better, truth[asked], apart.fold[asked], groups[asked], deviations)
    return dataclasses.replace(blank, conformal=conformal), errors


def _covariance(kernels: Kernels, residuals: Array, groups: Array) -> tuple[Array, float]:
    """Variances of the parts, by non-negative least squares over products of residuals of one project's tests; every project
    counts the same."""
    from scipy.optimize import nnls

    chance = np.random.default_rng(0)
    count = int(groups.max()) + 1
    left, right = [], []
    for group in range(count):
        rows = np.flatnonzero(groups == group)
        chosen = chance.permutation(rows)[:300]
        kernel = kernels.part(chosen).with_(kernels.part(chosen))
        upper = np.triu_indices(len(chosen))
        kept = chance.permutation(len(upper[0]))[: _MOST_PAIRS // 10]
        first, second = upper[0][kept], upper[1][kept]
        own = np.arange(len(chosen))
        first, second = np.concatenate((first, own)), np.concatenate((second, own))
        columns = [*(part[first, second] for part in kernel), (first == second).astype(float)]
        weight = 1 / np.sqrt(len(first))
        left.append(np.column_stack(columns) * weight)
        right.append(residuals[chosen][first] * residuals[chosen][second] * weight)
    solved, _ = nnls(np.concatenate(left), np.concatenate(right))
    return solved[:-1], max(float(solved[-1]), 0.05 * float(np.var(residuals)), 1e-6)


def _tried(adaptation: Adaptation, kernels: Kernels, residuals: Array, groups: Array) -> tuple[Array, Array, Array]:
    """For each project, twenty of its tests measured and the others corrected: their rows, corrections and deviations."""
    chance = np.random.default_rng(0)
    rows, corrections, deviations = [], [], []
    for group in range(int(groups.max()) + 1):
        order = chance.permutation(np.flatnonzero(groups == group))
        measured, asked = order[:MEASURED], order[MEASURED:]
        if not len(asked):
            continue
        shift, deviation = adaptation.correct(kernels.part(asked), kernels.part(measured), residuals[measured])
        rows.append(asked)
        corrections.append(shift)
        deviations.append(deviation)
    if not rows:
        return np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0)
    return np.concatenate(rows), np.concatenate(corrections), np.concatenate(deviations)
