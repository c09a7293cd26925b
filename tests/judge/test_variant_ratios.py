"""Ratios of variants, corrected for how many there are, and the front of energy and score."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pytest_joules import stats
from pytest_joules.judge import variants
from pytest_joules.judge.score_differences import difference
from pytest_joules.judge.variants import Group, compare, holm, needed, planned, sign_p
from pytest_joules.measure import scores
from pytest_joules.model import empty_record


def record(name, blocks, **more):
    """Of joules, a list a block."""
    samples = [
        {"energy": joules, "duration": 1.0, "tsc": None, "domains": {}, "block": number}
        for number, block in enumerate(blocks, 1)
        for joules in block
    ]
    return {
        **empty_record(name),
        "outcome": "passed",
        "source": "s",
        "provenance": "measured",
        "resolution": "ok",
        "rounds": len(samples),
        "samples": samples,
        "energy": stats.summarise([sample["energy"] for sample in samples]),
        "duration": stats.summarise([1.0 for _ in samples]),
        **more,
    }


def scored(values, higher_is_better=True, *, single=False):
    return {"top1": scores.record([values], single=single, higher_is_better=higher_is_better)}


def noisy(level, blocks, draw):
    return [[level * math.exp(draw.gauss(0, 0.01))] for _ in range(blocks)]


def group(costs, blocks=18, seed=1, details=None, **more):
    draw = random.Random(seed)
    records = {name: record(name, noisy(level, blocks, draw)) for name, level in costs.items()}
    for name, detail in (details or {}).items():
        records[name]["score_details"] = detail
    return Group("t", "model", next(iter(costs)), records, **more)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n // 2))))
def test_the_sign_test_is_the_exact_binomial_one(numbers):
    blocks, wrong = numbers
    assert sign_p(blocks, wrong) == pytest.approx(binomtest(wrong, blocks).pvalue, abs=1e-12)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_holm(values):
    found = holm(values)
    assert found.keys() == values.keys()
    assert all(values[name] <= found[name] <= min(1, len(values) * values[name]) + 1e-12 for name in values)
    order = sorted(values, key=values.get)
    assert [found[name] for name in order] == sorted(found.values())
    assert min(found.values()) == pytest.approx(min(1, len(values) * min(values.values())))


@given(st.integers(2, 30))
def test_enough_blocks(count):
    """As many as can be significant, and as many more as may be wrong; one fewer cannot."""
    fewest, more = needed(count), planned(count)
    assert (count - 1) * sign_p(fewest, 0) <= variants.ALPHA < (count - 1) * sign_p(fewest - 1, 0)
    assert (count - 1) * sign_p(more, 2) <= variants.ALPHA and more > fewest


def test_with_as_many_blocks_as_are_needed_a_difference_is_told_with_fewer_none():
    costs = {"a": 1.0, "b": 1.1, "c": 1.0, "d": 0.5, "e": 1.0, "f": 1.0}
    found = compare(group(costs, blocks=needed(6)), 0.05)
    assert found["b"]["verdict"] == "dearer" and found["d"]["verdict"] == "cheaper"
    found = compare(group(costs, blocks=needed(6) - 1), 0.05)
    assert found["d"]["verdict"] == "cannot tell"
    assert found["d"]["why"].startswith("9 blocks: 10 are needed among 6 variants")
    assert found["d"]["ratio"] == pytest.approx(0.5, rel=0.03)


@given(st.floats(0.05, 20), st.integers(0, 17), st.floats(0.01, 100))
def test_units_and_one_block_that_is_as_wrong_as_can_be(unit, place, wrong):
    """A neighbour that comes in a block changes neither ratio nor verdict; nor do units of energy."""
    plain = group({"a": 1.0, "b": 1.3, "c": 1.0})
    changed = {name: noisy_scaled(one, unit) for name, one in plain.records.items()}
    changed["b"]["samples"][place]["energy"] *= wrong
    found = compare(Group("t", "model", "a", changed), 0.05)["b"]
    assert found["verdict"] == "dearer" and found["ratio"] == pytest.approx(1.3, rel=0.02)
    low, high = found["ci95"]
    assert low < 1.3 < high and low > 1.25 and high < 1.36


def noisy_scaled(one, unit):
    blocks = [[sample["energy"] * unit] for sample in one["samples"]]
    return record(one["nodeid"], blocks)


def test_a_neighbour_that_stays_from_midway():
    """All joules rise by 40 % in the second half, in one block for some of the variants only."""
    plain = group({"a": 1.0, "b": 1.0, "c": 0.9})
    for place, (_, one) in enumerate(plain.records.items()):
        for sample in one["samples"][9 + (place > 1) :]:
            sample["energy"] *= 1.4
    found = compare(plain, 0.05)
    assert found["b"]["verdict"] == "same within threshold"
    assert found["c"]["verdict"] == "cheaper" and found["c"]["ratio"] == pytest.approx(0.9, rel=0.02)


def test_ties_tell_nothing():
    same = {name: record(name, [[1.0]] * 18) for name in "abc"}
    found = compare(Group("t", "model", "a", same), 0.0)
    assert found["b"]["friedman"] == 1.0 and found["b"]["p"] == 1.0 and found["b"]["ratio"] == 1.0
    assert found["b"]["verdict"] == "same within threshold"


BETTER, WORSE = [1.0] * 60 + [0.0] * 4, [1.0] * 20 + [0.0] * 44


def test_dominated_only_if_both_differences_are_significant():
    details = {"a": scored(BETTER), "b": scored(WORSE), "c": scored(WORSE), "d": scored([*BETTER[:-1], 1.0])}
    found = compare(group({"a": 1.0, "b": 2.0, "c": 0.5, "d": 2.0}, details=details), 0.05)
    assert (found["b"]["front"], found["b"]["dominated_by"]) == ("dominated", ["a"])
    # Cheaper and worse; and dearer, perhaps better: of that one nobody knows.
    assert found["a"]["front"] == "front" and found["c"]["front"] == "front" and found["d"]["front"] == "cannot tell"


def test_lower_is_better():
    details = {"a": scored(BETTER, False), "b": scored(WORSE, False)}
    found = compare(group({"a": 2.0, "b": 1.0}, details=details), 0.05)
    assert (found["a"]["front"], found["a"]["dominated_by"]) == ("dominated", ["b"])


@pytest.mark.parametrize("directions", [(None, None), (True, False)])
def test_no_direction_no_front(directions):
    details = {name: scored(BETTER, way) for name, way in zip("ab", directions, strict=True)}
    found = compare(group({"a": 2.0, "b": 1.0}, details=details), 0.05)["b"]
    assert found["front"] is None and any("no front" in remark for remark in found["remarks"])


def test_a_number_without_an_interval_dominates_nobody():
    details = {"a": scored([0.9], single=True), "b": scored([0.1], single=True)}
    found = compare(group({"a": 1.0, "b": 2.0}, details=details), 0.05)["b"]
    assert found["score_difference"] == pytest.approx(-0.8) and found["score_ci95"] is None
    assert found["front"] == "cannot tell"


def test_not_in_turn():
    found = compare(group({"a": 1.0, "b": 2.0}, in_turn=False), 0.05)["b"]
    assert found["verdict"] == "dearer" and found["blocks"] == 0 and found["friedman"] is None
    found = compare(group({"a": 1.0, "b": 2.0}, blocks=4, in_turn=False), 0.05)["b"]
    assert found["verdict"] == "cannot tell" and "fewer than 5 samples" in found["why"]


def test_paired_items_have_a_narrower_interval_than_items_of_others():
    draw = random.Random(1)
    one = [draw.random() for _ in range(100)]
    other = [value - 0.05 for value in one]
    paired = difference(scored(one)["top1"], scored(other)["top1"], 0.95)[1]
    unpaired = difference(scored(one)["top1"], scored(other[:-1])["top1"], 0.95)[1]
    assert paired == pytest.approx((0.05, 0.05)) and unpaired[0] < 0 < unpaired[1]


def test_long_lists_take_the_normal_limit():
    draw = random.Random(1)
    one, other = ([draw.gauss(level, 1) for _ in range(2001)] for level in (1, 0))
    low, high = difference(scored(one)["top1"], scored(other)["top1"], 0.95)[1]
    assert low < 1 < high and high - low == pytest.approx(2 * 1.96 * math.sqrt(2 / 2001), rel=0.1)


def test_what_was_not_measured_and_what_cannot_be():
    whole = group({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0})
    whole.records["b"].update(resolution="below")
    whole.records["c"].update(iterations=3)
    whole.records["d"].update(empty_record("d"), outcome="passed", notes=["subtests"])
    found = compare(whole, 0.05)
    assert "below the counter's resolution" in found["b"]["why"]
    assert "3 iterations a round, the reference has 1" in found["c"]["why"]
    assert found["d"]["why"] == "not measured: subtests"
