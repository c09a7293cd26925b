"""Trees, names and intervals out of arrays: what they promise, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_joules.files.checked import Bad
from pytest_joules.predict.scoring.arrays import floats, indices, pack, unpack
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.scoring.trees import Trees

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
