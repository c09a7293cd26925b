"""What a predictor asks of a history, and leaves in it: methods of :class:`pytest_joules.store.Store`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from pytest_joules.model import Code, PredictionRecord, ReportedPredicting
from pytest_joules.store import checked
from pytest_joules.store.checked_facts import facts_of
from pytest_joules.store.database import Opened, chunks
from pytest_joules.store.entries import LatestRecord, PastPredicting, PastPrediction, Version, VersionRecord
from pytest_joules.store.queries import newest
from pytest_joules.store.rows import as_json, latest_of, nodeid_of, safe
from pytest_joules.store.tables import number_of, tables

if TYPE_CHECKING:
    from pytest_joules.store.checked_facts import facts_of
from pytest_joules.store.database import AnyRow, Database

# Asked; every function raises StoreError where the database cannot do it


def latest(
    opened: Opened, machine_id: str, source: str | None, nodeids: Collection[str] | None = None
) -> dict[str, LatestRecord]:
    """The newest measurement of each of these tests (``None``: of all) by this machine and source (``None``: by any) whose
    code is known, without its samples.

    Only tests that passed, with a provenance of ``measured`` or ``estimated``; not those of the session that is going on.
    """
    known = tables()
    measured = (column for column in known.measurements.c if column.name not in ("samples", "facts"))

    def made(row: AnyRow, code: Code, files: dict[str, str]) -> LatestRecord:
        values = row._asdict()
        return latest_of(nodeid_of(values), values, row.created, code, files)

    return newest(opened.asked, machine_id, source, nodeids, columns=(known.sessions.c.created, *measured), made=made, files=True)


def versions(opened: Opened, machine_id: str | None = None, source: str | None = None) -> list[VersionRecord]:
    """Every measurement whose code is known, the oldest first.

    Only tests that passed, with a provenance of ``measured`` or ``estimated``; of this machine and source where given.
    """
    database, known = opened.asked, tables()
    measurements, sessions = known.measurements, known.sessions
    columns = (*(column for column in measurements.c if column.name != "facts"), sessions.c.created, sessions.c.machine_id)
    query = (
        database.measurements(*columns)
        .where(
            measurements.c.code_id.is_not(None),
            measurements.c.outcome == "passed",
            measurements.c.provenance.in_(("measured", "estimated")),
            database.of_sound_sessions(),
        )
        .order_by(sessions.c.created, measurements.c.id)
    )
    if machine_id is not None:
        query = query.where(sessions.c.machine_id == safe(machine_id))
    if source is not None:
        query = query.where(measurements.c.source == safe(source))
    with database.transaction() as connection:
        rows = connection.execute(query).all()
        codes = database.codes(connection, {row.code_id for row in rows})

    def made(row: AnyRow) -> VersionRecord:
        values = row._asdict()
        code = checked.known(codes, row.code_id)
        joules, _, seconds = checked.energies(values)
        columns = checked.columns(values)
        return {
            "nodeid": nodeid_of(values),
            "created": row.created,
            "session": row.session_id,
            "machine_id": checked.text_or_none(row.machine_id, "machine's number"),
            "source": columns["source"],
            "provenance": columns["provenance"],
            "joules": joules,
            "seconds": seconds,
            "tsc": _median(checked.samples(row.samples)["tsc"]),
            "code": code,
        }

    return list(database.sound(rows, made))


def predictions(opened: Opened, told: Callable[[int, int], None] = lambda done, total: None) -> list[PastPrediction]:
    """What was predicted of tests, the oldest session first. Only sessions in which the predictor was asked are read.
    ``told``: of how many sessions are done."""
    import sqlalchemy as sa

    database, known = opened.asked, tables()
    measurements, sessions = known.measurements, known.sessions
    asked = sa.or_(sessions.c.predicting.is_not(None), sessions.c.settings.not_like('%"predict": null%'))
    numbers = [row.id for row in database.rows(sa.select(sessions.c.id).where(asked).order_by(sessions.c.created))]
    columns = (measurements.c.id, measurements.c.test_id, measurements.c.facts, sessions.c.created)
    query = (
        database.measurements(*columns)
        .where(
            measurements.c.session_id == sa.bindparam("session"),
            measurements.c.facts.like('%"prediction"%'),
            database.of_sound_sessions(),
        )
        .order_by(measurements.c.id)
    )
    found: list[PastPrediction] = []
    for done, number in enumerate(numbers):
        told(done, len(numbers))

        def made(row: AnyRow, number: int = number) -> PastPrediction | None:
            said = facts_of(row.facts).get("prediction")
            nodeid = nodeid_of(row._asdict())
            return {**said, "nodeid": nodeid, "session": number, "created": row.created} if said is not None else None

        with database.transaction() as connection:
            rows = connection.execute(query, {"session": number}).all()
        found += [entry for entry in database.sound(rows, made) if entry is not None]
    return found


def sources(opened: Opened, pairs: Iterable[Version]) -> dict[Version, str]:
    """The source of functions and statements, by place and hash, of those that are known."""
    import sqlalchemy as sa

    database, functions = opened.asked, tables().functions
    wanted = {number_of(place, found): (place, found) for place, found in pairs}
    result: dict[Version, str] = {}
    with database.transaction() as connection:
        for chunk in chunks(sorted(wanted)):
            query = sa.select(functions.c.id, functions.c.number, functions.c.source).where(
                functions.c.number.in_(chunk), functions.c.source.is_not(None)
            )
            rows = connection.execute(query)
            result |= database.sound(rows, lambda row: (wanted[row.number], checked.text(row.source, "source")), "function")
    return result


def without_source(opened: Opened) -> set[Version]:
    """Place and hash of the functions and statements that this session met first, as far as their source is not there."""
    import sqlalchemy as sa

    database, functions = opened.written, tables().functions
    mine = {number: key for key, number in database.functions.items() if "::" in key[0]}
    result: set[Version] = set()
    with database.transaction() as connection:
        for chunk in chunks(sorted(mine)):
            query = sa.select(functions.c.id).where(functions.c.id.in_(chunk), functions.c.source.is_(None))
            result |= {mine[number] for (number,) in connection.execute(query)}
    return result


def predictings(opened: Opened, limit: int) -> list[PastPredicting]:
    """The predictor's accounts of the latest sessions that it was asked in, the newest first."""
    import sqlalchemy as sa

    database, sessions = opened.asked, tables().sessions
    query = (
        sa.select(sessions.c.id, sessions.c.created, sessions.c.predicting)
        .where(sessions.c.predicting.is_not(None), database.of_sound_sessions())
        .order_by(sessions.c.created.desc(), sessions.c.id.desc())
        .limit(limit)
    )

    def made(row: AnyRow) -> PastPredicting:
        return {**checked.account(row.predicting), "created": row.created}

    return list(database.sound(database.rows(query), made, "session"))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


