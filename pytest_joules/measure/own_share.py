"""This process tree's own share of counters that count for the whole machine, where others use it too.

Of a window of T seconds, with E joules, c CPU seconds of this process tree and o of all others, the machine drawing w watts when
idle, and others r times as much in a CPU second as this process tree does:

    own = E - (E - w T) r o / (c + r o)

which is what the counter would have shown had this process tree been alone: the idle draw whole, and of what is above it the part
that falls to its CPU seconds. ``r`` is taken for 1 (sharing by CPU time, as Kepler does), and may be anything between 1/4 and 4
unless the test's own rounds tell more. docs/own-share.md says what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from pytest_joules import stats
from pytest_joules.clock import CLOCKS, Clocks
from pytest_joules.measure.meter import EXACT, PLAIN_TICKS, Bounds, Channel, Edge, Meter, Window
from pytest_joules.measure.other_load import OtherLoad
from pytest_joules.measure.two_watts import Rates, ratio_of
from pytest_joules.model import Reading
from pytest_joules.sources.base import Domain, Source
from pytest_joules.sources.process_tree import ProcessTree

#: The ratio of others' watts in a CPU second to ours: at least, taken, at most. Sharing by CPU time alone is said to be wrong by
#: a factor of 2 to 3; this is a little more.
RATIOS = (0.25, 1.0, 4.0)
#: Seconds over which the CPU time of others is told, and that a block of short rounds spans: the kernel shows it in steps of
#: 10 ms.
SHORTEST = 0.5
#: CPU seconds by which the others' may be misread over any time: a step at each end.
STEP = 0.02
#: Seconds of sleeping, from which the idle watts are learnt beside the others; and of spinning: CPU seconds, and seconds at most.
ASLEEP, SPINNING, LONGEST = 1.0, 0.5, 2.0
#: The machine is busier while this process spins than while it sleeps. By so many times what may be misread of it at least, and
#: to be content with: where others take what this process leaves, sleeping changes nothing. It is tried so often.
LEAST_APART, APART, TRIES = 3.0, 7.0, 4


def divides(source: Source, domain: Domain) -> bool:
    """Whether a domain's joules can be divided by CPU time: a GPU's cannot, and a model's are this process tree's already."""
    return source.provenance == "measured" and domain.follows == "cpu"


def possible(sources: Sequence[Source]) -> bool:
    """Whether any joules of a total can be divided."""
    return any(divides(source, domain) for source in sources for domain in source.domains if source.in_total(domain))


def share(joules: float, idle: float, own_cpu: float, others_cpu: float, ratio: float = 1.0) -> float:
    """Own joules of a window (see the module); ``idle`` in joules, the others in CPU seconds. Between 0 and ``joules``."""
    above = max(0.0, joules - max(0.0, idle))
    theirs, all_of_it = ratio * others_cpu, own_cpu + ratio * others_cpu
    return joules - above * (theirs / all_of_it) if all_of_it > 0 else joules


@dataclass(frozen=True, slots=True)
class Background:
    """What a channel showed while this process slept and while it span, beside the others."""

    asleep: float
    """Watts."""
    spinning: float
    """Watts."""
    others: tuple[float, float]
    """Processors that others used then and then."""
    own: tuple[float, float]
    """Processors that this process used."""
    seconds: tuple[float, float]
    """That it slept and span."""

    @property
    def apart(self) -> float:
        """By how many processors the machine was busier while this process span, over what may be misread of that."""
        more = self.own[1] - self.own[0] + self.others[1] - self.others[0]
        return more / (STEP / self.seconds[0] + STEP / self.seconds[1])

    @property
    def most(self) -> float:
        """Watts that the idle machine draws at most."""
        return max(0.0, min(self.asleep, self.spinning))

    def idle_watts(self, ratio: float, misread: float = 0.0) -> float | None:
        """Watts of the machine with nobody there, if others draw ``ratio`` times as much in a CPU second as spinning does.

        asleep = w + k (own + r others), spinning likewise, solved for k and w. ``misread``: CPU seconds more of others while
        asleep, and fewer while spinning. ``None`` where the others went while this process came: k cannot be told.
        """
        load = max(0.0, self.own[0] + ratio * (self.others[0] + misread / self.seconds[0]))
        more = self.own[1] + ratio * (self.others[1] - misread / self.seconds[1]) - load
        if self.apart < LEAST_APART or more <= 0:
            return None
        return max(0.0, self.asleep - max(0.0, (self.spinning - self.asleep) / more) * load)


@dataclass(frozen=True, slots=True)
class Part:
    """Of a channel's joules in a window: ours, and the least and the most that may be ours."""

    own: float
    least: float
    most: float


