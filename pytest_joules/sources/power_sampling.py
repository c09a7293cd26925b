"""A process of its own that samples the power of GPUs without an energy counter and adds it up."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from pytest_joules.clock import CLOCKS
from pytest_joules.sources.base import MOST_WATTS, Unavailable

#: Seconds between two samples of the power.
INTERVAL = 0.05
#: Added to the integral where samples are missing, in microjoules: more than any test uses, so that a gap is seen.
GAP = 1 << 50
#: Seconds after which the sampling process counts as stopped.
_STALE = 2.0


class Sampler:
    """A process that integrates the power of boards without an energy counter.

    It is nobody's child (a test that waits for its children does not see it), in a session of its own (Ctrl-C ends the tests, not
    the last reading), and ends when told to, when the pipe to it closes, or when this process is gone.

    Args:
        indices: NVML indices of the boards
        library: the module pynvml, for where it lies

    Raises:
        Unavailable: it does not start.
    """

    def __init__(self, indices: Sequence[int], library: ModuleType) -> None:
        # The library first: it must be the very one that this process uses.
        paths = [str(Path(str(library.__file__)).parent), str(Path(__file__).parents[2])]
        descriptor, self._file = tempfile.mkstemp(prefix="joules-")
        self._owner = os.getpid()
        self._count = len(indices)
        self._memory: mmap.mmap | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            os.truncate(descriptor, 8 * (self._count + 1))
            self._memory = mmap.mmap(descriptor, 8 * (self._count + 1))
        finally:
            os.close(descriptor)
        self._words = memoryview(self._memory).cast("q")
        code = (
            f"import sys; sys.path[:0] = {paths!r}; from pytest_joules.sources.power_sampling import sample; sample(sys.argv[1:])"
        )
        arguments = [self._file, str(self._owner), *map(str, indices)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if sys.platform != "win32":
                self._process.wait(30)  # it leaves the work to a process of its own
            self._await_first()
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            raise Unavailable(f"the process that samples the power does not start: {error}") from error
        except Unavailable:
            self.close()
            raise
        self._unlink()

    def microjoules(self, number: int) -> int:
        """The integral of the board's power until the last sample.

        Raises:
            RuntimeError: samples are missing now.
        """
        words = self._words
        if CLOCKS.wall() - words[self._count] > _STALE * 1e9:
            raise RuntimeError("the process that samples the power has stopped")
        value = words[number]
        if value < 0:
            raise RuntimeError(f"power reading failed: NVML error {-value}")
        return value

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                if os.getpid() == self._owner:  # a fork of ours does not end it for us
                    process.stdin.write(b"q")
                process.stdin.close()
            if os.getpid() == self._owner:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
        memory, self._memory = self._memory, None
        if memory is not None:
            self._words.release()
            with contextlib.suppress(BufferError):
                memory.close()
        self._unlink()

    def _await_first(self) -> None:
        until = CLOCKS.wall() + 10_000_000_000
        while not self._words[self._count]:
            if CLOCKS.wall() > until or self._failed():
                raise Unavailable("the process that samples the power does not start")
            CLOCKS.sleep(0.005)

    def _failed(self) -> bool:
        return self._process is None or bool(self._process.returncode)

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):  # Windows keeps it while it is mapped
            Path(self._file).unlink()


def sample(arguments: Sequence[str]) -> None:
    """What the sampling process does: add up power times time until its end.

    Args:
        arguments: the file to share, the process to serve, the NVML indices. The file holds 64-bit words: microjoules for each
            board (negative: the NVML error that it fails with), then the time of the last sample in nanoseconds.
    """
    import pynvml

    file, owner, indices = arguments[0], int(arguments[1]), [int(index) for index in arguments[2:]]
    if sys.platform != "win32":
        if os.fork():
            os._exit(0)
        os.setsid()
    pynvml.nvmlInit()
    with Path(file).open("r+b") as shared:
        memory = mmap.mmap(shared.fileno(), 0)
    words = memoryview(memory).cast("q")
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in indices]
    totals = [0] * len(handles)
    last: list[tuple[int, float] | None] = [None] * len(handles)
    ended = _end_of(owner)
    while True:
        for number, handle in enumerate(handles):
            try:
                watts = pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3
            except pynvml.NVMLError as error:
                if last[number] is not None:
                    totals[number] += GAP
                last[number] = None
                words[number] = -max(1, int(getattr(error, "value", 1)))
                continue
            if not 0 <= watts <= MOST_WATTS:
                # a reading of nothing, all bits set: a gap as well
                totals[number] += GAP
                last[number] = None
                words[number] = totals[number]
                continue
            now, previous = time.perf_counter_ns(), last[number]
            if previous is not None:
                # trapezoid; 1 W for 1 ns is 1e-3 µJ
                totals[number] += round((watts + previous[1]) / 2 * (now - previous[0]) * 1e-3)
            last[number] = now, watts
            words[number] = totals[number]
        words[len(handles)] = time.perf_counter_ns()
        if ended(INTERVAL):
            return


def _end_of(owner: int) -> Callable[[float], bool]:
    """A wait of so many seconds that tells whether the process ``owner`` wants no more, or is gone."""
    if sys.platform == "win32":
        over = threading.Event()

        def listen() -> None:
            sys.stdin.buffer.read(1)
            over.set()

        threading.Thread(target=listen, daemon=True).start()
        return over.wait

    def wait(seconds: float) -> bool:
        if select.select([0], [], [], seconds)[0]:
            return True  # a letter, or the end of the pipe
        try:
            # a fork of the owner may hold the pipe open beyond the owner's end
            os.kill(owner, 0)
        except PermissionError:
            return False
        except OSError:
            return True
        return False

    return wait
