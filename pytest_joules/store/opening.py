"""Opening a history: reached, checked, made or migrated."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.store import migrations
from pytest_joules.store.address import Address, SetAside, StoreError
from pytest_joules.store.database import PATIENCE
from pytest_joules.store.history import Store
from pytest_joules.store.postgresql import PostgreSQL
from pytest_joules.store.sqlite import SQLite
from pytest_joules.store.tables import tables

if TYPE_CHECKING:
    from sqlalchemy import Connection


def open_store(url: str | os.PathLike[str], *, write: bool = True, timeout: float = 5.0) -> Store:
    """Open the history at a database URL or a path (a SQLite file), make or migrate it where needed.

    A SQLite file of ours that is corrupt, or of a newer schema, is renamed to ``NAME.corrupt-TIME`` or ``NAME.newer-TIME``, and a
    new one begun; ``notices`` of the store says so. What is not ours is left as it is, to the byte. With ``write=False`` nothing
    is made, changed or renamed. ``timeout`` is how many seconds to wait for another process that holds the file, or for the
    server.

    Raises:
        StoreError: it cannot be opened, is no history, belongs to a newer plugin, or a migration failed.
        Unreachable: of these, the server that does not answer.
    """
    address = Address(url)
    lite = SQLite(Path(str(address.url.database))) if address.is_file else None

    def attempt() -> Store:
        return _open(address, lite, write=write, timeout=timeout)

    with address.errors():
        try:
            try:
                return attempt()
            except SetAside as trouble:
                if lite is None or not write:
                    raise
                notice = lite.set_aside(trouble, address.shown, lambda: attempt().close())
                store = attempt()
                store.notices.append(notice)
                return store
        except SetAside as trouble:
            raise StoreError(_refusal(address.shown, trouble)) from None


def _refusal(shown: str, trouble: SetAside) -> str:
    if trouble.kind == "newer":
        return f"the history {shown} is of a newer schema ({trouble}): upgrade pytest-joules to read it"
    return f"the history {shown} cannot be read ({trouble}): move it away, and the next run begins a new one"


def _open(address: Address, lite: SQLite | None, *, write: bool, timeout: float) -> Store:
    import sqlalchemy as sa

    server = None if address.lite else PostgreSQL(address, timeout)
    try:
        engine = lite.engine(write, timeout) if lite else server.engine() if server else sa.create_engine(address.url)
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise StoreError(
            f"the history {address.shown} needs a database driver that is not installed ({error}): "
            "for PostgreSQL, pip install 'psycopg[binary]' and write postgresql+psycopg://..."
        ) from None
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise StoreError(f"the history {address.shown}: it can be a SQLite file or PostgreSQL, not {engine.dialect.name}")
    connection = None
    try:
        connection = server.connect(engine) if server else engine.connect()
        if lite:
            lite.check(connection)
        # Another run may be migrating a large history.
        with server.within(connection, 2 * PATIENCE) if server else contextlib.nullcontext():
            _prepare(connection, address, write, server)
        if lite and write:
            lite.settle(connection, timeout)
        return Store(engine, connection, address, server)
    except BaseException as error:
        if connection is not None:
            with contextlib.suppress(StoreError), address.errors():
                connection.close()
        with contextlib.suppress(StoreError), address.errors():
            engine.dispose()
        if lite and isinstance(error, (sa.exc.DBAPIError, sqlite3.Error)) and lite.is_corrupt(error):
            raise SetAside("corrupt", address.reason(error)) from None
        raise


def _prepare(connection: Connection, address: Address, write: bool, server: PostgreSQL | None) -> None:
    """Make sure that the schema is there and ours, migrating it where it is older."""
    import sqlalchemy as sa

    shown = address.shown
    known, latest = tables(), migrations.schema_version()
    with connection.begin():
        if server is not None and write:
            server.lock(connection)
        present = set(sa.inspect(connection).get_table_names())
        if "meta" not in present:
            if present:
                raise StoreError(f"{shown} is a database, but no history of pytest-joules: name another one")
            if not write:
                raise StoreError(f"{shown} holds no measurements yet: run pytest --energy first")
            known.metadata.create_all(connection)
            connection.execute(known.meta.insert(), {"key": "schema", "value": str(latest)})
            return
        columns = {column["name"] for column in sa.inspect(connection).get_columns("meta")}
        version_is = sa.select(known.meta.c.value).where(known.meta.c.key == "schema")
        found = connection.execute(version_is).scalar() if {"key", "value"} <= columns else None
        if found is None or not str(found).isdigit() or not int(found):
            raise StoreError(f"{shown} is a database, but no history of pytest-joules: name another one")
        version = int(found)
        if version > latest:
            raise SetAside("newer", f"version {version}, this plugin knows {latest}")
        if version == latest:
            return
        if not write:
            raise StoreError(f"the history {shown} is of an older schema: run pytest --energy once to bring it up to date")
        try:
            for step in migrations.MIGRATIONS[version - 1 :]:
                step(connection)
        except Exception as error:
            raise StoreError(
                f"the history {shown} could not be brought from schema {version} to {latest}, and was left as it "
                f"was ({address.reason(error)}): move it away to begin a new one, and please report this"
            ) from error
        connection.execute(known.meta.update().where(known.meta.c.key == "schema"), {"value": str(latest)})
