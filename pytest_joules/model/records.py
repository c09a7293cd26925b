"""The records: plain JSON types with named fields, as they travel between processes and stand in the report.

Units are SI: joules, seconds, watts. ``None`` means *unavailable*; a zero is never used for it. A record is made whole by one
function; where a key is filled in later, its one writer stands beside it. ``data/report.schema.json`` publishes the same form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

from pytest_joules.model.account_records import AccountRecord
from pytest_joules.model.count_records import CountingRecord, CountRecord
from pytest_joules.model.prediction_records import PredictionRecord, ReportedPredicting
from pytest_joules.model.variant_records import ScoreRecord, VariantRecord
from pytest_joules.model.words import BudgetVerdict, Provenance, Resolution, Verdict

SCHEMA = "pytest-joules/1"


class MedianRecord(TypedDict):
    """What is kept of samples where little is."""

    median: float
    ci95: list[float] | None
    """Both ends of the 95 % interval of the median."""


class Summary(MedianRecord):
    """Of samples, in their unit (see :func:`pytest_joules.stats.summarise`)."""

    mean: float
    stdev: float | None
    iqr: float
    """Interquartile range."""
    cv: float | None
    """Coefficient of variation."""


class SampleRecord(TypedDict):
    """One round, or the mean of a group of very short ones, per iteration."""

    energy: float | None
    """Joules of all domains that count towards the total."""
    duration: float
    """Seconds."""
    tsc: float | None
    """Ticks of the time stamp counter."""
    domains: dict[str, float | None]
    """Joules by domain."""
    block: int
    """Which block of rounds it is of, from 1."""


class PhasesRecord(TypedDict):
    """Median joules; ``None`` where a phase was too short for the counter."""

    setup: float | None
    call: float | None
    teardown: float | None


class RegionRecord(TypedDict):
    """What ``energy.measure(name)`` saw of a round."""

    energy: Summary | None
    duration: Summary | None


class WorkRecord(TypedDict):
    """What ``energy.work(unit=amount)`` said of a round."""

    amount: float | None
    joules_per_unit: float | None


class BudgetRecord(TypedDict):
    joules: float
    """That the test may cost."""
    verdict: BudgetVerdict
    why: str | None


class ComparisonRecord(TypedDict):
    """Of one test with the other side; made by :meth:`pytest_joules.judge.case.Comparison.as_record`."""

    baseline: str | None
    ratio: float | None
    """Joules now over joules before."""
    ci95: list[float] | None
    """Of the ratio."""
    p: float | None
    before: float | None
    """Joules."""
    now: float | None
    """Joules."""
    verdict: Verdict
    why: str | None
    floor: float | None
    """The smallest relative change that could have been told."""
    held: float | None
    """The relative threshold that it was held at, where noise raised it."""
    sessions: int
    """Earlier ones of the same code that were heard."""
    blocks: int
    changed: list[str]
    """What is changed and can be the cause, the likeliest first."""


class ReportedCode(TypedDict):
    """What a test executes, as a report has it."""

    fingerprint: str | None
    """Of all of it; ``None`` where something is not known."""
    unknown: list[str]
    """Why something is not."""


#: Calls out of the project that did not come back into it, by the place that makes them (``path::qualname``) and the callee as
#: its source names it (``re.compile``, ``.split``, ``len``): their number, the nanoseconds that they took, and how many others
#: of that name came back.
Outside: TypeAlias = Mapping[str, Mapping[str, Sequence[int]]]


class Code(ReportedCode, total=False):
    """What a test executes, as the history and a baseline keep it; made by :mod:`pytest_joules.session.tracking`."""

    functions: dict[str, str]
    """Hashes by ``path::qualname`` (and other places, such as ``<data files>``)."""
    counts: Mapping[str, Sequence[int]]
    """Calls and lines in a round, by the same names."""
    outside: Outside
    """What calls out of the project cost in that round."""


class HowMeasured(TypedDict):
    """How a test was measured: what two measurements must agree in to be compared."""

    source: str | None
    """Names of the sources, joined by ``+``."""
    provenance: Provenance
    resolution: Resolution | None
    rounds: int
    iterations: int
    notes: list[str]
    """What a reader must know of this number, one short sentence each."""


class _Record(HowMeasured):
    nodeid: str
    outcome: str | None
    """``passed``, ``failed``, ...; by session/reporting."""
    energy: Summary | None
    """Joules per iteration."""
    duration: Summary | None
    """Seconds."""
    power: Summary | None
    """Watts."""
    tsc: Summary | None
    """Ticks."""
    domains: dict[str, Summary | None]
    """Joules by domain."""
    samples: list[SampleRecord]
    phases: PhasesRecord
    net_energy: float | None
    """Median joules above idle."""
    own_share: float | None
    """What reading costs, relative to the median."""
    regions: dict[str, RegionRecord]
    work: dict[str, WorkRecord]
    scores: dict[str, float | None]
    """The mean over the rounds."""
    score_details: dict[str, ScoreRecord]
    parameters: dict[str, str]
    """The id of each parameter's value, by its name; by session/results."""
    budget: BudgetRecord | None
    """By session/call_report."""
    comparison: ComparisonRecord | None
    """By session/judging, or session/reporting for what a worker judged."""
    prediction: PredictionRecord | None
    """By session/forecast."""
    instructions: CountRecord | None
    """By session/counting."""
    variants: VariantRecord | None
    """By session/variants, when all of them have run."""
    account: AccountRecord | None
    """By session/measured_test."""
    code: Code | None
    """By session/measuring."""
    cached: str | None
    """When an earlier session measured it, ISO 8601, by session/changed_only."""


