"""A plugin of all inner runs: what counters this machine has is hidden, so that only simulated ones are seen.

PYTEST_DONT_REWRITE: it stays loaded when an inner run ends.
"""

from pathlib import Path

import pytest

_replaced = []


@pytest.hookimpl(optionalhook=True)
def pytest_joules_sources():
    """Comes before any source is looked for, and only in a run that measures: nothing is imported for this."""
    from pytest_joules.sources import nvml, perf, powercap

    find, (_, open_event) = powercap.find_zones, perf.Perf.__init__.__defaults__

    def find_zones(root):
        if root == powercap.POWERCAP:
            raise FileNotFoundError(root)
        return find(root)

    replace(powercap, "find_zones", find_zones)
    replace(nvml, "_has_driver", lambda: False)
    replace(perf.Perf.__init__, "__defaults__", (Path("/sys/hidden"), open_event))


def replace(owner, name, value):
    _replaced.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


def pytest_unconfigure():
    while _replaced:
        setattr(*_replaced.pop())
