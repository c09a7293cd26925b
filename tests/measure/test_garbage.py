"""The collector starts every round in the same state, and stays the test's own business."""

from __future__ import annotations

import gc

import pytest

from pytest_joules.measure.garbage import Collector


@pytest.fixture(autouse=True)
def as_it_was():
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


def test_the_young_generation_is_empty_before_every_round():
    gc.enable()
    collector = Collector()
    counts = []
    for size in (10, 400, 30):
        garbage = [[number] for number in range(size)]
        collector.settle(0)
        counts.append(gc.get_count()[0])
        del garbage
    assert max(counts) - min(counts) < 20


def test_a_collector_that_is_off_is_left_alone():
    gc.disable()
    cycle: list[object] = []
    cycle.append(cycle)
    before = gc.get_count()[0]
    Collector().settle(0)
    assert gc.get_count()[0] >= before
    assert not gc.isenabled()


def test_after_a_full_collection_in_the_body_later_rounds_begin_with_one_if_that_is_cheap():
    gc.enable()
    collector = Collector()
    body = 5_000_000_000
    collector.settle(body)
    gc.collect()  # what hits the body
    collector.look(body)
    before = gc.get_stats()[2]["collections"]
    collector.settle(body)
    assert gc.get_stats()[2]["collections"] == before + 1
    assert Collector.full_cost > 0
    collector.settle(1)  # dearer than the body: not again
    assert gc.get_stats()[2]["collections"] == before + 1
