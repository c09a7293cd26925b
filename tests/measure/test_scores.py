"""Scores: values a round, lists with their intervals, directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.measure.scores import Scores, interval, joined, record

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(VALUES)
def test_an_interval_has_the_mean_and_lies_within_the_values(values):
    found = interval(values)
    if len(set(values)) < 2:
        assert found is None
    else:
        assert min(values) <= found[0] <= found[1] <= max(values)
        assert found == interval(values)


def test_of_right_and_wrong_answers():
    """40 of 64: by the normal limit .625 ± .119."""
    low, high = interval([1.0] * 40 + [0.0] * 24)
    assert low == pytest.approx(0.506, abs=0.02) and high == pytest.approx(0.744, abs=0.02)
    low, high = interval(([1.0] * 40 + [0.0] * 24) * 20)
    assert high - low == pytest.approx(0.053, abs=0.003)


def test_rounds_are_no_samples_of_items():
    """The same list again says nothing new."""
    once = record([[1.0, 0.0, 1.0, 1.0]], single=False, higher_is_better=True)
    often = record([[1.0, 0.0, 1.0, 1.0]] * 20, single=False, higher_is_better=True)
    assert often["ci95"] == once["ci95"] and often["items"] == once["items"] and often["spread"] is None


def test_numbers_that_differ_are_shown_as_spread():
    found = record([[0.3], [0.5], [0.4]], single=True, higher_is_better=None)
    assert found["value"] == pytest.approx(0.4) and found["spread"] == [0.3, 0.5] and found["items"] is None
    assert 0.3 <= found["ci95"][0] < 0.4 < found["ci95"][1] <= 0.5
    assert record([[0.3]] * 3, single=True, higher_is_better=None)["ci95"] is None


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), min_size=1, max_size=4))
def test_blocks_joined_are_as_one(rounds):
    whole = record(rounds, single=False, higher_is_better=True)
    parts = [{"s": record([one], single=False, higher_is_better=True)} for one in rounds]
    (found,) = joined(parts).values()
    assert found["samples"] == whole["samples"] and found["spread"] == whole["spread"]
    assert found["items"] == pytest.approx(whole["items"]) and found["value"] == pytest.approx(whole["value"])


def test_another_direction_is_refused():
    found = Scores()
    found.add("loss", 1, False)
    found.new_round(measured=True)
    found.add("loss", [1.0], None)
    with pytest.raises(ValueError, match="this test has said False of it before"):
        found.add("loss", 1, True)
    found.new_test()
    found.add("loss", 1, True)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ([], ValueError, "has at least one"),
        ("0.5", TypeError, "is not a number"),
        ([1, None], TypeError, "top1=None is not a number"),
        ({"a": 1}, TypeError, "is not a number"),
        (True, TypeError, "is not a number"),
    ],
)
def test_what_is_no_score(given, error, says):
    with pytest.raises(error, match=says):
        Scores().add("top1", given, None)


def test_in_a_run(inner):
    """The mean over the rounds, not the last one's; a round's value is the last that it gave."""
    inner.file(
        test_s="""
def test_it(energy):
    with open("count.txt", "a+") as file:
        number = file.tell()
        file.write("x")
    draw(1_000_000)
    energy.score(loss=9)
    energy.score(higher_is_better=False, loss=number)
    energy.score(top1=[0, 1, 1])
"""
    )
    inner.run("--energy-rounds=3", "--energy-warmup=1", "--energy-html=page.html").assert_outcomes(passed=1)
    test = inner.tests()["test_it"]
    loss, top1 = test["score_details"]["loss"], test["score_details"]["top1"]
    assert loss["samples"] == [1, 2, 3] and loss["spread"] == [1, 3] and loss["higher_is_better"] is False
    assert test["scores"] == {"loss": 2, "top1": pytest.approx(2 / 3)}
    assert top1["items"] == [0, 1, 1] and top1["ci95"] is not None and top1["higher_is_better"] is None
