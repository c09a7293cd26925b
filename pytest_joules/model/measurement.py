"""What one reading, one sample and one measurement hold.

Units are SI throughout: joules, seconds, watts. ``None`` means *unavailable*; a zero is never used for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from pytest_joules.model.records import (
    Record,
    RegionRecord,
    SampleRecord,
    Summary,
    WorkRecord,
    empty_record,
)
from pytest_joules.model.variant_records import ScoreRecord
from pytest_joules.model.words import Provenance, Resolution

#: A part of a round, as pytest calls them.
Phase = Literal["setup", "call", "teardown"]

#: What a source saw at one instant: one raw value a domain, ``None`` where the counter could not be read.
Counters = tuple[float | None, ...]


class Reading(NamedTuple):
    """The cumulative counters of every source in use at one instant, with its timestamps."""

    wall: int
    """Monotonic clock, nanoseconds."""
    cpu: int
    """CPU time of this process, all threads, nanoseconds; 0 where nobody asks for it."""
    tsc: int
    """Ticks of the time stamp counter."""
    counters: tuple[Counters, ...]
    """One entry a source, in the order of the meter's sources."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The difference of two readings over one round, per iteration.

    Where very short rounds were measured as one block, a sample is the mean of a group of consecutive rounds.
    """

    energy: float | None
    """Joules of all domains that count towards the total."""
    duration: float
    """Seconds of wall time."""
    tsc: float | None
    """Ticks of the time stamp counter."""
    domains: Mapping[str, float | None] = field(default_factory=dict)
    """Joules by domain."""
    shared: bool = False
    """Other processes used more than 5 % of the machine meanwhile."""
    block: int = 1
    """Which block of rounds it is of, from 1: blocks are apart in time, or in processes of their own."""

    def as_record(self) -> SampleRecord:
        return {
            "energy": self.energy,
            "duration": self.duration,
            "tsc": self.tsc,
            "domains": dict(self.domains),
            "block": self.block,
        }


@dataclass(frozen=True, slots=True)
class Phases:
    """Median joules of the three phases of a round; ``None`` where a phase was too short for the counter."""

    setup: float | None = None
    call: float | None = None
    teardown: float | None = None


@dataclass(slots=True)
class Measurement:
    """All samples of one test in one session, with their summary."""

    nodeid: str
    source: str
    """Names of the sources, joined by ``+``."""
    provenance: Provenance
    resolution: Resolution
    rounds: int
    """Measured rounds that were run (warm-up rounds excluded)."""
    iterations: int
    samples: Sequence[Sample]
    energy: Summary | None
    """Summary of the samples' joules (see :func:`pytest_joules.stats.summarise`), or ``None``."""
    duration: Summary | None
    power: Summary | None
    tsc: Summary | None
    domains: dict[str, Summary | None]
    phases: Phases = field(default_factory=Phases)
    net_energy: float | None = None
    """Median joules above idle, where the idle power was measured."""
    own_share: float | None = None
    """What reading itself costs, relative to the median; ``None`` where that is not known."""
    regions: dict[str, RegionRecord] = field(default_factory=dict)
    work: dict[str, WorkRecord] = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)
    score_details: dict[str, ScoreRecord] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What a reader must know of this number, one short sentence each."""

    def as_record(self) -> Record:
        """The test's entry in the report; the outcome and the verdicts are filled in by who knows them."""
        return {
            **empty_record(self.nodeid),
            "source": self.source,
            "provenance": self.provenance,
            "resolution": self.resolution,
            "rounds": self.rounds,
            "iterations": self.iterations,
            "energy": self.energy,
            "duration": self.duration,
            "power": self.power,
            "tsc": self.tsc,
            "domains": self.domains,
            "samples": [sample.as_record() for sample in self.samples],
            "phases": {"setup": self.phases.setup, "call": self.phases.call, "teardown": self.phases.teardown},
            "net_energy": self.net_energy,
            "own_share": self.own_share,
            "regions": self.regions,
            "work": self.work,
            "scores": self.scores,
            "score_details": self.score_details,
            "notes": list(self.notes),
        }


def measured(record: Record) -> Measurement:
    """A measurement that travelled as a record. Raises ``ValueError`` for that of a test of which nothing was measured."""
    source, resolution = record["source"], record["resolution"]
    if source is None or resolution is None:
        raise ValueError(f"{record['nodeid']}: nothing was measured")
    return Measurement(
        nodeid=record["nodeid"],
        source=source,
        provenance=record["provenance"],
        resolution=resolution,
        rounds=record["rounds"],
        iterations=record["iterations"],
        samples=[Sample(**sample) for sample in record["samples"]],
        energy=record["energy"],
        duration=record["duration"],
        power=record["power"],
        tsc=record["tsc"],
        domains=record["domains"],
        notes=record["notes"],
    )


@dataclass(frozen=True, slots=True)
class Effort:
    """How much measuring a test is worth."""

    rounds: int | None = None
    """``None`` for auto."""
    iterations: int = 1
    warmup: int = 1
    max_time: float = 10.0
    """Seconds, warm-up included."""
    bound: str = ""
    """What sets ``max_time``, in words, where that is not ``--energy-max-time``."""

    def within(self, seconds: float, bound: str) -> Effort:
        """The same in no more than ``seconds``, which ``bound`` sets."""
        return self if self.max_time <= seconds else replace(self, max_time=seconds, bound=bound)
