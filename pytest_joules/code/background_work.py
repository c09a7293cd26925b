"""Whether threads and processes that were started before a test work while it runs: by their CPU clocks."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator

from pytest_joules.code.opened import Opened

_getpid = os.getpid
_THREAD, _PROCESS = "uses a thread that was started earlier", "uses a process that was started earlier"


class Activity:
    """Of the threads and processes that a session's code has started. ``threads``: whether those count; where what they execute
    is recorded too, they need not."""

    def __init__(self, opened: Opened, *, threads: bool) -> None:
        self.opened = opened
        self._threads = threads
        self._own = frozenset(_descendants()) if not opened.processes else frozenset[int]()
        """What this plugin and others have started for themselves."""
        self._others = _threads()
        self._before: dict[tuple[str, int], int] = {}

    def begin(self) -> None:
        """A test begins."""
        self._before = dict(self._clocks())

    def end(self) -> set[str]:
        """A test has ended: what worked meanwhile and was there before it."""
        if not self._before:
            return set()
        now = dict(self._clocks())
        before, self._before = self._before, {}
        return {key[0] for key, spent in before.items() if now.get(key) != spent or spent < 0}

    def _clocks(self) -> Iterator[tuple[tuple[str, int], int]]:
        for thread in _threads() - self._others if self._threads else ():
            yield (_THREAD, thread), _spent(thread, 6)
        if self.opened.processes or _pools():
            for number in _descendants():
                if number not in self._own:
                    yield (_PROCESS, number), _spent(number, 2)


def _threads() -> set[int]:
    """Other threads that ``threading`` knows: before Python 3.12 no event tells that one starts."""
    here = threading.get_native_id()
    return {number for thread in threading.enumerate() if (number := thread.native_id) is not None and number != here}


def _pools() -> bool:
    """Whether ``multiprocessing`` has children: what it starts by itself raises no event."""
    process = sys.modules.get("multiprocessing.process")
    return bool(getattr(process, "_children", None))


def _spent(number: int, which: int) -> int:
    """Nanoseconds of a CPU clock (clock_getcpuclockid(3): ``~pid << 3 | 2``, of a thread ``| 6``); negative where there is none:
    then it counts as working."""
    if sys.platform != "linux":
        return -1
    try:
        return time.clock_gettime_ns(~number << 3 | which)
    except OSError:
        return -1  # it has ended


def _descendants() -> list[int]:
    found: list[int] = []
    waiting = [_getpid()]
    while waiting:
        parent = waiting.pop()
        try:
            tasks = os.listdir(f"/proc/{parent}/task")  # noqa: PTH208 - names only
        except OSError:
            continue
        for task in tasks:
            try:
                with open(f"/proc/{parent}/task/{task}/children") as file:  # noqa: PTH123 - each test asks
                    children = [int(child) for child in file.read().split()]
            except (OSError, ValueError):
                continue
            found += children
            waiting += children
    return found
