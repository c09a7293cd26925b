"""The CPU's own counter of instructions in user mode, where the kernel lends it: quick, and as exact as callgrind but for what
interrupts add. On hosted runners there is none. See perf_event_open(2)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pytest_joules.count.counter import Count, NoCounter
from pytest_joules.sources.perf import open_event

_HARDWARE, _INSTRUCTIONS = 0, 1
#: Bits of the attributes: not counting yet, threads and children too, not the kernel's, not the hypervisor's.
_DISABLED, _INHERIT, _NO_KERNEL, _NO_HYPERVISOR = 1 << 0, 1 << 1, 1 << 5, 1 << 6
_ENABLE, _DISABLE, _RESET = 0x2400, 0x2401, 0x2403
_COUNT = struct.Struct("=Q")
#: personality(2): the addresses of a process are the same each time.
_SAME_ADDRESSES = 0x0040000


class Perf:
    """That counter, as :class:`~pytest_joules.count.callgrind.Callgrind` is another."""

    name = "perf"

    def command(self, folder: Path) -> list[str]:
        """What stands before a command that counts itself: where things lie in memory is not left to chance."""
        program = f"import ctypes, os, sys; ctypes.CDLL(None).personality({_SAME_ADDRESSES}); os.execv(sys.argv[1], sys.argv[1:])"
        return [sys.executable, "-c", program]


def find() -> Perf:
    """Raises :class:`NoCounter` where the kernel lends none."""
    if sys.platform != "linux":
        raise NoCounter(f"perf_event_open is Linux's, this is {sys.platform}")
    counter = Instructions()
    counter.open()
    try:
        counter.begin()
        sum(range(1000))
        counter.finish()
        if counter.read().instructions < 1000:
            raise NoCounter("the CPU's counter of instructions stands still (a virtual machine?)")
    finally:
        counter.close()
    return Perf()


class Instructions:
    """Counts in the process that opens it."""

    slow = False

    def __init__(self) -> None:
        self._descriptor = -1
        self.begin: Callable[[], object] = self._closed
        self.finish: Callable[[], object] = self._closed

    def _closed(self) -> None:
        raise NoCounter("the counter is not open")

    def open(self) -> None:
        """Raises :class:`NoCounter`: the kernel refused."""
        try:
            self._descriptor = open_event(
                _HARDWARE, _INSTRUCTIONS, cpu=-1, pid=0, flags=_DISABLED | _INHERIT | _NO_KERNEL | _NO_HYPERVISOR
            )
        except OSError as error:
            remedy = "sysctl kernel.perf_event_paranoid=2" if error.errno in (errno.EACCES, errno.EPERM) else ""
            raise NoCounter(f"the kernel has no counter of instructions for programs ({error.strerror})", remedy) from None
        control = ctypes.CDLL(None).ioctl
        self.begin = partial(self._restart, control, ctypes.c_int(self._descriptor))
        self.finish = partial(control, ctypes.c_int(self._descriptor), ctypes.c_ulong(_DISABLE), ctypes.c_ulong(0))

    @staticmethod
    def _restart(control: Callable[..., int], descriptor: ctypes.c_int) -> None:
        control(descriptor, ctypes.c_ulong(_RESET), ctypes.c_ulong(0))
        control(descriptor, ctypes.c_ulong(_ENABLE), ctypes.c_ulong(0))

    def switch(self, *, on: bool) -> None:
        """Counting costs nothing."""

    def read(self, _read: Callable[[int, int], bytes] = os.read) -> Count:
        """See :class:`~pytest_joules.count.counter.Counter`."""
        try:
            data = _read(self._descriptor, _COUNT.size)
        except OSError as error:
            raise NoCounter(f"the counter cannot be read any more ({error.strerror})") from None
        return Count(int(_COUNT.unpack(data)[0]), "")

    def forget(self, count: Count) -> None:
        """It has no account."""

    def close(self) -> None:
        """Give the counter back."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
