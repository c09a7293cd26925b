"""A history nominates changes of level, and neither spikes, noise, drift nor what all tests had together."""

import math

import numpy as np
import pytest

from pytest_joules.judge.change_points import FEWEST, changes, without_shared


def sessions(rng, count, length, correlation=0.0, spikes=0.05):
    """Logarithms with 3 % of noise."""
    found, value = np.zeros((count, length)), rng.normal(0, 0.03, count)
    for place in range(length):
        found[:, place] = value
        value = correlation * value + rng.normal(0, 0.03 * math.sqrt(1 - correlation**2), count)
    return found + np.where(rng.random((count, length)) < spikes, math.log(1.3), 0.0)


def nominated(series, threshold=0.05):
    return changes(list(series), [threshold] * len(series))


@pytest.mark.parametrize(("length", "correlation", "most"), [(60, 0.0, 1), (200, 0.0, 0), (60, 0.76, 6)])
def test_what_did_not_change_is_not_nominated(length, correlation, most):
    still = sessions(np.random.default_rng(8), 6000 // length, length, correlation)
    assert sum(map(bool, nominated(still))) <= most
    assert sum(bool(changes([one], [0.05])[0]) for one in still[:20]) <= most


def test_a_step_is_found_where_it_is():
    rng = np.random.default_rng(9)
    steps = rng.integers(10, 50, 100)
    series = sessions(rng, 100, 60)
    series[:20] += math.log(1.1) * (np.arange(60) >= steps[:20, None])
    found = nominated(series)
    near = [any(abs(change.first - step) <= 1 for change in one) for one, step in zip(found[:20], steps, strict=False)]
    assert sum(near) >= 16
    assert not any(found[20:])
    change = found[0][0]
    assert math.exp(change.medians[1] - change.medians[0]) == pytest.approx(1.1, abs=0.04)
    assert change.before == (0, change.first) and change.after == (change.first, 60)


def test_up_and_down_again_are_two_changes():
    series = sessions(np.random.default_rng(2), 1, 90, spikes=0.0)
    series[0, 30:60] += math.log(1.3)
    assert [change.first for change in nominated(series)[0]] == pytest.approx([30, 60], abs=1)


def test_two_spikes_among_three_sessions_are_no_level():
    series = sessions(np.random.default_rng(4), 30, 60, spikes=0.0)
    series[0, [20, 22]] += math.log(1.5)
    assert nominated(series)[0] == []


def test_less_than_the_threshold_is_not_told():
    series = sessions(np.random.default_rng(5), 20, 200, spikes=0.0) / 10
    series[0, 100:] += math.log(1.04)
    assert nominated(series)[0] == []
    assert [change.first for change in nominated(series, 0.03)[0]] == pytest.approx([100], abs=1)


def test_a_series_that_is_too_short_has_none():
    assert changes([np.repeat([0.0, 1.0], [3, FEWEST - 4])], [0.05]) == [[]]
    assert changes([], []) == []


def test_counts_need_few_sessions():
    series = [np.log(np.array([1_000_000.0] * 3 + [1_020_000.0] * 3)), np.log(np.full(6, 5_000_000.0))]
    found = changes(series, [0.01, 0.01], steady=True)
    assert [change.first for change in found[0]] == [3] and found[1] == []
    # Of joules six sessions of one test alone say nothing.
    assert changes(series[:1], [0.01]) == [[]]


def test_what_all_tests_had_together_is_taken_off():
    rng = np.random.default_rng(6)
    values = sessions(rng, 40, 30, spikes=0.0) / 10 + rng.normal(0, 3, (40, 1))
    values[:, 12:] += math.log(1.4)
    values[3, 20:] += math.log(1.2)
    values[rng.random(values.shape) < 0.1] = math.nan
    shared, alone = without_shared(values, 10)
    assert shared[15] - shared[5] == pytest.approx(math.log(1.4), abs=0.01)
    found = nominated([row[~np.isnan(row)] for row in alone])
    assert [place for place, one in enumerate(found) if one] == [3]


def test_few_tests_share_nothing():
    values = np.array([[0.0] * 6 + [1.0] * 6] * 9)
    shared, alone = without_shared(values, 10)
    assert not shared.any() and (alone == values).all()


def test_sessions_of_few_tests_take_what_their_neighbours_had():
    values = np.full((20, 9), math.nan)
    values[:, [0, 1, 2, 6, 7, 8]] = [0, 0, 0, 1, 1, 1]
    values[0] = [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]
    _, alone = without_shared(values, 10)
    assert np.ptp(alone[0]) == pytest.approx(0)
