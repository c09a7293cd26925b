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
from pytest_joules.predict.change.model import HIGH, LOW, ChangeModel, centres
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


def pairs(count=400, *, noise=0.01, projects=12, seed=0):
    """Changes whose effect is the physical estimate (log10); every other one does nothing. Half of each kind reaches further, and
    is ten times as far off."""
    from pytest_joules.predict.train.change import RELEASED, Pair

    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        neutral, anew = number % 2 == 0, number % 4 > 1
        physical = 0.0 if neutral else draw.uniform(0.02, 1.0)
        features = row(physical=physical, exposure=0.5, reach=1.0 if anew else 0.0, seconds=-4)
        truth = physical + draw.laplace(0, noise * (10 if anew else 1))
        project = f"project{number % projects}"
        found.append(Pair(features, truth, project, f"change{number // 2}", RELEASED, neutral))
    return found


def question(turns=100, *, joules=2.0, counts=COUNTS, changed=("a.py::f",)):
    old = {"a.py::f": LOOP.format(turns=100), "test_a.py::test": TEST}
    new = {**old, "a.py::f": LOOP.format(turns=turns)}
    facts = TestFacts("test_a.py::test", new, counts, "test_a.py::test", "")
    return Question(facts, Before(joules, 5e-6, old, counts, "2026-01-01"), changed)


@pytest.fixture(scope="module")
def model():
    from pytest_joules.predict.train.change import train_change

    return train_change(pairs())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"physical": 0.5}, 0.5),
        ({"physical": 0.5, "down": 0.2}, 0.5),
        ({"physical": 0.5, "down": 0.9, "up": 2.0}, 0.0),
        ({"physical": 0.5, "down": 0.45}, 0.05),
        ({"physical": -0.5}, 0.0),
        ({"physical": 0.5, "unknown": 0.5}, 0.25),
        ({}, 0.0),
    ],
)
def test_what_is_guessed_counts_for_the_least_that_it_may_be(values, expected):
    assert centres(np.array([row(**values)])) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, True),
        ({"up": 0.1}, True),
        ({"up": 0.5}, False),
        ({"physical": 0.9, "up": 0.3}, True),
        ({"down": 3.0}, True),
        ({"physical": -0.5}, False),
        ({"physical": -0.5, "up": 0.2}, False),
        ({"physical": -0.5, "up": 0.48}, True),
    ],
)
def test_what_may_be_much_dearer_or_looks_cheaper_is_not_answered(model, values, said):
    features = np.array([row(**values)])
    assert model.says(features, model.ratios(features)).tolist() == [said]


def test_how_good_it_is_on_what_was_held_out(model):
    assert model.error["split"] == "project"
    assert model.error["pairs"] == 400
    assert model.error["recall"] > 0.7
    assert model.error["false_flags"] < 0.02
    assert 0.75 < model.error["coverage"] < 1
    assert model.error["unknown"] < 0.1


def test_intervals_hold_what_they_promise_on_projects_that_were_not_seen(model):
    found = pairs(2000, seed=7)
    ratios, truth = model.ratios(np.array([pair.features for pair in found])), np.array([pair.ratio for pair in found])
    inside = (ratios[:, LOW] <= truth) & (truth <= ratios[:, HIGH])
    anew = np.array([pair.features[FEATURES.index("reach")] > 0 for pair in found])
    for some in (anew, ~anew):
        assert 0.75 < inside[some].mean() < 1
    # As likely above each place as that says.
    assert np.mean(truth[:, None] < ratios, axis=0) == pytest.approx(np.arange(1, 20) / 20, abs=0.13)


def test_what_reaches_further_has_a_wider_interval(model):
    anew, same = model.ratios(np.array([row(exposure=0.5, reach=1.0), row(exposure=0.5)]))
    assert anew[HIGH] - anew[LOW] > 4 * (same[HIGH] - same[LOW])


def test_a_few_pairs_make_a_model_that_dares_little():
    from pytest_joules.predict.train.change import train_change

    model = train_change(pairs(20, projects=1))
    assert model.error["split"] == "change"
    (ratios,) = model.ratios(np.array([row(physical=0.4, exposure=0.5, reach=0.5)]))
    assert ratios[LOW] < 0.4 < ratios[HIGH]
    again = ChangeModel.from_arrays(model.arrays())
    assert np.array_equal(again.ratios(np.array([row(physical=0.4, exposure=0.5, reach=0.5)]))[0], ratios)


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
    assert shorter.joules is None and shorter.why.startswith("it looks cheaper") and shorter.because == ("a.py::f",)
    for answer in (same, longer):
        assert answer.interval[0] <= answer.joules <= answer.interval[1]
        assert list(answer.quantiles) == sorted(answer.quantiles) and answer.joules in answer.quantiles
        # Nearly all that the test does is in the function that changed.
        assert 0.3 < answer.exposure <= 1


def test_an_interval_that_says_nothing_is_no_answer():
    from pytest_joules.predict.train.change import train_change

    model = train_change(pairs(noise=0.5))
    (answer,) = model.predict([question(1000)])
    assert answer.joules is None and answer.why and answer.because == ("a.py::f",) and answer.exposure > 0.3


@pytest.mark.parametrize(
    "asked",
    [question(counts={}), question(changed=("<distributions>",))],
    ids=["nothing counted", "no function"],
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
        lambda arrays: arrays.pop("scales"),
        lambda arrays: arrays.update(scales=-arrays["scales"]),
        lambda arrays: arrays.update(scales=arrays["scales"][1:]),
        lambda arrays: arrays.update(quantiles=arrays["quantiles"][::-1].copy()),
        lambda arrays: arrays.update(quantiles=np.full_like(arrays["quantiles"], np.nan)),
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
    from pytest_joules.predict.train.change import RELEASED, shipped_pairs

    found = shipped_pairs()
    released = [pair for pair in found if pair.kind == RELEASED]
    assert len({pair.project for pair in released}) >= 40
    assert len({(pair.project, pair.change) for pair in released}) >= 2 * 60  # both ways
    planted = [pair for pair in found if pair.kind != RELEASED]
    assert {pair.neutral for pair in planted} == {True, False}
    judged = {"packaging", "pycparser", "wcwidth", "xmltodict", "humanize", "idna", "jsonpatch", "simpleeval"}
    assert judged.isdisjoint(pair.project for pair in found)
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
