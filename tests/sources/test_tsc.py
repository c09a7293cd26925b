"""The tick counter against the clock, and its stand-in."""

from __future__ import annotations

import importlib.util
import time

import pytest
from freezegun import freeze_time

from pytest_joules.sources.tsc import TickCounter, Tsc, open_counter

COMPILED = importlib.util.find_spec("pytest_joules.sources._tsc") is not None


def fallback() -> TickCounter:
    return open_counter(module="pytest_joules._no_such_reader")


class Simulated:
    """A counter of known frequency and a reference clock that moves 10 ns at every look."""

    def __init__(self, hertz: float) -> None:
        self.now = 1_000_000_000
        self.hertz = hertz

    def clock(self) -> int:
        self.now += 10
        return self.now

    def ticks(self) -> int:
        return int(self.now * self.hertz / 1e9)


@pytest.mark.parametrize("hertz", [24e6, 1e9, 2.6e9])
@pytest.mark.parametrize("elapsed_ms", [0, 10, 60, 5000])
def test_the_frequency_is_that_of_the_counter(hertz, elapsed_ms):
    simulated = Simulated(hertz)
    counter = TickCounter("simulated", simulated.ticks, is_tsc=True, reference=simulated.clock)
    simulated.now += elapsed_ms * 1_000_000
    assert counter.frequency() == pytest.approx(hertz, rel=3e-5)


def test_early_on_the_cpus_own_figure_is_taken():
    simulated = Simulated(2.6e9)
    counter = TickCounter("simulated", simulated.ticks, is_tsc=True, hint=2_599_000_000, reference=simulated.clock)
    assert counter.frequency() == 2.599e9
    simulated.now += 1_000_000_000
    assert counter.frequency() == pytest.approx(2.6e9, rel=1e-6)


@pytest.mark.skipif(not COMPILED, reason="the compiled reader was not built")
def test_the_compiled_reader_counts_at_the_stated_frequency():
    counter = open_counter()
    assert counter.is_tsc
    assert counter.name in ("rdtscp", "rdtsc", "cntvct_el0")
    ticks, then = counter.read(), time.perf_counter()
    time.sleep(0.1)
    seconds = time.perf_counter() - then
    assert (counter.read() - ticks) / counter.frequency() == pytest.approx(seconds, rel=0.05)
    readings = [counter.read() for _ in range(1000)]
    assert readings == sorted(readings)
    assert counter.name in counter.describe()


def test_without_the_compiled_reader_the_monotonic_clock_is_labelled():
    counter = fallback()
    assert (counter.name, counter.is_tsc, counter.frequency()) == ("monotonic clock", False, 1e9)
    assert "monotonic clock" in counter.describe()
    before, then = time.monotonic_ns(), counter.read()
    assert 0 <= then - before < 60e9


@pytest.mark.parametrize("opening", [open_counter, fallback])
def test_a_frozen_time_does_not_stop_the_counter(opening):
    counter = opening()
    with freeze_time("2020-01-01"):
        inside = opening()
        assert time.monotonic_ns() == time.monotonic_ns()
        for each in (counter, inside):
            first = each.read()
            assert any(each.read() > first for _ in range(1000))


def test_the_source_reports_no_energy_and_says_why():
    source = Tsc()
    source.open()
    assert source.rank is None
    assert source.domains == ()
    assert source.joules(source.read(), source.read(), 1.0) == ()
    assert "energy is unavailable" in source.facts().why
    source.close()
