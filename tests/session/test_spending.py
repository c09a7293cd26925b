"""Whether a predictor is worth asking, by what it took before."""

from __future__ import annotations

import pytest

from pytest_joules.session.spending import expected, not_worth


def accounts(*pairs):
    return [{"asked": asked, "asking": seconds} for asked, seconds in pairs]


@pytest.mark.parametrize(
    ("pairs", "asked", "seconds"),
    [
        ((), 10, 0.043),
        (((10, 0.2),), 10, 0.2),
        (((10, 0.2),), 110, 0.23),
        (((10, 0.2), (110, 1.2)), 60, 0.7),
        (((10, 0.1), (110, 2.1)), 1, 2.2 / 120),  # no time before the first
        (((10, 0.5), (110, 0.3)), 60, 0.4),  # more tests took less: chance
        (((0, 9.0), (10, 0.2)), 10, 0.2),
    ],
)
def test_what_it_will_take(pairs, asked, seconds):
    assert expected(accounts(*pairs), asked) == pytest.approx(seconds)


def test_a_bad_moment_is_forgotten():
    """Sessions in which nobody was asked count."""
    assert expected(accounts(*[(0, 0.0)] * 10, (5, 60.0)), 5) < 0.05
    assert expected(accounts(*[(0, 0.0)] * 9, (5, 60.0)), 5) == pytest.approx(60.0)
    # Older versions did not keep it.
    assert expected([{"tests": 3}], 5) < 0.05


def test_five_per_cent():
    known = accounts((2, 0.2))
    assert not_worth(known, [2.0, 2.0], 0) is None
    assert "2 tests in question (3.8 s)" in (not_worth(known, [1.9, 1.9], 0) or "")
    # Those never measured are taken to be like the others.
    assert not_worth(accounts((3, 0.2)), [2.0, 2.0], 1) is None
    assert not_worth(accounts((1, 0.04)), [0.0], 0) is None  # nobody notices
    assert not_worth([], [0.0] * 30, 0) is None
    assert "more than 5 % of running the 1000 tests" in (not_worth([], [1e-5] * 1000, 0) or "")
