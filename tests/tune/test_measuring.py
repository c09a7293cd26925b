"""What a prediction takes, on machines whose power is known."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from level_data import facts
from simulated import Counter, Machine

from pytest_joules.measure.meter import Meter
from pytest_joules.predict.facts import features
from pytest_joules.tune.configurations import CALLS, CONSTANT, Configuration
from pytest_joules.tune.measuring import LEAST, MOST, measure
from pytest_joules.tune.problem import Batch
from pytest_joules.tune.state import State

TESTS = [facts(f"a.py::test_{number}", f"    return {number}\n") for number in range(8)]
BATCHES = [Batch(TESTS[:5], [(TESTS[7], 0.0)]), Batch(TESTS[5:7], [])]
STATIC = Configuration("linear", ("text",), ran=False)


@dataclass
class Worker:
    """Works so long a prediction."""

    configuration: Configuration
    machine: Machine
    seconds: float
    heard: list
    stored: int = 1
    description: str = ""

    def predict(self, asked, measured):
        self.heard.append((self.configuration.label, len(asked), len(measured), any(one.counts for one in asked)))
        self.machine.work(self.seconds * len(asked))
        return np.zeros(len(asked))


def calibrated(machine: Machine, **options) -> Meter:
    meter = Meter((Counter(machine, **options),), machine.tsc, machine.clocks)
    meter.calibrate()
    return meter


@pytest.mark.parametrize("options", [{}, {"span": 60.0}, {"tick": 0.02}])
def test_joules_are_those_of_the_machine(options: dict, tmp_path: Path):
    machine = Machine(idle=7.0, busy=12.0)
    heard: list = []
    workers = [Worker(CONSTANT, machine, 1e-4, heard), Worker(CALLS, machine, 3e-3, heard), Worker(STATIC, machine, 0.3, heard)]
    found = measure(workers, BATCHES, calibrated(machine, **options), State(tmp_path / "state", ""))
    for worker, taken in zip(workers, found, strict=True):
        assert taken.joules["median"] == pytest.approx(19 * worker.seconds, rel=0.01)
        assert taken.net == pytest.approx(12 * worker.seconds, rel=0.02)
        assert taken.seconds["median"] == pytest.approx(worker.seconds, rel=0.01)
        assert len(taken.blocks) == LEAST and taken.reached
    # What looks at no run is shown none.
    assert {ran for label, _, _, ran in heard if label == STATIC.label} == {False}
    assert {ran for label, _, _, ran in heard if label == CALLS.label} == {True}


def test_finalists_are_measured_in_turn(tmp_path: Path):
    machine, heard = Machine(), []
    workers = [Worker(one, machine, 0.2, heard) for one in (CONSTANT, CALLS, STATIC)]
    measure(workers, BATCHES, calibrated(machine), State(tmp_path / "state", ""))
    turns = [label for label, _ in itertools.groupby(label for label, *_ in heard)]
    names = [worker.configuration.label for worker in workers]
    # Each block begins with another one, which follows on itself where one ends and begins.
    assert turns[:5] == [*names, names[1], names[2]] and turns.count(names[0]) >= LEAST - 1


def test_a_machine_that_others_disturb_is_measured_longer(tmp_path: Path):
    machine = Machine()
    chance = np.random.default_rng(0)

    class Disturbed(Worker):
        def predict(self, asked, measured):
            self.machine.work(self.seconds * len(asked) * float(np.exp(chance.normal(0, 0.5))))
            return np.zeros(len(asked))

    (taken,) = measure([Disturbed(CALLS, machine, 0.1, [])], BATCHES, calibrated(machine), State(tmp_path / "state", ""))
    assert len(taken.blocks) == MOST and not taken.reached and taken.half_width > 0.05


def test_blocks_are_kept_and_gone_on_with(tmp_path: Path):
    machine, state = Machine(), State(tmp_path / "state", "key")
    looks = itertools.count()
    worker = Worker(CALLS, machine, 0.1, [])
    (some,) = measure([worker], BATCHES, calibrated(machine), state, over=lambda: next(looks) >= 3)
    assert 1 <= len(some.blocks) < LEAST
    again, said = State.load(tmp_path / "state", "key")
    assert said == ""
    (taken,) = measure([worker], BATCHES, calibrated(machine), again)
    assert len(taken.blocks) == LEAST and np.array_equal(taken.blocks[: len(some.blocks)], some.blocks)


def test_time_that_is_up_leaves_one_block(tmp_path: Path):
    machine = Machine()
    (taken,) = measure(
        [Worker(CALLS, machine, 0.1, [])], BATCHES, calibrated(machine), State(tmp_path / "state", ""), over=lambda: True
    )
    assert len(taken.blocks) == 1 and not taken.reached and taken.joules["ci95"] is None


def test_each_pass_looks_at_the_code_anew(tmp_path: Path):
    machine = Machine()

    class Looking(Worker):
        def predict(self, asked, measured):
            for one in asked:
                features.REPRESENTATIONS["ast"](one)
            return super().predict(asked, measured)

    worker = Looking(STATIC, machine, 0.5, [])
    before = features._nodes.cache_info().misses
    measure([worker], BATCHES, calibrated(machine), State(tmp_path / "state", ""))
    passes = len(worker.heard) // len(BATCHES)
    # Seven tests and the helper that they share: the cache was emptied before each pass, so the count began anew.
    assert features._nodes.cache_info().misses == 8 and passes > LEAST and before >= 0


def test_without_joules_there_are_seconds(tmp_path: Path):
    machine = Machine()
    meter = Meter((), machine.tsc, machine.clocks)
    meter.calibrate()
    (taken,) = measure([Worker(CALLS, machine, 0.1, [])], BATCHES, meter, State(tmp_path / "state", ""))
    assert (
        taken.joules is None and taken.net is None and taken.reached and taken.seconds["median"] == pytest.approx(0.1, rel=0.01)
    )
