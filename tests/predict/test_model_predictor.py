"""Which model answers which question."""

from __future__ import annotations

import numpy as np
import pytest
from level_data import facts

from pytest_joules.predict.level.adaptation import POWERS, Adaptation
from pytest_joules.predict.level.model import LevelModel, Seen, features_of
from pytest_joules.predict.level.regressors import Constant
from pytest_joules.predict.model import Model, level_key
from pytest_joules.predict.model_predictor import ModelPredictor
from pytest_joules.predict.protocol import Answer, Before, Question
from pytest_joules.predict.scoring.conformal import Conformal

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


# Unknown


def level() -> LevelModel:
    """Knows what the tests below do, with up to 100 calls."""
    names = sorted({name for size in (1, 9) for name in features_of(facts("t.py::test_a", f"    return {size}\n"), ["bytecode"])})
    largest = np.array([np.log1p(100 if name == "total:calls" else 1e6) for name in names])
    seen = Seen(names, largest, 0.1)
    return LevelModel(("bytecode",), Constant(-3.0), Conformal(np.zeros(1), np.ones(1), -0.5, 1.0), seen)


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
