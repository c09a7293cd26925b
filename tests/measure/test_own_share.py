"""The own share of a counter, beside others whose work is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Counter, Machine

from pytest_joules.measure.course import Course
from pytest_joules.measure.own_share import RATIOS, Background, OwnMeter, share
from pytest_joules.measure.two_watts import Rates, ratio_of
from pytest_joules.model import Effort, Measurement

IDLE, OURS = 10.0, 20.0


class Beside(Machine):
    """A machine on which others use ``load(seconds)`` processors, each drawing ``theirs`` watts."""

    def __init__(self, load: Callable[[float], float], theirs: float = OURS) -> None:
        super().__init__(IDLE, OURS)
        self.load, self.theirs, self.others = load, theirs, 0.0

    def _wall(self) -> int:
        self.work(2e-5)  # a coarser clock: spinning half a second is not ten million looks at it
        return round(self.now * 1e9)

    def _pass(self, seconds: float, watts: float) -> None:
        while seconds > 0:
            step = min(seconds, 0.01)
            load = self.load(self.now)
            super()._pass(step, watts + load * self.theirs)
            self.others += load * step
            seconds -= step

    def meter(self, source: Counter | None = None, step: float = 0.0) -> OwnMeter:
        """``step``: of what the kernel shows, in CPU seconds."""

        def busy() -> float:
            seconds = self.cpu + self.others
            return int(seconds / step) * step if step else seconds

        found = OwnMeter(
            [source or Counter(self)],
            self.tsc,
            self.clocks,
            own_seconds=lambda: self.cpu,
            busy_seconds=busy,
            processors=2,
        )
        found.calibrate()
        return found


def measured(machine: Beside, meter: OwnMeter, seconds: float, rounds: int = 7) -> tuple[Measurement, float]:
    """A test that works so long, and what it would cost on a machine of its own."""
    course = Course(meter, Effort(rounds=rounds, max_time=1e4))
    while True:
        course.begin("setup")
        course.end("setup")
        course.begin("call")
        course.enter()
        machine.work(seconds)
        course.leave()
        course.end("call")
        if not course.another():
            break
        course.begin("teardown")
        course.end("teardown")
    found = course.measurement("test_x.py::test_x")
    assert found is not None
    return found, (IDLE + OURS) * seconds


def ends(found: Measurement) -> tuple[float, float, float]:
    assert found.energy is not None, found.notes
    assert found.energy["ci95"] is not None
    return found.energy["ci95"][0], found.energy["median"], found.energy["ci95"][1]


@given(
    joules=st.floats(0, 1e6), idle=st.floats(-1, 1e6), own=st.floats(0, 1e4), others=st.floats(0, 1e4), ratio=st.floats(0.01, 100)
)
def test_the_share_is_between_nothing_and_all(joules, idle, own, others, ratio):
    found = share(joules, idle, own, others, ratio)
    assert 0 <= found <= joules
    assert found >= min(joules, max(idle, 0)) - 1e-9 * joules  # the idle draw is ours as a whole
    assert share(joules, idle, own, 0, ratio) == joules


@pytest.mark.parametrize("load", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("seconds", [0.004, 0.2])
def test_beside_a_neighbour_that_draws_as_much(load, seconds):
    machine = Beside(lambda _: load)
    found, truth = measured(machine, machine.meter(step=0.01), seconds)
    low, median, high = ends(found)
    assert median == pytest.approx(truth, rel=0.05)
    assert low < truth < high
    assert found.provenance == "attributed"
    assert found.resolution == ("ok" if seconds > 0.05 else "apportioned")
    said = next(note for note in found.notes if note.startswith("own share, others used"))
    assert float(said.split()[4]) == pytest.approx(load, rel=0.1)


@pytest.mark.parametrize("theirs", [OURS / 3, OURS * 3])
@pytest.mark.parametrize("load", [0.25, 1.0])
def test_a_neighbour_that_draws_otherwise_is_in_the_interval(theirs, load):
    machine = Beside(lambda _: load, theirs)
    found, truth = measured(machine, machine.meter(step=0.01), 0.2)
    low, median, high = ends(found)
    assert low <= truth <= high
    assert abs(median / truth - 1) > 0.02  # by CPU time alone it is wrong


def test_alone_it_is_the_plain_number_and_no_interval_is_wide():
    machine = Beside(lambda _: 0.0)
    found, truth = measured(machine, machine.meter(), 0.2)
    low, median, high = ends(found)
    assert median == pytest.approx(truth, rel=1e-3)
    assert truth * 0.9 < low <= high < truth * 1.01


def test_rounds_beside_more_and_less_tell_what_others_draw():
    chance = random.Random(7)
    loads = [chance.choice((0.1, 1.0)) for _ in range(1000)]
    machine = Beside(lambda now: loads[int(now / 3) % 1000], OURS * 3)
    found, truth = measured(machine, machine.meter(), 1.5, rounds=14)
    low, median, high = ends(found)
    assert median == pytest.approx(truth, rel=0.05)
    assert low <= truth <= high
    constant = Beside(lambda _: 0.55, OURS * 3)
    wide = ends(measured(constant, constant.meter(), 1.5, rounds=14)[0])
    assert (high - low) < 0.7 * (wide[2] - wide[0])


@settings(max_examples=50)
@given(st.floats(1, 50), st.floats(0, 200), st.lists(st.floats(0, 2), min_size=6, max_size=20))
def test_two_watts_are_found_where_they_can_be(ours, theirs, others):
    found = ratio_of([Rates(ours * 0.9 + theirs * load, 0.9, load) for load in others])
    if found is not None:
        assert found[1] == pytest.approx(theirs / ours, rel=1e-3, abs=1e-6)
    assert ratio_of([Rates(10, 0.9, 0.3)] * 9) is None  # always the same: anything is possible
    assert ratio_of([Rates(10, 0.9, 0.3)] * 2) is None


@given(st.floats(1, 100), st.floats(0, 2), st.floats(RATIOS[0], RATIOS[-1]))
def test_the_idle_watts_are_found_beside_others(ours, load, ratio):
    asleep = IDLE + ratio * ours * load
    background = Background(asleep, asleep + ours, (load, load), (0.0, 1.0), (1.0, 0.5))
    assert background.idle_watts(ratio) == pytest.approx(IDLE, rel=1e-6)
    assert background.idle_watts(RATIOS[-1]) <= background.idle_watts(ratio) * (1 + 1e-9)


def test_idle_watts_that_cannot_be_read_widen_the_interval():
    machine = Beside(lambda _: 0.5)
    meter = machine.meter()
    meter._backgrounds = [None]
    low, median, high = ends(measured(machine, meter, 0.2)[0])
    everything = (IDLE + 1.5 * OURS) * 0.2
    assert high == pytest.approx(everything, rel=0.01)
    assert 0 < low < median < everything


def test_a_gpu_stays_whole():
    machine = Beside(lambda _: 0.5)
    found, truth = measured(machine, machine.meter(Counter(machine, follows="time")), 0.2)
    assert ends(found)[1] == pytest.approx(truth + 0.5 * OURS * 0.2, rel=0.01)


def test_a_test_that_sleeps_has_the_idle_draw():
    machine = Beside(lambda _: 0.5)
    meter = machine.meter()
    before = meter.read()
    machine.sleep(2)
    assert meter.total(meter.between(before, meter.read_after())) == pytest.approx(IDLE * 2, rel=0.01)


def test_others_that_leave_no_room_widen_the_interval():
    # Asleep or not, both processors are busy: the idle watts cannot be told.
    machine = Beside(lambda _: 1.0)
    meter = machine.meter()
    meter._backgrounds = [Background(IDLE + 2 * OURS, IDLE + 2 * OURS, (2.0, 1.0), (0.0, 1.0), (1.0, 0.5))]
    found, truth = measured(machine, meter, 0.2)
    low, median, high = ends(found)
    assert meter.idle_total is None
    assert low < truth < high
    assert low < median < truth  # nothing is taken for idle, so that more of it is shared
