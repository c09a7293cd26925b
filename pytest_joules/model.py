"""The data: what one reading, one sample and one measurement hold, and how a measurement becomes a report record.

Units are SI throughout: joules, seconds, watts. ``None`` means *unavailable*; a zero is never used for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

SCHEMA = "pytest-joules/1"

Provenance = Literal["measured", "shared", "estimated", "unavailable"]
Resolution = Literal["ok", "apportioned", "below"]

#: A report record: one entry of ``tests`` in the report JSON. Plain JSON types only, so that it crosses process borders.
Record = dict[str, Any]

#: Where a record counts how often the functions of its code ran: all functions that are not the project's.
OTHER = "<other>"
#: The property of a teardown's report that is a note on its test: found when the call report, with the record, had gone.
LATE_NOTE = "energy_late_note"
#: The note of a test that has one round, or fewer than were asked for; its group is why.
FEWER_ROUNDS = re.compile(r"(?:one round|\d+ rounds)(?: of \d+)?: (.*)")
#: The note of a test whose repeat did not pass; its group is why.
NOT_AGAIN = re.compile(r"(?:round|block) \d+ .*did not pass.*")

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

    def as_record(self) -> Record:
        return {
            **{"energy": self.energy, "duration": self.duration, "tsc": self.tsc, "domains": dict(self.domains)},
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
    energy: Record | None
    """Summary of the samples' joules (see :func:`pytest_joules.stats.summarise`), or ``None``."""
    duration: Record | None
    power: Record | None
    tsc: Record | None
    domains: dict[str, Record | None]
    phases: Phases = field(default_factory=Phases)
    net_energy: float | None = None
    """Median joules above idle, where the idle power was measured."""
    own_share: float | None = None
    """What reading itself costs, relative to the median; ``None`` where that is not known."""
    regions: Record = field(default_factory=dict)
    work: Record = field(default_factory=dict)
    scores: Record = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What a reader must know of this number, one short sentence each."""

    def as_record(self) -> Record:
        """The test's entry in the report; the outcome and the verdicts are filled in by who knows them."""
        record = empty_record(self.nodeid)
        record.update(
            source=self.source,
            provenance=self.provenance,
            resolution=self.resolution,
            rounds=self.rounds,
            iterations=self.iterations,
            energy=self.energy,
            duration=self.duration,
            power=self.power,
            tsc=self.tsc,
            domains=self.domains,
            samples=[sample.as_record() for sample in self.samples],
            phases={"setup": self.phases.setup, "call": self.phases.call, "teardown": self.phases.teardown},
            net_energy=self.net_energy,
            own_share=self.own_share,
            regions=self.regions,
            work=self.work,
            scores=self.scores,
            notes=list(self.notes),
        )
        return record


def empty_record(nodeid: str) -> Record:
    """The record of a test of which nothing was measured."""
    return {
        "nodeid": nodeid,
        "outcome": None,
        "source": None,
        "provenance": "unavailable",
        "resolution": None,
        "rounds": 0,
        "iterations": 1,
        "energy": None,
        "duration": None,
        "power": None,
        "tsc": None,
        "domains": {},
        "samples": [],
        "phases": {"setup": None, "call": None, "teardown": None},
        "net_energy": None,
        "own_share": None,
        "regions": {},
        "work": {},
        "scores": {},
        "budget": None,
        "comparison": None,
        "prediction": None,
        "code": None,
        "cached": None,
        "notes": [],
    }


def measured(record: Record) -> Measurement:
    """A measurement that travelled as a record."""
    return Measurement(
        **{name: record[name] for name in ("nodeid", "source", "provenance", "resolution", "rounds", "iterations")},
        **{name: record[name] for name in ("energy", "duration", "power", "tsc", "domains", "notes")},
        samples=[Sample(**sample) for sample in record["samples"]],
    )


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the report says of a source."""

    name: str
    provenance: Provenance
    domains: tuple[str, ...]
    resolution_s: float | None
    """Seconds between two updates of the counter; 0 where it is continuous."""
    uncertainty: float | None
    """Relative; 0.4 means ±40 %. ``None`` where the maker declares none."""
    why: str
    """How it measures, and why a better source was not taken."""

    def as_record(self) -> Record:
        return {
            "name": self.name,
            "provenance": self.provenance,
            "domains": list(self.domains),
            "resolution_s": self.resolution_s,
            "uncertainty": self.uncertainty,
            "why": self.why,
        }


@dataclass(slots=True)
class Report:
    """One session: the shared facts once, and a record for each test."""

    created: str
    """ISO 8601, UTC."""
    machine: Record
    commit: Record | None
    settings: Record
    sources: list[Record]
    tests: list[Record] = field(default_factory=list)
    session: Record = field(default_factory=dict)
    """Totals of the session: ``seconds`` and ``joules`` spent, ``idle_watts`` where measured."""
    comparison: Record | None = None
    """What the session was compared with: ``baseline``, ``created``, ``commit``, ``threshold``, ``counts`` by verdict, node ids
    that are ``new`` or ``gone``, ``renamed`` ones (before: now), ``why`` there are no verdicts, ``notes`` of what else differs.
    ``None`` where it was not."""

    versions: Record = field(default_factory=dict)
    """Of what measured, see :func:`pytest_joules.machine.versions`."""
    extra: Record = field(default_factory=dict)
    """Whatever third parties add."""

    def as_record(self) -> Record:
        record = {
            "schema": SCHEMA,
            "created": self.created,
            "machine": self.machine,
            "versions": self.versions,
            "commit": self.commit,
            "settings": self.settings,
            "sources": self.sources,
            "session": self.session,
            "comparison": self.comparison,
            "tests": self.tests,
        }
        if self.extra:
            record["extra"] = self.extra
        return record

    def replace(self, record: Record) -> None:
        """Take over what others made of :meth:`as_record`.

        Raises:
            ValueError: it has not the form of a report any more; nothing was taken over.
        """
        names = ("created", "machine", "versions", "commit", "settings", "sources", "session", "comparison", "tests")
        strange = record.keys() - {"schema", "extra", *names}
        if strange:
            raise ValueError(f"{', '.join(sorted(strange))}: things of your own belong under extra")
        missing = [name for name in names if name not in record]
        for test in record.get("tests", ()):
            missing += [f"{name} of {test.get('nodeid', 'a test')}" for name in empty_record("") if name not in test]
        if missing:
            raise ValueError(f"it left out {', '.join(missing[:3])}: make a value None instead")
        for name in names:
            setattr(self, name, record[name])
        self.extra = record.get("extra", {})


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


Phase = Literal["setup", "call", "teardown"]


#: The note of an estimate that was made beside other processes.
DISTURBED = "other processes used the machine meanwhile"


#: What the reason begins with where a test is over its budget, and only nobody can vouch for that.
WOULD_BE = "would be "
