"""How much of the machine others used: what a machine-wide counter saw that was not the test."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable

import psutil

from pytest_joules.clock import CLOCKS

#: The share of the machine's CPU time above which a sample counts as shared.
LIMIT = 0.05
#: The kernel's accounting steps by 10 ms, so a share is told over no less than this, in seconds.
SHORTEST = 0.2
#: Marks are not set more often than this, in nanoseconds.
_APART = 40_000_000


class OtherLoad:
    """CPU time used by processes that are not ours, as a share of the whole machine's.

    Marks are set as rounds end; a round's share is told over the shortest stretch between marks that covers it and lasts
    0.2 s or more, so a very short round is judged by its surroundings.
    """

    def __init__(
        self,
        own_seconds: Callable[[], float],
        busy_seconds: Callable[[], float] | None = None,
        processors: int | None = None,
        wall: Callable[[], int] = CLOCKS.wall,
        kept: int = 64,
    ) -> None:
        """``kept``: marks."""
        self._wall = wall
        self._own = own_seconds
        self._busy = busy_seconds or _busy_seconds
        self.processors = processors or _processors()
        self.known = False
        """Somebody is known to be measuring too, whatever is seen of him."""
        self._marks: deque[tuple[int, float, float]] = deque(maxlen=kept)
        self.mark()

    def mark(self) -> None:
        """Note the machine's and our own CPU time now, unless that was just done."""
        if not self._marks or self._wall() - self._marks[-1][0] >= _APART:
            try:
                self._marks.append(self.look())
            except Exception:
                # The test that has just run has patched files or imports, and its fixtures are still up: the next mark tells.
                if not self._marks:
                    raise

    def look(self) -> tuple[int, float, float]:
        """Now: wall nanoseconds, CPU seconds of all and our own."""
        return self._wall(), self._busy(), self._own()

    def used(self, begun: int, ended: int, shortest: float) -> tuple[float, float]:
        """Processors that others used between two wall times (ns), told over ``shortest`` seconds at least where the marks reach
        so far, and the seconds that it was told over."""
        self.mark()
        marks = list(self._marks)
        times = [wall for wall, _, _ in marks]
        last = min(bisect_left(times, ended), len(marks) - 1)
        first = max(bisect_right(times, begun, hi=last) - 1, 0)
        while times[last] - times[first] < shortest * 1e9:
            if first:
                first -= 1
            elif last < len(marks) - 1:
                last += 1
            else:
                break
        (since, busy_then, own_then), (until, busy, own) = marks[first], marks[last]
        seconds = max((until - since) / 1e9, 1e-9)
        return max(0.0, (busy - busy_then) - (own - own_then)) / seconds, seconds

    def share(self, begun: int) -> float:
        """The foreign share (0 to 1) since the wall time ``begun`` (ns), over 0.2 s at least; 0 where it cannot be told yet."""
        self.mark()
        until, busy, own = self._marks[-1]
        for since, busy_then, own_then in reversed(self._marks):
            seconds = (until - since) / 1e9
            if since <= begun and seconds >= SHORTEST:
                foreign = (busy - busy_then) - (own - own_then)
                return max(0.0, foreign / (seconds * self.processors))
        return 0.0


def _busy_seconds() -> float:
    """CPU seconds that all processors spent working since boot (waiting for I/O is no work)."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # guest time is contained in user, guest_nice in nice
    return float(
        sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0) - getattr(times, "steal", 0.0)
    )


def _processors() -> int:
    return psutil.cpu_count() or 1
