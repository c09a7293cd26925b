"""Readings and what lies between two of them: the counters' ticks, alignment to them, the power of spinning and of idling.

A RAPL counter shows a new value about once a millisecond. A window that is not aligned to these ticks misjudges short work, so
the meter spins to a tick at both ends and takes the spin's own energy off again (Hähnel et al. 2012, "Measuring energy
consumption for short code paths using RAPL").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pytest_joules.clock import CLOCKS, Clocks
from pytest_joules.model import Counters, Reading
from pytest_joules.sources.base import Domain, Source

#: A window of fewer ticks than this is not resolved even when it is aligned: its samples scatter by more than 5 %.
ALIGNED_TICKS = 3
#: A window of this many ticks is good to 1 % as it is.
PLAIN_TICKS = 50
#: For counters that tick slowly (GPUs: 20 to 100 ms) a block of rounds spans this many ticks at least.
SLOW_TICKS = 10
#: So many pairs of readings tell what reading costs.
_PAIRS = 15
#: A counter that has not moved for this many of its ticks (and 20 ms) stands still.
STILL_TICKS = 10


@dataclass(frozen=True, slots=True)
class Channel:
    """One domain of one source, as the meter knows it after calibration."""

    source: int
    index: int
    domain: Domain
    tick: float
    """Seconds between two steps of the counter as seen while calibrating; 0 where it moves continuously or not by itself."""
    spin_watts: float
    idle_watts: float


@dataclass(frozen=True, slots=True)
class Edge:
    """Where each ticking counter stood just after a step, and when that was."""

    at: tuple[tuple[int, ...], ...]
    counters: tuple[Counters, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """What was read around a piece of work: the readings at its borders and, where aligned, the ticks outside them."""

    before: Reading
    after: Reading
    start: Edge | None = None
    end: Edge | None = None

    @property
    def seconds(self) -> float:
        return (self.after.wall - self.before.wall) / 1e9

    @property
    def cpu_seconds(self) -> float:
        return (self.after.cpu - self.before.cpu) / 1e9


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of joules that are a share: how far the truth may be from them, as factors of them, below 1 and above 1."""

    total: tuple[float, float]
    domains: Mapping[str, tuple[float, float]]
    others: float = 0.0
    """Processors that others used meanwhile."""

    def of(self, domain: str) -> tuple[float, float]:
        return self.domains.get(domain, (1.0, 1.0))


#: Of joules that are no share.
EXACT = Bounds((1.0, 1.0), {})


