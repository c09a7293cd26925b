"""What the process does that keeps a ring of readings: look at each counter just after it stepped, and at little else.

Imported by a bare interpreter: only the standard library's small modules.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from pytest_joules.sources.base import MOST_WATTS
from pytest_joules.sources.sampling_process import detach, end_of, shared_words

#: Readings of a counter that are kept.
CAPACITY = 30_000
#: Words of a counter before its readings: how many were written since the start.
HEAD = 1
#: Words of a counter; a reading is its time in nanoseconds and what was counted since the start in microjoules.
SIZE = HEAD + 2 * CAPACITY
#: In place of microjoules: what was drawn since the reading before cannot be told.
GAP = -1

#: Nanoseconds between two readings, if looking is cheap enough.
_INTERVAL = 10_000_000
#: Of a core, what all looking may take.
_SHARE = 0.0055
#: Nanoseconds to learn when a counter steps: of one that steps every millisecond, and of a slow one.
_QUICK, _SLOW = 12_000_000, 400_000_000
#: Nanoseconds between two looks at a counter whose steps were not found.
_UNKNOWN = 10_000_000
#: A look that takes longer was interrupted: its time says nothing of the step.
_INTERRUPTED = 150_000
_SLOW_TICK = 5_000_000

_wall = time.perf_counter_ns


class Failed(Exception):
    """The counter gives no value now."""


class Counter:
    """One counter and what was learnt of its steps.

    Args:
        read: its value in microjoules, :class:`Failed` where there is none
        span: where it wraps, microjoules
        most_watts: more than it can draw
        words: where its ring lies
        base: its first word
    """

    def __init__(self, read: Callable[[], int], span: int | None, most_watts: float, words: memoryview, base: int) -> None:
        self.read, self.span, self.most_watts = read, span, most_watts
        self._words, self._base = words, base
        self._written = 0
        self._last: tuple[int, int] | None = None
        self._counted = 0
        self._tick = 0
        """Nanoseconds between two steps; 0 where they are not known."""
        self._anchor = self._stepped = self._steps = 0
        """A step, the last one, and how many lie between them."""
        self._margin = 100_000
        self._tries = 0
        self._expected = 0
        self._learnt = 0
        self.due = 0
        """When to look next."""

    def learn(self) -> None:
        """Watch it until it has stepped some times."""
        began = _wall()
        self._learnt = began
        steps: list[int] = []
        try:
            value = self.read()
            while (passed := _wall() - began) < _SLOW and len(steps) < (4 if passed > _QUICK else 6):
                if passed > _QUICK:
                    time.sleep(0.001)
                now = self.read()
                if now != value:
                    steps.append(_wall())
                    value = now
        except Failed:
            steps = []
        gaps = sorted(later - sooner for sooner, later in pairwise(steps))
        self._tick = gaps[len(gaps) // 2] if len(gaps) > 1 else 0
        if self._tick < 200_000:
            self._tick = 0  # it is continuous: any time is as good
        self._expected = self.due = _wall()
        if self._tick:
            self._margin = max(100_000, self._tick // 10)
            self._anchor = self._stepped = steps[-1]
            self._steps = 0
            self._expect(steps[-1], 1)

    def look(self, interval: int) -> None:
        """Take a reading, or find that the step was missed; say when to look next."""
        try:
            if self._tick:
                self._await_step(interval)
            else:
                before = _wall()
                value = self.read()
                self._note((before + _wall()) // 2, value)
                self.due = before + max(interval, _UNKNOWN)
                if self._counted and before - self._learnt > 2_000_000_000:
                    self.learn()
        except Failed:
            self._gap()
            self.due = _wall() + interval

    def _await_step(self, interval: int) -> None:
        slow = self._tick > _SLOW_TICK
        # Later than that it has stepped before the first look, or its steps have drifted.
        until = self._expected + self._tick // 16 + 20_000
        before = _wall()
        if before > until:
            self._missed(before)
            return
        value = self.read()
        while True:
            if slow:
                time.sleep(self._tick / 50e9)
            sooner = before
            before = _wall()
            now = self.read()
            after = _wall()
            if now != value:
                break
            if after > until:
                self._missed(after)
                return
        if after - sooner > max(_INTERRUPTED, self._tick // 20) and self._tries < 5:
            self._tries += 1
            self._expect(self._expected, (after - self._expected) // self._tick + 1)
            return
        self._tries = 0
        stepped = (sooner + after) // 2
        late = stepped - self._expected
        # Over many steps, or an error of one look would move the next expectation by as many times as there are steps until then.
        self._steps += max(1, round((stepped - self._stepped) / self._tick))
        self._stepped = stepped
        if abs(late) > self._tick // 4 or self._steps > 50_000:
            self._anchor, self._steps = stepped, 0
        else:
            self._tick = (stepped - self._anchor) // self._steps
        least = 40_000 if not slow else self._tick // 20
        self._margin = max(self._margin * 15 // 16, least)
        self._note(stepped, now)
        # No further ahead than it was watched: else steps would be miscounted, and the tick with them.
        steps = min(max(1, round(interval / self._tick)), max(2, self._steps))
        if steps > 7:
            steps += self._written * 7 % 5 - 2  # not in step with what the program does every so many milliseconds
        self._expect(stepped, steps)

    def _missed(self, now: int) -> None:
        self._margin = min(self._margin * 5 // 4, self._tick // 2)
        self._tries += 1
        if self._tries > 20:
            self._tries = 0
            self._note(_wall(), self.read())
            self.learn()
        else:
            self._expect(self._expected, max(1, (now + self._margin - self._expected) // self._tick + 1))

    def _expect(self, step: int, later: int) -> None:
        self._expected = step + later * self._tick
        self.due = self._expected - self._margin

    def _note(self, at: int, value: int) -> None:
        last = self._last
        self._last = at, value
        if last is not None:
            change = value - last[1]
            if change < 0 and self.span is not None:
                change += self.span
            # 1 W for 1 ns is 1e-3 µJ
            if not 0 <= change <= self.most_watts * (at - last[0] + 2 * self._tick + 1_000_000) * 1e-3:
                self._write(at, GAP)
            else:
                self._counted += change
        self._write(at, self._counted)

    def _gap(self) -> None:
        if self._last is not None:
            self._last = None
            self._write(_wall(), GAP)

    def _write(self, at: int, microjoules: int) -> None:
        slot = self._base + HEAD + 2 * (self._written % CAPACITY)
        self._words[slot], self._words[slot + 1] = at, microjoules
        self._written += 1
        self._words[self._base] = self._written


def run(arguments: Sequence[str]) -> None:
    """Read all counters until the end.

    Args:
        arguments: the file to share, the process to serve, and as JSON for each counter its path or ``null``, its NVML index or
            ``null``, where it wraps, and more watts than it can draw. The first word is the time of the last look.
    """
    file, owner = arguments[0], int(arguments[1])
    given = json.loads(arguments[2])
    detach()
    if sys.platform == "linux":
        # Else each sleep is 50 µs too long.
        ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)
    words = shared_words(file)
    counters = []
    for number, (path, index, span, most_watts) in enumerate(given):
        read = _file(path) if path is not None else _board(index)
        counters.append(Counter(read, span, most_watts, words, 1 + SIZE * number))
    for counter in counters:
        counter.learn()
    words[0] = _wall()
    ended = end_of(owner)
    interval, looked, spent = _INTERVAL, _wall(), time.process_time_ns()
    while True:
        counter = min(counters, key=lambda each: each.due)
        if ended(max(0, counter.due - _wall()) / 1e9):
            return
        counter.look(interval)
        now = words[0] = _wall()
        if now - looked > 250_000_000:
            # Less often where looking costs more.
            cpu = time.process_time_ns()
            interval = min(max(_INTERVAL, int(interval * (cpu - spent) / (now - looked) / _SHARE)), 6 * _INTERVAL)
            looked, spent = now, cpu


def _file(path: str) -> Callable[[], int]:
    """A reader of the counter in a file."""
    descriptor = -1

    def read() -> int:
        nonlocal descriptor
        try:
            if descriptor < 0:
                descriptor = os.open(path, os.O_RDONLY)
            return int(os.pread(descriptor, 32, 0))
        except (OSError, ValueError):
            if descriptor >= 0:
                os.close(descriptor)
                descriptor = -1
            raise Failed from None

    return read


def _board(index: int) -> Callable[[], int]:
    """A reader of a board's counter, or of its power added up where it has none."""
    import pynvml

    pynvml.nvmlInit()
    handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)

    def counted() -> int:
        try:
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1000
        except pynvml.NVMLError:
            raise Failed from None

    total, last = 0.0, (0, 0.0)

    def integrated() -> int:
        nonlocal total, last
        try:
            watts = pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3
        except pynvml.NVMLError:
            last = 0, 0.0
            raise Failed from None
        if not 0 <= watts <= MOST_WATTS:
            last = 0, 0.0
            raise Failed
        now = _wall()
        if last[0]:
            total += (watts + last[1]) / 2 * (now - last[0]) * 1e-3
        last = now, watts
        return int(total)

    try:
        counted()
    except Failed:
        return integrated
    return counted
