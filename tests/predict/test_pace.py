"""How fast Python is here."""

import inspect

import pytest

from pytest_joules.clock import Clocks
from pytest_joules.predict.change import pace
from pytest_joules.predict.change.calls import Calls, Measured, as_counted
from pytest_joules.predict.change.effect import COLUMN
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.change.reading import code_of
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.protocol import Before, Question


class Ticking:
    """A clock by which the first run takes long, and every later one as long as is said."""

    def __init__(self, nanoseconds: float) -> None:
        self.now, self.reads, self.each = 0.0, 0, nanoseconds

    def __call__(self) -> int:
        self.reads += 1
        self.now += self.each * (100 if self.reads < 3 else 1)
        return round(self.now)


@pytest.mark.parametrize(("factor", "found"), [(1.0, 1.0), (2.5, 2.5), (100.0, 8.0), (0.0, 0.2)])
def test_measured(factor, found):
    assert pace.measured(Clocks(wall=Ticking(factor * pace.NANOSECONDS))) == pytest.approx(found, rel=1e-3)


def test_it_is_the_work_that_the_costs_are_of():
    code, turns = code_of(inspect.getsource(pace.work)), 300
    counts = (1, 1, turns + 1, turns, turns * 2 // 3, turns // 3, 1)
    calls = Calls(Before(1.0, 1.0, {}, {}, ""), Measured([]))
    assert calls.own("pace.py::work", as_counted(code, counts)) == pytest.approx(pace.NANOSECONDS, rel=1e-3)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_machine_of_another_pace_expects_the_same(factor):
    """All times are so many times as long there: of the test, and of what it calls."""
    key, counts = "a.py::f", {"a.py::f": (1, 1, 41, 40, 1)}
    before = {key: "def f(rows):\n    found = []\n    for row in rows:\n        found.append(parse(row))\n    return found"}
    now = {key: before[key].replace("parse(row)", "parse(row) + parse(row + 1)")}

    def features(times):
        outside = {key: {"parse": (40, round(40_000 * times), 0)}}
        facts = TestFacts("t.py::t", now, counts, None, "")
        return effects([Question(facts, Before(1.0, 1e-4 * times, before, counts, "", outside), (key,))], times)[0].features

    here, there = features(1.0), features(factor)
    assert here[COLUMN["physical"]] > 0.05
    for name, column in COLUMN.items():
        if name != "seconds":
            assert there[column] == pytest.approx(here[column], rel=0.15, abs=0.01), name
