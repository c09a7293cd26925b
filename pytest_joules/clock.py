"""The clocks, bound before any test runs.

Tests patch ``time``: freezegun replaces the attributes of ``time`` and of every loaded module that hold one of its functions.
Kept as attributes of an instance, the real functions are out of its reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Clocks:
    """Wall and CPU clocks (nanoseconds) and a sleep (seconds) that stay real whatever a test does to ``time``.

    ``cpu`` is the process's, ``thread`` the calling thread's."""

    __slots__ = ("cpu", "sleep", "thread", "wall")

    def __init__(
        self,
        wall: Callable[[], int] = time.perf_counter_ns,
        cpu: Callable[[], int] = time.process_time_ns,
        sleep: Callable[[float], None] = time.sleep,
        thread: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self.wall = wall
        self.cpu = cpu
        self.sleep = sleep
        self.thread = thread


CLOCKS = Clocks()
