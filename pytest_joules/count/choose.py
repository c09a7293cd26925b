"""Which counter of instructions a run takes."""

from __future__ import annotations

from typing import TypeAlias

from pytest_joules.count import callgrind, perf
from pytest_joules.count.counter import NoCounter

#: What can count.
Kind: TypeAlias = "callgrind.Callgrind | perf.Perf"


def choose(named: str) -> Kind:
    """What counts here. Under callgrind counts are the same on another machine; the CPU's own counter is the quicker one.

    Raises:
        NoCounter: nothing does.
    """
    if named != "auto":
        return perf.find() if named == "perf" else callgrind.find()
    try:
        return callgrind.find()
    except NoCounter as error:
        try:
            return perf.find()
        except NoCounter as other:
            raise NoCounter(f"{error.reason}; {other.reason}", error.remedy or other.remedy) from None
