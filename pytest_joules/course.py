"""The rounds of one test, from the first warm-up to its measurement: what to read, when it is enough, what it comes to.

Which way a test is measured follows from how long its body lasts and how its counters move:

``plain``       counters that move continuously (a model of CPU time) or only in jumps are read at the body's borders
``aligned``     a body of three ticks or more: spin to a tick at both ends, the spin taken off
``block``       a shorter one: rounds go on until they span 50 ms together, and the block's joules are shared out to the bodies
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_joules import stats
from pytest_joules.collector import Collector
from pytest_joules.foreign import LIMIT, ForeignLoad
from pytest_joules.meter import ALIGNED_TICKS, PLAIN_TICKS, Channel, Edge, Meter, Window
from pytest_joules.model import Measurement, Phases, Provenance, Reading, Record, Resolution, Sample
from pytest_joules.repeat import Phase
from pytest_joules.settings import Effort

#: Rounds under ``auto``.
LEAST, MOST = 5, 20
#: ``auto`` stops when the median's 95 % interval is within this of the median.
PRECISION = 0.02
#: Setup and teardown are read in this many rounds: they stand beside the test's energy, not for it.
PHASES = 2
#: Rounds in a row without a number before a test is given up.
GIVE_UP = 3


@dataclass(slots=True)
class _Round:
    """The readings of one round."""

    setup: tuple[Reading, Reading] | None = None
    body: Window | None = None
    teardown: tuple[Reading, Reading] | None = None
    shared: bool = False
    joules: Sequence[float | None] = ()
    """Of the body, by channel, once computed."""


@dataclass(slots=True)
class Progress:
    """For a person who waits."""

    rounds: int
    target: int
    seconds_left: float
    precision: float


class Course:
    """Goes with the rounds of one test (see :class:`pytest_joules.repeat.Course`) and turns them into a measurement."""

    def __init__(
        self,
        meter: Meter,
        effort: Effort,
        *,
        foreign: ForeignLoad | None = None,
        quiesce: Callable[[], object] | None = None,
        progress: Callable[[Progress], None] | None = None,
        idle_watts: float | None = None,
        repeatable: bool = True,
    ) -> None:
        self.meter = meter
        self.effort = effort
        self.foreign = foreign
        self.idle_watts = idle_watts
        self.notes: list[str] = []
        self.enough = False
        self._quiesce = quiesce
        self._progress = progress
        self._wall = meter.clocks.wall
        self._collector = Collector()
        self._begun = self._wall()
        self._warmups_left = effort.warmup if repeatable else 0
        self._mode: Literal["plain", "aligned", "block"] = "aligned" if meter.tick else "plain"
        self._current = _Round()
        self._before: Reading | None = None
        self._start: Edge | None = None
        self._phase_begun: Reading | None = None
        self._spare: _Round | None = None
        self._rounds: list[_Round] = []
        self._energies: list[float] = []
        self._missing = 0
        self._block: tuple[Reading, Edge | None] | None = None
        self._block_window: Window | None = None
        self._troubles: dict[str, str] = {}
        self._round_begun = self._begun
        self._longest = 0
        if repeatable and not effort.warmup:
            self._measuring_begins()

    # What the rounds tell

    def begin(self, phase: Phase) -> None:
        if phase == "setup":
            self._round_begun = self._wall()
            self._current = _Round()
            last = self._rounds[-1] if self._rounds else self._spare
            self._collector.settle(int(last.body.seconds * 1e9) if last is not None and last.body is not None else 0)
            if self._mode == "block" and not self._warmups_left and self._block is None:
                self._block = self.meter.open_block()
        if phase != "call" and not self._warmups_left and len(self._rounds) < PHASES:
            self._phase_begun = self.meter.glance_before() if self._block is not None else self.meter.read()

    def end(self, phase: Phase) -> None:
        if phase == "call" or self._phase_begun is None:
            return
        ended = self.meter.glance_after() if self._block is not None else self.meter.read_after()
        stretch = (self._phase_begun, ended)
        self._phase_begun = None
        if phase == "setup":
            self._current.setup = stretch
        else:
            self._current.teardown = stretch
            self._longest = max(self._longest, self._wall() - self._round_begun)

    def enter(self) -> None:
        """The body begins."""
        if self._block is not None:
            self._before, self._start = self.meter.glance_before(), None
        else:
            self._before, self._start = self.meter.open(align=self._mode == "aligned" and not self._warmups_left)

    def leave(self) -> None:
        """The body has ended."""
        if self._before is None:
            return
        if self._quiesce is not None:
            self._quiesce()
        if self._block is not None:
            self._current.body = Window(self._before, self.meter.glance_after())
        else:
            self._current.body = self.meter.close(self._before, self._start)
        self._collector.look(self._current.body.after.wall - self._before.wall)
        self._before = None

    @property
    def measuring(self) -> bool:
        """Whether the rounds that have ended counted (the first warm-ups do not)."""
        return bool(self._rounds)

    def another(self) -> bool:
        """After a call that passed: whether another round is to follow."""
        self._longest = max(self._longest, self._wall() - self._round_begun)
        if self._current.body is None:
            return False
        if self._warmups_left:
            self._warmups_left -= 1
            self._spare = self._current
            if not self._time_left():
                return False
            if not self._warmups_left:
                self._measuring_begins(self._current.body.seconds)
            return True
        if self.foreign is not None:
            self._current.shared = self.foreign.share(self._round_begun) > LIMIT
        self._rounds.append(self._current)
        if self._mode == "aligned" and self._too_short(self._current.body.seconds):
            # Nobody warmed up, so the mode was a guess: what was read is no sample.
            self._rounds.clear()
            self._mode = "block"
            return self._time_left()
        self.enough = self._block_is_enough() if self._mode == "block" else self._rounds_are_enough()
        if self._progress is not None and not self.enough:
            self._tell()
        return not self.enough and self._time_left()

    # Deciding

    def _measuring_begins(self, seconds: float | None = None) -> None:
        if self._mode != "aligned":
            return
        if seconds is not None and self._too_short(seconds):
            self._mode = "block"
        elif seconds is not None:
            self.meter.refresh_spin()

    def _too_short(self, seconds: float) -> bool:
        return seconds < ALIGNED_TICKS * self.meter.tick

    def _time_left(self) -> bool:
        """Whether a round like the longest so far still fits."""
        return self._wall() - self._begun + self._longest <= self.effort.max_time * 1e9

    def _rounds_are_enough(self) -> bool:
        number = len(self._rounds)
        total = self.meter.total(self._joules(self._rounds[-1]))
        self._take_troubles()
        counting = any(channel.domain.counts for channel in self.meter.channels)
        if counting and total is None:
            self._missing += 1
            if self._missing >= GIVE_UP and not self._energies:
                return True
        elif not self._rounds[-1].shared:
            self._energies.append(total if total is not None else self._window(self._rounds[-1]).seconds)
        clean = len(self._energies)
        if self.effort.rounds is not None:
            return clean >= self.effort.rounds or number >= 2 * self.effort.rounds
        if clean >= MOST or number >= 2 * MOST:
            return True
        return clean >= LEAST and stats.relative_half_width(self._energies) <= PRECISION

    def _block_is_enough(self) -> bool:
        assert self._block is not None
        number = len(self._rounds)
        if (self._wall() - self._block[0].wall) / 1e9 < self.meter.block_seconds:
            return False
        if self.effort.rounds is not None:
            if number < self.effort.rounds or number % self.effort.rounds:
                return False
        elif number < LEAST or (number > MOST and number % MOST):
            return False
        elif number < MOST:
            shares = [body.cpu_seconds for body in self._bodies()]
            if stats.relative_half_width(shares) > PRECISION:
                return False
        if (
            self.foreign is not None
            and self._time_left()
            and self.foreign.share(self._block[0].wall) > LIMIT
            and not self._missing
        ):
            # Others were running: one more block, if time allows.
            self._missing = 1
            self._rounds.clear()
            self._block = None
            return False
        return True

    def _tell(self) -> None:
        assert self._progress is not None
        number = len(self._rounds)
        target = self.effort.rounds or MOST
        spent = (self._wall() - self._begun) / 1e9
        left = min(max(target - number, 0) * self._longest / 1e9, max(self.effort.max_time - spent, 0.0))
        precision = stats.relative_half_width(self._energies) if len(self._energies) > 1 else float("inf")
        self._progress(Progress(number, max(target, number), left, precision))

    def _bodies(self) -> list[Window]:
        return [entry.body for entry in self._rounds if entry.body is not None]

    def _joules(self, entry: _Round) -> Sequence[float | None]:
        if not entry.joules:
            entry.joules = self.meter.joules(self._window(entry))
        return entry.joules

    @staticmethod
    def _window(entry: _Round) -> Window:
        assert entry.body is not None
        return entry.body

    def _take_troubles(self) -> None:
        for source in self.meter.sources:
            self._troubles.update(source.trouble)

    # What it comes to

    def measurement(self, nodeid: str) -> Measurement | None:
        """The measurement of the rounds so far; ``None`` if no body was ever seen."""
        if self._mode == "block" and self._block is not None and self._block_window is None:
            self._block_window = self.meter.close_block(*self._block)
        rounds = self._rounds
        if not rounds:
            spare = self._spare or (self._current if self._current.body is not None else None)
            if spare is None:
                return None
            return self._from_spare(nodeid, spare)
        if self._mode == "block":
            return self._from_block(nodeid)
        samples = [self._sample(self._window(entry), self._joules(entry), entry.shared) for entry in rounds]
        self._take_troubles()
        clean = [sample for sample in samples if not sample.shared]
        if self._enough_clean(len(clean)):
            samples = clean
        return self._measurement(nodeid, samples, "ok", len(rounds), 0.0, self._phases())

    def _enough_clean(self, clean: int) -> bool:
        return clean >= (self.effort.rounds or LEAST)

    def _from_spare(self, nodeid: str, spare: _Round) -> Measurement:
        """Only a warm-up round or one that did not pass was run: it is better than nothing where it can be resolved."""
        window = self._window(spare)
        unresolved = self.meter.tick > 0 and (
            self._too_short(window.seconds) if window.start is not None else window.seconds < PLAIN_TICKS * self.meter.tick
        )
        joules: Sequence[float | None] = [None] * len(self.meter.channels) if unresolved else self.meter.joules(window)
        self._take_troubles()
        if self.effort.warmup and not unresolved:
            self.notes.append("one round, not warmed up")
        if unresolved:
            self.notes.append(self._remedy())
        sample = self._sample(window, joules, spare.shared)
        return self._measurement(nodeid, [sample], "below" if unresolved else "ok", 1, 0.0, Phases())

    def _remedy(self) -> str:
        return (
            f"below the counter's resolution ({self.meter.tick * 1e3:.3g} ms a tick): if the test can be called again at once, "
            "mark it @pytest.mark.energy(iterations=N)"
        )

    def _from_block(self, nodeid: str) -> Measurement:
        window = self._block_window
        assert window is not None
        bodies = self._bodies()
        groups = _groups(len(bodies), self.effort.rounds or MOST)
        if window.seconds < self.meter.block_seconds * 0.99:
            self.notes.append(self._remedy())
            nothing: list[float | None] = [None] * len(self.meter.channels)
            samples = [self._sample(_mean_window(bodies[a:b]), nothing, False, b - a) for a, b in groups]
            return self._measurement(nodeid, samples, "below", len(bodies), 0.0, Phases())
        shared = self.foreign is not None and self.foreign.share(window.before.wall) > LIMIT
        block = self.meter.joules(window)
        self._take_troubles()
        uncertainty = self._apportioning_uncertainty(window, bodies, block)
        samples = []
        for a, b in groups:
            wall = sum(body.seconds for body in bodies[a:b])
            cpu = sum(body.cpu_seconds for body in bodies[a:b])
            plain = self._mean_joules(bodies[a:b])
            values = self._shared_out(block, window, wall, cpu, plain)
            per_round = [value / (b - a) if value is not None else None for value in values]
            samples.append(self._sample(_mean_window(bodies[a:b]), per_round, shared, b - a))
        return self._measurement(nodeid, samples, "apportioned", len(bodies), uncertainty, self._block_phases(window, block))

    def _mean_joules(self, windows: Sequence[Window]) -> list[float | None]:
        """Joules by channel summed over ``windows``; ``None`` where one is missing."""
        sums: list[float | None] = [0.0] * len(self.meter.channels)
        for window in windows:
            for place, value in enumerate(self.meter.joules(window)):
                known = sums[place]
                sums[place] = None if known is None or value is None else known + value
        return sums

    def _stepping(self, channel: Channel) -> bool:
        return self.meter.sources[channel.source].tick > 0

    def _shared_out(
        self, block: Sequence[float | None], window: Window, wall: float, cpu: float, direct: Sequence[float | None]
    ) -> list[float | None]:
        """What of the block falls to bodies of ``wall`` and ``cpu`` seconds; continuous sources were read ``direct``."""
        return [
            _apportion(channel, joules, window, wall, cpu) if self._stepping(channel) else plain
            for channel, joules, plain in zip(self.meter.channels, block, direct, strict=True)
        ]

    def _apportioning_uncertainty(self, window: Window, bodies: Sequence[Window], block: Sequence[float | None]) -> float:
        """Relative: the counter's step at both ends, and how far apart sharing by CPU time alone and by wall time alone lie."""
        total = self.meter.total(block)
        if total is None:
            return 0.0
        wall = sum(body.seconds for body in bodies)
        cpu = sum(body.cpu_seconds for body in bodies)
        apportioned = [
            _apportion(channel, joules, window, wall, cpu) or 0.0
            for channel, joules in zip(self.meter.channels, block, strict=True)
            if channel.domain.counts and self._stepping(channel)
        ]
        shared = sum(apportioned)
        by_cpu = total * cpu / window.cpu_seconds if window.cpu_seconds else 0.0
        by_wall = total * wall / window.seconds
        rule = abs(by_cpu - by_wall) / 2 / shared if shared > 0 else 0.0
        # An aligned block misses a step by the time between two looks at most; 5 % of a tick is more than that.
        step = 0.05 * self.meter.tick / window.seconds
        return float((rule**2 + step**2) ** 0.5)

    def _sample(self, window: Window, joules: Sequence[float | None], shared: bool, rounds: int = 1) -> Sample:
        n = self.effort.iterations
        total = self.meter.total(joules)
        return Sample(
            energy=total / n if total is not None else None,
            duration=window.seconds / n / rounds,
            tsc=(window.after.tsc - window.before.tsc) / n / rounds,
            domains={
                channel.domain.name: value / n if value is not None and value > 0 else None
                for channel, value in zip(self.meter.channels, joules, strict=True)
            },
            shared=shared,
        )

    def _phases(self) -> Phases:
        """Medians; a phase too short for the counter as it is stays ``None``."""

        def joules(stretches: list[tuple[Reading, Reading]]) -> float | None:
            windows = [Window(before, after) for before, after in stretches]
            if not windows:
                return None
            if self.meter.tick and stats.median([w.seconds for w in windows]) < PLAIN_TICKS * self.meter.tick:
                return None
            values = [self.meter.total(self.meter.joules(window)) for window in windows]
            known = [value for value in values if value is not None]
            return stats.median(known) if known else None

        bodies = [self.meter.total(self._joules(entry)) for entry in self._rounds]
        known = [value for value in bodies if value is not None]
        return Phases(
            joules([entry.setup for entry in self._rounds if entry.setup]),
            stats.median(known) if known else None,
            joules([entry.teardown for entry in self._rounds if entry.teardown]),
        )

    def _block_phases(self, window: Window, block: Sequence[float | None]) -> Phases:
        def joules(stretches: list[Window]) -> float | None:
            if not stretches:
                return None
            wall = sum(stretch.seconds for stretch in stretches)
            cpu = sum(stretch.cpu_seconds for stretch in stretches)
            direct = self._mean_joules(stretches)
            values = self._shared_out(block, window, wall, cpu, direct)
            total = self.meter.total(values)
            return total / len(stretches) if total is not None else None

        return Phases(
            joules([Window(*entry.setup) for entry in self._rounds if entry.setup]),
            joules(self._bodies()),
            joules([Window(*entry.teardown) for entry in self._rounds if entry.teardown]),
        )

    def _measurement(
        self, nodeid: str, samples: list[Sample], resolution: Resolution, rounds: int, uncertainty: float, phases: Phases
    ) -> Measurement:
        energies = [sample.energy for sample in samples if sample.energy is not None]
        summary = stats.summarise(energies, uncertainty)
        names = [channel.domain.name for channel in self.meter.channels]
        domains: dict[str, Record | None] = {
            name: summary
            if len(names) == 1
            else stats.summarise([value for sample in samples if (value := sample.domains.get(name)) is not None], uncertainty)
            for name in names
        }
        powers = [sample.energy / sample.duration for sample in samples if sample.energy is not None and sample.duration > 0]
        if resolution == "apportioned" and summary is not None:
            self.notes.append(f"apportioned, ±{100 * uncertainty:.2g} %")
        missing = len(samples) - len(energies)
        if missing and resolution != "below" and any(channel.domain.counts for channel in self.meter.channels):
            reasons = "; ".join(f"{domain}: {trouble}" for domain, trouble in self._troubles.items())
            self.notes.append(f"{missing} of {len(samples)} rounds gave no number ({reasons or 'no counter'})")
        ticks = [sample.tsc for sample in samples if sample.tsc is not None]
        return Measurement(
            nodeid=nodeid,
            source="+".join(source.name for source in self.meter.sources),
            provenance=self._provenance(samples, summary is not None),
            resolution=resolution,
            rounds=rounds,
            iterations=self.effort.iterations,
            samples=samples,
            energy=summary,
            duration=stats.summarise([sample.duration for sample in samples]),
            power=stats.summarise(powers, uncertainty),
            tsc=stats.summarise(ticks),
            domains=domains,
            phases=Phases(phases.setup, _per(phases.call, self.effort.iterations), phases.teardown),
            net_energy=self._net(samples),
            notes=self.notes,
        )

    def _provenance(self, samples: Sequence[Sample], known: bool) -> Provenance:
        if not known:
            return "unavailable"
        if any(source.provenance == "estimated" and source.domains for source in self.meter.sources):
            return "estimated"
        return "shared" if any(sample.shared for sample in samples) else "measured"

    def _net(self, samples: Sequence[Sample]) -> float | None:
        if self.idle_watts is None:
            return None
        above = [sample.energy - self.idle_watts * sample.duration for sample in samples if sample.energy is not None]
        return stats.median(above) if above else None


