"""An open history: written to, asked."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

from pytest_joules import __version__
from pytest_joules.model import OTHER, Record, Report
from pytest_joules.store import decoded
from pytest_joules.store.address import Place, StoreError
from pytest_joules.store.entries import HistoryRecord, LatestCode, OverviewRecord, SessionEntry
from pytest_joules.store.predictor_queries import MOST_VALUES, ForPredictor, chunks
from pytest_joules.store.rows import VALUES, as_json, entry_of, nodeid_of, record_of, row_of, safe
from pytest_joules.store.sqlite import give_back
from pytest_joules.store.tables import counts_text, number_of, ranges, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Executable, Row, Select, Table

    from pytest_joules.store.postgresql import PostgreSQL

T = TypeVar("T")

#: More than any row's number.
_WIDE = 10**18

#: Seconds that a server has for one transaction.
PATIENCE = 60.0


class _Prepared:
    """A statement that is compiled once for the database in use: half the time of doing so for every test."""

    def __init__(
        self,
        engine: Engine,
        statement: Any,  # noqa: ANN401 - any kind of statement
        names: Sequence[str],
        lite: sqlite3.Connection | None,
    ) -> None:
        compiled = statement.compile(dialect=engine.dialect, column_keys=list(names) or None)
        self._text = str(compiled)
        self._order: list[str] | None = compiled.positiontup
        self._lite = lite

    def __call__(self, connection: Connection | None, *rows: Mapping[str, Any]) -> Any:  # noqa: ANN401 - mypy cannot tell a row's length
        values: list[Any] = [tuple([row[name] for name in self._order]) for row in rows] if self._order else list(rows)
        if self._lite is not None:
            # Past SQLAlchemy, which takes three times as long as SQLite: this is paid for every test.
            return self._lite.executemany(self._text, values) if len(values) > 1 else self._lite.execute(self._text, values[0])
        assert connection is not None
        return connection.exec_driver_sql(self._text, values if len(values) > 1 else values[0])


class Store(ForPredictor):
    """An open history. Use :func:`pytest_joules.store.open_store`; for one thread.

    ``notices`` are sentences for the user, complete after :meth:`close`.
    """

    def __init__(self, engine: Engine, connection: Connection, place: Place, server: PostgreSQL | None = None) -> None:
        import sqlalchemy as sa

        self.notices: list[str] = []
        self.left_out = decoded.LeftOut()
        """Rows that no run wrote; after :meth:`close` a notice tells of them."""
        self.place = place
        self.server = server
        self.uuid: str | None = None
        """Of the session that is going on: what it measured is no history yet."""
        self.noted: dict[str, Any] = {}
        """Of the session that is going on, the columns that were filled in later."""
        self._engine = engine
        self._connection = connection
        self._closed = False
        self._unsound: list[int] | None = None
        """Sessions that have no date."""
        self._session: int | None = None
        self._number = 0
        self._known: set[int] = set()
        """Numbers of tests and codes that are there."""
        self._functions: dict[tuple[str, str], int] = {}
        """Numbers of functions, by place and hash."""
        self._lite: sqlite3.Connection | None = None
        if engine.dialect.name == "sqlite":
            self._lite = cast(sqlite3.Connection, connection.connection.driver_connection)
        known = tables()

        def prepared(statement: Any, *names: str) -> _Prepared:  # noqa: ANN401 - any kind of statement
            return _Prepared(engine, statement, names, self._lite)

        self._add_measurements = prepared(self._new(known.measurements), "session_id", "test_id", "code_id", *VALUES)
        self._add_tests = prepared(self._new(known.tests), "id", "nodeid")
        self._add_functions = prepared(self._new(known.functions), "number", "place", "hash")
        self._add_codes = prepared(self._new(known.codes), "id", "fingerprint", "functions", "unknown", "counts")
        codes, functions, given = known.codes, known.functions, sa.bindparam("number", type_=known.codes.c.id.type)
        self._find_code = prepared(sa.select(codes.c.id, codes.c.id).where(codes.c.id == given))
        self._find_function = prepared(sa.select(functions.c.number, functions.c.id).where(functions.c.number == given))

    def _new(self, table: Table) -> Any:  # noqa: ANN401 - one class for each database
        """An INSERT that leaves alone what is there."""
        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table).on_conflict_do_nothing().inline()
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).on_conflict_do_nothing().inline()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction whose errors are :class:`StoreError`; after one, the next can begin."""
        with self.place.errors(), self.server.within(self._connection, PATIENCE) if self.server else contextlib.nullcontext():
            try:
                with self._connection.begin():
                    yield self._connection
            except BaseException:
                self._undone()
                raise

    def _undone(self) -> None:
        """What a transaction wrote is gone again."""
        self._known.clear()
        self._functions.clear()
        self.recover()

    def _add_alone(self, lite: sqlite3.Connection, row: tuple[int, Record]) -> None:
        """One row in a transaction, past SQLAlchemy: what opening and ending one costs there is paid for every test."""
        with self.place.errors():
            try:
                lite.execute("BEGIN IMMEDIATE")
                self.take(None, [row])
                lite.execute("COMMIT")
            except BaseException:
                self._undone()
                with contextlib.suppress(sqlite3.Error):
                    lite.rollback()
                raise

    # Written

    def begin(self, report: Report) -> int:
        """Note what all tests of a session share; the measurements added from now on belong to it. Returns its number.

        Raises:
            StoreError: it cannot be written.
        """
        commit = report.commit or {}
        uuid = uuid4().hex
        values = {
            "created": report.created,
            "machine_id": report.machine.get("id"),
            "machine": as_json(report.machine),
            "commit_id": commit.get("id"),
            "commit_dirty": commit.get("dirty"),
            "settings": as_json(report.settings),
            "sources": as_json(report.sources),
            "plugin_version": __version__,
            "uuid": uuid,
        }
        with self.transaction() as connection:
            self._session = self.take_session(
                connection, {key: safe(value) if isinstance(value, str) else value for key, value in values.items()}
            )
        self.uuid = uuid
        return self._session

    def take_session(self, connection: Connection, values: Record) -> int:
        """The number of the session with these columns, made where it is not there yet."""
        import sqlalchemy as sa

        sessions = tables().sessions
        connection.execute(self._new(sessions), values)
        return int(connection.execute(sa.select(sessions.c.id).where(sessions.c.uuid == values["uuid"])).scalar_one())

    def add(self, record: Record) -> None:
        """Keep a test's measurement, in a transaction of its own: once this returns, a killed run does not lose it.

        A record that is an earlier session's (``cached``) is there already, and is not kept again.

        Raises:
            StoreError: it cannot be written. The store stays usable; what was kept before is still there.
        """
        if self._session is None:
            raise RuntimeError("begin() comes before add()")
        if record.get("cached"):
            return
        self._number += 1
        row = (self._session, row_of(record, self._number))
        if self._lite is not None:
            self._add_alone(self._lite, row)
            return
        with self.transaction() as connection:
            self.take(connection, [row])

    def take(self, connection: Connection | None, rows: Sequence[tuple[int, Record]]) -> None:
        """Write rows (:func:`pytest_joules.store.rows.row_of`), each with its session's number; those there are left alone.

        All in one order, so that two writers never wait for each other in a circle. A SQLite file needs no ``connection``.
        """
        named = {row["test_id"]: row["nodeid"] for _, row in rows}
        if new := sorted(named.keys() - self._known):
            self._add_tests(connection, *({"id": number, "nodeid": named[number]} for number in new))
            self._known.update(new)
        self._take_codes(connection, {row["code_id"]: row["code"] for _, row in rows if row["code"] is not None})
        self._add_measurements(connection, *({**row, "session_id": session} for session, row in rows))

    def _take_codes(self, connection: Connection | None, codes: Mapping[int, Record]) -> None:
        unsure = sorted(codes.keys() - self._known)
        there = self._find(connection, self._find_code, tables().codes.c.id, tables().codes.c.id, unsure)
        rows = []
        if new := [number for number in unsure if number not in there]:
            self._take_functions(connection, {pair for number in new for pair in codes[number]["functions"].items()})
        for number in new:
            code = codes[number]
            fingerprint = safe(code["fingerprint"]) if code["fingerprint"] is not None else None
            numbers = {place: self._functions[place, found] for place, found in code["functions"].items()}
            known = {**numbers, OTHER: 0}
            counts = {known[place]: entry for place, entry in code.get("counts", {}).items() if place in known}
            executed = sorted(set(numbers.values()))
            rows.append(
                {
                    "id": number,
                    "fingerprint": fingerprint,
                    "functions": ranges(executed),
                    "unknown": as_json(code["unknown"]),
                    "counts": counts_text(counts, executed),
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
            if self._lite is None:
                self._add_functions(connection, *rows)
                look_up()
            else:
                # The lock is ours: what was not there is added now, and SQLite says its number.
                for number, row in zip(new, rows, strict=True):
                    self._functions[missing[number]] = self._add_functions(connection, row).lastrowid

    @staticmethod
    def _find(connection: Connection | None, one: _Prepared, key: Any, value: Any, keys: Sequence[int]) -> dict[int, int]:  # noqa: ANN401 - columns
        import sqlalchemy as sa

        # A SQLite file is asked one by one: that is a call of a function, and no way to a server and back.
        if connection is None or len(keys) <= 3:
            return {row[0]: row[1] for number in keys for row in one(connection, {"number": number})}
        found: dict[int, int] = {}
        for chunk in chunks(keys):
            query: Select[Any] = sa.select(key, value).where(key.in_(chunk))
            found |= {row[0]: row[1] for row in connection.execute(query)}
        return found

    # Asked

    def history(self, nodeid: str, limit: int | None = None) -> list[HistoryRecord]:
        """All measurements of a test, the newest first, at most ``limit`` of them.

        Each has ``session``, ``created``, ``machine_id``, ``machine``, ``commit`` (``{"id", "dirty"}`` or ``None``),
        ``settings``, ``sources``, ``plugin_version``; ``nodeid``, ``outcome``, ``source``, ``provenance``, ``resolution``,
        ``rounds``, ``iterations``; ``energy`` (``{"median", "ci95"}`` in joules, or ``None``), ``duration`` (``{"median"}`` in
        seconds, or ``None``); ``samples``: one list each for ``energy``, ``duration``, ``tsc``, and one a domain under
        ``domains``, to 9 digits; ``code``: ``{"fingerprint", "functions": {place: hash}, "unknown", "counts": {place: [calls,
        times each statement ran]}}`` or ``None``; and what else the test's record said.

        Raises:
            StoreError: it cannot be read.
        """
        known = tables()
        query = (
            self._measurements(known.measurements, *(column for column in known.sessions.c if column.name != "id"))
            .where(known.measurements.c.test_id == number_of(safe(nodeid)), self.of_sound_sessions())
            .order_by(known.sessions.c.created.desc(), known.measurements.c.id.desc())
            .limit(limit)
        )
        with self.transaction() as connection:
            rows = connection.execute(query).all()
            codes = self.codes(connection, {row.code_id for row in rows})
        return list(
            self._sound(rows, lambda row: entry_of(row._asdict()) | {"code": codes.get(row.code_id)}),
        )

    def _sound(self, rows: Iterable[Row[Any]], decode: Callable[[Row[Any]], T]) -> Iterator[T]:
        """What ``decode`` makes of rows of measurements."""
        return self.left_out.sound("measurement", rows, lambda row: row.id, decode)

    def _measurements(self, *columns: Any) -> Select[Any]:  # noqa: ANN401 - columns and tables
        import sqlalchemy as sa

        known = tables()
        together = known.measurements.join(known.sessions, known.sessions.c.id == known.measurements.c.session_id)
        return sa.select(known.tests.c.nodeid, *columns).select_from(
            together.join(known.tests, known.tests.c.id == known.measurements.c.test_id)
        )

    def nodeids(self, like: str = "") -> list[str]:
        """The node ids in the history that contain ``like``, sorted.

        Raises:
            StoreError: it cannot be read.
        """
        import sqlalchemy as sa

        known = tables()
        measured = sa.select(known.measurements.c.id).where(known.measurements.c.test_id == known.tests.c.id).exists()
        query = sa.select(known.tests.c.nodeid).where(measured)
        if like:
            query = query.where(known.tests.c.nodeid.contains(safe(like), autoescape=True))
        query = query.add_columns(known.tests.c.id.label("test_id"))
        found = self.left_out.sound("test", self._rows(query), lambda row: row.test_id, lambda row: nodeid_of(row._asdict()))
        # SQLite's LIKE does not tell the cases of ASCII letters apart.
        return sorted(nodeid for nodeid in found if safe(like) in nodeid)

    def overview(self) -> list[OverviewRecord]:
        """One entry a test, the most recently measured first: ``nodeid``, ``count``, and of its latest measurement
        ``created``, ``energy_median`` (joules or ``None``), ``provenance``.

        Raises:
            StoreError: it cannot be read.
        """
        import sqlalchemy as sa

        known = tables()
        measurements, sessions = known.measurements, known.sessions
        # All of it is in indices; a number of constant width makes the newest the greatest text.
        key = sessions.c.created.concat(sa.cast(sa.cast(measurements.c.id, sa.BigInteger) + _WIDE, sa.String))
        query = (
            sa.select(sa.func.count().label("count_of"), sa.func.max(key).label("newest"))
            .select_from(measurements.join(sessions, sessions.c.id == measurements.c.session_id))
            .where(self.of_sound_sessions())
            .group_by(measurements.c.test_id)
        )
        newest = [(row.newest, row.count_of) for row in self._rows(query)]
        counted = {int(key[-len(str(_WIDE)) :]) - _WIDE: count for key, count in newest}
        names = ("id", "test_id", "energy_median", "provenance", "energy_low", "energy_high", "duration_median")
        rows: list[Row[Any]] = []
        for chunk in chunks(sorted(counted)):
            columns = (*(measurements.c[name] for name in names), sessions.c.created)
            rows += self._rows(self._measurements(*columns).where(measurements.c.id.in_(chunk)))
        rows.sort(key=lambda row: (row.created, row.id), reverse=True)

        def entry(row: Row[Any]) -> Record:
            values = row._asdict()
            return {
                "nodeid": nodeid_of(values),
                "count": counted[row.id],
                "created": row.created,
                "energy_median": decoded.energies(values)[0],
                "provenance": decoded.provenance(row.provenance),
            }

        return list(self._sound(rows, entry))

    def sessions_of(
        self, nodeids: Collection[str], machine_id: str, source: str, *, before: str | None = None, limit: int | None = 20
    ) -> dict[str, list[SessionEntry]]:
        """What earlier sessions of this machine and source measured of each test, the oldest first: ``created``,
        ``fingerprint`` of the code (or ``None``), ``median`` (joules per iteration).

        Only tests that passed, with a provenance of ``measured`` or ``estimated``. The latest ``limit`` of each test; with
        ``before``, of sessions created before that time (ISO 8601, UTC). Tests without any are left out; the session that is
        going on is not among them.

        Raises:
            StoreError: it cannot be read.
        """
        import sqlalchemy as sa

        known = tables()
        wanted = {number_of(safe(nodeid)): nodeid for nodeid in nodeids}
        found: dict[str, list[SessionEntry]] = {}
        self.of_sound_sessions()  # a question of its own
        with self.transaction() as connection:
            for chunk in chunks(sorted(wanted)):
                ranked = self._comparable(machine_id, source, before, known.measurements.c.test_id.in_(chunk)).subquery()
                query = (
                    sa.select(ranked.c.id, ranked.c.test_id, ranked.c.created, known.codes.c.fingerprint, ranked.c.energy_median)
                    .select_from(ranked.outerjoin(known.codes, known.codes.c.id == ranked.c.code_id))
                    .order_by(ranked.c.place.desc())
                )
                if limit is not None:
                    query = query.where(ranked.c.place <= limit)
                for test, entry in self._sound(connection.execute(query), _comparable_of):
                    found.setdefault(wanted[test], []).append(entry)
        return found

    def latest_code(self, machine_id: str, source: str, nodeids: Collection[str] | None = None) -> dict[str, LatestCode]:
        """The newest measurement of each of these tests (``None``: of all) by this machine and source whose code is known: its
        record as it was written, with ``code`` and ``created`` (ISO 8601, UTC).

        Only tests that passed, with a provenance of ``measured`` or ``estimated``; not those of the session that is going on.

        Raises:
            StoreError: it cannot be read.
        """
        known = tables()
        columns = (known.measurements, known.sessions.c.created)

        def made(row: Row[Any], code: Record, files: Record) -> Record:
            return record_of(row._asdict()) | {"code": code, "created": row.created}

        return self._newest(machine_id, source, nodeids, columns, made)

    def _comparable(self, machine_id: str, source: str | None, before: str | None, condition: Any) -> Select[Any]:  # noqa: ANN401 - a clause
        """Measurements that may be compared; ``place`` counts those of a test from the newest on."""
        import sqlalchemy as sa

        known = tables()
        measurements, sessions = known.measurements, known.sessions
        newest = (sessions.c.created.desc(), measurements.c.id.desc())
        place = sa.func.row_number().over(partition_by=measurements.c.test_id, order_by=newest).label("place")
        columns = [measurements.c[name] for name in ("id", "test_id", "code_id", "energy_median")]
        query = (
            sa.select(*columns, sessions.c.created, place)
            .join(sessions, sessions.c.id == measurements.c.session_id)
            .where(
                condition,
                sessions.c.machine_id == safe(machine_id),
                sa.true() if source is None else measurements.c.source == safe(source),
                measurements.c.provenance.in_(("measured", "estimated")),
                measurements.c.outcome == "passed",
                measurements.c.energy_median.is_not(None),
                self.of_sound_sessions(),
            )
        )
        if before is not None:
            query = query.where(sessions.c.created < before)
        return query.where(sa.or_(sessions.c.uuid.is_(None), sessions.c.uuid != self.uuid)) if self.uuid else query

    def codes(self, connection: Connection, numbers: Iterable[int | None]) -> dict[int, Record]:
        """What tests executed, by number: fingerprint, functions with their hashes, what is not known, and how often what ran."""
        import sqlalchemy as sa

        known = tables()
        wanted = sorted({number for number in numbers if isinstance(number, int)})
        rows: list[Row[Any]] = []
        for chunk in chunks(wanted):
            rows += connection.execute(sa.select(known.codes).where(known.codes.c.id.in_(chunk)))
        highest = connection.execute(sa.select(sa.func.max(known.functions.c.id))).scalar() or 0

        def numbered(row: Row[Any]) -> tuple[Row[Any], list[int]]:
            return row, decoded.numbers(row.functions, highest)

        executed = list(self.left_out.sound("code", rows, lambda row: row.id, numbered))
        columns = (known.functions.c.id, known.functions.c.place, known.functions.c.hash)
        functions: dict[int, tuple[str, str]] = {}
        for part in chunks(sorted(set().union(*(numbers for _, numbers in executed)))):
            found = connection.execute(sa.select(*columns).where(known.functions.c.id.in_(part)))
            functions |= self.left_out.sound(
                "function", found, lambda row: row.id, lambda row: (row.id, decoded.function(row.place, row.hash))
            )

        def made(pair: tuple[Row[Any], list[int]]) -> tuple[int, Record]:
            row, pairs = pair[0], decoded.executed(pair[1], functions)
            return row.id, {
                "fingerprint": decoded.text_or_none(row.fingerprint, "fingerprint"),
                "functions": dict(pairs),
                "unknown": decoded.unknown(row.unknown),
                "counts": decoded.counts(decoded.counts_text(row.counts), [place for place, _ in pairs]),
            }

        return dict(self.left_out.sound("code", executed, lambda pair: pair[0].id, made))

    def of_sound_sessions(self, alias: Any = None) -> Any:  # noqa: ANN401 - a clause; an alias of the table
        """That measurements are of sessions whose date, which orders them, is one. Asks, when it is first called."""
        import sqlalchemy as sa

        sessions = tables().sessions
        if self._unsound is None:
            rows = self._rows(sa.select(sessions.c.id, sessions.c.created))
            dated = self.left_out.sound("session", rows, lambda row: row.id, lambda row: (row.id, decoded.created(row.created)))
            sound = dict(dated)
            self._unsound = [row.id for row in rows if row.id not in sound]
        if len(self._unsound) > MOST_VALUES:
            raise StoreError(
                f"the history {self.place.shown} has {len(self._unsound)} sessions without a date: move it away, "
                "and the next run begins a new one"
            )
        return (sessions if alias is None else alias).c.id.not_in(self._unsound) if self._unsound else sa.true()

    def _rows(self, query: Executable) -> list[Row[Any]]:
        with self.transaction() as connection:
            return list(connection.execute(query))

    # The end

    @property
    def number(self) -> int | None:
        """Of the session that is going on."""
        return self._session

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def give_back(self, goes_on: Callable[[], bool] | None) -> None:
        """Room that was made, as far as there is time (``None``: all of it).

        Raises:
            StoreError: another process holds it, or the disk is full.
        """
        if self._lite is not None:
            with self.place.errors():
                give_back(self._lite, goes_on)

    def recover(self) -> None:
        """After an error: end the transaction, so that the next one can begin."""
        with contextlib.suppress(StoreError), self.place.errors():
            self._connection.rollback()

    def close(self) -> None:
        """Close it; may be called twice, and never fails: all that was added is kept already."""
        if not self._closed and (sentence := self.left_out.sentence(self.place.shown)) is not None:
            self.notices.append(sentence)
        self._closed = True
        with contextlib.suppress(StoreError), self.place.errors():
            self._connection.close()
        with contextlib.suppress(StoreError), self.place.errors():
            self._engine.dispose()


def _comparable_of(row: Row[Any]) -> tuple[int, Record]:
    """The test's number, and an entry of :meth:`Store.sessions_of`."""
    return row.test_id, {
        "created": row.created,
        "fingerprint": decoded.text_or_none(row.fingerprint, "fingerprint"),
        "median": decoded.quantity(row.energy_median, "joules"),
    }
