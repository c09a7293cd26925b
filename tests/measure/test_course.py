"""The rounds of one test against a machine whose energy is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Continuous, Counter, Machine

from pytest_joules.measure.course import Course, Progress
from pytest_joules.measure.dearest import Dearest
from pytest_joules.measure.meter import Meter
from pytest_joules.measure.other_load import OtherLoad
from pytest_joules.model import Effort, Measurement
from pytest_joules.sources.base import Source


def run(
    machine: Machine,
    sources: list[Source],
    body: Callable[[int], None],
    effort: Effort | None = None,
    *,
    harness: float = 0.0003,
    calibrate: bool = True,
    **kwargs: object,
) -> Measurement:
    """A test of ``body(round)`` with ``harness`` seconds of setup and as much of teardown around it."""
    meter = Meter(sources, machine.tsc, machine.clocks)
    if calibrate:
        meter.calibrate()
    course = Course(meter, effort or Effort(), **kwargs)  # type: ignore[arg-type]  # passed on as given
    number = 0
    while True:
        number += 1
        course.begin("setup")
        machine.work(harness / 2)
        course.end("setup")
        course.begin("call")
        course.enter()
        body(number)
        course.leave()
        course.end("call")
        if kwargs.get("repeatable") is False or not course.another():
            break
        course.begin("teardown")
        machine.work(harness / 2)
        course.end("teardown")
    measurement = course.measurement("test_x.py::test_x")
    assert measurement is not None
    return measurement


def median(measurement: Measurement) -> float:
    assert measurement.energy is not None, measurement.notes
    value = measurement.energy["median"]
    assert isinstance(value, float)
    return value


watts = st.floats(1, 200)


@settings(deadline=None, max_examples=25)
@given(
    seconds=st.floats(0.0031, 0.6),
    idle=watts,
    spin=watts,
    power=watts,
    start=st.floats(0, 0.01),
    look=st.floats(2e-6, 2e-5),
)
def test_a_body_of_three_ticks_or_more_is_read_alone_and_true(seconds, idle, spin, power, **place):
    machine = Machine(idle, spin, **place)
    look = place["look"]
    found = run(machine, [Counter(machine)], lambda _: machine.work(seconds, power), Effort(rounds=7, max_time=60))
    assert found.resolution == "ok"
    assert found.provenance == "measured"
    # What alignment cannot see is where between two looks the counter stepped, at both ends.
    unseen = 4 * (look + 1e-6) * (idle + max(spin, power)) + 1e-4 * spin * 0.002
    assert median(found) == pytest.approx((idle + power) * seconds, rel=0.002, abs=unseen)


def test_a_sleep_costs_what_idling_costs():
    machine = Machine(10, 20)
    found = run(machine, [Counter(machine)], lambda _: machine.sleep(0.05), Effort(rounds=20))
    assert median(found) == pytest.approx(0.5, rel=0.002)


@settings(deadline=None, max_examples=25)
@given(seconds=st.floats(2e-5, 0.0029), idle=watts, busy=watts, harness=st.floats(0.0001, 0.003), start=st.floats(0, 0.01))
def test_short_work_is_shared_out_of_a_block_and_true(seconds, idle, busy, harness, start):
    machine = Machine(idle, busy, start=start)
    found = run(machine, [Counter(machine)], lambda _: machine.work(seconds), Effort(rounds=20, max_time=60), harness=harness)
    assert found.resolution == "apportioned"
    assert median(found) == pytest.approx((idle + busy) * seconds, rel=0.02, abs=2e-6 * (idle + busy))
    assert found.rounds % 20 == 0
    assert len(found.samples) == 20
    assert found.phases.setup == pytest.approx((idle + busy) * harness / 2, rel=0.05, abs=5e-6 * (idle + busy))


@settings(deadline=None, max_examples=20)
@given(seconds=st.floats(1e-4, 0.002), asleep=st.floats(0, 1), idle=watts, busy=watts)
def test_short_work_that_sleeps_in_part_gets_its_share_of_idling(seconds, asleep, idle, busy):
    machine = Machine(idle, busy)

    def body(_: int) -> None:
        machine.work(seconds * (1 - asleep))
        machine.sleep(seconds * asleep)

    found = run(machine, [Counter(machine)], body, Effort(rounds=20, max_time=60))
    truth = (idle + busy * (1 - asleep)) * seconds
    assert median(found) == pytest.approx(truth, rel=0.05, abs=3e-6 * (idle + busy))


def test_the_interval_of_shared_out_work_holds_the_truth_where_rules_disagree():
    """Work at another power than the harness around it: CPU time cannot see that, so the interval must."""
    machine = Machine(idle=5, busy=20)
    # In the body the process waits for something that draws 20 W besides: no rule knows.
    found = run(machine, [Counter(machine)], lambda _: machine.sleep(0.0005), Effort(rounds=20))
    assert found.energy is not None
    low, high = found.energy["ci95"]
    assert low <= 5 * 0.0005 <= high


def test_auto_stops_at_five_rounds_where_nothing_varies_and_at_twenty_where_all_does():
    machine = Machine()
    assert run(machine, [Counter(machine)], lambda _: machine.work(0.02)).rounds == 5
    draw = random.Random(7)
    machine = Machine()
    assert run(machine, [Counter(machine)], lambda _: machine.work(draw.uniform(0.01, 0.03))).rounds == 20


@pytest.mark.parametrize(
    ("spread", "worth", "rounds"), [(0.5, False, 5), (0.5, True, 20), (0.5, None, 20), (0.015, False, 6), (0.015, None, 6)]
)
def test_rounds_that_cannot_reach_the_precision_are_for_the_dearest_tests(spread, worth, rounds):
    """±50 % over five rounds can be foreseen to be ±25 % over twenty; ±2.5 % come down to the ±2 % that are asked for."""
    machine, seconds = Machine(), iter(0.02 * (1 + spread * (-1) ** number) for number in range(100))
    asked = None if worth is None else lambda body: worth
    found = run(machine, [Counter(machine)], lambda _: machine.work(next(seconds)), worth=asked)
    assert found.rounds == rounds


def test_the_dearest_tests_so_far_are_known():
    dearest = Dearest(2)
    for seconds, worth in ((1.0, True), (3.0, True), (2.0, True), (1.5, False), (2.0, True), (5.0, True), (2.9, False)):
        assert dearest(seconds) is worth
        dearest.add(seconds)


@pytest.mark.parametrize(("seconds", "iterations"), [(5e-7, 1), (5e-7, 50), (0.01, 1)])
def test_what_reading_itself_costs_is_told(seconds, iterations):
    machine = Machine()

    def body(_: int) -> None:
        for _call in range(iterations):
            machine.work(seconds)

    found = run(machine, [Continuous(machine)], body, Effort(rounds=5, iterations=iterations))
    assert found.own_share == pytest.approx(1 - 30 * seconds / median(found), abs=1e-6)
    assert (found.own_share > 0.1) == (seconds * iterations < 1e-6)


def test_time_ends_measuring_before_the_round_that_would_pass_it():
    machine = Machine()
    found = run(machine, [Counter(machine)], lambda _: machine.work(1.0), Effort(rounds=20, max_time=4.5))
    assert found.rounds == 3
    assert machine.now < 4.5


def test_a_test_longer_than_the_time_is_run_once_and_its_warm_up_counts():
    machine = Machine()
    found = run(machine, [Counter(machine)], lambda _: machine.work(20.0), Effort(max_time=10))
    assert found.rounds == 1
    assert found.notes == ["one round: not warmed up: the time was up, --energy-max-time=10"]
    assert median(found) == pytest.approx(600, rel=0.001)
    assert found.energy is not None and found.energy["ci95"] is None


def test_short_work_without_time_for_a_block_is_below_and_has_no_number():
    machine = Machine()
    found = run(machine, [Counter(machine)], lambda _: machine.work(1e-4), Effort(rounds=20, max_time=0.02))
    assert (found.resolution, found.energy, found.provenance) == ("below", None, "unavailable")
    assert "iterations=N" in " ".join(found.notes)
    assert found.duration is not None and found.duration["median"] == pytest.approx(1e-4, rel=0.05)


def test_short_work_that_may_run_only_once_is_below():
    machine = Machine()
    found = run(machine, [Counter(machine)], lambda _: machine.work(1e-4), repeatable=False)
    assert (found.resolution, found.energy) == ("below", None)


def test_long_work_that_may_run_only_once_is_read():
    machine = Machine()
    meter = Meter([Counter(machine)], machine.tsc, machine.clocks)
    meter.calibrate()
    course = Course(meter, Effort(), repeatable=False)
    course.begin("setup")
    course.end("setup")
    course.enter()
    machine.work(0.02)
    course.leave()
    found = course.measurement("x")
    assert found is not None
    assert median(found) == pytest.approx(0.6, rel=0.01)


def test_iterations_are_taken_apart():
    machine = Machine()

    def body(_: int) -> None:
        for _call in range(100):
            machine.work(1e-4)

    found = run(machine, [Counter(machine)], body, Effort(rounds=5, iterations=100))
    assert found.resolution == "ok"
    assert median(found) == pytest.approx(30 * 1e-4, rel=0.01)
    assert found.duration is not None and found.duration["median"] == pytest.approx(1e-4, rel=0.01)


def test_no_warm_up_no_guess_kept():
    """Without a warm-up round the first one shows how long the body is; if it was too short to be read, it is no sample."""
    machine = Machine()
    found = run(machine, [Counter(machine)], lambda _: machine.work(2e-4), Effort(rounds=20, warmup=0))
    assert found.resolution == "apportioned"
    assert median(found) == pytest.approx(30 * 2e-4, rel=0.02)


def test_a_counter_that_wraps_in_every_round():
    machine = Machine()
    found = run(machine, [Counter(machine, span=0.7)], lambda _: machine.work(0.02), Effort(rounds=20))
    assert median(found) == pytest.approx(0.6, rel=0.01)
    assert all(sample.energy is not None and sample.energy > 0 for sample in found.samples)


def test_a_counter_that_stands_still_in_mid_run_gives_no_number_for_those_rounds():
    machine = Machine()
    counter = Counter(machine)

    def body(number: int) -> None:
        machine.work(0.02)
        counter.stuck = 5 <= number < 8

    found = run(machine, [counter], body, Effort(rounds=10))
    lost = [sample for sample in found.samples if sample.energy is None]
    assert lost
    assert all(sample.energy is None or sample.energy == pytest.approx(0.6, rel=0.02) for sample in found.samples)
    assert "stood still" in " ".join(found.notes)


def test_a_counter_that_stands_still_for_good_is_given_up_soon():
    machine = Machine()
    counter = Counter(machine)

    def body(_: int) -> None:
        counter.stuck = True
        machine.work(0.02)

    found = run(machine, [counter], body, Effort(rounds=20))
    assert (found.energy, found.provenance) == (None, "unavailable")
    assert found.rounds == 3


def test_a_counter_that_fails_for_some_rounds():
    machine = Machine()
    counter = Counter(machine)
    broken = False
    counter.fails = lambda: broken

    def body(number: int) -> None:
        nonlocal broken
        broken = number in (4, 5)
        machine.work(0.02)

    found = run(machine, [counter], body, Effort(rounds=10))
    assert median(found) == pytest.approx(0.6, rel=0.01)
    assert "it failed" in " ".join(found.notes) or "could not be read" in " ".join(found.notes)
    assert all(sample.energy is None or sample.energy > 0.5 for sample in found.samples)


def test_a_counter_that_moves_only_when_work_is_done_is_read_as_it_is():
    """A counter that does not tick by itself (a simulated one, an external meter that counts pulses)."""
    machine = Machine()
    counter = Counter(machine)
    counter.follow = lambda *_: None  # type: ignore[method-assign]  # this one is moved by hand

    def body(_: int) -> None:
        counter.shown += 2.0
        machine.work(1e-4)

    found = run(machine, [counter], body, Effort(rounds=5))
    assert (found.resolution, found.rounds, median(found)) == ("ok", 5, 2.0)


def test_a_model_is_continuous_and_needs_no_block():
    machine = Machine()
    found = run(machine, [Continuous(machine)], lambda _: machine.work(5e-5), Effort(rounds=5))
    assert (found.resolution, found.provenance, found.rounds) == ("ok", "estimated", 5)
    assert median(found) == pytest.approx(30 * 5e-5, rel=0.01)


def test_a_slow_counter_beside_a_quick_one():
    """A GPU that updates every 20 ms: what is too short for it is shared out by wall time over ten of its ticks."""
    machine = Machine()
    board = Counter(machine, tick=0.02, follows="time", domain="gpu-0")
    found = run(machine, [Counter(machine), board], lambda _: machine.work(0.004), Effort(rounds=20))
    assert found.resolution == "apportioned"
    assert found.source == "simulated+simulated"
    # Both show the same machine here: the total counts both.
    assert median(found) == pytest.approx(2 * 30 * 0.004, rel=0.05)
    assert machine.now > 0.2


@pytest.mark.parametrize("seconds", [0.02, 2e-4])
def test_what_others_disturbed_is_marked_and_taken_again(seconds):
    machine = Machine()
    others = 0.0

    def foreign() -> OtherLoad:
        return OtherLoad(lambda: machine.cpu, lambda: machine.cpu + others, processors=2, wall=lambda: round(machine.now * 1e9))

    def loud(number: int) -> None:
        nonlocal others
        machine.work(seconds)
        others += seconds if number <= 8 else 0.0

    found = run(machine, [Counter(machine)], loud, Effort(rounds=10), foreign=foreign())
    assert found.rounds > 10 or found.provenance == "shared"

    def quiet(_: int) -> None:
        machine.work(seconds)

    found = run(machine, [Counter(machine)], quiet, Effort(rounds=10), foreign=foreign())
    assert found.provenance == "measured"


def test_all_rounds_disturbed_is_shared_and_ends():
    machine = Machine()
    load = OtherLoad(lambda: machine.cpu, lambda: 2 * machine.cpu, processors=2, wall=lambda: round(machine.now * 1e9))
    found = run(machine, [Counter(machine)], lambda _: machine.work(0.05), Effort(max_time=100), foreign=load)
    assert found.provenance == "shared"
    assert found.rounds == 40


def test_net_energy_is_above_idle():
    machine = Machine(idle=10, busy=20)
    found = run(machine, [Counter(machine)], lambda _: machine.work(0.05), Effort(rounds=5), idle_watts=10.0)
    assert found.net_energy == pytest.approx(1.0, rel=0.01)


def test_quiesce_is_waited_for_inside_the_measurement():
    machine = Machine()
    found = run(machine, [Counter(machine)], lambda _: machine.work(0.01), Effort(rounds=5), quiesce=lambda: machine.sleep(0.03))
    assert median(found) == pytest.approx(0.3 + 0.3, rel=0.01)
    assert found.duration is not None and found.duration["median"] == pytest.approx(0.04, rel=0.01)


def test_a_person_who_waits_is_told():
    machine = Machine()
    told: list[Progress] = []
    run(machine, [Counter(machine)], lambda _: machine.work(0.5), Effort(rounds=6), progress=told.append)
    assert [entry.rounds for entry in told] == [1, 2, 3, 4, 5]
    assert all(entry.target == 6 for entry in told)


def test_a_round_without_a_body_asks_for_the_wider_view_once():
    machine = Machine()
    meter = Meter([Continuous(machine)], machine.tsc, machine.clocks)
    course = Course(meter, Effort())
    course.begin("setup")
    course.end("setup")
    assert course.another()
    assert course.around_runtest
    course.begin("setup")
    course.end("setup")
    assert not course.another()
    assert course.measurement("x") is None


def test_idle_power_is_learnt_where_the_counter_ticks():
    machine = Machine(idle=13, busy=29)
    meter = Meter([Counter(machine)], machine.tsc, machine.clocks)
    meter.calibrate()
    (channel,) = meter.channels
    assert channel.tick == pytest.approx(0.001, rel=0.01)
    assert channel.spin_watts == pytest.approx(42, rel=0.01)
    assert channel.idle_watts == pytest.approx(13, rel=0.02)
    (idle,) = meter.idle_watts(2.0)
    assert idle is not None and math.isclose(idle, 13, rel_tol=0.005)
