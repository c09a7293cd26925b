"""What a baseline holds, what of a report's record can stand in it, and what keeps two of them apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.model import (
    CommitRecord,
    CountingRecord,
    CountRecord,
    HowMeasured,
    KeptAccount,
    MachineRecord,
    MedianRecord,
    Record,
    SourceRecord,
    disturbed,
    kept,
)
from pytest_joules.stats import median

if TYPE_CHECKING:
    from pytest_joules.code.inventory import Inventory

SCHEMA = "pytest-joules-baseline/1"


class BaselineError(Exception):
    """A baseline cannot be found, read or written; the message says what, where, and what to do."""


@dataclass(frozen=True, slots=True)
class BaselineTest:
    """A test in a baseline."""

    record: HowMeasured
    samples: tuple[float, ...] = ()
    """Joules per iteration, one value a sample, in measured order."""
    durations: tuple[float, ...] = ()
    """Seconds per iteration of the same samples."""
    energy: MedianRecord | None = None
    """Joules."""
    fingerprint: str | None = None
    functions: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the functions that the test executes, by ``path::qualname``."""
    created: str | None = None
    """When it was measured, where that is not when the baseline was saved."""
    commit: str | None = None
    """The revision it was measured at, where that is not the baseline's."""
    instructions: CountRecord | None = None
    account: KeptAccount | None = None
    """Where its joules went, if that session traced it."""

    @property
    def random(self) -> bool:
        """Its examples differ from round to round."""
        return any(note.startswith("random examples") for note in self.record["notes"])

    @property
    def beside_others(self) -> bool:
        """Other processes used the machine meanwhile."""
        return self.record["provenance"] == "shared" or disturbed(self.record["notes"])


@dataclass(frozen=True, slots=True)
class Baseline:
    """A saved session."""

    name: str
    path: Path
    created: str
    """ISO 8601, UTC."""
    machine: MachineRecord
    commit: CommitRecord | None
    sources: list[SourceRecord]
    settings: Mapping[str, object]
    plugin: str
    tests: dict[str, BaselineTest]
    texts: Inventory = field(default_factory=dict)
    """What the project's code said, file by file; none in what older versions wrote."""
    counting: CountingRecord | None = None
    """What decided the counts of instructions, where there are any."""
    order: Sequence[tuple[str, str]] = ()
    """The functions of all tests with their hashes, in the order of the file."""


def test_of(record: Record, functions: Mapping[str, str] | None = None) -> BaselineTest:
    """A report's record as a baseline has it.

    ``functions``: those that the test executes, by place, their hashes, where the record does not have them.
    """
    code, energy = record["code"], record["energy"]
    how: HowMeasured = {
        "source": record["source"],
        "provenance": record["provenance"],
        "resolution": record["resolution"],
        "rounds": record["rounds"],
        "iterations": record["iterations"],
        "notes": record["notes"],
    }
    return make_test(
        how,
        [(sample["energy"], sample["duration"]) for sample in record["samples"]],
        energy["ci95"] if energy else None,
        fingerprint=code["fingerprint"] if code else None,
        functions=functions or (code.get("functions") if code else None),
        created=record["cached"],
        instructions=record["instructions"],
        account=kept(record["account"]) if record["account"] is not None else None,
    )


def make_test(
    how: HowMeasured,
    samples: Iterable[tuple[float | None, float | None]],
    interval: Sequence[float] | None,
    *,
    fingerprint: str | None,
    functions: Mapping[str, str] | None,
    created: str | None,
    instructions: CountRecord | None = None,
    account: KeptAccount | None = None,
) -> BaselineTest:
    """A test by its samples (joules and seconds) and the 95 % interval of their joules. Samples without joules are left out."""
    pairs = [
        (_six_digits(value), _six_digits(duration or 0.0))
        for value, duration in samples
        if value is not None and math.isfinite(value) and value > 0
    ]
    energy: MedianRecord | None = None
    if pairs:
        ends = [_six_digits(end) for end in interval] if interval else None
        energy = {"median": _six_digits(median([value for value, _ in pairs])), "ci95": ends}
    joules, seconds = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    return BaselineTest(
        how, joules, seconds, energy, fingerprint, functions or {}, created, instructions=instructions, account=account
    )


def _six_digits(value: float) -> float:
    """The value with six significant digits: a counter has no more."""
    return float(f"{value:.6g}")


def can_be_kept(record: Record) -> bool:
    """Whether a report's record can stand in a baseline: that of a test that is sound, with joules or instructions."""
    counted = record["instructions"]
    judged = [
        record["budget"],
        record["comparison"],
        *((counted["budget"], counted["comparison"]) if counted is not None else ()),
    ]
    return (record["energy"] is not None or counted is not None) and sound(record["outcome"], *judged)


def sound(outcome: object, *judged: Mapping[str, object] | None) -> bool:
    """Whether a test passed, or failed by our own verdict only."""
    by_us = any(entry is not None and entry.get("verdict") in ("over budget", "regressed") for entry in judged)
    return outcome == "passed" or (outcome == "failed" and by_us)


def other_models(before: Iterable[SourceRecord], now: Iterable[SourceRecord]) -> list[str]:
    """Estimates by another power model than before, in words: their joules cannot be compared. Both as in a report."""
    models = {source["name"]: _model(source) for source in before if source["provenance"] == "estimated"}
    pairs = [(models.get(source["name"]), _model(source)) for source in now]
    return [f"{was}, now {model}" for was, model in pairs if was and model and was != model]


def _model(source: SourceRecord) -> str:
    """The power model of an estimate in words; what follows is why no better source was taken."""
    return (source["why"] or "").partition("; ")[0]


def remarks(baseline: Baseline, machine: MachineRecord) -> list[str]:
    """What differs and may be the cause of a difference, but does not forbid to compare."""
    before, now = baseline.machine["python"], machine["python"]
    if not before or not now or before == now:
        return []
    return [f"Python: {before}, now {now}; it may be the cause of what differs"]
