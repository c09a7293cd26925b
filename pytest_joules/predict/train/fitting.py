"""Fitting the level models with scikit-learn, into the plain arrays that score without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pytest_joules.predict.level.regressors import Additive, Boosted, Constant, Entries, Linear, Regressor, Words, logarithm
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.scoring.trees import Trees

#: scipy's CSR, which has no types.
_Matrix: TypeAlias = Any

#: Columns that a model looks at, at most (the ones that most tests have), and which share of the tests has them at least.
_COLUMNS = {Linear.kind: (400, 0.01), Words.kind: (20_000, 0.0), Boosted.kind: (800, 0.005), Additive.kind: (400, 0.02)}

#: Names of what has a cost of its own and is in nothing else that has.
_PARTS = ("op:", "called:", "total:calls", "total:other calls", "total:statements")

#: Decades beyond which an error counts no more than linearly, and how much costs are drawn to what they have in common.
_HUBER = 0.7
_DRAWN = 0.1


class TrainingError(ValueError):
    """Nothing can be trained: one sentence with the reason and what to do."""


def need_scikit_learn() -> None:
    """Raises:
    TrainingError: it is not installed.
    """
    try:
        import sklearn
    except ImportError:
        raise TrainingError("training needs scikit-learn: pip install 'pytest-joules[predict]'") from None
    assert sklearn


@dataclass(frozen=True, slots=True)
class Table:
    """Features of all tests as a sparse matrix."""

    matrix: _Matrix
    """Tests x names, logarithms."""
    names: Sequence[str]

    @classmethod
    def of(cls, features: Sequence[Mapping[str, float]]) -> Table:
        """From each test's features."""
        from scipy.sparse import csr_matrix

        names = sorted({name for row in features for name, value in row.items() if value})
        columns = {name: column for column, name in enumerate(names)}
        places = [columns[name] for row in features for name, value in row.items() if value]
        values = np.array([value for row in features for value in row.values() if value], dtype=float)
        ends = np.cumsum([0, *(sum(1 for value in row.values() if value) for row in features)])
        return cls(csr_matrix((logarithm(values), places, ends), shape=(len(features), len(names))), names)

    def part(self, rows: Array) -> Table:
        """Some of the tests."""
        return Table(self.matrix[rows], self.names)

    def common(self, most: int, least: int) -> Array:
        """The columns that at least ``least`` tests have, the ``most`` most common of them, in their order."""
        found = np.bincount(self.matrix.indices, minlength=len(self.names))
        columns = np.flatnonzero(found >= least)
        kept: Array = np.sort(columns[np.argsort(-found[columns], kind="stable")][:most])
        return kept

    def entries(self, names: Sequence[str]) -> Entries:
        """The columns of these names, as the models take them."""
        columns = {name: column for column, name in enumerate(self.names)}
        part = self.matrix[:, [columns[name] for name in names]].tocoo()
        return Entries(part.row, part.col, part.data, part.shape)


def fit(kind: str, table: Table, truth: Array, seed: int = 0, growth: tuple[int, int] = (150, 6)) -> Regressor:
    """A level model of this kind for tests with these features and these log10 costs; ``growth``: trees, and their depth.

    Raises:
        TrainingError: scikit-learn is missing, or grows trees in a way that is not known here.
    """
    constant = Constant(float(np.median(truth)))
    if kind == Constant.kind:
        return constant
    need_scikit_learn()
    most, share = _COLUMNS[kind]
    columns = table.common(most, max(2, int(len(truth) * share)))
    if kind == Additive.kind:
        columns = np.array([column for column in columns if table.names[column].startswith(_PARTS)], dtype=np.intp)
    if not len(columns):
        return constant
    names = [table.names[column] for column in columns]
    matrix = table.matrix[:, columns]
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    # The folds are what runs in parallel; threads that wait for each other in a loop make a busy machine slower.
    with threadpool_limits(1):
        if kind == Additive.kind:
            return _additive(names, matrix.toarray(), truth)
        if kind == Linear.kind:
            return _linear(names, matrix.toarray(), truth)
        return _words(names, matrix, truth) if kind == Words.kind else _boosted(names, matrix.toarray(), truth, seed, growth)


def _linear(names: Sequence[str], dense: Array, truth: Array) -> Linear:
    from sklearn.linear_model import RidgeCV

    mean, spread = dense.mean(axis=0), dense.std(axis=0)
    spread[spread == 0] = 1
    model = RidgeCV(alphas=np.logspace(-1, 4, 11)).fit((dense - mean) / spread, truth)
    weights = model.coef_ / spread
    return Linear(names, weights, float(model.intercept_ - mean @ weights), dense.min(axis=0), dense.max(axis=0))


def _additive(names: Sequence[str], dense: Array, truth: Array) -> Additive:
    """Costs that bring the logarithm of the sums near the truth (Huber's loss: some tests spend their time where nothing is
    counted), each drawn a little to what all have in common."""
    from scipy.optimize import minimize

    amounts = np.hstack([np.expm1(np.maximum(dense, 0)), np.ones((len(dense), 1))])
    cost = 10**truth
    start = np.full(amounts.shape[1], np.log(np.median(cost / amounts.sum(axis=1))))
    start[-1] = np.log(cost.min())

    def loss(logs: Array) -> tuple[float, Array]:
        costs = np.exp(logs)
        sums = amounts @ costs
        off = np.log10(sums) - truth
        cut = np.clip(off, -_HUBER, _HUBER)
        drawn = _DRAWN * (logs - start)
        value = float((cut * (off - cut / 2)).sum() + (drawn * (logs - start)).sum())
        return value, ((cut / (sums * np.log(10))) @ amounts) * costs + 2 * drawn

    limits = [(middle - 12, middle + 12) for middle in start]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 300})
    costs = np.exp(found.x)
    return Additive(names, costs[:-1], float(costs[-1]))


def _words(names: Sequence[str], matrix: _Matrix, truth: Array) -> Words:
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import Ridge

    weigher = TfidfTransformer()
    model = Ridge(alpha=1.0, solver="lsqr", tol=1e-6).fit(weigher.fit_transform(matrix), truth)
    return Words(names, weigher.idf_, model.coef_, float(model.intercept_))


def _boosted(names: Sequence[str], dense: Array, truth: Array, seed: int, growth: tuple[int, int]) -> Boosted:
    from sklearn import __version__
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        learning_rate=0.06,
        max_iter=growth[0],
        max_leaf_nodes=15,
        max_depth=growth[1],
        min_samples_leaf=int(np.clip(len(truth) // 20, 2, 20)),
        l2_regularization=1.0,
        early_stopping=False,
        # Of few tests, fewer thresholds are tried: three times as quick, and no worse.
        max_bins=int(np.clip(len(truth) // 4, 16, 255)),
        random_state=seed,
    )
    model.fit(dense, truth)
    trees = Trees.of_scikit_learn(model)
    if not np.allclose(trees.score(dense), model.predict(dense), rtol=1e-7, atol=1e-9):
        raise TrainingError(f"scikit-learn {__version__} grows trees that cannot be read here: install an earlier version")
    return Boosted(names, trees)