def _per(value: float | None, iterations: int) -> float | None:
    return value / iterations if value is not None else None


def _apportion(channel: Channel, joules: float | None, window: Window, wall: float, cpu: float) -> float | None:
    """The share of a block's joules that falls to bodies of ``wall`` and ``cpu`` seconds in all.

    What the machine draws when idle is shared out by wall time, the rest by CPU time (for a GPU, all of it by wall time).
    """
    if joules is None or window.seconds <= 0:
        return None
    if channel.domain.follows == "time" or window.cpu_seconds <= 0:
        return joules * wall / window.seconds
    idle = min(channel.idle_watts * window.seconds, joules)
    return idle * wall / window.seconds + (joules - idle) * cpu / window.cpu_seconds


def _groups(rounds: int, samples: int) -> list[tuple[int, int]]:
    """Borders of at most ``samples`` groups of consecutive rounds, alike in size to within one."""
    count = min(rounds, samples)
    borders = [round(rounds * number / count) for number in range(count + 1)]
    return list(zip(borders, borders[1:], strict=False))


def _mean_window(windows: Sequence[Window]) -> Window:
    """A window as long as all of ``windows`` together; its counters are not used."""
    first = windows[0].before
    wall = first.wall + sum(window.after.wall - window.before.wall for window in windows)
    cpu = first.cpu + sum(window.after.cpu - window.before.cpu for window in windows)
    tsc = first.tsc + sum(window.after.tsc - window.before.tsc for window in windows)
    return Window(first, Reading(wall, cpu, tsc, first.counters))
