"""Time-stamped readings of counters, taken all along by a process of its own and kept in a ring of shared memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_joules.clock import CLOCKS
from pytest_joules.sources.base import Source, Unavailable
from pytest_joules.sources.ring_process import CAPACITY, GAP, HEAD, SIZE
from pytest_joules.sources.sampling_process import SamplingProcess

#: Seconds after which the sampling process counts as stopped.
_STALE = 2.0


class Readings(NamedTuple):
    """Of one domain, without a gap."""

    domain: str
    device: str
    """``cpu``, or the domain of the device itself."""
    at: list[int]
    """Nanoseconds of ``CLOCKS.wall()``, rising."""
    joules: list[float]
    """Counted by then since the first of these readings, wrap-around corrected."""


class PowerRing:
    """Reads the counters of a run's sources about every 10 ms, each just after it stepped.

    Where they cannot be read by another process, or it does not start, there are no readings and :attr:`why` says so: nothing
    fails. The newest 30,000 readings of each counter are kept, which is five minutes.

    Args:
        sources: opened; of their domains those are read that are added to the total
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.why: str | None = None
        """Why domains of the total have no readings, or no more of them."""
        self._process: SamplingProcess | None = None
        self._places = [place for source in sources for place in source.places()]
        without = [source.name for source in sources if source.domains and not source.places()]
        if without:
            self.why = f"{' and '.join(without)}: no counter that another process could read"
        if not self._places:
            self.why = self.why or "no energy counter"
            return
        given = [[place.path, place.index, place.span, place.most_watts] for place in self._places]
        library = getattr(sys.modules.get("pynvml"), "__file__", None)
        try:
            self._process = SamplingProcess(
                "pytest_joules.sources.ring_process:run",
                words=1 + SIZE * len(given),
                ready=0,
                arguments=[json.dumps(given)],
                paths=[str(Path(library).parent)] if library else (),
            )
        except Unavailable as error:
            self.why = error.reason

    def readings(self, begin: int, end: int) -> list[Readings]:
        """What was read between two times, and the nearest reading on either side of them.

        A domain whose counter failed, went back or leapt meanwhile is there several times, once for each piece without that.

        Args:
            begin: nanoseconds of ``CLOCKS.wall()``
            end: the same
        """
        if self._process is None:
            return []
        if CLOCKS.wall() - self._process.words[0] > _STALE * 1e9:
            self.why = "the process that samples the power has stopped"
        found = []
        for number, place in enumerate(self._places):
            for piece in self._pieces(number, begin, end):
                first = piece[0][1]
                at, joules = [at for at, _ in piece], [(value - first) / 1e6 for _, value in piece]
                found.append(Readings(place.domain, place.device, at, joules))
        return found

    def close(self) -> None:
        """End the process. May be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.close()
            self.why = "it is closed"

    def _pieces(self, number: int, begin: int, end: int) -> list[list[tuple[int, int]]]:
        assert self._process is not None
        base = 1 + SIZE * number
        words = self._process.words
        written = words[base]
        oldest = max(0, written - CAPACITY)
        entries = []
        for place in range(written - 1, oldest - 1, -1):
            slot = base + HEAD + 2 * (place % CAPACITY)
            entries.append((words[slot], words[slot + 1]))
            if entries[-1][0] < begin and entries[-1][1] != GAP:
                break
        # Those that were written over while they were read are the oldest ones.
        spoilt = max(0, words[base] + 1 - CAPACITY - (written - len(entries)))
        entries = entries[: len(entries) - spoilt]
        entries.reverse()
        pieces: list[list[tuple[int, int]]] = [[]]
        for at, value in entries:
            if value == GAP:
                pieces.append([])
            elif not pieces[-1] or at > pieces[-1][-1][0]:
                pieces[-1].append((at, value))
            if at > end:
                break
        return [piece for piece in pieces if len(piece) > 1]
