"""What the rounds of one test come to: samples, their summary, and what a reader must know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pytest_joules import stats
from pytest_joules.measure.apportion import Block
from pytest_joules.measure.meter import EXACT, PLAIN_TICKS, Bounds, Meter, Window
from pytest_joules.model import DISTURBED, Effort, Measurement, Phases, Provenance, Reading, Resolution, Sample, Summary

#: Rounds under ``auto``.
LEAST, MOST = 5, 20


@dataclass(slots=True)
class Round:
    """The readings of one round."""

    setup: tuple[Reading, Reading] | None = None
    body: Window | None = None
    teardown: tuple[Reading, Reading] | None = None
    shared: bool = False
    """Others used the machine meanwhile."""
    joules: Sequence[float | None] = ()
    """Of the body, by channel, once computed."""


@dataclass(slots=True)
class Summariser:
    """Turns rounds into a measurement. ``notes`` are short sentences for the report."""

    meter: Meter
    effort: Effort
    idle_watts: float | None = None
    notes: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)
    """By domain, why a reading failed."""

    def joules(self, entry: Round) -> Sequence[float | None]:
        """Joules of the round's body by channel."""
        if not entry.joules and entry.body is not None:
            entry.joules = self.meter.joules(entry.body)
            self._take_troubles()
        return entry.joules

    def _take_troubles(self) -> None:
        for source in self.meter.sources:
            self.troubles.update(source.trouble)

    def of_rounds(self, nodeid: str, rounds: Sequence[Round]) -> Measurement:
        """Each round was read by itself. Samples that others disturbed are left out if enough are left without them.

        Of a number of rounds that was asked for, half is enough; but an estimate, which others hardly disturb, has all of them.
        """
        windows = [entry.body for entry in rounds if entry.body]
        if self.meter.settle(windows):
            for entry in rounds:
                entry.joules = ()
        samples = [self._sample(entry.body, self.joules(entry), shared=entry.shared) for entry in rounds if entry.body]
        clean = [sample for sample in samples if not sample.shared]
        asked = self.effort.rounds
        enough = LEAST if asked is None else max(min(asked, LEAST), (asked + 1) // 2)
        if len(clean) >= enough and len(clean) < len(samples) and not (asked and self._estimated):
            self.notes.append(f"{len(samples) - len(clean)} of {len(samples)} rounds left out, others used the machine")
            samples = clean
        bounds, phases = self.meter.bounds(windows), self._phases(rounds)
        self.meter.settle(())
        return self._measurement(nodeid, samples, "ok", len(rounds), phases=phases, bounds=bounds)

    def of_one(self, nodeid: str, entry: Round) -> Measurement:
        """Only one round was run, perhaps not even aligned: better than nothing where it can be resolved."""
        window = entry.body
        assert window is not None
        if window.seconds < (self.meter.alone_seconds if window.start is not None else PLAIN_TICKS * self.meter.tick):
            return self._below(nodeid, [window])
        sample = self._sample(window, self.joules(entry), shared=entry.shared)
        return self._measurement(nodeid, [sample], "ok", 1, bounds=self.meter.bounds([window]))

    def of_block(self, nodeid: str, rounds: Sequence[Round], window: Window, *, shared: bool) -> Measurement:
        """The rounds were too short to be read one by one: the joules of all of them together are shared out."""
        bodies = [entry.body for entry in rounds if entry.body is not None]
        if window.seconds < self.meter.block_seconds * 0.99:
            return self._below(nodeid, bodies)
        block = Block(self.meter, window)
        self._take_troubles()
        samples = [
            self._sample(
                _together(bodies[a:b]),
                [value / (b - a) if value is not None else None for value in block.shared_out(bodies[a:b])],
                rounds=b - a,
                shared=shared,
            )
            for a, b in _groups(len(bodies), self.effort.rounds or MOST)
        ]
        uncertainty = block.uncertainty(bodies)
        phases = Phases(
            block.phase([Window(*entry.setup) for entry in rounds if entry.setup]),
            block.phase(bodies),
            block.phase([Window(*entry.teardown) for entry in rounds if entry.teardown]),
        )
        if self.meter.total(block.joules) is not None:
            self.notes.append(f"apportioned, ±{100 * uncertainty:.2g} %")
        cpu = stats.median([body.cpu_seconds for body in bodies])
        own = self.meter.own_cpu / cpu if cpu > 0 else None
        return self._measurement(
            nodeid,
            samples,
            "apportioned",
            len(bodies),
            uncertainty=uncertainty,
            phases=phases,
            own_share=own,
            bounds=self.meter.bounds([window]),
        )

    def _below(self, nodeid: str, bodies: Sequence[Window]) -> Measurement:
        self.notes.append(
            f"below the counter's resolution ({self.meter.tick * 1e3:.3g} ms a tick): if the test can be called again at once, "
            "mark it @pytest.mark.energy(iterations=N)"
        )
        nothing: list[float | None] = [None] * len(self.meter.channels)
        samples = [
            self._sample(_together(bodies[a:b]), nothing, rounds=b - a)
            for a, b in _groups(len(bodies), self.effort.rounds or MOST)
        ]
        return self._measurement(nodeid, samples, "below", len(bodies))

    # Summing up

    def _sample(self, window: Window, joules: Sequence[float | None], *, shared: bool = False, rounds: int = 1) -> Sample:
        """``window`` spans ``rounds`` rounds, ``joules`` are those of one."""
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

    def _phases(self, rounds: Sequence[Round]) -> Phases:
        """Medians; a phase too short for the counter as it is stays ``None``."""

        def joules(stretches: list[Window]) -> float | None:
            if not stretches:
                return None
            if self.meter.tick and stats.median([w.seconds for w in stretches]) < PLAIN_TICKS * self.meter.tick:
                return None
            return stats.median_of_known([self.meter.total(self.meter.joules(window)) for window in stretches])

        return Phases(
            joules([Window(*entry.setup) for entry in rounds if entry.setup]),
            stats.median_of_known([self.meter.total(self.joules(entry)) for entry in rounds]),
            joules([Window(*entry.teardown) for entry in rounds if entry.teardown]),
        )

    def _measurement(
        self,
        nodeid: str,
        samples: list[Sample],
        resolution: Resolution,
        rounds: int,
        *,
        uncertainty: float = 0.0,
        phases: Phases | None = None,
        own_share: float | None = None,
        bounds: Bounds = EXACT,
    ) -> Measurement:
        phases = phases or Phases()
        energies = [sample.energy for sample in samples if sample.energy is not None]
        summary = stats.widened(stats.summarise(energies, uncertainty), bounds.total)
        names = [channel.domain.name for channel in self.meter.channels]
        domains: dict[str, Summary | None] = {
            name: summary
            if len(names) == 1
            else stats.widened(stats.summarise(_of_domain(samples, name), uncertainty), bounds.of(name))
            for name in names
        }
        if self.meter.attributes and summary is not None:
            self.notes.append(_attributed(bounds))
        powers = [sample.energy / sample.duration for sample in samples if sample.energy is not None and sample.duration > 0]
        provenance = self._provenance(samples, known=summary is not None)
        if provenance == "estimated" and sum(sample.shared for sample in samples) > len(samples) / 4:
            # Fewer hardly move the median.
            self.notes.append(DISTURBED)
        if own_share is None and summary is not None:
            own_share = self.meter.own_joules / self.effort.iterations / summary["median"]
        missing = len(samples) - len(energies)
        if missing and resolution != "below" and self.meter.counts:
            reasons = _reasons(self.meter, self.troubles)
            self.notes.append(f"{missing} of {len(samples)} rounds gave no number ({reasons or 'not above 0 J'})")
        return Measurement(
            nodeid=nodeid,
            source="+".join(source.name for source in self.meter.sources),
            provenance=provenance,
            resolution=resolution,
            rounds=rounds,
            iterations=self.effort.iterations,
            samples=samples,
            energy=summary,
            duration=stats.summarise([sample.duration for sample in samples]),
            power=stats.widened(stats.summarise(powers, uncertainty), bounds.total),
            tsc=stats.summarise([sample.tsc for sample in samples if sample.tsc is not None]),
            domains=domains,
            phases=Phases(
                phases.setup, phases.call / self.effort.iterations if phases.call is not None else None, phases.teardown
            ),
            net_energy=_net(samples, self.idle_watts),
            own_share=own_share,
            notes=self.notes,
        )

    @property
    def _estimated(self) -> bool:
        return any(source.provenance == "estimated" and source.domains for source in self.meter.sources)

    def _provenance(self, samples: Sequence[Sample], *, known: bool) -> Provenance:
        if not known:
            return "unavailable"
        if self._estimated:
            return "estimated"
        if self.meter.attributes:
            return "attributed"
        return "shared" if any(sample.shared for sample in samples) else "measured"


def _net(samples: Sequence[Sample], idle_watts: float | None) -> float | None:
    if idle_watts is None:
        return None
    return stats.median_of_known(
        [sample.energy - idle_watts * sample.duration if sample.energy is not None else None for sample in samples]
    )


def _of_domain(samples: Sequence[Sample], name: str) -> list[float]:
    return [value for sample in samples if (value := sample.domains.get(name)) is not None]


def _reasons(meter: Meter, troubles: Mapping[str, str]) -> str:
    """Why readings of what adds to the total failed."""
    counting = {channel.domain.name for channel in meter.channels if meter.in_total(channel)}
    return "; ".join(f"{domain}: {trouble}" for domain, trouble in troubles.items() if domain in counting)


def _attributed(bounds: Bounds) -> str:
    low, high = (100 * (factor - 1) for factor in bounds.total)
    about = f"{low:+.2g} to {high:+.2g} % by what those draw, in the interval"
    return f"own share, others used {bounds.others:.2g} processors: {about}"


def _groups(rounds: int, samples: int) -> list[tuple[int, int]]:
    """Borders of at most ``samples`` groups of consecutive rounds, alike in size to within one."""
    count = min(rounds, samples)
    borders = [round(rounds * number / count) for number in range(count + 1)]
    return list(pairwise(borders))


def _together(windows: Sequence[Window]) -> Window:
    """A window as long as all of ``windows`` together; its counters mean nothing."""
    first = windows[0].before
    wall = first.wall + sum(window.after.wall - window.before.wall for window in windows)
    tsc = first.tsc + sum(window.after.tsc - window.before.tsc for window in windows)
    return Window(first, Reading(wall, 0, tsc, first.counters))
