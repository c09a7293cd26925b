"""Rounds too short to be read one by one: the joules of a block of them are shared out."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_joules.measure.meter import Channel, Meter, Window


class Block:
    """A stretch of time and its joules by channel. Parts of it are windows of it, in the order of time."""

    def __init__(self, meter: Meter, window: Window) -> None:
        self.joules = meter.joules(window)
        self._meter = meter
        self._window = window

    def shared_out(self, parts: Sequence[Window]) -> list[float | None]:
        """Joules by channel that fall to ``parts`` of a block; continuous sources were read around each part."""
        wall = sum(part.seconds for part in parts)
        cpu = sum(part.cpu_seconds for part in parts)
        direct = self._summed(parts)
        return [
            apportion(channel, joules, self._window, wall, cpu) if self._steps(channel) else plain
            for channel, joules, plain in zip(self._meter.channels, self.joules, direct, strict=True)
        ]

    def _steps(self, channel: Channel) -> bool:
        return self._meter.sources[channel.source].tick > 0

    def _summed(self, parts: Sequence[Window]) -> list[float | None]:
        sums: list[float | None] = [0.0] * len(self._meter.channels)
        for part in parts:
            for place, value in enumerate(self._meter.joules(part)):
                known = sums[place]
                sums[place] = None if known is None or value is None else known + value
        return sums

    def phase(self, parts: Sequence[Window]) -> float | None:
        """Mean joules of one of these parts."""
        total = self._meter.total(self.shared_out(parts)) if parts else None
        return total / len(parts) if total is not None else None

    def uncertainty(self, bodies: Sequence[Window]) -> float:
        """Relative: the counter's step at both ends, and how far apart sharing by CPU time alone and by wall time alone lie."""
        total = self._meter.total(self.joules)
        apportioned = self._meter.total(self.shared_out(bodies))
        if total is None or apportioned is None:
            return 0.0
        window = self._window
        by_wall = total * sum(body.seconds for body in bodies) / window.seconds
        by_cpu = total * sum(body.cpu_seconds for body in bodies) / window.cpu_seconds if window.cpu_seconds > 0 else by_wall
        rule = abs(by_cpu - by_wall) / 2 / apportioned
        # An aligned block misses a step by the time between two looks at most; 5 % of a tick is more than that.
        step = 0.05 * self._meter.tick / window.seconds
        return float((rule**2 + step**2) ** 0.5)


def apportion(channel: Channel, joules: float | None, window: Window, wall: float, cpu: float) -> float | None:
    """The share of a block's joules that falls to bodies of ``wall`` and ``cpu`` seconds in all.

    What the machine draws when idle is shared out by wall time, the rest by CPU time (for a GPU, all of it by wall time).
    """
    if joules is None or window.seconds <= 0:
        return None
    if channel.domain.follows == "time" or window.cpu_seconds <= 0:
        return joules * wall / window.seconds
    idle = min(channel.idle_watts * window.seconds, joules)
    return idle * wall / window.seconds + (joules - idle) * cpu / window.cpu_seconds
