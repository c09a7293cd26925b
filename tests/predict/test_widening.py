"""Intervals that do not hold on a project are widened, by as much as was seen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.predict.protocol import Answer
from pytest_joules.predict.widening import MOST, Held, stretch, stretches_of, widened, widening


def prediction(measured, interval=(0.8, 1.25), **facts):
    known = {"state": "changed", "joules": 1.0, "measured": measured, "verdict": "ok", "noise": 0.0}
    return known | {"interval": list(interval) if interval is not None else None} | facts


@pytest.mark.parametrize(
    ("measured", "facts", "found"),
    [
        (1.25, {}, 1.0),
        (1.25**2, {}, 2.0),
        (0.8**3, {}, 3.0),
        (1.0, {}, 0.0),
        # Noise of 1.25 standard normal deviations is allowed for, as squares add up.
        (1.5, {"noise": math.log(1.5) / 1.2816}, 0.0),
        (1.5, {"noise": 0.1}, math.sqrt(math.log(1.5) ** 2 - 0.12816**2) / math.log(1.25)),
        # No width at all, or one without end.
        (1.0, {"interval": (1.0, 1.0)}, 0.0),
        (1.1, {"interval": (1.0, 1.0)}, 99.0),
        (0.1, {"interval": (0.0, 1.0)}, 0.0),
        # An older version kept no noise.
        (1.25**2, {"verdict": None, "noise": None}, 2.0),
    ],
)
def test_by_how_much_wider(measured, facts, found):
    assert stretch(prediction(measured, **facts)) == pytest.approx(found)


@pytest.mark.parametrize(
    "facts",
    [{"noise": None}, {"interval": None}, {"joules": 0.0}, {"joules": None}, {"state": "unchanged"}, {"state": "unknown"}],
)
def test_what_cannot_tell(facts):
    assert stretch(prediction(2.0, **facts)) is None
    assert stretch(prediction(None)) is None


def test_widened_so_that_80_of_100_had_held():
    found = widening([0.5] * 10 + [2.0] * 6 + [3.0] * 4)
    assert found == Held(20, 10, 2.0)
    assert found.sentence() == "intervals held 50 % of 20: widened 2 times from now on"


@pytest.mark.parametrize(
    ("stretches", "factor"),
    [
        ([], 1.0),
        ([9.0] * 19, 1.0),  # too few
        ([0.5] * 16 + [3.0] * 4, 1.0),  # as often as they should
        ([0.5] * 13 + [3.0] * 7, 1.0),  # chance: 13 or fewer of 20 in 9 of 100 cases
        ([0.5] * 12 + [3.0] * 8, 3.0),  # 3 of 100
        ([50.0] * 30, MOST),
    ],
)
def test_only_what_chance_does_not_explain(stretches, factor):
    assert widening(stretches).factor == factor


@given(st.lists(st.floats(0, 99), min_size=20, max_size=60))
def test_widened_intervals_hold_often_enough(stretches):
    found = widening(stretches)
    assert 1 <= found.factor <= MOST
    if 1 < found.factor < MOST:
        assert sum(one <= found.factor for one in stretches) >= 0.8 * len(stretches)


def test_only_of_the_model_that_is_asked():
    accounts = [{"model": "a", "stretches": [1.0]}, {"model": "b", "stretches": [2.0]}, {"model": "a"}]
    assert stretches_of(accounts, "a") == [1.0]
    assert stretches_of(accounts) == [1.0, 2.0]


def test_an_answer_grows_on_a_scale_of_logarithms():
    answer = Answer(2.0, (1.0, 4.0), quantiles=(1.0, 2.0, 4.0))
    found = widened(answer, 2.0)
    assert found.interval == pytest.approx((0.5, 8.0)) and found.quantiles == pytest.approx((0.5, 2.0, 8.0))
    assert found.joules == 2.0
    assert widened(answer, 1.0) is answer
    assert widened(Answer(None, None), 3.0) == Answer(None, None)
    assert widened(Answer(1.0, (0.0, 1e300)), MOST).interval[1] < math.inf
