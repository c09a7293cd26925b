"""The share of the machine that others used."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pytest_joules.measure.other_load import LIMIT, SHORTEST, OtherLoad
from pytest_joules.sources.process_tree import ProcessTree


class World:
    """Two processors, our CPU time and that of others, moved by hand."""

    def __init__(self) -> None:
        self.now = self.own = self.others = 0.0
        self.load = OtherLoad(lambda: self.own, lambda: self.own + self.others, 2, lambda: round(self.now * 1e9))

    def go(self, seconds: float, own: float = 1.0, others: float = 0.0) -> None:
        """Let time pass, both shares in processors used."""
        while seconds > 1e-9:
            step = min(seconds, 0.05)
            self.now += step
            self.own += own * step
            self.others += others * step
            seconds -= step
            self.load.mark()

    def begin(self) -> int:
        return round(self.now * 1e9)


def test_the_share_is_that_of_the_whole_machine():
    world = World()
    world.go(1)
    begun = world.begin()
    world.go(1, others=0.5)
    assert world.load.share(begun) == pytest.approx(0.25)


def test_our_own_work_is_not_foreign():
    world = World()
    begun = world.begin()
    world.go(1, own=2)
    assert world.load.share(begun) == pytest.approx(0)


def test_a_short_round_is_judged_by_its_surroundings():
    world = World()
    world.go(1, others=1)
    begun = world.begin()
    world.go(0.001, others=1)
    assert world.load.share(begun) == pytest.approx(0.5, rel=0.05)
    world.go(1)
    begun = world.begin()
    world.go(0.001)
    assert world.load.share(begun) < LIMIT


def test_what_was_before_a_long_round_does_not_count():
    world = World()
    world.go(2, others=2)
    begun = world.begin()
    world.go(1)
    assert world.load.share(begun) < LIMIT


def test_too_little_time_tells_nothing():
    world = World()
    begun = world.begin()
    world.go(SHORTEST / 2, others=2)
    assert world.load.share(begun) == 0


def test_a_busy_neighbour_is_seen_on_this_machine():
    """The real thing: a process that never rests. What it took is asked of the system, not of a clock."""
    tree = ProcessTree()
    load = OtherLoad(tree.seconds)
    begun = time.perf_counter_ns()
    # Not our child in the end: its parent leaves at once, so it is nobody of ours.
    script = "import os,time\nif os.fork(): os._exit(0)\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    if not hasattr(__import__("os"), "fork"):
        pytest.skip("no fork here to leave a process to itself")
    subprocess.run([sys.executable, "-c", script], check=True)
    for _ in range(12):
        time.sleep(0.1)
        load.mark()
    import psutil

    assert load.share(begun) > 0.5 / (psutil.cpu_count() or 1)