class Meter:
    """Reads all sources in use at once."""

    attributes = False
    """Its joules are this process tree's share of what the counters saw."""

    def __init__(self, sources: Sequence[Source], tsc: Callable[[], int], clocks: Clocks = CLOCKS) -> None:
        self.sources = tuple(sources)
        self.clocks = clocks
        self._tsc = tsc
        self._wall = clocks.wall
        self._cpu = clocks.cpu
        self._cpu_at_borders: Callable[[], int] = lambda: 0
        self._readers = tuple(source.read for source in self.sources)
        self.channels = tuple(
            Channel(number, index, domain, 0.0, 0.0, 0.0)
            for number, source in enumerate(self.sources)
            for index, domain in enumerate(source.domains)
        )
        self.tick = 0.0
        """The slowest tick of a counter that adds to the total, seconds."""
        self.own_joules = self.own_cpu = 0.0
        """What of a body that does nothing is read, joules and CPU seconds: what reading itself costs."""

    @property
    def counts(self) -> bool:
        """Whether any domain adds to a total; the time stamp counter alone has none."""
        return any(map(self.in_total, self.channels))

    @property
    def estimates(self) -> bool:
        """Whether a model is part of the total."""
        return any(self.sources[channel.source].provenance == "estimated" for channel in self.channels if self.in_total(channel))

    def jumped(self) -> str:
        """Which counters of the total jumped between the readings last compared, and what they showed; empty where none did."""
        return "; ".join(
            f"{domain.name}: {source.trouble.get(domain.name, 'it jumped')}"
            for source in self.sources
            for domain in source.domains
            if source.in_total(domain) and domain.name in source.jumped
        )

    def in_total(self, channel: Channel) -> bool:
        """Whether the channel adds to the total. That two of them show one counter may be found out in mid-run."""
        return self.sources[channel.source].in_total(channel.domain)

    @property
    def block_seconds(self) -> float:
        """What a block of short rounds must span."""
        return max(0.050, (PLAIN_TICKS if self.tick <= 0.002 else SLOW_TICKS) * self.tick)

    @property
    def alone_seconds(self) -> float:
        """A body so long is read by itself, a shorter one in a block of rounds."""
        return ALIGNED_TICKS * self.tick

    def read(self) -> Reading:
        """All counters now. The clocks come last, so that what is between two readings' clocks is the work alone."""
        counters, cpu = self._counters(), self._cpu_at_borders()
        return Reading(self._wall(), cpu, self._tsc(), counters)

    def read_after(self) -> Reading:
        """As :meth:`read`, the clocks first: for the reading that ends a piece of work."""
        tsc, wall = self._tsc(), self._wall()
        return Reading(wall, self._cpu_at_borders(), tsc, self._counters())

    def glance_before(self) -> Reading:
        """The clocks and the continuous sources only, to begin with: inside a block the others are not looked at, as every look
        costs the test a few microseconds and tells nothing. The CPU clock comes last, which is what a block is shared out by."""
        counters, tsc, wall = self._continuous(), self._tsc(), self.clocks.wall()
        return Reading(wall, self._cpu(), tsc, counters)

    def glance_after(self) -> Reading:
        """The same to end with: the CPU clock first."""
        cpu, wall, tsc = self._cpu(), self.clocks.wall(), self._tsc()
        return Reading(wall, cpu, tsc, self._continuous())

    def _continuous(self) -> tuple[Counters, ...]:
        return tuple([source.read() if not source.tick else (None,) * len(source.domains) for source in self.sources])

    # Calibration

    def calibrate(self) -> None:
        """Learn what reading costs, which counters tick, how fast, and the power of spinning and of idling (0.1 s for RAPL, 1 s
        with a GPU)."""
        self._learn_own()
        nominal = max((source.tick for source in self.sources if source.domains), default=0.0)
        if not nominal:
            return
        self._learn_ticks(max(0.03, min(5 * nominal, 0.5)))
        if self.tick:
            self._learn_idle(max(0.06, 5 * self.tick))

    def _learn_own(self) -> None:
        """Medians over some pairs of readings with nothing between them."""
        joules, seconds = [], []
        for _ in range(_PAIRS):
            joules.append(self.total(self.joules(self.close(*self.open(align=False)))) or 0.0)
            seconds.append(Window(self.glance_before(), self.glance_after()).cpu_seconds)
        self.own_joules, self.own_cpu = sorted(joules)[_PAIRS // 2], sorted(seconds)[_PAIRS // 2]

    def _learn_ticks(self, seconds: float) -> None:
        deadline = self.clocks.wall() + int(seconds * 1e9)
        steps: list[list[tuple[int, tuple[Counters, ...]]]] = [[] for _ in self.channels]
        last = self._counters()
        while (now := self.clocks.wall()) < deadline:
            counters = self._counters()
            for channel, seen in zip(self.channels, steps, strict=True):
                if counters[channel.source][channel.index] != last[channel.source][channel.index]:
                    seen.append((now, counters))
            last = counters
        self.channels = tuple(self._ticking(channel, seen) for channel, seen in zip(self.channels, steps, strict=True))
        self.tick = max((channel.tick for channel in self.channels if channel.domain.counts), default=0.0)

    def _ticking(self, channel: Channel, steps: list[tuple[int, tuple[Counters, ...]]]) -> Channel:
        """The channel with its tick and spin power; without, if it did not step at least three times."""
        source = self.sources[channel.source]
        if len(steps) < 3 or not source.tick:
            return replace(channel, tick=0.0, spin_watts=0.0, idle_watts=0.0)
        gaps = sorted(later - earlier for (earlier, _), (later, _) in pairwise(steps))
        tick = gaps[len(gaps) // 2] / 1e9
        # Step by step, so that one that cannot be told costs only itself.
        joules = seconds = 0.0
        for (earlier, before), (later, after) in pairwise(steps):
            step = (later - earlier) / 1e9
            value = source.between(before[channel.source], after[channel.source], step)[channel.index]
            if value is not None:
                joules, seconds = joules + value, seconds + step
        # A counter that moves at every look is continuous for our purpose.
        if not seconds or tick < 50e-6:
            return replace(channel, tick=0.0, spin_watts=0.0, idle_watts=0.0)
        return replace(channel, tick=tick, spin_watts=joules / seconds, idle_watts=0.0)

    def _learn_idle(self, seconds: float) -> None:
        watts = self.idle_watts(seconds)
        self.channels = tuple(
            replace(channel, idle_watts=min(max(idle or 0.0, 0.0), channel.spin_watts))
            for channel, idle in zip(self.channels, watts, strict=True)
        )

    def refresh_spin(self) -> None:
        """Learn the power of spinning anew over five ticks: it drifts with clock speed and temperature."""
        if not 0 < self.tick <= 0.002:
            return
        first = self._edge()
        last = first
        deadline = self.clocks.wall() + int(5 * self.tick * 1e9)
        while self.clocks.wall() < deadline:
            last = self._edge()
        channels = []
        for channel in self.channels:
            seconds = (last.at[channel.source][channel.index] - first.at[channel.source][channel.index]) / 1e9
            watts = channel.spin_watts
            if channel.tick and seconds > 3 * channel.tick:
                before, after = first.counters[channel.source], last.counters[channel.source]
                joules = self.sources[channel.source].between(before, after, seconds)[channel.index]
                watts = joules / seconds if joules is not None else watts
            channels.append(replace(channel, spin_watts=watts, idle_watts=min(channel.idle_watts, watts)))
        self.channels = tuple(channels)

    def idle_watts(self, seconds: float) -> list[float | None]:
        """Watts by channel while this process sleeps for ``seconds``."""
        window = self.around(lambda: self.clocks.sleep(seconds))
        joules = self.joules(window)
        return [value / window.seconds if value is not None else None for value in joules]

    # Windows

    def around(self, work: Callable[[], object]) -> Window:
        """The window of ``work``, aligned where the counters tick."""
        before, start = self.open(align=True)
        work()
        return self.close(before, start)

    def open(self, *, align: bool) -> tuple[Reading, Edge | None]:
        start = self._edge() if align and self.tick else None
        return self.read(), start

    def open_block(self) -> tuple[Reading, Edge | None]:
        """As :meth:`open`, aligned and with the CPU time, which a block is shared out by."""
        start = self._edge()
        return self.read()._replace(cpu=self._cpu()), start

    def close_block(self, before: Reading, start: Edge | None) -> Window:
        after = self.read_after()._replace(cpu=self._cpu())
        return Window(before, after, start, self._edge())

    def close(self, before: Reading, start: Edge | None) -> Window:
        after = self.read_after()
        return Window(before, after, start, self._edge() if start is not None else None)

    def joules(self, window: Window) -> list[float | None]:
        """Joules of the work in ``window`` by channel: the spins at both ends taken off, ``None`` where it cannot be told."""
        plain = self._as_read(window.before, window.after)
        if window.start is None or window.end is None:
            return plain
        result: list[float | None] = []
        edges: dict[int, Counters] = {}
        for channel, as_read in zip(self.channels, plain, strict=True):
            number, index = channel.source, channel.index
            if not channel.tick:
                result.append(as_read)
                continue
            stepped, ended = window.start.at[number][index], window.end.at[number][index]
            if not stepped or not ended:
                self.sources[number].trouble.setdefault(channel.domain.name, "the counter stood still")
                result.append(None)
                continue
            if number not in edges:
                span = (max(window.end.at[number]) - min(filter(None, window.start.at[number]))) / 1e9
                edges[number] = self.sources[number].between(window.start.counters[number], window.end.counters[number], span)
            joules = edges[number][index]
            spun = (window.before.wall - stepped + ended - window.after.wall) / 1e9
            result.append(None if joules is None else joules - channel.spin_watts * spun)
        return result

    def between(self, before: Reading, after: Reading) -> list[float | None]:
        """Joules by channel between two readings, as they are."""
        return self._as_read(before, after)

    def settle(self, windows: Sequence[Window]) -> bool:
        """Learn from all rounds of a test together; whether that changes their joules."""
        return False

    def bounds(self, windows: Sequence[Window]) -> Bounds:
        """How far the truth may be from the joules of these windows, in the median."""
        return EXACT

    def _as_read(self, before: Reading, after: Reading) -> list[float | None]:
        seconds = (after.wall - before.wall) / 1e9
        return [
            value
            for source, first, last in zip(self.sources, before.counters, after.counters, strict=True)
            for value in source.between(first, last, seconds)
        ]

    def total(self, joules: Sequence[float | None]) -> float | None:
        """The sum over the domains that count; ``None`` if one of them is missing or the sum is not above zero."""
        total = 0.0
        for channel, value in zip(self.channels, joules, strict=True):
            if not self.in_total(channel):
                continue
            if value is None:
                return None
            total += value
        return total if total > 0 else None

    def _counters(self) -> tuple[Counters, ...]:
        return tuple([read() for read in self._readers])

    def _edge(self) -> Edge:
        """Spin until every ticking counter has stepped once. The time of a counter that does not is 0."""
        wall = self.clocks.wall
        counters = self._counters()
        values = [list(entry) for entry in counters]
        at = [[0] * len(entry) for entry in counters]
        pending = [channel for channel in self.channels if channel.tick]
        deadline = wall() + int(max(0.02, STILL_TICKS * max((channel.tick for channel in pending), default=0.0)) * 1e9)
        while pending:
            now = wall()
            if now > deadline:
                break
            counters = self._counters()
            waiting = []
            for channel in pending:
                number, index = channel.source, channel.index
                value = counters[number][index]
                if value is None or values[number][index] is None:
                    continue  # failed: the source says why, and its time stays 0
                if value == values[number][index]:
                    waiting.append(channel)
                else:
                    values[number][index] = value
                    at[number][index] = now
            pending = waiting
        return Edge(tuple(map(tuple, at)), tuple(map(tuple, values)))