# Left


def add_sources(opened: Opened, sources: Mapping[Version, str]) -> None:
    """Keep the source of functions and statements, by place and hash."""
    import sqlalchemy as sa

    if not sources:
        return
    functions = tables().functions
    change = (
        functions.update()
        .where(functions.c.number == sa.bindparam("which"), functions.c.source.is_(None))
        .values(source=sa.bindparam("text"))
    )
    # In one order, so that two writers never wait for each other in a circle.
    rows = sorted((number_of(place, found), safe(text)) for (place, found), text in sources.items())
    with opened.written.transaction() as connection:
        connection.execute(change, [{"which": number, "text": text} for number, text in rows])


def add_files(opened: Opened, files: Mapping[str, str]) -> None:
    """Note the hashes of the project's files, by path, as they were in this session."""
    _note(opened.written, files=as_json(dict(files)))


def add_predicting(opened: Opened, account: ReportedPredicting) -> None:
    """Note the predictor's account of this session."""
    _note(opened.written, predicting=as_json(account))


def add_predictions(opened: Opened, predictions: Mapping[str, PredictionRecord]) -> None:
    """Write over what was predicted of tests that this session has measured, by node id: what came of it is known late."""
    write_predictions(opened.written, opened.written.uuid, predictions)


def write_predictions(database: Database, uuid: str | None, predictions: Mapping[str, PredictionRecord]) -> None:
    """The same, of the session with this uuid; nothing where it, or a test's measurement, is not there."""
    import sqlalchemy as sa

    measurements, sessions = tables().measurements, tables().sessions
    numbers = {number_of(safe(nodeid)): prediction for nodeid, prediction in predictions.items()}
    mine = sa.select(sessions.c.id).where(sessions.c.uuid == uuid).scalar_subquery()
    change = measurements.update().where(measurements.c.id == sa.bindparam("which")).values(facts=sa.bindparam("new"))
    with database.transaction() as connection:
        for chunk in chunks(sorted(numbers)):
            query = sa.select(measurements.c.id, measurements.c.test_id, measurements.c.facts).where(
                measurements.c.session_id == mine, measurements.c.test_id.in_(chunk)
            )
            rows = [
                {"which": row.id, "new": as_json({**json.loads(row.facts), "prediction": numbers[row.test_id]})}
                for row in connection.execute(query).all()
            ]
            if rows:
                connection.execute(change, rows)


def _note(database: Database, **columns: str) -> None:
    if database.uuid is None:
        raise RuntimeError("begin() comes first")
    database.noted.update(columns)
    note(database, database.uuid, database.noted)


def note(database: Database, uuid: str | None, columns: Mapping[str, str]) -> None:
    """Fill in columns of the session with this uuid; nothing where it is not there."""
    sessions = tables().sessions
    if columns:
        with database.transaction() as connection:
            connection.execute(sessions.update().where(sessions.c.uuid == uuid).values(**columns))
