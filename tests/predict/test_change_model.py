"""The change model: what it learns from pairs whose truth is known, what it answers, and what it refuses to load."""

from __future__ import annotations

import io
import math
import subprocess
import sys

import numpy as np
import pytest

from pytest_joules.files.checked import Bad
from pytest_joules.predict.change.effect import FEATURES
from pytest_joules.predict.change.model import ChangeModel
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.protocol import Before, Question

LOOP = "def f():\n    total = 0\n    for index in range({turns}):\n        total += index\n    return total\n"
TEST = "def test():\n    f()\n"
COUNTS = {"a.py::f": [1, 1, 101, 100, 1], "test_a.py::test": [1, 1]}


def row(**values):
    features = np.zeros(len(FEATURES))
    for name, value in values.items():
        features[FEATURES.index(name)] = value
    return features


def pairs(count=400, *, bias=0.0, noise=0.01, seed=0):
    """Changes whose physical estimate is off by ``bias`` (log10) where a loop is new; every other one is neutral."""
    from pytest_joules.predict.train.change import Pair

    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        neutral = number % 2 == 0
        truth = 0.0 if neutral else draw.uniform(0.02, 1.0)
        features = row(physical=truth - bias * (not neutral), loops=0 if neutral else 1, calls=draw.uniform(0, 3), seconds=-4)
        found.append(
            Pair(features, truth + draw.normal(0, noise), f"project{number % 5}", f"change{number // 2}", "kind", neutral)
        )
    return found


def question(turns=100, *, joules=2.0, counts=COUNTS, changed=("a.py::f",)):
    old = {"a.py::f": LOOP.format(turns=100), "test_a.py::test": TEST}
    new = {**old, "a.py::f": LOOP.format(turns=turns)}
    facts = TestFacts("test_a.py::test", new, counts, "test_a.py::test", "")
    return Question(facts, Before(joules, 5e-6, old, counts, "2026-01-01"), changed)


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("sklearn")
    from pytest_joules.predict.train.change import train_change

    return train_change(pairs(bias=0.2))


def test_a_bias_is_learned(model):
    centre, low, high = model.ratios(np.array([row(physical=0.5, loops=1, calls=1, seconds=-4), row(calls=1, seconds=-4)]))
    assert centre == pytest.approx([0.7, 0.0], abs=0.03)
    assert np.all(low < centre)
    assert np.all(centre < high)


def test_how_good_it_is_on_what_was_held_out(model):
    assert model.error["split"] == "project"
    assert model.error["pairs"] == 400
    assert model.error["recall"] > 0.9
    assert model.error["false_flags"] < 0.05
    assert 0.7 < model.error["coverage"] <= 1


def test_what_is_uncertain_has_a_wider_interval():
    pytest.importorskip("sklearn")
    from pytest_joules.predict.train.change import Pair, train_change

    draw = np.random.default_rng(3)
    found = []
    for number in range(600):
        guessed = number % 2
        features = row(physical=0.3, guessed=guessed, calls=draw.uniform(0, 3))
        found.append(Pair(features, 0.3 + draw.normal(0, 0.2 if guessed else 0.01), "p", f"c{number}"))
    model = train_change(found)
    assert model.error["split"] == "change"
    _, low, high = model.ratios(np.array([row(physical=0.3, guessed=1, calls=1), row(physical=0.3, guessed=0, calls=1)]))
    assert high[0] - low[0] > 4 * (high[1] - low[1])
    assert low[1] > math.log10(1.05) > low[0] - 0.2


def test_a_few_pairs_make_a_model_without_trees():
    pytest.importorskip("sklearn")
    from pytest_joules.predict.train.change import train_change

    model = train_change(pairs(20))
    assert model.correction is None
    assert model.doubt is None
    centre, low, high = model.ratios(np.array([row(physical=0.4)]))
    assert centre == pytest.approx([0.4])
    assert low[0] < 0.4 < high[0]
    again = ChangeModel.from_arrays(model.arrays())
    assert np.array_equal(again.ratios(np.array([row(physical=0.4)])), (centre, low, high))


def test_without_pairs_there_is_nothing_to_learn():
    from pytest_joules.predict.train.change import train_change

    with pytest.raises(ValueError, match="no pairs"):
        train_change([])


def test_answers(model):
    same, longer, shorter = model.predict([question(100, joules=2.0), question(1000, joules=2.0), question(10, joules=2.0)])
    assert same.joules == pytest.approx(2, rel=0.05)
    assert longer.joules > 6
    assert longer.interval[0] > 2.1
    assert longer.because == ("a.py::f",)
    assert longer.why
    assert shorter.joules < 2
    for answer in (same, longer, shorter):
        assert answer.interval[0] <= answer.joules <= answer.interval[1]