class Record(_Record, total=False):
    """A test: an entry of ``tests`` in the report.

    Made by :meth:`pytest_joules.model.Measurement.as_record`, or :func:`pytest_joules.model.empty_record`.
    """

    extra: dict[str, Any]
    """Whatever third parties add."""


class MachineRecord(TypedDict):
    """Made by :func:`pytest_joules.machine.fingerprint`."""

    id: str | None
    cpu: str | None
    cores: int | None
    """Logical ones."""
    os: str | None
    python: str | None
    virtual: bool | None
    facts: dict[str, str | None]


class CommitRecord(TypedDict):
    """Made by :func:`pytest_joules.machine.commit`."""

    id: str | None
    dirty: bool | None


#: Made by :func:`pytest_joules.machine.versions`: two keys have a hyphen.
VersionsRecord = TypedDict(
    "VersionsRecord", {"pytest-joules": str, "pytest": "str | None", "python": str, "installed": "dict[str, str]"}
)


class SourceRecord(TypedDict):
    """Made by :meth:`pytest_joules.model.SourceFacts.as_record`."""

    name: str
    provenance: Provenance
    domains: list[str]
    resolution_s: float | None
    """Seconds between two updates of the counter; 0 where it is continuous."""
    uncertainty: float | None
    """Relative, one-sided."""
    why: str | None


class _Totals(TypedDict):
    seconds: float | None
    joules: float | None
    idle_watts: float | None


class SessionRecord(_Totals, total=False):
    """Totals of the session; by session/reporting."""

    predicting: ReportedPredicting
    counting: CountingRecord
    """By session/counting."""


class RunComparisonRecord(TypedDict):
    """What the session was compared with; made by session/baselines."""

    baseline: str
    created: str | None
    commit: str | None
    threshold: float
    held: float | None
    counts: dict[str, int]
    """Tests by verdict."""
    new: list[str]
    gone: list[str]
    renamed: dict[str, str]
    """Node ids now by those before."""
    why: str | None
    """There are no verdicts."""
    notes: list[str]
    """What else differs."""


class _Report(TypedDict):
    schema: str
    created: str
    """ISO 8601, UTC."""
    machine: MachineRecord
    versions: VersionsRecord | None
    """``None`` until somebody reads them: by session/reporting."""
    commit: CommitRecord | None
    settings: dict[str, Any]
    """As they were asked for; each is explained where the option is."""
    sources: list[SourceRecord]
    session: SessionRecord
    comparison: RunComparisonRecord | None
    tests: list[Record]


class ReportRecord(_Report, total=False):
    """The report JSON."""

    extra: dict[str, Any]
    """Whatever third parties add."""


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
        "score_details": {},
        "parameters": {},
        "budget": None,
        "comparison": None,
        "prediction": None,
        "instructions": None,
        "variants": None,
        "account": None,
        "code": None,
        "cached": None,
        "notes": [],
    }
