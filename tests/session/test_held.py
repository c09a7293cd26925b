"""What a session's account keeps of how its intervals have held."""

from __future__ import annotations

import math

import pytest

from pytest_joules.session.held import stretches


def prediction(stretch):
    measured = 1.25**stretch
    known = {"state": "changed", "joules": 1.0, "interval": [0.8, 1.25], "measured": measured}
    return known | {"verdict": "ok", "noise": 0.0}


@pytest.mark.parametrize(("number", "kept"), [(0, 0), (1, 1), (20, 20), (21, 20), (1000, 20)])
def test_few_of_many(number, kept):
    found = stretches([prediction(place / 100) for place in range(number)], 1.0)
    assert len(found) == kept and found == sorted(found)
    if number > kept:
        # Their median is that of all, and so is their spread.
        assert math.isclose(found[kept // 2], number / 200, rel_tol=0.1)
        assert found[-1] > 0.9 * number / 100


def test_of_the_intervals_as_they_were_given():
    assert stretches([prediction(0.5), prediction(2.0) | {"measured": None}], 3.0) == [1.5]
