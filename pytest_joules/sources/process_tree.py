"""CPU time of this process and of all that it has started."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pytest_joules.clock import CLOCKS


def _linux_descendants() -> Callable[[], Iterable[float]]:
    """A function that gives the CPU seconds of each live descendant and of what it has waited for, through ``/proc``."""
    if sys.platform == "win32":
        return _psutil_descendants
    getpid, listdir, open_file, read_file, close_file = os.getpid, os.listdir, os.open, os.read, os.close
    clock = time.clock_gettime_ns
    ticks_per_second = os.sysconf("SC_CLK_TCK")

    def content(path: str) -> bytes:
        try:
            descriptor = open_file(path, os.O_RDONLY)
        except OSError:
            return b""  # gone meanwhile
        try:
            return b"".join(iter(lambda: read_file(descriptor, 65536), b""))
        except OSError:
            return b""
        finally:
            close_file(descriptor)

    def children(parent: int) -> list[int]:
        try:
            tasks = listdir(f"/proc/{parent}/task")
        except OSError:
            return []
        return [int(child) for task in tasks for child in content(f"/proc/{parent}/task/{task}/children").split()]

    def usages() -> Iterator[float]:
        waiting = children(getpid())
        while waiting:
            child = waiting.pop()
            fields = content(f"/proc/{child}/stat").rpartition(b")")[2].split()
            if len(fields) < 15:
                continue  # gone meanwhile: its parent's figures have it, or will
            try:
                # The process's own CPU clock: nanoseconds, where stat has ticks of 10 ms (clock_getcpuclockid(3): ~pid << 3 | 2).
                own = clock(~child << 3 | 2) / 1e9
            except OSError:
                own = (int(fields[11]) + int(fields[12])) / ticks_per_second
            yield own + (int(fields[13]) + int(fields[14])) / ticks_per_second
            waiting += children(child)

    return usages


def _psutil_descendants() -> Iterator[float]:
    """The same through psutil, which knows every system, but looks at every process of the machine."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue
        yield times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)


def _descendants() -> Callable[[], Iterable[float]]:
    """The cheapest way of this system to look at live descendants, parents before their children."""
    # Needs CONFIG_PROC_CHILDREN, which most kernels have.
    if sys.platform == "linux" and Path("/proc/thread-self/children").exists():
        return _linux_descendants()
    return _psutil_descendants


def _waited_for() -> Callable[[], float]:
    """A function that gives the CPU seconds of all children (and theirs) that have ended and been waited for."""
    if sys.platform == "win32":
        times = os.times

        def from_times() -> float:
            now = times()
            return now.children_user + now.children_system

        return from_times

    import resource

    getrusage, who = resource.getrusage, resource.RUSAGE_CHILDREN

    def from_rusage() -> float:
        usage = getrusage(who)
        return usage.ru_utime + usage.ru_stime

    return from_rusage


def _has_children() -> Callable[[], bool]:
    """A function that says, cheaply, whether any child is alive or not yet waited for; always true where that cannot be told."""
    # macOS has waitid from Python 3.13 on.
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return lambda: True
    waitid, everybody = os.waitid, os.P_ALL
    # WNOWAIT leaves an ended child for whoever waits for it.
    look = os.WNOHANG | os.WNOWAIT | os.WEXITED

    def ask() -> bool:
        try:
            waitid(everybody, 0, look)
        except ChildProcessError:
            return False
        except OSError:
            return True
        return True

    return ask


class ProcessTree:
    """CPU seconds of this process, all threads, and of its descendants, as one sum that never goes down.

    Every function it calls is bound when it is made, so that a test that patches ``time`` or ``os`` does not reach it.

    Where a system does not hand a child's CPU time on to its parent (Windows; ``SIGCHLD`` ignored; a daemon that left its
    parent), what was last seen of it stays in the sum.
    """

    def __init__(
        self,
        own: Callable[[], int] = CLOCKS.cpu,
        waited_for: Callable[[], float] | None = None,
        has_children: Callable[[], bool] | None = None,
        descendants: Callable[[], Iterable[float]] | None = None,
    ) -> None:
        self._own = own
        self._waited_for = waited_for or _waited_for()
        self._has_children = has_children or _has_children()
        self._descendants = descendants or _descendants()
        self._lost = 0.0
        self._last = 0.0

    def seconds(self) -> float:
        """The sum now."""
        now = self._sum()
        if now < self._last:
            now = self._after_a_loss(now)
        self._last = now
        return now

    def _sum(self) -> float:
        # Parents first: a child that is waited for meanwhile can then be missed for a moment, but never counted twice.
        total = self._own() * 1e-9 + self._waited_for() + self._lost
        if self._has_children():
            total += sum(self._descendants())
        return total

    def _after_a_loss(self, now: float) -> float:
        """Look again, as a child may have passed from the living to the waited-for meanwhile; what stays missing is lost."""
        for _ in range(3):
            now = max(now, self._sum())
            if now >= self._last:
                return now
        self._lost += self._last - now
        return self._last
