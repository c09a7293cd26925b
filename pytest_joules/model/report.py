"""One session's report: the shared facts once, and a record for each test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pytest_joules.model.records import (
    SCHEMA,
    CommitRecord,
    MachineRecord,
    Record,
    ReportRecord,
    RunComparisonRecord,
    SessionRecord,
    SourceRecord,
    VersionsRecord,
    empty_record,
)
from pytest_joules.model.words import Provenance


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

    def as_record(self) -> SourceRecord:
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
    machine: MachineRecord
    commit: CommitRecord | None
    settings: dict[str, Any]
    sources: list[SourceRecord]
    tests: list[Record] = field(default_factory=list)
    session: SessionRecord = field(default_factory=lambda: SessionRecord(seconds=None, joules=None, idle_watts=None))
    """Totals of the session: ``seconds`` and ``joules`` spent, ``idle_watts`` where measured."""
    comparison: RunComparisonRecord | None = None
    """What the session was compared with: ``baseline``, ``created``, ``commit``, ``threshold``, ``counts`` by verdict, node ids
    that are ``new`` or ``gone``, ``renamed`` ones (before: now), ``why`` there are no verdicts, ``notes`` of what else differs.
    ``None`` where it was not."""

    versions: VersionsRecord | None = None
    """Of what measured, see :func:`pytest_joules.machine.versions`."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Whatever third parties add."""

    def as_record(self) -> ReportRecord:
        record: ReportRecord = {
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

    def replace(self, record: dict[str, Any]) -> None:
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