class OwnMeter(Meter):
    """A meter whose joules are this process tree's share."""

    attributes = True

    def __init__(
        self,
        sources: Sequence[Source],
        tsc: Callable[[], int],
        clocks: Clocks = CLOCKS,
        *,
        own_seconds: Callable[[], float] | None = None,
        busy_seconds: Callable[[], float] | None = None,
        processors: int | None = None,
    ) -> None:
        super().__init__(sources, tsc, clocks)
        own = own_seconds or ProcessTree().seconds
        self._cpu = self._cpu_at_borders = lambda: round(own() * 1e9)
        self.load = OtherLoad(own, busy_seconds, processors, clocks.wall, kept=1024)
        self._backgrounds: list[Background | None] = []
        """By channel; empty until calibrated: until then the joules are the machine's."""
        self._ratios = RATIOS

    @property
    def block_seconds(self) -> float:
        return max(SHORTEST, super().block_seconds)

    @property
    def alone_seconds(self) -> float:
        """Longer than alignment alone asks for: what spinning to a tick drew is not known as well, as others drew meanwhile."""
        return PLAIN_TICKS * self.tick

    @property
    def idle_total(self) -> float | None:
        """Watts of the total with nobody there, if others draw as much in a CPU second as this process tree."""
        idle = [self._idle(place, RATIOS[1]) for place in range(len(self.channels))]
        return self.total(idle) if self._backgrounds else None

    # Calibration

    def calibrate(self) -> None:
        """As the plain meter, and learn what the machine draws beside others (1.5 s more, 12 s where they leave no room)."""
        self._backgrounds = []
        super().calibrate()
        best, found = -1.0, self._backgrounds
        for _ in range(TRIES):
            tried = self._background()
            known = [background.apart for background in tried if background is not None]
            if not found or (known and known[0] > best):
                best, found = known[0] if known else -1.0, tried
            if not known or best >= APART:
                break
        self._backgrounds = found
        self.channels = tuple(
            replace(channel, idle_watts=min(self._idle(place, RATIOS[1]) or 0.0, channel.spin_watts))
            if self._divided(channel)
            else channel
            for place, channel in enumerate(self.channels)
        )

    def _background(self) -> list[Background | None]:
        asleep, watts = self._watts(lambda: self.clocks.sleep(ASLEEP))
        spinning, busy_watts = self._watts(self._spin)
        own, others, seconds = zip(asleep, spinning, strict=True)
        return [
            Background(idle, busy, others, own, seconds)
            if idle is not None and busy is not None and self._divided(channel)
            else None
            for channel, idle, busy in zip(self.channels, watts, busy_watts, strict=True)
        ]

    def _spin(self) -> None:
        until, enough = self.clocks.wall() + round(LONGEST * 1e9), self._cpu() + round(SPINNING * 1e9)
        while self.clocks.wall() < until and self._cpu() < enough:
            pass

    def _watts(self, work: Callable[[], None]) -> tuple[tuple[float, float, float], list[float | None]]:
        """Processors used meanwhile by us and by others, the seconds that it took, and watts by channel."""
        before, (begun, busy_then, own_then) = self.read(), self.load.look()
        work()
        after, (ended, busy, own) = self.read_after(), self.load.look()
        seconds = (ended - begun) / 1e9
        window = Window(before, after)
        watts = [None if value is None else value / window.seconds for value in self._as_read(before, after)]
        return ((own - own_then) / seconds, max(0.0, busy - busy_then - (own - own_then)) / seconds, seconds), watts

    # Sharing

    def open(self, *, align: bool) -> tuple[Reading, Edge | None]:
        self.load.mark()  # what others did before is not to be heard
        return super().open(align=align)

    def joules(self, window: Window) -> list[float | None]:
        return [None if part is None else part.own for part in self._parts(window, super().joules(window))]

    def between(self, before: Reading, after: Reading) -> list[float | None]:
        window = Window(before, after)
        return [None if part is None else part.own for part in self._parts(window, self._as_read(before, after))]

    def settle(self, windows: Sequence[Window]) -> bool:
        """Narrow the ratio by rounds beside which others did more and less; those of one test, or none to forget them."""
        before, self._ratios = self._ratios, RATIOS
        if self._backgrounds and (found := ratio_of([rates for window in windows if (rates := self._rates(window))])):
            low, _, high = RATIOS
            least, ratio, most = (min(max(value, low), high) for value in found)
            if most > least:
                self._ratios = (least, ratio, most)
        return self._ratios != before

    def bounds(self, windows: Sequence[Window]) -> Bounds:
        found = [self._parts(window, super(OwnMeter, self).joules(window)) for window in windows]
        used = [self._others(window)[0] / window.seconds for window in windows if window.seconds > 0]
        if not used or not self._backgrounds:
            return EXACT
        counted = [self.in_total(channel) for channel in self.channels]
        return Bounds(
            _factors([list(compress(parts, counted)) for parts in found]),
            {channel.domain.name: _factors([[parts[n]] for parts in found]) for n, channel in enumerate(self.channels)},
            stats.median(used),
        )

    def _divided(self, channel: Channel) -> bool:
        return divides(self.sources[channel.source], channel.domain)

    def _others(self, window: Window) -> tuple[float, float]:
        """CPU seconds of others in a window, and how far that may be off."""
        rate, told_over = self.load.used(window.before.wall, window.after.wall, SHORTEST)
        return rate * window.seconds, STEP * window.seconds / told_over

    def _idle(self, place: int, ratio: float, misread: float = 0.0) -> float | None:
        background = self._backgrounds[place] if self._backgrounds else None
        return None if background is None else background.idle_watts(ratio, misread)

    def _parts(self, window: Window, joules: Sequence[float | None]) -> list[Part | None]:
        """Each channel's part. What cannot be divided is ours as a whole."""
        if not self._backgrounds or all(value is None for value in joules):
            return [None if value is None else Part(value, value, value) for value in joules]
        others, off = self._others(window)
        return [
            None
            if value is None
            else self._part(place, value, window, others, off)
            if value > 0 and self._divided(channel)
            else Part(value, value, value)
            for place, (channel, value) in enumerate(zip(self.channels, joules, strict=True))
        ]

    def _part(self, place: int, joules: float, window: Window, others: float, off: float) -> Part:
        """``others``: CPU seconds in the window, to within ``off``."""
        low, ratio, high = self._ratios
        watts = self._idle(place, ratio), self._idle(place, high, STEP), self._idle(place, low, -STEP)
        # Idle watts that could not be told are anything from nothing to what was seen with this process asleep, or to all.
        background = self._backgrounds[place]
        highest = joules if background is None else background.most * window.seconds
        middle, least, most = (
            unknown if known is None else known * window.seconds
            for known, unknown in zip(watts, (0.0, 0.0, highest), strict=True)
        )
        own = share(joules, middle, window.cpu_seconds, others, ratio)
        return Part(
            own,
            min(own, share(joules, least, window.cpu_seconds, others + off, high)),
            max(own, share(joules, most, window.cpu_seconds, max(0.0, others - off), low)),
        )

    def _rates(self, window: Window) -> Rates | None:
        """A round's watts and processors over those asleep, where it lasts long enough to know what others did in it."""
        joules = super().joules(window)
        backgrounds = [
            (background, value)
            for channel, background, value in zip(self.channels, self._backgrounds, joules, strict=True)
            if background is not None and self.in_total(channel)
        ]
        if window.seconds < SHORTEST / 2 or not backgrounds or any(value is None for _, value in backgrounds):
            return None
        others, _ = self._others(window)
        first = backgrounds[0][0]
        return Rates(
            sum((value or 0.0) / window.seconds - background.asleep for background, value in backgrounds),
            window.cpu_seconds / window.seconds - first.own[0],
            others / window.seconds - first.others[0],
        )


def _factors(windows: Sequence[Sequence[Part | None]]) -> tuple[float, float]:
    """The least and the most over what was taken, each the median of the windows; 1 and 1 where nothing is known."""
    least, most = [], []
    for parts in windows:
        known = [part for part in parts if part is not None]
        own = sum(part.own for part in known)
        if own > 0:
            least.append(sum(part.least for part in known) / own)
            most.append(sum(part.most for part in known) / own)
    return (stats.median(least), stats.median(most)) if least else (1.0, 1.0)
