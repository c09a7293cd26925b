"""Which points are dominated, and which is the knee, where that is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_joules.tune.configurations import CALLS, CONSTANT, Configuration
from pytest_joules.tune.errors import Error, errors
from pytest_joules.tune.front import Point, compared, judge, knee, lesson
from pytest_joules.tune.measuring import Taken

TARGETS = ("error", "bytes", "seconds", "joules")
COUNTS = Configuration("linear", ("counts",), ran=True)
BOW = Configuration("bow", ("source",), ran=False)
TREES = Configuration("boosted", ("ast", "bytecode"), ran=True, options=(("depth", 6), ("trees", 150)))


def point(configuration: Configuration, error: float, joules: float, size: int = 1000):
    """What disturbs blocks disturbs all points alike."""
    draws = error + 0.01 * np.random.default_rng(0).normal(size=1000)
    own = joules * np.exp(0.01 * np.random.default_rng(1).normal(size=12))
    blocks = np.column_stack((own, own / 10, own / 3))
    return Point(configuration, Error(error, draws), size, Taken(None, None, None, blocks))


def test_a_point_that_is_worse_by_all_is_dominated_by_those_that_are_better():
    points = [
        point(CONSTANT, 0.9, 1e-6, 100),
        point(CALLS, 0.4, 1e-4, 200),
        point(BOW, 0.8, 1e-1, 9000),
        point(TREES, 0.2, 1e-1, 800),
    ]
    judge(points, TARGETS)
    assert [one.verdict for one in points] == ["front", "front", "dominated", "front"]
    assert points[2].by == [1]


def test_what_cannot_be_told_apart_dominates_nothing():
    points = [point(CALLS, 0.400, 1e-4, 200), point(COUNTS, 0.399, 1e-3, 300)]
    points[1].error.draws[:] = points[1].error.draws[::-1]
    judge(points, TARGETS)
    assert [one.verdict for one in points] == ["front", "tied"] and points[1].by == [0]
    assert compared(points[0], points[1], "error") is None
    assert compared(points[0], points[1], "joules") == 1 == -compared(points[1], points[0], "joules")


def test_few_blocks_tell_nothing():
    points = [point(CALLS, 0.4, 1e-4), point(COUNTS, 0.4, 1e-1)]
    points[0] = dataclasses.replace(points[0], taken=Taken(None, None, None, points[0].taken.blocks[:5]))
    assert compared(*points, "joules") is None
    unknown = dataclasses.replace(points[0], taken=Taken(None, None, None, np.full((12, 3), np.nan)))
    assert compared(unknown, points[1], "joules") is None


@pytest.mark.parametrize(
    ("cheap", "dear", "tied"),
    [
        (0.30, 0.29, []),  # nearly all of the gain at a thousandth of the joules
        (0.89, 0.20, None),  # nothing gained but with the dear one
    ],
)
def test_the_knee_is_where_more_brings_little(cheap: float, dear: float, tied: list | None):
    points = [point(CONSTANT, 0.9, 1e-7, 100), point(CALLS, cheap, 1e-4), point(TREES, dear, 1e-1)]
    judge(points, TARGETS)
    found = knee(points, TARGETS, 0)
    assert found is not None
    if tied is None:
        assert found.place != 1
    else:
        assert (found.place, found.tied) == (1, tied)
        assert "of the best gain over the constant for 1/1e+03 of the joules of a prediction" in found.why


def test_of_points_that_cannot_be_told_from_the_knee_the_cheapest_is_taken():
    points = [point(CONSTANT, 0.9, 1e-7), point(CALLS, 0.5, 1e-5), point(COUNTS, 0.37, 1e-4), point(TREES, 0.2, 1e-1)]
    for place, one in enumerate(points):
        one.error.draws[:] = one.error.median + 0.1 * np.random.default_rng(place).normal(size=1000)
    judge(points, TARGETS)
    found = knee(points, TARGETS, 0)
    assert found is not None and found.place == 1 and 2 in found.tied


def test_a_knee_without_a_cost_or_a_gain():
    points = [point(CONSTANT, 0.9, 1e-7), point(CALLS, 0.95, 1e-5)]
    assert knee(points, TARGETS, 0).why == "nothing is more exact than the constant"
    assert knee([point(CALLS, 0.3, 1e-4), point(TREES, 0.2, 1e-1)], TARGETS, 0) is None
    assert knee(points, ("error", "bytes"), 0) is not None


def test_a_lesson_is_gain_and_joules_in_parts_of_the_teachers():
    points = [point(CONSTANT, 0.9, 1e-7), point(CALLS, 0.3, 1e-4), point(TREES, 0.2, 1e-1)]
    found = lesson(points, 1, 2, 0)
    assert found.gain == pytest.approx(6 / 7) and found.joules == pytest.approx(1e-3)
    low, high = found.gain_interval
    assert low <= found.gain <= high


def test_errors_are_of_packages_not_of_tests():
    """All tests of a package are off alike: a thousand of them tell no more than one."""
    groups = np.repeat(np.arange(5), 1000)
    off = np.array([0.1, 0.2, 0.3, 0.4, 0.5])[groups]
    found = errors({"one": off, "same": -off}, groups, 0)
    low, high = found["one"].interval
    assert found["one"].median == 0.3 and low <= 0.2 and high >= 0.4
    assert np.array_equal(found["one"].draws, found["same"].draws)
