"""Watts of parts from a counter's intervals, and stretches over intervals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.account.estimate import FEWEST, Piece, Watts, fit
from pytest_joules.account.intervals import shared_seconds, spread


def piece(watts, *, count=200, seed=0, idle=0.0, stamp=30e-6, load=1.0) -> Piece:
    """Intervals of 10 ms in which each part has a random share, as a counter with wrong time stamps shows them."""
    random = np.random.default_rng(seed)
    share = random.dirichlet(np.full(len(watts), 2.0), count)
    seconds = np.full(count, 0.010)
    busy = share * load * seconds[:, None]
    joules = busy @ np.asarray(watts) + idle * seconds
    off = random.normal(0, stamp, count + 1) * joules.mean() / 0.010
    return Piece(seconds, joules + np.diff(off), busy, stamp)


def test_watts_are_those_that_were_drawn():
    found = fit([piece([20, 30, 45, 10])])
    assert isinstance(found, Watts)
    assert found.busy + found.idle == pytest.approx([20, 30, 45, 10], rel=0.01)
    assert found.explained == pytest.approx(1, abs=1e-3)
    assert not found.idle_known, "all of the time somebody is busy"


def test_idle_watts_are_told_where_parts_sleep():
    load = np.array([1.0, 0.8, 0.1])
    found = fit([piece([20, 30, 25], idle=10.0, load=load)])
    assert found.idle_known and found.idle == pytest.approx(10, rel=0.05)
    assert found.busy[:2] == pytest.approx([20, 30], rel=0.05)


def test_equal_watts_come_out_equal():
    found = fit([piece([25, 25, 25, 25, 25])])
    assert found.busy + found.idle == pytest.approx(np.full(5, 25.0), rel=2e-3)


def test_pieces_are_apart():
    """What lies between two pieces is nobody's: two halves tell as much as the whole."""
    found = fit([piece([20, 40], seed=1), piece([20, 40], seed=2)])
    assert found.busy + found.idle == pytest.approx([20, 40], rel=0.01)


def test_a_wrong_reading_is_left_out():
    whole = piece([20, 30, 45])
    joules = whole.joules.copy()
    joules[100] -= 0.1  # a reading that is 0.1 J too low: a third of an interval
    joules[101] += 0.1
    found = fit([Piece(whole.seconds, joules, whole.busy, whole.stamp_seconds)])
    assert found.busy + found.idle == pytest.approx([20, 30, 45], rel=0.01)


def test_no_watts_are_negative():
    found = fit([piece([0, 0, 60])])
    assert (found.busy >= 0).all() and found.idle >= 0 and (found.draws >= 0).all()
    assert found.busy[2] + found.idle == pytest.approx(60, rel=0.02)


def test_intervals_cover():
    hits = []
    for seed in range(40):
        whole = piece([20, 30, 45], count=60, seed=seed)
        found = fit([whole], seed)
        sums = found.draws[:, :-1] + found.draws[:, -1:]
        low, high = np.quantile(sums, [0.05, 0.95], axis=0)
        hits += list((low <= [20, 30, 45]) & (high >= [20, 30, 45]))
    assert np.mean(hits) > 0.8


def test_parts_in_fixed_proportion_are_seen_to_be_one():
    whole = piece([20, 40])
    busy = np.column_stack([whole.busy[:, 0] / 2, whole.busy[:, 0] / 2, whole.busy[:, 1]])
    found = fit([Piece(whole.seconds, whole.joules, busy, whole.stamp_seconds)])
    assert found.apart[0, 1] > 0.9 and found.apart[0, 2] < 0.6
    assert found.linked[0, 1] < -0.9


@pytest.mark.parametrize(
    "pieces, words",
    [
        ([], "0 intervals"),
        ([piece([20, 30], count=FEWEST - 1)], f"{FEWEST} are needed"),
        ([piece([0, 0], stamp=0.0)], "counted nothing"),
    ],
)
def test_too_little_is_said(pieces, words):
    assert words in fit(pieces)


# ---- intervals -----------------------------------------------------------------------------------------------------------------

stretches = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 300), st.floats(0, 10), st.integers(0, 2)), max_size=30)
edges = st.lists(st.integers(-100, 1500), min_size=2, max_size=20, unique=True).map(sorted)


@given(stretches, edges)
def test_spreading_is_what_adding_up_by_hand_gives(stretches, edges):
    begin = np.array([each[0] for each in stretches], dtype=np.int64)
    end = begin + np.array([each[1] for each in stretches], dtype=np.int64)
    amount, column = np.array([each[2] for each in stretches]), np.array([each[3] for each in stretches], dtype=np.int64)
    found = spread(begin, end, amount, column, columns=3, edges=np.array(edges, dtype=np.int64))
    expected = np.zeros((len(edges) - 1, 3))
    for first, last, value, place in zip(begin, end, amount, column, strict=True):
        for row, (low, high) in enumerate(pairwise(edges)):
            if last > first:
                expected[row, place] += value * max(0, min(last, high) - max(first, low)) / (last - first)
            elif low <= first < high:
                expected[row, place] += value
    assert found == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 50)), max_size=20))
def test_shared_seconds_add_up_to_the_seconds_in_which_any_ran(stretches):
    begin = np.array([each[0] for each in stretches], dtype=np.int64)
    end = begin + np.array([each[1] for each in stretches], dtype=np.int64)
    own, whole = shared_seconds(begin, end)
    ran = {second for low, high in zip(begin, end, strict=True) for second in range(low, high)}
    assert whole == pytest.approx(len(ran) / 1e9)
    assert own.sum() == pytest.approx(whole) and (own >= 0).all() and (own <= (end - begin) / 1e9 + 1e-15).all()


def test_two_at_once_have_half_a_second_each():
    own, whole = shared_seconds(np.array([0, 500_000_000]), np.array([1_000_000_000, 1_500_000_000]))
    assert own == pytest.approx([0.75, 0.75]) and whole == 1.5
