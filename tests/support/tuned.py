"""A data set whose truth is known, and predictors that take known joules, for ``joules tune``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from level_data import facts
from simulated import Continuous, Counter, Machine

from pytest_joules.measure.meter import Meter
from pytest_joules.tune.configurations import CALLS, CONSTANT, Configuration, Growth, boosted
from pytest_joules.tune.levels import LevelFitted, Levels
from pytest_joules.tune.run import Metering

SCHEMA = "pytest-joules-dataset/1"
#: Joules of a call: what tests cost is the number of their calls times this, whatever else is in them.
EACH = 2e-6
#: What is searched: quick to fit.
PARSED = boosted(("ast", "bytecode"), Growth(3, 2), ran=True)
SMALL = [CONSTANT, CALLS, Configuration("linear", ("counts",), ran=True), PARSED, Configuration("linear", ("text",), ran=False)]


def write(folder: Path, packages: Sequence[str] = "abcde", each: int = 16, schema: str = SCHEMA, *, counts: bool = True) -> Path:
    """A data set of tests that cost :data:`EACH` a call; of each package one more that failed, which nobody measured."""
    records = folder / "records"
    records.mkdir(parents=True)
    for place, package in enumerate(packages):
        chance = np.random.default_rng(place)
        lines: list[dict] = [{"kind": "package", "schema": schema, "sources": [{"name": "rapl"}]}]
        for number in range(each + 1):
            calls = round(10 ** chance.uniform(1, 4))
            body = f"    return helper(sorted([{number}, {place}, {int(chance.integers(99))}]))\n"
            own = facts(
                f"tests/test_{package}.py::test_{number}", body, calls, f"def helper():\n    return sum([{number}, {place}])\n"
            )
            keys = {key: 10 * number + at for at, key in enumerate(own.sources)}
            for key, identity in keys.items():
                lines.append({"kind": "function", "id": identity, "place": key, "hash": str(number), "source": own.sources[key]})
            # Half a percent of noise, and a fortieth of a decade by package.
            joules = EACH * (calls + 1) * 10 ** (0.025 * (place % 3) + chance.normal(0, 0.002))
            lines.append(
                {
                    "kind": "test",
                    "package": package,
                    "nodeid": own.nodeid,
                    "outcome": "passed" if number < each else "failed",
                    "functions": [[identity, identity] for identity in keys.values()],
                    "counts": {str(identity): own.counts[key] for key, identity in keys.items()} if counts else {},
                    "other_calls": None,
                    "repetitions": {"duration": [joules / 10] * 5, "tsc": None, "energy": [joules] * 5},
                }
            )
        (records / f"{package}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "manifest.json").write_text(json.dumps({"machine": {"id": "here"}}))
    return folder


def seconds(configuration: Configuration) -> float:
    """What one prediction of this configuration takes on the simulated machine."""
    if configuration == CONSTANT:
        return 2e-5
    looks = {"calls": 2e-4, "counts": 4e-4, "text": 8e-4, "ast+bytecode": 2e-2}[configuration.looks]
    return looks * (1.5 if configuration.adapted else 1.0) * (1.1 if configuration.teacher is not None else 1.0)


class Small(Levels):
    """Of the level models, some."""

    def units(self):
        return SMALL


@contextlib.contextmanager
def metering(machine: Machine, *, estimated: bool = False) -> Iterator[Metering]:
    """A calibrated meter of the machine, on which predictors work for so long, and do nothing else."""
    source = Continuous(machine) if estimated else Counter(machine)
    source.open()
    meter = Meter((source,), machine.tsc, machine.clocks)
    meter.calibrate()

    def predict(fitted: LevelFitted, asked, measured):
        machine.work(seconds(fitted.configuration) * len(asked))
        return np.zeros(len(asked))

    with mock.patch.object(LevelFitted, "predict", predict):
        yield Metering(meter, [source.facts()])
