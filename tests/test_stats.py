"""The statistics against scipy and numpy, and against what an interval promises."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules import stats

values = st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=60)


@given(values)
def test_a_summary_is_numpys(data):
    found = stats.summarise(data)
    assert found is not None
    assert found["median"] == pytest.approx(np.median(data))
    assert found["mean"] == pytest.approx(np.mean(data))
    assert found["iqr"] == pytest.approx(np.subtract(*np.percentile(data, [75, 25])), abs=1e-9)
    if len(data) > 1:
        assert found["stdev"] == pytest.approx(np.std(data, ddof=1), abs=1e-9)
        low, high = found["ci95"]
        assert low <= found["median"] <= high
    else:
        assert (found["stdev"], found["ci95"], found["cv"]) == (None, None, None)


@pytest.mark.parametrize("n", [6, 7, 8, 9, 10, 20, 50, 199, 1000])
def test_the_order_statistics_are_the_tightest_that_hold_95_percent(n):
    low, high = stats.median_interval([float(number) for number in range(1, n + 1)]) or (0, 0)
    k = int(low)
    assert high == n + 1 - k
    inside = 1 - 2 * scipy.stats.binom.cdf(k - 1, n, 0.5)
    tighter = 1 - 2 * scipy.stats.binom.cdf(k, n, 0.5)
    assert inside >= 0.95 > tighter


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_few_values_use_students_t(n):
    data = [1.0 + 0.1 * number**2 for number in range(n)]
    low, high = stats.median_interval(data) or (0, 0)
    half = scipy.stats.t.ppf(0.975, n - 1) * 1.2533 * np.std(np.log(data), ddof=1) / math.sqrt(n)
    assert math.log(high / low) / 2 == pytest.approx(half, rel=1e-3)
    low, high = stats.median_interval([value - 2 for value in data]) or (0, 0)  # below zero there are no logarithms
    half = scipy.stats.t.ppf(0.975, n - 1) * 1.2533 * np.std(data, ddof=1) / math.sqrt(n)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-3)


def test_a_cost_is_never_below_zero_however_few_and_wild_its_values():
    low, high = stats.median_interval([9.0, 1.0, 1.1]) or (0, 0)
    assert 0 < low < 1.1 < high


@pytest.mark.parametrize("n", [5, 6, 10, 20])
def test_the_interval_covers_the_median_as_often_as_it_promises(n):
    draw = random.Random(20)
    truth = 1.0  # the median of a lognormal with mu = 0
    held = 0
    for _ in range(4000):
        low, high = stats.median_interval([draw.lognormvariate(0, 0.05) for _ in range(n)]) or (0, 0)
        held += low <= truth <= high
    assert held / 4000 > 0.94


def test_no_interval_for_one_value_and_no_summary_for_none():
    assert stats.median_interval([1.0]) is None
    assert stats.summarise([]) is None
    assert stats.relative_half_width([1.0]) == math.inf
    assert stats.relative_half_width([0.0, 0.0]) == math.inf
    with pytest.raises(ValueError, match="no values"):
        stats.median([])


def test_a_common_uncertainty_widens_the_interval():
    plain = stats.summarise([10.0] * 6)
    wide = stats.summarise([10.0] * 6, uncertainty=0.1)
    assert plain is not None and wide is not None
    assert plain["ci95"] == [10.0, 10.0]
    assert wide["ci95"] == pytest.approx([9.0, 11.0])
