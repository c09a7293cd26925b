"""The best division of series into levels is the best there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_joules.judge import segments as tried
from pytest_joules.judge.segments import SHORTEST, segments


def cost(values, divisions, penalty):
    ends = [0, *divisions, len(values)]
    parts = [np.asarray(values)[begin:end] for begin, end in itertools.pairwise(ends)]
    assert all(len(part) >= SHORTEST for part in parts)
    return sum(float(np.abs(part - np.median(part)).sum()) for part in parts) + penalty * len(divisions)


def least(values, penalty):
    """By trying all there are."""
    places = range(SHORTEST, len(values) - SHORTEST + 1)
    ways = (way for count in range(len(values) // SHORTEST) for way in itertools.combinations(places, count))
    long_enough = (way for way in ways if all(b - a >= SHORTEST for a, b in itertools.pairwise((0, *way, len(values)))))
    return min(cost(values, way, penalty) for way in long_enough)


series = st.lists(st.integers(-4, 4).map(float), min_size=3, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(series, st.floats(0.1, 6)), min_size=1, max_size=4))
def test_none_is_better(many):
    found = segments([np.array(values) for values, _ in many], np.array([penalty for _, penalty in many]))
    for (values, penalty), divisions in zip(many, found, strict=True):
        assert divisions == sorted(divisions)
        assert cost(values, divisions, penalty) == pytest.approx(least(values, penalty))


def test_as_ruptures_divides():
    ruptures = pytest.importorskip("ruptures")
    rng = np.random.default_rng(11)
    for _ in range(12):
        length = int(rng.integers(12, 60))
        values = rng.normal(0, 1, length) + 3.0 * rng.integers(0, 3) * (np.arange(length) > length // 2)
        penalty = float(rng.uniform(1, 6))
        (mine,) = segments([values], np.array([penalty]))
        # Exact for a given number of divisions; where two are equally good, either is right.
        exact = ruptures.Dynp(model="l1", min_size=SHORTEST, jump=1).fit(values).predict(n_bkps=len(mine))[:-1] if mine else []
        assert mine == exact or cost(values, mine, penalty) == pytest.approx(cost(values, exact, penalty))
        # With a shortest segment its PELT prunes what it needs now and then, and is never better.
        pelt = ruptures.Pelt(model="l1", min_size=SHORTEST, jump=1).fit(values).predict(pen=penalty)[:-1]
        assert cost(values, mine, penalty) <= cost(values, pelt, penalty) + 1e-9


def test_how_many_are_looked_at_at_a_time_does_not_matter(monkeypatch):
    rng = np.random.default_rng(3)
    many = [rng.normal(0, 1, length) for length in rng.integers(3, 40, 30)]
    penalties = rng.uniform(0.5, 3, len(many))
    together = segments(many, penalties)
    monkeypatch.setattr(tried, "_AT_A_TIME", 1)
    assert segments(many, penalties) == together
    assert any(together), "there is something to find"
