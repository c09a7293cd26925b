"""What people, and comparisons with earlier sessions, ask of a history: methods of :class:`pytest_joules.store.Store`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pytest_joules.model import Code
from pytest_joules.store import checked
from pytest_joules.store.checked_facts import counted_of
from pytest_joules.store.database import Opened, chunks
from pytest_joules.store.entries import HistoryRecord, LatestCode, OverviewRecord, SessionEntry, Within
from pytest_joules.store.rows import entry_of, nodeid_of, record_of, safe
from pytest_joules.store.tables import number_of, tables

if TYPE_CHECKING:
    from sqlalchemy import FromClause

    from pytest_joules.store.database import AnyRow, AnySelect, Column, Condition, Database

T = TypeVar("T")

#: More than any row's number.
_WIDE = 10**18

EVERYTHING = Within()


def history(opened: Opened, nodeid: str, limit: int | None = None, within: Within = EVERYTHING) -> list[HistoryRecord]:
    """All measurements of a test, of these sessions, the newest first, at most ``limit`` of them.

    Raises:
        StoreError: it cannot be read.
    """
    database, known = opened.asked, tables()
    query = (
        database.measurements(known.measurements, *(column for column in known.sessions.c if column.name != "id"))
        .where(known.measurements.c.test_id == number_of(safe(nodeid)), database.of_sound_sessions(), of_sessions(within))
        .order_by(known.sessions.c.created.desc(), known.measurements.c.id.desc())
        .limit(limit)
    )
    with database.transaction() as connection:
        rows = connection.execute(query).all()
        codes = database.codes(connection, {row.code_id for row in rows})
    return list(database.sound(rows, lambda row: entry_of(row._asdict(), codes.get(row.code_id))))


def nodeids(opened: Opened, like: str = "") -> list[str]:
    """The node ids in the history that contain ``like``, sorted.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    database, known = opened.asked, tables()
    measured = sa.select(known.measurements.c.id).where(known.measurements.c.test_id == known.tests.c.id).exists()
    number = known.tests.c.id
    query = sa.select(number, number.label("test_id"), known.tests.c.nodeid).where(measured)
    if like:
        query = query.where(known.tests.c.nodeid.contains(safe(like), autoescape=True))
    found = database.sound(database.rows(query), lambda row: nodeid_of(row._asdict()), "test")
    # SQLite's LIKE does not tell the cases of ASCII letters apart.
    return sorted(nodeid for nodeid in found if safe(like) in nodeid)


def overview(opened: Opened, within: Within = EVERYTHING) -> list[OverviewRecord]:
    """One entry a test, of these sessions, the most recently measured first.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    database, known = opened.asked, tables()
    measurements, sessions = known.measurements, known.sessions
    # All of it is in indices; a number of constant width makes the newest the greatest text.
    key = sessions.c.created.concat(sa.cast(sa.cast(measurements.c.id, sa.BigInteger) + _WIDE, sa.String))
    query = (
        sa.select(sa.func.count().label("count_of"), sa.func.max(key).label("newest"))
        .select_from(measurements.join(sessions, sessions.c.id == measurements.c.session_id))
        .where(database.of_sound_sessions(), of_sessions(within))
        .group_by(measurements.c.test_id)
    )
    newest = [(row.newest, row.count_of) for row in database.rows(query)]
    counted = {int(key[-len(str(_WIDE)) :]) - _WIDE: count for key, count in newest}
    names = ("id", "test_id", "energy_median", "provenance", "energy_low", "energy_high", "duration_median")
    rows: list[AnyRow] = []
    for chunk in chunks(sorted(counted)):
        # Of a test whose instructions alone were counted, these are among the facts.
        facts = sa.case((measurements.c.energy_median.is_(None), measurements.c.facts)).label("facts")
        columns = (*(measurements.c[name] for name in names), facts, sessions.c.created)
        rows += database.rows(database.measurements(*columns).where(measurements.c.id.in_(chunk)))
    rows.sort(key=lambda row: (row.created, row.id), reverse=True)

    def entry(row: AnyRow) -> OverviewRecord:
        values = row._asdict()
        return {
            "nodeid": nodeid_of(values),
            "count": counted[row.id],
            "created": row.created,
            "energy_median": checked.energies(values)[0],
            "instructions": counted_of(values["facts"]),
            "provenance": checked.provenance(row.provenance),
        }

    return list(database.sound(rows, entry))


def sessions_of(
    opened: Opened, nodeids: Collection[str], machine_id: str, source: str, *, before: str | None = None, limit: int | None = 20
) -> dict[str, list[SessionEntry]]:
    """What earlier sessions of this machine and source measured of each test, the oldest first.

    Only tests that passed, with a provenance of ``measured`` or ``estimated``. The latest ``limit`` of each test; with
    ``before``, of sessions created before that time (ISO 8601, UTC). Tests without any are left out; the session that is going
    on is not among them.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    database, known = opened.asked, tables()
    wanted = {number_of(safe(nodeid)): nodeid for nodeid in nodeids}
    found: dict[str, list[SessionEntry]] = {}
    database.of_sound_sessions()  # a question of its own
    with database.transaction() as connection:
        for chunk in chunks(sorted(wanted)):
            ranked = _comparable(database, machine_id, source, before, known.measurements.c.test_id.in_(chunk)).subquery()
            query = (
                sa.select(ranked.c.id, ranked.c.test_id, ranked.c.created, known.codes.c.fingerprint, ranked.c.energy_median)
                .select_from(ranked.outerjoin(known.codes, known.codes.c.id == ranked.c.code_id))
                .order_by(ranked.c.place.desc())
            )
            if limit is not None:
                query = query.where(ranked.c.place <= limit)
            for test, entry in database.sound(connection.execute(query), _session_entry):
                found.setdefault(wanted[test], []).append(entry)
    return found


