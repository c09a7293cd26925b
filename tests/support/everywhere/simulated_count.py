"""A plugin of inner runs: a counter of instructions whose truth is known, what their tests say that they ``work``.

It stands in for Valgrind in the run, and for the CPU's counter in the process that counts. It needs own_counters, which puts back
what is replaced. PYTEST_DONT_REWRITE
"""

import os

import own_counters

from pytest_joules.companion import parent
from pytest_joules.count import callgrind, perf
from pytest_joules.count.counter import Count, NoCounter

#: What each window takes by itself.
ITSELF = 700
done = 0


def work(instructions):
    """Take so many instructions."""
    global done
    done += instructions


def counting():
    """Whether this is the process that counts."""
    return "PYTEST_JOULES_PADDING" in os.environ


class Kind:
    name = "simulated 1.0"

    def command(self, folder):
        return []


class Simulated:
    """As :class:`pytest_joules.count.perf.Instructions`."""

    slow = False

    def open(self):
        pass

    def begin(self):
        self.begun = done

    def finish(self):
        self.ended = done

    def switch(self, *, on):
        pass

    def read(self):
        return Count(self.ended - self.begun + ITSELF, "")

    def forget(self, count):
        pass


def _find():
    if reason := os.environ.get("NO_COUNTER"):
        raise NoCounter(reason, "install it")
    return Kind()


def pytest_configure():
    own_counters.replace(os, "sched_getaffinity", lambda pid: set(range(int(os.environ.get("CPUS", "2")))))
    own_counters.replace(parent, "COUNTING_TIME", float(os.environ.get("PATIENCE", parent.COUNTING_TIME)))
    own_counters.replace(callgrind, "find", _find)
    own_counters.replace(callgrind, "running", lambda: False)
    own_counters.replace(perf, "find", _find)
    own_counters.replace(perf, "Instructions", Simulated)
