"""What a history hands out and takes in: plain JSON types with named fields. Units are SI; ``None`` means *unavailable*.

Each entry was checked when it was read (:mod:`pytest_joules.store.checked`). Times (``created``) are ISO 8601, UTC.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

from pytest_joules.model import (
    BudgetRecord,
    Code,
    CommitRecord,
    CountRecord,
    PhasesRecord,
    PredictionRecord,
    Provenance,
    Record,
    RegionRecord,
    ReportedPredicting,
    Resolution,
    WorkRecord,
)

#: A function or a statement in one version: its place (``path::qualname``) and the hash of its text.
Version = tuple[str, str]


class Within(NamedTuple):
    """Which sessions of a history are asked for: ``None`` is no limit."""

    since: str | None = None
    """Created then or later: ISO 8601, UTC."""
    machine_id: str | None = None


class Columns(TypedDict):
    """What all measurements say of themselves."""

    outcome: str | None
    """``passed``, ``failed``, ..."""
    source: str | None
    """Names of the sources, joined by ``+``."""
    provenance: Provenance
    resolution: Resolution | None
    rounds: int
    iterations: int


class Facts(TypedDict, total=False):
    """What else a test's record said, as in :class:`pytest_joules.model.Record`; what said nothing is left out."""

    phases: PhasesRecord
    net_energy: float
    own_share: float
    regions: dict[str, RegionRecord]
    work: dict[str, WorkRecord]
    scores: dict[str, float | None]
    budget: BudgetRecord
    prediction: PredictionRecord
    instructions: CountRecord
    notes: list[str]


class KeptFacts(Facts, total=False):
    """And what no record says."""

    counting: str
    """Of what decided the instructions besides the code: counts of the same can be compared."""


class _SampleLists(TypedDict):
    energy: list[float | None]
    """Joules."""
    duration: list[float | None]
    """Seconds."""
    tsc: list[float | None]
    """Ticks of the time stamp counter."""
    domains: dict[str, list[float | None]]
    """Joules by domain."""


class SampleLists(_SampleLists, total=False):
    """The samples of a measurement: one list each, all of one length, per iteration, to 9 digits."""

    block: list[int]
    """Which block of rounds it is of, from 1; left out where there was one."""


class MedianEnergy(TypedDict):
    median: float
    """Joules per iteration."""
    ci95: list[float] | None
    """Both ends of its 95 % interval, in joules."""


class MedianDuration(TypedDict):
    median: float
    """Seconds per iteration."""


class _Measured(Columns):
    nodeid: str
    session: int
    """The session's number in this history."""
    created: str
    machine_id: str | None
    machine: dict[str, object]
    """As :class:`pytest_joules.model.MachineRecord`, as far as that version wrote it."""
    settings: dict[str, object]
    sources: list[object]
    """As :class:`pytest_joules.model.SourceRecord`, as far as that version wrote it."""
    plugin_version: str
    commit: CommitRecord | None
    samples: SampleLists
    energy: MedianEnergy | None
    duration: MedianDuration | None


class HistoryRecord(_Measured, KeptFacts):
    """One measurement of a test, of :meth:`pytest_joules.store.Store.history`."""

    code: Code | None


class OverviewRecord(TypedDict):
    """A test, of :meth:`pytest_joules.store.Store.overview`; all but ``count`` is of its latest measurement."""

    nodeid: str
    count: int
    """Of its measurements."""
    created: str
    energy_median: float | None
    """Joules per iteration."""
    instructions: int | None
    """Where no joules were measured."""
    provenance: Provenance


class LatestRecord(TypedDict):
    """The newest measurement of a test, of :meth:`pytest_joules.store.Store.latest`."""

    nodeid: str
    created: str
    joules: float
    """Median per iteration."""
    seconds: float | None
    """Median per iteration."""
    source: str | None
    """Names of the sources, joined by ``+``."""
    provenance: Provenance
    rounds: int
    iterations: int
    code: Code
    files: dict[str, str]
    """Digests of the project's files as they were, by path."""


class LatestCode(Record):
    """The newest measurement of a test as it was written, of :meth:`pytest_joules.store.Store.latest_code`; has ``code``."""

    created: str


class VersionRecord(TypedDict):
    """A measurement of a test whose code is known, of :meth:`pytest_joules.store.Store.versions`."""

    nodeid: str
    created: str
    session: int
    """The session's number in this history."""
    machine_id: str | None
    source: str | None
    """Names of the sources, joined by ``+``."""
    provenance: Provenance
    joules: float | None
    """Median per iteration."""
    seconds: float | None
    """Median per iteration."""
    tsc: float | None
    """Ticks of the time stamp counter, median per iteration."""
    code: Code


class SessionEntry(TypedDict):
    """What one session measured of a test, of :meth:`pytest_joules.store.Store.sessions_of`."""

    created: str
    fingerprint: str | None
    """Of the code."""
    median: float
    """Joules per iteration."""


class PastPrediction(PredictionRecord):
    """What was predicted of a test, of :meth:`pytest_joules.store.Store.predictions`."""

    nodeid: str
    session: int
    """The session's number in this history."""
    created: str


class PastPredicting(ReportedPredicting):
    """The predictor's account of a session, of :meth:`pytest_joules.store.Store.predictings`."""

    created: str


class SessionRow(TypedDict):
    """The columns of a session that its beginning fills in; objects are JSON texts."""

    created: str
    machine_id: str | None
    machine: str
    commit_id: str | None
    commit_dirty: bool | None
    settings: str
    sources: str
    plugin_version: str
    uuid: str | None
    """The same in every database that the session is copied to."""


class MeasurementRow(Columns):
    """A measurement as it is written; objects are JSON texts."""

    nodeid: str
    test_id: int
    code: Code | None
    code_id: int | None
    number: int
    """Within its session."""
    energy_median: float | None
    """Joules per iteration, as both ends of its interval."""
    energy_low: float | None
    energy_high: float | None
    duration_median: float | None
    """Seconds per iteration."""
    samples: str
    facts: str
