"""From older schemas to the one in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

from pytest_joules.store.tables import number_of, schema

if TYPE_CHECKING:
    from sqlalchemy import Connection


def schema_version() -> int:
    """The version of the schema that this plugin reads and writes."""
    return len(MIGRATIONS) + 1


def names_apart_from_rows(connection: Connection) -> None:
    """1 to 2: node ids in a table of their own, sessions with a uuid, room for what a test executed."""
    import sqlalchemy as sa

    new = schema(2)
    connection.execute(sa.text("ALTER TABLE sessions ADD COLUMN uuid VARCHAR(32)"))
    keys = [row[0] for row in connection.execute(sa.select(new.sessions.c.id))]
    if keys:
        change = new.sessions.update().where(new.sessions.c.id == sa.bindparam("key")).values(uuid=sa.bindparam("new"))
        connection.execute(change, [{"key": key, "new": uuid4().hex} for key in keys])
    for index in new.sessions.indexes:
        index.create(connection, checkfirst=True)
    # Older SQLite cannot drop a column: the rows move.
    connection.execute(sa.text("ALTER TABLE measurements RENAME TO measurements_1"))
    old = sa.Table("measurements_1", sa.MetaData(), autoload_with=connection, resolve_fks=False)
    new.metadata.create_all(connection, tables=[new.tests, new.functions, new.codes, new.measurements])
    nodeids = [row[0] for row in connection.execute(sa.select(old.c.nodeid).distinct())]
    numbers = {nodeid: number_of(nodeid) for nodeid in nodeids}
    if numbers:
        connection.execute(new.tests.insert(), [{"id": number, "nodeid": nodeid} for nodeid, number in numbers.items()])
    kept = [column.name for column in old.c if column.name != "nodeid"]
    rows = sa.select(*(old.c[name] for name in kept), old.c.id, new.tests.c.id)
    moved = rows.select_from(old.join(new.tests, new.tests.c.nodeid == old.c.nodeid)).order_by(old.c.id)
    connection.execute(new.measurements.insert().from_select([*kept, "number", "test_id"], moved))
    connection.execute(sa.text("DROP TABLE measurements_1"))
    if connection.dialect.name == "postgresql":
        last = sa.select(sa.func.coalesce(sa.func.max(new.measurements.c.id), 0) + 1).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence("measurements", "id"), last, False)))


def counts_and_sources(connection: Connection) -> None:
    """2 to 3: how often what ran, the source of functions, the project's files, the predictor's account."""
    import sqlalchemy as sa

    for table, column in (("codes", "counts"), ("functions", "source"), ("sessions", "files"), ("sessions", "predicting")):
        connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {column} TEXT"))
    for index in schema(3).measurements.indexes:
        index.create(connection, checkfirst=True)


def calls_out_of_the_project(connection: Connection) -> None:
    """3 to 4: what they cost."""
    import sqlalchemy as sa

    connection.execute(sa.text("ALTER TABLE codes ADD COLUMN outside TEXT"))


#: ``MIGRATIONS[k - 1]`` brings a database from schema version k to k + 1, inside a transaction that it must not end.
MIGRATIONS: list[Callable[[Connection], None]] = [names_apart_from_rows, counts_and_sources, calls_out_of_the_project]
