"""Verdicts on instructions: the truth is in the counts."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_joules.count.record import SLACK, record_of
from pytest_joules.judge import instructions as judge

SIZES = st.integers(400_000, 10**10)


def record(*counts, doubts=(), misses=None):
    said = {"counts": list(counts), "warm": 2, "settled": min(2, len(counts)), "doubts": list(doubts), "account": ""}
    return record_of("simulated 1.0", said, {}, misses)


def verdict(before, now, **more):
    return judge.compare(before, now, baseline="main", threshold=0.01, **more)["verdict"]


@given(st.lists(SIZES, min_size=1, max_size=4))
def test_the_same_counts_are_ok(counts):
    assert verdict(record(*counts), record(*counts)) == "ok"


@given(st.lists(SIZES, min_size=1, max_size=4), st.floats(1.011, 10))
def test_more_in_every_round_is_found_whatever_the_rounds_differ_by(counts, factor):
    more = [round(count * factor) for count in counts]
    assert verdict(record(*counts), record(*more)) == "regressed"
    assert verdict(record(*more), record(*counts)) == "improved"


@given(SIZES, st.lists(st.floats(-0.2, 0.2), min_size=4, max_size=4))
@example(400_000, [-0.1875, -0.1875, -0.1875, -0.046875])
def test_chance_is_no_change(size, chances):
    """Random work of ±20 %: never beyond what it differs by itself."""
    counts = [round(size * (1 + chance)) for chance in chances]
    noise = max(counts) / size - min(counts) / size
    found = judge.compare(record(*[size] * 4), record(*counts), baseline="main", threshold=0.01)
    # By as much in either direction: half as many is a change by two.
    change = max(found["ratio"], 1 / found["ratio"]) - 1
    assert found["verdict"] not in ("regressed", "improved") or change > 1.49 * noise


@given(SIZES, st.integers(0, 10**5), st.integers(0, 10**5), st.sampled_from([1, 1.02]))
def test_what_the_cache_of_attributes_missed_is_no_change(size, then, now, factor):
    """By chance of where names are in memory; a change beside it is found as it is."""
    before, count = size + then, round(size * factor) + now
    found = judge.compare(record(before, misses=then), record(count, misses=now), baseline="main", threshold=0.01)
    assert found["verdict"] == ("ok" if factor == 1 else "regressed")
    assert found["ratio"] == pytest.approx(factor, rel=1e-5)


def test_where_it_is_not_known_on_both_sides_nothing_is_taken_off():
    assert verdict(record(10**6), record(1_050_000, misses=50_000)) == "regressed"


@pytest.mark.parametrize(
    ("now", "here", "elsewhere"),
    [
        (1_000_000, "ok", "ok"),
        (1_015_000, "regressed", "cannot tell"),
        (985_000, "improved", "cannot tell"),
        (1_035_000, "regressed", "regressed"),
    ],
)
def test_what_a_path_of_another_length_can_take_is_no_change(now, here, elsewhere):
    assert verdict(record(10**6), record(now)) == here
    assert verdict(record(10**6), record(now), elsewhere=True) == elsewhere


@given(st.integers(100, 10**6), st.lists(st.integers(-SLACK, SLACK), min_size=1, max_size=4))
def test_a_few_instructions_say_nothing(size, differences):
    counts = [max(1, size + SLACK) for _ in differences]
    now = [count + difference for count, difference in zip(counts, differences, strict=True)]
    assert verdict(record(*counts), record(*now)) == "ok"


@pytest.mark.parametrize("doubt", ["runs threads", "starts processes", "waits"])
def test_what_is_not_all_of_the_work_must_move_by_much(doubt):
    before = record(10**6, 10**6, doubts=[doubt])
    assert verdict(before, record(10**6, 10**6)) == "cannot tell"
    assert verdict(before, record(1_200_000, 1_200_000)) == "cannot tell"
    assert verdict(before, record(1_300_000, 1_300_000)) == "regressed"


def test_other_conditions_and_missing_counts():
    found = judge.compare(record(10), record(10), baseline="main", threshold=0.01, differs=["CPU a then, b now"])
    assert (found["verdict"], "CPU a then, b now" in found["why"]) == ("cannot tell", True)
    assert verdict(None, record(10)) == "cannot tell"
    assert verdict(record(0), record(10)) == "cannot tell"


def test_a_count_does_not_take_back_what_joules_say():
    same = judge.compare(record(10**6), record(10**6), baseline="main", threshold=0.01)
    assert judge.beside(same, "regressed")["verdict"] == "same instructions"
    assert judge.beside(same, "ok")["verdict"] == "ok"
    more = judge.compare(record(10**6), record(2 * 10**6), baseline="main", threshold=0.01)
    assert judge.beside(more, "ok")["verdict"] == "regressed"
