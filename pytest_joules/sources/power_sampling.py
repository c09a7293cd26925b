"""A process of its own that samples the power of GPUs without an energy counter and adds it up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from pytest_joules.clock import CLOCKS
from pytest_joules.sources.base import MOST_WATTS
from pytest_joules.sources.sampling_process import SamplingProcess, detach, end_of, shared_words

#: Seconds between two samples of the power.
INTERVAL = 0.05
#: Added to the integral where samples are missing, in microjoules: more than any test uses, so that a gap is seen.
GAP = 1 << 50
#: Seconds after which the sampling process counts as stopped.
_STALE = 2.0


class Sampler:
    """A process that integrates the power of boards without an energy counter.

    Args:
        indices: NVML indices of the boards
        library: the module pynvml, for where it lies

    Raises:
        Unavailable: it does not start.
    """

    def __init__(self, indices: Sequence[int], library: ModuleType) -> None:
        self._count = len(indices)
        # The library first: it must be the very one that this process uses.
        self._process = SamplingProcess(
            "pytest_joules.sources.power_sampling:sample",
            words=self._count + 1,
            ready=self._count,
            arguments=[str(index) for index in indices],
            paths=[str(Path(str(library.__file__)).parent)],
        )
        self._file = self._process.file

    def microjoules(self, number: int) -> int:
        """The integral of the board's power until the last sample.

        Raises:
            RuntimeError: samples are missing now.
        """
        words = self._process.words
        if CLOCKS.wall() - words[self._count] > _STALE * 1e9:
            raise RuntimeError("the process that samples the power has stopped")
        value = words[number]
        if value < 0:
            raise RuntimeError(f"power reading failed: NVML error {-value}")
        return value

    def close(self) -> None:
        self._process.close()


def sample(arguments: Sequence[str]) -> None:
    """What the sampling process does: add up power times time until its end.

    Args:
        arguments: the file to share, the process to serve, the NVML indices. The file holds 64-bit words: microjoules for each
            board (negative: the NVML error that it fails with), then the time of the last sample in nanoseconds.
    """
    import pynvml

    file, owner, indices = arguments[0], int(arguments[1]), [int(index) for index in arguments[2:]]
    detach()
    pynvml.nvmlInit()
    words = shared_words(file)
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in indices]
    totals = [0] * len(handles)
    last: list[tuple[int, float] | None] = [None] * len(handles)
    ended = end_of(owner)
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
