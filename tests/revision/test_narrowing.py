"""The search among commits: right whatever cannot be told, and short where all can."""

from math import ceil, exp, log, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.revision.likelihood import dearer
from pytest_joules.revision.narrowing import Narrowed, bisect


@st.composite
def lines(draw):
    """How many commits there are, which is the first dearer one, and of which nothing can be told."""
    bad = draw(st.integers(1, 200))
    first = draw(st.integers(1, bad))
    skipped = draw(st.sets(st.integers(1, bad)))
    return bad, first, skipped - {bad}


def searched(bad, first, skipped):
    asked = []

    def judge(number):
        assert 0 < number < bad
        asked.append(number)
        return None if number in skipped else number >= first

    return bisect(bad, judge), asked


@given(lines())
def test_as_near_as_what_can_be_told_allows(line):
    bad, first, skipped = line
    found, asked = searched(bad, first, skipped)
    told = [number for number in range(bad + 1) if number not in skipped]
    assert found == Narrowed(max(n for n in told if n < first), min(n for n in told if n >= first))
    assert len(asked) == len(set(asked))
    assert found.found == (found.bad - found.good == 1)


@given(st.integers(1, 5000).flatmap(lambda bad: st.tuples(st.just(bad), st.integers(1, bad))))
def test_no_longer_than_halving(line):
    bad, first = line
    found, asked = searched(bad, first, set())
    assert found == Narrowed(first - 1, first)
    assert len(asked) <= ceil(log2(bad))


def test_out_of_a_run_of_commits_that_do_not_build():
    """It does not try one neighbour after the other."""
    found, asked = searched(1000, 100, set(range(300, 700)))
    assert found == Narrowed(99, 100)
    assert len([number for number in asked if 300 <= number < 700]) <= 3


@pytest.mark.parametrize("bad", [0, -1])
def test_nothing_to_search(bad):
    with pytest.raises(ValueError, match="above 0"):
        bisect(bad, lambda number: True)


class TestLikelihood:
    ENDS = 1.2

    def like(self, shift, deviation):
        return exp(shift), exp(shift - 1.96 * deviation), exp(shift + 1.96 * deviation)

    @given(st.floats(0.005, 0.03), st.floats(-2, 2))
    def test_either_level(self, deviation, error):
        for level in (0.0, log(self.ENDS)):
            said = dearer([self.like(level + error * deviation, deviation)], self.ENDS)
            assert said in (None, level > 0)

    def test_of_noise_nothing_is_told(self):
        assert dearer([self.like(0.1, 0.2)], self.ENDS) is None
        assert dearer([self.like(log(self.ENDS), 0.15)], self.ENDS) is None

    def test_two_that_tell_nothing_may_tell_together(self):
        one = self.like(log(self.ENDS), 0.07)
        assert dearer([one], self.ENDS) is None
        assert dearer([one, one, one], self.ENDS) is True

    def test_far_above_both(self):
        """A wide interval, but no part of it near the good one's level."""
        assert dearer([(1.47, 1.18, 2.0)], self.ENDS) is True

    def test_no_interval_is_believed_to_have_no_width(self):
        middle = self.ENDS**0.5
        assert dearer([(middle * 1.0001,) * 3], self.ENDS) is None