@pytest.mark.parametrize(
    "asked",
    [question(counts={}), question(changed=("<distributions>",)), question(changed=("a.py::<module> TABLE",))],
    ids=["nothing counted", "no function", "a statement"],
)
def test_what_it_does_not_know(model, asked):
    known, unknown = model.predict([question(1000), asked])
    assert known.joules is not None
    assert unknown.joules is None
    assert unknown.interval is None
    assert unknown.why
    assert model.predict([asked])[0].joules is None


def test_the_same_from_a_file(model):
    held = io.BytesIO()
    np.savez(held, **model.arrays())
    held.seek(0)
    with np.load(held, allow_pickle=False) as arrays:
        again = ChangeModel.from_arrays(dict(arrays))
    features = np.array([pair.features for pair in pairs(50, seed=9)])
    assert np.array_equal(model.ratios(features), again.ratios(features))


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.pop("features"),
        lambda arrays: arrays.update(features=arrays["features"][:-4]),
        lambda arrays: arrays.pop("correction_left"),
        lambda arrays: arrays.pop("conformal_ends"),
        lambda arrays: arrays.update(doubt_feature=arrays["doubt_feature"] + 99),
        lambda arrays: arrays.update(conformal_scales=-arrays["conformal_scales"]),
        lambda arrays: arrays.update(correction_left=np.zeros_like(arrays["correction_left"])),
        lambda arrays: arrays.update(correction_value=np.full_like(arrays["correction_value"], np.nan)),
    ],
)
def test_a_damaged_model_is_refused(model, damage):
    arrays = model.arrays()
    damage(arrays)
    with pytest.raises(Bad):
        ChangeModel.from_arrays(arrays)


def test_a_model_for_other_features_is_refused(model):
    from pytest_joules.predict.scoring.arrays import pack

    with pytest.raises(Bad, match="other features"):
        ChangeModel.from_arrays(model.arrays() | {"features": pack([*FEATURES, "another"])})


def test_answering_needs_no_scikit_learn():
    code = "import pytest_joules.predict.change.model, sys; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pairs_as_numbers():
    from pytest_joules.predict.train.change import read, write

    before = pairs(30)
    after = read(write(before))
    assert [(pair.project, pair.change, pair.kind, pair.neutral) for pair in after] == [
        (pair.project, pair.change, pair.kind, pair.neutral) for pair in before
    ]
    assert np.allclose([pair.features for pair in after], [pair.features for pair in before], rtol=1e-6)
    assert np.allclose([pair.ratio for pair in after], [pair.ratio for pair in before], rtol=1e-6)


def test_pairs_for_other_features_are_none():
    from pytest_joules.predict.scoring.arrays import pack
    from pytest_joules.predict.train.change import read, write

    assert read(write(pairs(5)) | {"columns": pack(["something"])}) == []
    with pytest.raises(Bad):
        read(write(pairs(5)) | {"ratio": np.zeros(3)})


def test_the_pairs_that_ship():
    from pytest_joules.predict.train.change import shipped_pairs

    found = shipped_pairs()
    assert len({pair.project for pair in found}) >= 5
    assert len({(pair.project, pair.change) for pair in found if pair.neutral}) >= 200
    assert len({(pair.project, pair.change) for pair in found if not pair.neutral}) >= 200
    assert all(np.isfinite(pair.features).all() and math.isfinite(pair.ratio) for pair in found)


def test_pairs_of_the_history():
    from pytest_joules.predict.train.change import history_pairs

    def version(session, hashed, joules, nodeid="test_a.py::test", **more):
        code = {"functions": {"a.py::f": hashed, "test_a.py::test": "t", "<python>": "3"}, "counts": COUNTS}
        return {"nodeid": nodeid, "session": session, "created": "", "joules": joules, "seconds": 5e-6, "code": code, **more}

    sources = {
        ("a.py::f", "one"): LOOP.format(turns=100),
        ("a.py::f", "two"): LOOP.format(turns=500),
        ("test_a.py::test", "t"): TEST,
    }
    versions = [
        version(1, "one", 1.0),
        version(1, "one", 3.0, nodeid="test_a.py::other"),
        version(2, "one", 1.1),
        version(3, "two", 4.4),
        version(4, "two", None),
        version(5, "one", 1.0),
    ]
    found = history_pairs(versions, sources)
    assert [pair.ratio for pair in found] == pytest.approx([math.log10(4)])
    assert found[0].features[0] > 0.3


def test_columns_with_very_many_values_are_made_coarser_and_others_stay():
    from pytest_joules.predict.train.change import _coarse

    given = np.stack([np.random.default_rng(0).normal(size=3000), np.arange(3000) % 100], axis=1)
    made = _coarse(given)
    values = np.unique(made[:, 0])
    assert 200 < len(values) <= 255 and set(values) <= set(given[:, 0])
    # Each the nearest of them: what trees split between two values goes the same way for all that stand for them.
    assert (np.abs(given[:, :1] - values).argmin(axis=1) == np.searchsorted(values, made[:, 0])).all()
    assert (made[:, 1] == given[:, 1]).all()
