"""Level models against scikit-learn's own predictions, and what is called unknown."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from level_data import facts

from pytest_joules.files.checked import Bad
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.level.adaptation import POWERS, Adaptation, Kernels
from pytest_joules.predict.level.model import LevelModel, Seen, features_of
from pytest_joules.predict.level.regressors import KINDS, Additive, Boosted, Constant, Linear, Words, entries, logarithm
from pytest_joules.predict.scoring.arrays import pack
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.train.fitting import Table, fit
from pytest_joules.predict.train.level import Row, features

CHANCE = np.random.default_rng(5)


def some_features(count: int) -> list[dict[str, float]]:
    """Rows with some of sixty features."""
    return [
        {f"w{int(word)}": float(CHANCE.integers(1, 50)) for word in CHANCE.integers(0, 60, 25)}
        | {"total:calls": float(10 ** CHANCE.uniform(0, 5))}
        for _ in range(count)
    ]


FEATURES = some_features(200)
TRUTH = np.array([0.7 * np.log10(row["total:calls"]) + 0.1 * np.log1p(row.get("w3", 0)) for row in FEATURES])
UNSEEN = some_features(80)


# The models


@pytest.mark.parametrize(
    ("kind", "module", "name"),
    [
        ("linear", "sklearn.linear_model", "RidgeCV"),
        ("bow", "sklearn.linear_model", "Ridge"),
        ("boosted", "sklearn.ensemble", "HistGradientBoostingRegressor"),
    ],
)
def test_scores_are_those_of_scikit_learn(kind: str, module: str, name: str, monkeypatch: pytest.MonkeyPatch):
    made: list = []
    own = getattr(pytest.importorskip(module), name)

    class Watched(own):
        def fit(self, matrix, truth):
            made.append((self, matrix))
            return super().fit(matrix, truth)

    monkeypatch.setattr(f"{module}.{name}", Watched)
    table = Table.of(FEATURES)
    model = fit(kind, table, TRUTH)
    (fitted, seen) = made[0]

    assert np.allclose(model.score(table.entries(model.names)), fitted.predict(seen), rtol=1e-9)
    # What was not seen in training, prepared as scikit-learn does it.
    columns = {column: place for place, column in enumerate(model.names)}
    dense = entries(UNSEEN, columns).dense()
    train = entries(FEATURES, columns).dense()
    if kind == "linear":
        from sklearn.preprocessing import StandardScaler

        prepared = StandardScaler().fit(train).transform(np.clip(dense, train.min(axis=0), train.max(axis=0)))
    elif kind == "bow":
        from sklearn.feature_extraction.text import TfidfTransformer

        prepared = TfidfTransformer().fit(train).transform(dense)
    else:
        prepared = dense
    assert np.allclose(model.score(entries(UNSEEN, columns)), fitted.predict(prepared), rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_the_same_out_of_its_arrays(kind: str):
    table = Table.of(FEATURES)
    model = fit(kind, table, TRUTH)
    again = KINDS[kind].from_arrays(model.arrays())
    assert list(again.names) == list(model.names)
    assert np.array_equal(again.score(table.entries(again.names)), model.score(table.entries(model.names)))


def test_a_constant_is_the_median():
    assert fit("constant", Table.of(FEATURES[:3]), np.array([1.0, 2.0, 9.0])).score(entries(UNSEEN[:2], {})).tolist() == [2, 2]


@pytest.mark.parametrize("kind", ["linear", "bow", "boosted"])
def test_without_a_feature_in_common_only_the_median_is_left(kind: str):
    table = Table.of([{f"only{number}": 1.0} for number in range(10)])
    assert fit(kind, table, np.arange(10.0)) == Constant(4.5)


def test_a_line_does_not_leave_what_was_seen():
    model = Linear(["a"], np.array([2.0]), 1.0, np.array([0.0]), np.array([3.0]))
    assert model.score(entries([{"a": 1e9}, {"a": np.expm1(1.0)}], {"a": 0})) == pytest.approx([7, 3])


def test_costs_that_add_up_are_found():
    """Three operations of which one costs 1 mJ, one 10 µJ, one nothing, and 100 µJ for every test."""
    chance = np.random.default_rng(2)
    amounts = 10 ** chance.uniform(0, 4, (300, 3))
    features = [{f"called:{name}": amount for name, amount in zip("abc", row, strict=True)} for row in amounts]
    table = Table.of(features)
    truth = np.log10(amounts @ [1e-3, 1e-5, 0] + 1e-4)
    model = fit("additive", table, truth)
    assert isinstance(model, Additive)
    # Each cost is drawn a little to the others.
    assert np.median(np.abs(model.score(table.entries(model.names)) - truth)) < 0.03
    assert model.costs[:2] == pytest.approx([1e-3, 1e-5], rel=0.15) and model.costs[2] < 3e-6
    # Beyond what was seen as well: the sums go on.
    far = entries([{"called:a": 1e7, "called:b": 1.0}], {name: place for place, name in enumerate(model.names)})
    assert model.score(far) == pytest.approx([4], abs=0.05)


def test_costs_below_zero_are_refused():
    arrays = {"names": pack(["called:a"]), "costs": np.array([-1.0]), "base": np.array(1.0)}
    with pytest.raises(Bad, match="below 0"):
        Additive.from_arrays(arrays)


def test_amounts_as_logarithms():
    assert logarithm(np.array([np.e - 1, 0, 1 - np.e])) == pytest.approx([1, 0, -1])


def test_words_of_a_test_that_has_none_give_the_intercept():
    model = Words(["a"], np.array([1.0]), np.array([5.0]), 2.5)
    assert model.score(entries([{}, {"other": 3.0}, {"a": 7.0}], {"a": 0})).tolist() == [2.5, 2.5, 7.5]


def test_loading_and_scoring_imports_no_scikit_learn(tmp_path):
    code = (
        "import sys, pytest_joules.predict.model_file, pytest_joules.predict.model_predictor as m\n"
        "from pytest_joules.predict.protocol import Question\n"
        "print(any(name.partition('.')[0] in ('sklearn', 'scipy', 'joblib', 'dask') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "False"


# Adapting to a project


def adaptation(project: float, file: float = 0.0, noise: float = 1.0) -> Adaptation:
    parts = np.array([project, file, *[0.0] * len(POWERS)])
    return Adaptation(parts, noise, np.ones(1), Conformal(np.zeros(1), np.ones(1), -1.0, 1.0))


def kernels(*files: str) -> Kernels:
    return Kernels.of(np.ones((len(files), 1)), files)


def test_an_offset_shrinks_by_what_is_known_of_it():
    # The posterior mean of a normal mean: n v / (n v + noise) times the residuals' mean.
    residuals = np.array([1.0, 2.0, 3.0, 6.0])
    shift, deviation = adaptation(2.0).correct(kernels("x"), kernels(*"abcd"), residuals)
    assert shift[0] == pytest.approx(4 * 2 / (4 * 2 + 1) * 3)
    assert deviation[0] == pytest.approx(np.sqrt(2 - 2 * 4 * 2 / (4 * 2 + 1) + 1))


def test_a_file_of_its_own_has_an_offset_of_its_own():
    shift, _ = adaptation(0.0, file=1.0, noise=1e-9).correct(kernels("a", "b", "c"), kernels("a", "b"), np.array([1.0, -1.0]))
    assert shift == pytest.approx([1, -1, 0], abs=1e-6)


# Unknown


def level() -> LevelModel:
    """Knows what the tests below do, with up to 100 calls."""
    names = sorted({name for size in (1, 9) for name in features_of(facts("t.py::test_a", f"    return {size}\n"), ["bytecode"])})
    largest = np.array([np.log1p(100 if name == "total:calls" else 1e6) for name in names])
    seen = Seen(names, largest, 0.1)
    return LevelModel(("bytecode",), Constant(-3.0), Conformal(np.zeros(1), np.ones(1), -0.5, 1.0), seen)


def test_what_is_like_training_is_known():
    found = level().predict([facts("t.py::test_a", "    return 7\n")])
    assert found.why == [""]
    assert (found.values[0], found.low[0], found.high[0]) == (-3, -3.5, -2)


def test_nothing_is_said_beyond_the_costs_in_training():
    model = level()
    asked = [facts("t.py::test_a", "    return 7\n")]
    object.__setattr__(model, "seen", Seen(model.seen.names, model.seen.largest, 0.1, (-1.0, 2.0)))
    assert model.predict(asked).values.tolist() == [-1]
    object.__setattr__(model, "seen", Seen(model.seen.names, model.seen.largest, 0.1, (-9.0, -5.0)))
    assert model.predict(asked).values.tolist() == [-5]


def test_what_does_other_things_is_unknown():
    body = "    import socket\n    return [socket.create_connection(('a', part)).recv(9) for part in (1, 2)]\n"
    (why,) = level().predict([facts("t.py::test_a", body)]).why
    assert "% of what it does was never seen in training" in why


def test_what_is_larger_is_unknown():
    found = level().predict([facts("t.py::test_a", "    return 7\n", calls) for calls in (90, 190, 5000)])
    assert found.why[:2] == ["", ""]
    assert "calls" in found.why[2] and "training saw 100 at most" in found.why[2]


def test_without_a_source_nothing_is_known():
    empty = facts("t.py::test_a", "    return 7\n")
    object.__setattr__(empty, "sources", {})
    object.__setattr__(empty, "counts", {})
    (why,) = level().predict([empty]).why
    assert why == "nothing of its code is known"


def test_boosted_kinds_have_the_names_they_look_at():
    model = fit("boosted", Table.of(FEATURES), TRUTH)
    assert isinstance(model, Boosted) and set(model.names) <= {name for row in FEATURES for name in row}


def test_without_a_run_nothing_of_one_is_seen():
    source, counts = {"a.py::f": "def f():\n    return g()"}, {"a.py::f": (3, 3)}
    one = TestFacts("t.py::t", source, counts, None, "", {"a.py::f": {"g": (3, 900, 0)}})
    ran, blank = (features([Row(one, "p", {})], ("bytecode",), ran=ran)[0] for ran in (True, False))
    assert ran["total:calls out"] == 3 and ran["total:time out"] == 900
    assert blank == features([Row(TestFacts("t.py::t", source, {}, None, ""), "p", {})], ("bytecode",), ran=True)[0]
