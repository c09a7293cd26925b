"""What a page shows of a history: how each test has developed, and the newest of every test as one report. Methods of
:class:`pytest_joules.store.Store`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_joules.model import Record, Report
from pytest_joules.model.past import Level, Past, Series
from pytest_joules.store import checked
from pytest_joules.store.checked_facts import counted_of
from pytest_joules.store.database import Opened, chunks
from pytest_joules.store.rows import nodeid_of, record_of
from pytest_joules.store.tables import tables

if TYPE_CHECKING:
    from pytest_joules.store.database import AnyRow

#: Sessions that a page shows.
SESSIONS = 50

_Key = tuple[str, str, str]


def past(opened: Opened, sessions: int = SESSIONS) -> Past:
    """What the latest sessions measured of each test that passed: a series for each machine, source and provenance, and where
    there are no joules for each counter of instructions.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    database, known = opened.asked, tables()
    measurements = known.measurements
    sound = database.of_sound_sessions()
    query = sa.select(known.sessions.c.id).order_by(known.sessions.c.created.desc(), known.sessions.c.id.desc()).limit(sessions)
    numbers = [row.id for row in database.rows(query)]
    # Of a test whose instructions alone were counted, these are among the facts.
    facts = sa.case((measurements.c.energy_median.is_(None), measurements.c.facts)).label("facts")
    names = ("id", "test_id", "source", "provenance", "energy_median", "energy_low", "energy_high", "duration_median")
    columns = (*(measurements.c[name] for name in names), facts)
    columns += tuple(known.sessions.c[name] for name in ("created", "machine_id", "commit_id"))
    found: dict[str, dict[_Key, list[Level]]] = {}
    for chunk in chunks(numbers):
        rows = database.rows(
            database.measurements(*columns).where(measurements.c.session_id.in_(chunk), measurements.c.outcome == "passed", sound)
        )
        for nodeid, key, level in filter(None, database.sound(rows, _level)):
            found.setdefault(nodeid, {}).setdefault(key, []).append(level)
    return {
        nodeid: [
            Series(machine, source, "J" if unit == "J" else "instr", sorted(levels))
            for (machine, source, unit), levels in series.items()
        ]
        for nodeid, series in found.items()
    }


def _level(row: AnyRow) -> tuple[str, _Key, Level] | None:
    values = row._asdict()
    joules = checked.energies(values)[0]
    machine = checked.text_or_none(row.machine_id, "machine's number") or "unknown"
    commit = checked.text_or_none(row.commit_id, "commit")
    nodeid = nodeid_of(values)
    if joules is not None:
        source = f"{checked.text_or_none(row.source, 'source')}, {checked.provenance(row.provenance)}"
        return nodeid, (machine, source, "J"), Level(row.created, commit, joules)
    counted = counted_of(values["facts"])
    # Counts are the same on every machine whose facts are.
    return None if counted is None else (nodeid, (machine, "instructions", "instr"), Level(row.created, commit, counted))


def newest_report(opened: Opened) -> Report | None:
    """The newest measurement of every test as one report, with what all share of the newest session; ``None``: there is none.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    database, known = opened.asked, tables()
    measurements, sessions = known.measurements, known.sessions
    sound = database.of_sound_sessions()
    order = (sessions.c.created.desc(), measurements.c.id.desc())
    place = sa.func.row_number().over(partition_by=measurements.c.test_id, order_by=order).label("place")
    joined = measurements.join(sessions, sessions.c.id == measurements.c.session_id)
    ranked = sa.select(measurements.c.id, place).select_from(joined).where(sound).subquery()
    numbers = [row.id for row in database.rows(sa.select(ranked.c.id).where(ranked.c.place == 1))]
    tests: list[tuple[str, Record]] = []
    for chunk in chunks(sorted(numbers)):
        rows = database.rows(database.measurements(measurements, sessions.c.created).where(measurements.c.id.in_(chunk)))
        tests += database.sound(rows, lambda row: (row.created, record_of(row._asdict())))
    if not tests:
        return None
    newest = database.rows(sa.select(sessions).where(sound).order_by(sessions.c.created.desc(), sessions.c.id.desc()).limit(1))
    report = next(database.sound(newest, _report, "session"), None)
    if report is not None:
        for created, record in sorted(tests, key=lambda one: one[0]):
            record["cached"] = created if created != report.created else None
            report.tests.append(record)
    return report


def _report(row: AnyRow) -> Report:
    checked.session(row._asdict())
    dirty = row.commit_dirty
    return Report(
        created=row.created,
        machine=checked.parsed(row.machine, "machine", dict),  # type: ignore[arg-type]  # as far as that version wrote it
        commit={
            "id": checked.text_or_none(row.commit_id, "commit"),
            "dirty": bool(dirty) if dirty is not None else None,
        },
        settings=checked.parsed(row.settings, "settings", dict),
        sources=checked.parsed(row.sources, "sources", list),
        versions={
            "pytest-joules": checked.text(row.plugin_version, "plugin's version"),
            "pytest": None,
            "python": "",
            "installed": {},
        },
    )
