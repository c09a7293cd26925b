"""Removing what is damaged, and what belongs to nothing any more. Each function returns how many rows are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_joules.store import checked
from pytest_joules.store.database import Database, chunks
from pytest_joules.store.rows import nodeid_of, record_of
from pytest_joules.store.tables import tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from pytest_joules.store.database import AnyRow, Column

#: Rows that are read in one transaction.
_STEP = 800


def codes(connection: Connection, numbers: Iterable[int] | None) -> int:
    """What no test executes any more, of these (``None``: of all)."""
    import sqlalchemy as sa

    known = tables()
    unused = ~sa.select(known.measurements.c.id).where(known.measurements.c.code_id == known.codes.c.id).exists()
    parts = [known.codes.c.id.in_(part) for part in chunks(sorted(numbers))] if numbers is not None else [sa.true()]
    return sum(connection.execute(known.codes.delete().where(part, unused)).rowcount for part in parts)


def functions(database: Database) -> int:
    """What no code names any more."""
    import sqlalchemy as sa

    known = tables()
    # In one transaction: a run that is under way must not name one meanwhile.
    with database.transaction() as connection:
        there = set(connection.execute(sa.select(known.functions.c.id)).scalars())
        highest = max(there, default=0)
        texts = connection.execute(sa.select(known.codes.c.functions)).scalars()
        for named in checked.LeftOut().sound("code", texts, str, lambda text: checked.numbers(text, highest)):
            there.difference_update(named)
        for part in chunks(sorted(there)):
            connection.execute(known.functions.delete().where(known.functions.c.id.in_(part)))
    return len(there)


def damaged(database: Database, told: Callable[[int, int], None]) -> int:
    """All rows that a question would leave out. ``told``: of how many measurements are done."""
    import sqlalchemy as sa

    known = tables()
    measurements, sessions, tests, codes = known.measurements, known.sessions, known.tests, known.codes
    number, place, digest = known.functions.c.id, known.functions.c.place, known.functions.c.hash
    gone = _bad(database, sessions, lambda row: checked.session(row._asdict()), sessions.c)
    gone += _bad(database, tests, lambda row: nodeid_of(row._asdict()), (tests.c.id, tests.c.id.label("test_id"), tests.c.nodeid))
    gone += _bad(database, known.functions, lambda row: checked.function(row.place, row.hash), (number, place, digest))
    with database.transaction() as connection:
        there = set(connection.execute(sa.select(number)).scalars())
    highest = max(there, default=0)

    def code(row: AnyRow) -> None:
        if not there.issuperset(checked.numbers(row.functions, highest)):
            raise checked.Bad("a function is not there")
        checked.text_or_none(row.fingerprint, "fingerprint")
        checked.unknown(row.unknown)
        checked.counts_text(row.counts)
        checked.outside_text(row.outside)

    gone += _bad(database, codes, code, codes.c)
    orphaned = sa.or_(
        measurements.c.session_id.not_in(sa.select(sessions.c.id)), measurements.c.test_id.not_in(sa.select(tests.c.id))
    )
    with database.transaction() as connection:
        # What a test executed is not known any more, what it cost is.
        lost = sa.and_(measurements.c.code_id.is_not(None), measurements.c.code_id.not_in(sa.select(codes.c.id)))
        connection.execute(measurements.update().where(lost).values(code_id=None))
        gone += connection.execute(measurements.delete().where(orphaned)).rowcount
    return gone + _bad(database, measurements, lambda row: record_of(row._asdict()), (*measurements.c, tests.c.nodeid), told)


def _bad(
    database: Database,
    table: Table,
    check: Callable[[AnyRow], object],
    columns: Iterable[Column],
    told: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    known = tables()
    measurements = known.measurements
    found = checked.LeftOut()
    for _ in found.sound(table.name, _all(database, table, list(columns), told), lambda row: row.id, check):
        pass
    bad = found.numbers()
    gone = len(bad)
    with database.transaction() as connection:
        for part in chunks(bad):
            # A server keeps what is referred to.
            if table is known.codes:
                connection.execute(measurements.update().where(measurements.c.code_id.in_(part)).values(code_id=None))
            elif table in (known.sessions, known.tests):
                column = measurements.c.session_id if table is known.sessions else measurements.c.test_id
                gone += connection.execute(measurements.delete().where(column.in_(part))).rowcount
            connection.execute(table.delete().where(table.c.id.in_(part)))
    return gone


def _all(database: Database, table: Table, columns: Sequence[Column], told: Callable[[int, int], None]) -> Iterator[AnyRow]:
    """All rows, some at a time."""
    import sqlalchemy as sa

    known = tables()
    query = sa.select(*columns).order_by(table.c.id).limit(_STEP)
    if table is known.measurements:
        query = query.select_from(table.join(known.tests, known.tests.c.id == table.c.test_id))
    (row,) = database.rows(sa.select(sa.func.count().label("total")).select_from(table))
    total, done = row.total, 0
    rows = database.rows(query)
    while rows:
        yield from rows
        done += len(rows)
        told(done, total)
        rows = database.rows(query.where(table.c.id > rows[-1].id))
