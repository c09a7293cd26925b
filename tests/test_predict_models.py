"""Level models against scikit-learn's own predictions, intervals against what they promise, and what is called unknown."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from level_data import facts

from pytest_joules.files.checked import Bad
from pytest_joules.predict.level.adaptation import POWERS, Adaptation, Kernels
from pytest_joules.predict.level.model import LevelModel, Seen, features_of
from pytest_joules.predict.level.models import KINDS, Additive, Boosted, Constant, Linear, Words, entries, logarithm
from pytest_joules.predict.model import Model, level_key
from pytest_joules.predict.model_predictor import ModelPredictor
from pytest_joules.predict.protocol import Answer, Before, Question
from pytest_joules.predict.scoring.arrays import floats, indices, pack, unpack
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.scoring.trees import Trees
from pytest_joules.predict.train.fitting import Table, fit

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


# Trees


def arrays_of_a_tree(**other) -> dict:
    """x0 <= 1 ? (x1 <= 2 ? 10 : 20) : 30, plus 1."""
    tree = {
        "feature": np.array([0, 1, 0, 0, 0]),
        "threshold": np.array([1.0, 2.0, 0.0, 0.0, 0.0]),
        "left": np.array([1, 2, 2, 3, 4]),
        "right": np.array([4, 3, 2, 3, 4]),
        "value": np.array([0.0, 0.0, 10.0, 20.0, 30.0]),
        "roots": np.array([0]),
        "base": np.array(1.0),
    }
    return tree | {name: np.array(value) for name, value in other.items()}


def test_a_tree_by_hand():
    tree = Trees.from_arrays(arrays_of_a_tree(), columns=2)
    assert tree.score(np.array([[1.0, 2.0], [1.0, 2.1], [1.1, 0.0]])).tolist() == [11, 21, 31]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"left": [0, 2, 2, 3, 4], "right": [4, 3, 2, 3, 4]}, "circle"),
        ({"left": [1, 0, 2, 3, 4]}, "circle"),
        ({"left": [1, 2, 2, 3, 99]}, "not there"),
        ({"left": [1, 2, 2, 3, -1]}, "not there"),
        ({"feature": [0, 2, 0, 0, 0]}, "not there"),
        ({"roots": [5]}, "not there"),
        ({"value": [0.0, 0.0, np.nan, 1.0, 1.0]}, "no number"),
        ({"threshold": [np.inf, 0.0, 0.0, 0.0, 0.0]}, "no number"),
        ({"value": [1.0]}, "shape"),
        ({"feature": [0.5, 0, 0, 0, 0]}, "shape"),
        ({"base": [1.0]}, "shape"),
    ],
)
def test_trees_that_are_none(other: dict, words: str):
    with pytest.raises(Bad, match=words):
        Trees.from_arrays(arrays_of_a_tree(**other), columns=2)


def test_a_tree_without_an_end_in_reach_is_refused():
    nodes = 200
    chain = np.minimum(np.arange(nodes) + 1, nodes - 1)
    with pytest.raises(Bad, match="deeper"):
        Trees.from_arrays(
            arrays_of_a_tree(
                feature=np.zeros(nodes, int), threshold=np.zeros(nodes), left=chain, right=chain, value=np.zeros(nodes)
            ),
            columns=2,
        )


whole = st.lists(st.integers(-2, 9), min_size=5, max_size=5)


@given(left=whole, right=whole, feature=whole, roots=st.lists(st.integers(-1, 6), max_size=4))
@settings(deadline=None)
def test_any_trees_are_refused_or_end(left, right, feature, roots):
    arrays = arrays_of_a_tree(left=left, right=right, feature=feature, roots=np.array(roots, dtype=int))
    try:
        trees = Trees.from_arrays(arrays, columns=2)
    except Bad:
        return
    assert np.isfinite(trees.score(np.zeros((3, 2)))).all()


@given(st.lists(st.text(), unique=True))
def test_names_in_arrays(names):
    assert unpack({"names": pack(names)}, "names") == names


@pytest.mark.parametrize("packed", [b"[1]", b'["a", "a"]', b"{}", b"\xff", b"[" * 5000])
def test_names_that_are_none(packed):
    with pytest.raises(Bad, match="no list of names"):
        unpack({"names": np.frombuffer(packed, np.uint8)}, "names")


def test_arrays_that_are_not_there():
    with pytest.raises(Bad, match="'a' is missing"):
        floats({}, "a", 1)
    with pytest.raises(Bad, match="wrong shape"):
        indices({"a": np.array([1.0])}, "a", 3)


# Intervals


def test_the_ends_of_a_small_sample_by_hand():
    # Of nine, the largest lies above nine in ten of the next ones; the smallest below as many.
    residuals = np.arange(-4.0, 5.0)
    conformal = Conformal.fit(np.zeros(9), residuals)
    low, high = conformal.interval(np.array([10.0]))
    assert (low[0], high[0]) == pytest.approx((6, 14))


def test_a_group_counts_once_however_large():
    # Nine groups with the errors above, one of them a thousand times.
    residuals = np.concatenate((np.arange(-4.0, 5.0), np.zeros(999)))
    groups = [*range(9), *[4] * 999]
    low, high = Conformal.fit(np.zeros(len(groups)), residuals, groups).interval(np.array([0.0]))
    assert (low[0], high[0]) == pytest.approx((-4, 4))


def test_four_in_five_of_new_groups_lie_inside():
    chance = np.random.default_rng(3)

    def drawn(groups: int):
        of = np.repeat(np.arange(groups), 10)
        level = chance.uniform(-5, 0, len(of))
        # Errors grow with the level, and a group has one of its own.
        return level, (0.2 + 0.1 * (level + 5)) * (chance.normal(0, 1, groups)[of] + chance.normal(0, 0.5, len(of))), of

    level, residuals, of = drawn(300)
    conformal = Conformal.fit(level, residuals, of)
    level, residuals, _ = drawn(300)
    low, high = conformal.interval(level)
    inside = (level + residuals >= low) & (level + residuals <= high)
    assert inside.mean() == pytest.approx(0.8, abs=0.04)
    # The same everywhere, as the scale follows the level.
    assert inside[level < -3.5].mean() == pytest.approx(0.8, abs=0.08)
    assert inside[level > -1.5].mean() == pytest.approx(0.8, abs=0.08)


def test_few_groups_are_held_rather_too_often():
    chance = np.random.default_rng(4)
    held = []
    for _ in range(400):
        conformal = Conformal.fit(np.zeros(19), chance.normal(0, 1, 19))
        low, high = conformal.interval(np.zeros(1))
        held.append(low[0] <= chance.normal() <= high[0])
    assert np.mean(held) == pytest.approx(0.8, abs=0.06)


def test_an_interval_holds_its_prediction():
    conformal = Conformal.fit(np.zeros(30), np.full(30, 0.7))
    low, high = conformal.interval(np.array([1.0]))
    assert low[0] <= 1 <= high[0] and high[0] == pytest.approx(1.7)


@pytest.mark.parametrize(
    "other",
    [
        {"levels": [1.0, 1.0]},
        {"scales": [0.0, 1.0]},
        {"ends": [1.0, -1.0]},
        {"ends": [np.nan, 1.0]},
        {"levels": []},
        {"scales": [1.0]},
    ],
)
def test_intervals_that_are_none(other: dict):
    arrays = {"levels": [0.0, 1.0], "scales": [1.0, 1.0], "ends": [-1.0, 1.0]} | other
    with pytest.raises(Bad):
        Conformal.from_arrays({name: np.array(value, dtype=float) for name, value in arrays.items()})


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


# The predictor


class Doubled:
    """A change model that expects twice as much."""

    def predict(self, questions):
        return [Answer(2 * question.before.joules, (1.0, 9.0), ("t.py::helper",)) for question in questions]


def question(*, measured: bool, ran: bool = True) -> Question:
    asked = facts("t.py::test_a", "    return 7\n")
    if not ran:
        object.__setattr__(asked, "counts", {})
    before = Before(0.5, 0.1, asked.sources, asked.counts, "2026-01-01T00:00:00+00:00") if measured else None
    return Question(asked, before, ("t.py::helper",) if measured else ())


def test_change_asks_the_level_model_only_about_what_was_never_measured():
    model = Model("change", {level_key("joules", ran=True): level()}, Doubled())
    known, new = ModelPredictor(model).predict([question(measured=True), question(measured=False)])
    assert (known.joules, known.because) == (1.0, ("t.py::helper",))
    assert new.joules == pytest.approx(1e-3) and new.interval == pytest.approx((10**-3.5, 1e-2))


def test_a_level_model_for_tests_that_never_ran_is_another_one():
    static, ran = level(), level()
    object.__setattr__(static, "regressor", Constant(0.0))
    model = Model("constant", {level_key("joules", ran=True): ran, level_key("joules", ran=False): static})
    answers = ModelPredictor(model).predict([question(measured=False, ran=False), question(measured=True, ran=True)])
    assert [answer.joules for answer in answers] == pytest.approx([1, 1e-3])
    only = Model("constant", {level_key("joules", ran=False): static})
    assert ModelPredictor(only).predict([question(measured=True)])[0].joules == pytest.approx(1)


def test_last_is_what_was_measured():
    model = Model("last", last=Conformal(np.zeros(1), np.ones(1), -1.0, 1.0))
    known, new = ModelPredictor(model).predict([question(measured=True), question(measured=False)])
    assert known.joules == 0.5 and known.interval == pytest.approx((0.05, 5))
    assert new.joules is None and new.why == "never measured"


def test_without_a_level_model_a_new_test_is_unknown():
    (new,) = ModelPredictor(Model("change", change=Doubled())).predict([question(measured=False)])
    assert new.joules is None and new.interval is None and "too little history" in new.why


def test_without_a_change_model_a_change_is_unknown():
    model = Model("change", {level_key("joules", ran=True): level()})
    (known,) = ModelPredictor(model).predict([question(measured=True)])
    assert known.joules is None and "joules train --explore" in known.why


def test_measured_tests_correct_a_model_of_other_projects():
    model = level()
    parts = np.array([1.0, 0, *[0.0] * len(POWERS)])
    interval = Conformal(np.zeros(1), np.ones(1), -1.0, 1.0)
    object.__setattr__(model, "adaptation", Adaptation(parts, 1e-9, np.zeros(0), interval))
    before = [question(measured=True) for _ in range(4)]
    predictor = ModelPredictor(Model("change", {level_key("joules", ran=True): model}, Doubled()))
    # All four cost 0.5 J, where the model says 1 mJ.
    assert predictor.predict([*before, question(measured=False)])[-1].joules == pytest.approx(0.5)
    assert predictor.predict([*before[:2], question(measured=False)])[-1].joules == pytest.approx(1e-3)


def test_other_targets_have_models_of_their_own():
    model = Model("change", {level_key("seconds", ran=True): level()})
    (known,) = ModelPredictor(model).levels([question(measured=False).facts], "seconds")
    assert known.joules == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="watts"):
        ModelPredictor(model).levels([], "watts")


def test_nothing_asked_nothing_answered():
    assert ModelPredictor(Model("change", change=Doubled())).predict([]) == []


def test_boosted_kinds_have_the_names_they_look_at():
    model = fit("boosted", Table.of(FEATURES), TRUTH)
    assert isinstance(model, Boosted) and set(model.names) <= {name for row in FEATURES for name in row}
