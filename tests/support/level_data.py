"""Tests with known code and known costs, for training level models without a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pytest_joules.predict.facts.of_test import TestFacts, parameters_of, test_place
from pytest_joules.predict.train.level import Row

_BODY = {
    "loop": "    total = 0\n    for number in range({size}):\n        total += number\n    return total\n",
    "call": "    return sorted([{size}, 1, 2])\n",
    "text": "    return ','.join(str(part) for part in ({size}, 2)).split(',')\n",
}


def facts(nodeid: str, body: str, calls: float = 1, helper: str = "def helper():\n    return sum([1, 2, 3])\n") -> TestFacts:
    """A test of this body, which calls a helper so often."""
    place = test_place(nodeid)
    path = nodeid.partition("::")[0]
    name = place.rpartition("::")[2].rpartition(".")[2]
    sources = {place: f"def {name}():\n{body}", f"{path}::helper": helper}
    return TestFacts(nodeid, sources, {place: [1], f"{path}::helper": [calls, calls]}, place, parameters_of(nodeid))


def rows(count: int, project: str = "", offset: float = 0.0, seed: int = 0, noise: float = 0.02) -> list[Row]:
    """Tests of three kinds; their cost grows with how often they call a helper, by a power that is known: 0.8."""
    chance = np.random.default_rng(seed)
    result = []
    for number in range(count):
        kind = ("loop", "call", "text")[int(chance.integers(3))]
        calls = float(10 ** chance.uniform(0, 4))
        cost = 0.8 * math.log10(1 + calls) + {"loop": 0.5, "call": 0.0, "text": -0.5}[kind]
        body = _BODY[kind].format(size=1000 * seed + number)
        nodeid = f"tests/test_{kind}.py::test_{project}{number}"
        joules = cost + offset + float(chance.normal(0, noise))
        made = facts(nodeid, body, calls, f"def helper():\n    return sum([{number}, {seed}])\n")
        result.append(Row(made, project, {"joules": joules, "seconds": joules - 1, "tsc": joules + 9}))
    return result


def projects(names: Sequence[str], each: int, spread: float = 0.6) -> list[Row]:
    """Projects whose tests all cost more or less by a factor of their own."""
    chance = np.random.default_rng(1)
    return [row for number, name in enumerate(names) for row in rows(each, name, float(chance.normal(0, spread)), seed=number)]
