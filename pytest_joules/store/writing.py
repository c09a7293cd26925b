"""Writing measurements: each once, whoever else writes at the same time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_joules.model import OTHER, Code
from pytest_joules.store.database import Database, chunks
from pytest_joules.store.entries import MeasurementRow
from pytest_joules.store.rows import VALUES, as_json, safe
from pytest_joules.store.tables import counts_text, number_of, outside_text, ranges, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine, Insert, Select, Table

    from pytest_joules.store.database import Column


class _Prepared:
    """A statement that is compiled once for the database in use: half the time of doing so for every test."""

    def __init__(
        self, engine: Engine, statement: Insert | Select[Any], names: Sequence[str], lite: sqlite3.Connection | None
    ) -> None:
        from sqlalchemy.sql.compiler import SQLCompiler

        compiled = statement.compile(dialect=engine.dialect, column_keys=list(names) or None)
        assert isinstance(compiled, SQLCompiler)
        self._text = str(compiled)
        self._order = compiled.positiontup
        self._lite = lite

    def __call__(self, connection: Connection | None, *rows: Mapping[str, object]) -> sqlite3.Cursor | CursorResult[Any]:
        positional = [tuple([row[name] for name in self._order]) for row in rows] if self._order else []
        if self._lite is not None:
            # Past SQLAlchemy, which takes three times as long as SQLite: this is paid for every test.
            many = len(rows) > 1
            return self._lite.executemany(self._text, positional) if many else self._lite.execute(self._text, *positional)
        assert connection is not None
        values: Sequence[Any] = positional or rows  # as the driver wants them
        return connection.exec_driver_sql(self._text, list(values) if len(values) > 1 else values[0])


class Writer:
    """Writes to a database; remembers what is there already."""

    def __init__(self, database: Database) -> None:
        import sqlalchemy as sa

        self._database = database
        self._known: set[int] = set()
        """Numbers of tests and codes that are there."""
        self._functions = database.functions
        known, engine, lite = tables(), database.engine, database.lite

        def adding(table: Table, *names: str) -> _Prepared:
            return _Prepared(engine, self._new(table), names, lite)

        self._add_measurements = adding(known.measurements, "session_id", "test_id", "code_id", *VALUES)
        self._add_tests = adding(known.tests, "id", "nodeid")
        self._add_functions = adding(known.functions, "number", "place", "hash")
        self._add_codes = adding(known.codes, "id", "fingerprint", "functions", "unknown", "counts", "outside")
        codes, functions, given = known.codes, known.functions, sa.bindparam("number", type_=known.codes.c.id.type)
        self._find_code = _Prepared(engine, sa.select(codes.c.id, codes.c.id).where(codes.c.id == given), (), lite)
        find = sa.select(functions.c.number, functions.c.id).where(functions.c.number == given)
        self._find_function = _Prepared(engine, find, (), lite)

    def _new(self, table: Table) -> Insert:
        """An INSERT that leaves alone what is there."""
        if self._database.engine.dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table).on_conflict_do_nothing().inline()
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).on_conflict_do_nothing().inline()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """As :meth:`Database.transaction`; where it fails, what it wrote is forgotten here as well."""
        try:
            with self._database.transaction() as connection:
                yield connection
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        self._known.clear()
        self._functions.clear()

    def add(self, session: int, row: MeasurementRow) -> None:
        """One row in a transaction of its own.

        Raises:
            StoreError: it cannot be written.
        """
        lite = self._database.lite
        if lite is None:
            with self.transaction() as connection:
                self.take(connection, [(session, row)])
            return
        # Past SQLAlchemy: what opening and ending a transaction costs there is paid for every test.
        with self._database.address.errors():
            try:
                lite.execute("BEGIN IMMEDIATE")
                self.take(None, [(session, row)])
                lite.execute("COMMIT")
            except BaseException:
                self._forget()
                self._database.recover()
                with contextlib.suppress(sqlite3.Error):
                    lite.rollback()
                raise

    def take_session(self, connection: Connection, values: Mapping[str, object]) -> int:
        """The number of the session with these columns, made where it is not there yet."""
        import sqlalchemy as sa

        sessions = tables().sessions
        connection.execute(self._new(sessions), values)
        return int(connection.execute(sa.select(sessions.c.id).where(sessions.c.uuid == values["uuid"])).scalar_one())

    def take(self, connection: Connection | None, rows: Sequence[tuple[int, MeasurementRow]]) -> None:
        """Write rows, each with its session's number; those there are left alone.

        All in one order, so that two writers never wait for each other in a circle. A SQLite file needs no ``connection``.
        """
        named = {row["test_id"]: row["nodeid"] for _, row in rows}
        if new := sorted(named.keys() - self._known):
            self._add_tests(connection, *({"id": number, "nodeid": named[number]} for number in new))
            self._known.update(new)
        codes = {row["code_id"]: row["code"] for _, row in rows}
        self._take_codes(connection, {key: code for key, code in codes.items() if key is not None and code is not None})
        self._add_measurements(connection, *({**row, "session_id": session} for session, row in rows))

    def _take_codes(self, connection: Connection | None, codes: Mapping[int, Code]) -> None:
        unsure = sorted(codes.keys() - self._known)
        column = tables().codes.c.id
        there = self._find(connection, self._find_code, column, column, unsure)
        rows = []
        if new := [number for number in unsure if number not in there]:
            self._take_functions(connection, {pair for number in new for pair in codes[number]["functions"].items()})
        for number in new:
            code = codes[number]
            fingerprint = code["fingerprint"]
            numbers = {place: self._functions[place, found] for place, found in code["functions"].items()}
            known = {**numbers, OTHER: 0}
            counts = {known[place]: entry for place, entry in code.get("counts", {}).items() if place in known}
            executed = sorted(set(numbers.values()))
            rows.append(
                {
                    "id": number,
                    "fingerprint": safe(fingerprint) if fingerprint is not None else None,
                    "functions": ranges(executed),
                    "unknown": as_json(code["unknown"]),
                    "counts": counts_text(counts, executed),
                    "outside": outside_text(code.get("outside", {}), numbers),
                }
            )
        if rows:
            self._add_codes(connection, *rows)
        self._known.update(unsure)

    def _take_functions(self, connection: Connection | None, pairs: Iterable[tuple[str, str]]) -> None:
        column = tables().functions.c
        missing = {number_of(*pair): pair for pair in pairs if pair not in self._functions}

        def look_up() -> None:
            there = self._find(connection, self._find_function, column.number, column.id, sorted(missing))
            self._functions.update((missing.pop(number), key) for number, key in there.items())

        look_up()
        if missing:
            # By place: what is met together is numbered together.
            new = sorted(missing, key=missing.__getitem__)
            rows = [{"number": number, "place": safe(missing[number][0]), "hash": safe(missing[number][1])} for number in new]
            if self._database.lite is None:
                self._add_functions(connection, *rows)
                look_up()
            else:
                # The lock is ours: what was not there is added now, and SQLite says its number.
                for number, row in zip(new, rows, strict=True):
                    self._functions[missing[number]] = self._add_functions(connection, row).lastrowid or 0

    @staticmethod
    def _find(connection: Connection | None, one: _Prepared, key: Column, value: Column, keys: Sequence[int]) -> dict[int, int]:
        import sqlalchemy as sa

        # A SQLite file is asked one by one: that is a call of a function, and no way to a server and back.
        if connection is None or len(keys) <= 3:
            return dict(tuple(row) for number in keys for row in one(connection, {"number": number}))
        found: dict[int, int] = {}
        for chunk in chunks(keys):
            found.update(tuple(row) for row in connection.execute(sa.select(key, value).where(key.in_(chunk))))
        return found