def _session_entry(row: AnyRow) -> tuple[int, SessionEntry]:
    """With the test's number."""
    return row.test_id, {
        "created": row.created,
        "fingerprint": checked.text_or_none(row.fingerprint, "fingerprint"),
        "median": checked.present(row.energy_median, "joules"),
    }


def latest_code(opened: Opened, machine_id: str, source: str, nodeids: Collection[str] | None = None) -> dict[str, LatestCode]:
    """The newest measurement of each of these tests (``None``: of all) by this machine and source whose code is known: its
    record as it was written, with ``code`` and ``created``.

    Only tests that passed, with a provenance of ``measured`` or ``estimated``; not those of the session that is going on.

    Raises:
        StoreError: it cannot be read.
    """
    known = tables()
    columns = (known.measurements, known.sessions.c.created)

    def made(row: AnyRow, code: Code, files: dict[str, str]) -> LatestCode:
        record = record_of(row._asdict())
        record["code"] = code
        return {**record, "created": row.created}

    return newest(opened.asked, machine_id, source, nodeids, columns=columns, made=made)


def newest(
    database: Database,
    machine_id: str,
    source: str | None,
    nodeids: Collection[str] | None,
    *,
    columns: Sequence[Column | FromClause],
    made: Callable[[AnyRow, Code, dict[str, str]], T],
    files: bool = False,
) -> dict[str, T]:
    """By node id, what ``made`` makes of the newest measurement of each test, its code and the files of its session.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    known = tables()
    measurements, sessions = known.measurements, known.sessions
    database.of_sound_sessions()  # a question of its own
    result: dict[str, T] = {}
    with database.transaction() as connection:
        if nodeids is None:
            numbers = [number for number in connection.execute(sa.select(known.tests.c.id)).scalars() if isinstance(number, int)]
        else:
            numbers = [number_of(safe(nodeid)) for nodeid in nodeids]
        there: dict[int, dict[str, str]] = {}
        for chunk in chunks(sorted(set(numbers))):
            condition = sa.and_(measurements.c.test_id.in_(chunk), measurements.c.code_id.is_not(None))
            ranked = _comparable(database, machine_id, source, None, condition).subquery()
            first = sa.select(ranked.c.id).where(ranked.c.place == 1)
            rows = connection.execute(database.measurements(*columns).where(measurements.c.id.in_(first))).all()
            codes = database.codes(connection, {row.code_id for row in rows})
            for part in chunks(sorted({row.session_id for row in rows} - there.keys()) if files else []):
                query = sa.select(sessions.c.id, sessions.c.files).where(sessions.c.id.in_(part), sessions.c.files.is_not(None))
                found = connection.execute(query)
                there |= database.sound(found, lambda row: (row.id, checked.files(row.files)), "session")

            entry = partial(_with_code, made, codes, there)
            result.update(database.sound(rows, entry))
    return result


def _with_code(
    made: Callable[[AnyRow, Code, dict[str, str]], T], codes: Mapping[int, Code], files: Mapping[int, dict[str, str]], row: AnyRow
) -> tuple[str, T]:
    return row.nodeid, made(row, checked.known(codes, row.code_id), files.get(row.session_id, {}))


def _comparable(database: Database, machine_id: str, source: str | None, before: str | None, condition: Condition) -> AnySelect:
    """Measurements that may be compared; ``place`` counts those of a test from the newest on."""
    import sqlalchemy as sa

    known = tables()
    measurements, sessions = known.measurements, known.sessions
    order = (sessions.c.created.desc(), measurements.c.id.desc())
    place = sa.func.row_number().over(partition_by=measurements.c.test_id, order_by=order).label("place")
    columns = [measurements.c[name] for name in ("id", "test_id", "code_id", "energy_median")]
    query = (
        sa.select(*columns, sessions.c.created, place)
        .join(sessions, sessions.c.id == measurements.c.session_id)
        .where(
            condition,
            sessions.c.machine_id == safe(machine_id),
            sa.true() if source is None else measurements.c.source == safe(source),
            asked_for(measurements),
            database.of_sound_sessions(),
        )
    )
    if before is not None:
        query = query.where(sessions.c.created < before)
    if database.uuid is not None:
        query = query.where(sa.or_(sessions.c.uuid.is_(None), sessions.c.uuid != database.uuid))
    return query


def asked_for(measurements: FromClause) -> Condition:
    """That measurements (or this alias of them) are of a kind that is asked for: passed, and with joules of their own."""
    import sqlalchemy as sa

    return sa.and_(
        measurements.c.outcome == "passed",
        measurements.c.provenance.in_(("measured", "estimated")),
        measurements.c.energy_median.is_not(None),
    )


def of_sessions(within: Within) -> Condition:
    """That sessions are among those asked for."""
    import sqlalchemy as sa

    sessions = tables().sessions
    since = sa.true() if within.since is None else sessions.c.created >= within.since
    return since if within.machine_id is None else sa.and_(since, sessions.c.machine_id == safe(within.machine_id))
