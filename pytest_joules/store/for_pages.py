"""What a page shows of a history: how each test has developed, and the newest of every test as one report. Methods of
:class:`pytest_joules.store.Store`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_joules.model import Record, Report
from pytest_joules.model.past import Level, Past, Series
from pytest_joules.store import checked, series
from pytest_joules.store.database import Opened, chunks
from pytest_joules.store.rows import record_of
from pytest_joules.store.tables import tables

if TYPE_CHECKING:
    from pytest_joules.store.database import AnyRow

#: Sessions that a page shows.
SESSIONS = 50


def past(opened: Opened, sessions: int = SESSIONS) -> Past:
    """What the latest sessions measured of each test that passed: a series for each machine, source and provenance, one for all
    that decides a count of instructions.

    Raises:
        StoreError: it cannot be read.
    """
    latest = {session.number: session for session in series.past_sessions(opened)[-sessions:]}
    found: dict[str, list[Series]] = {}
    commits = {number: session.commit["id"] if session.commit is not None else None for number, session in latest.items()}
    order = list(latest.values())
    for one in (*series.joules_over_time(opened, order), *series.instructions_over_time(opened, order)):
        levels = [
            Level(latest[number].created, commits[number], value) for number, value in zip(one.sessions, one.values, strict=True)
        ]
        counted = one.provenance is None
        how = one.source if counted else f"{one.source}, {one.provenance}"
        found.setdefault(one.nodeid, []).append(Series(one.machine_id or "any machine", how, "instr" if counted else "J", levels))
    return found


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
