"""An open connection to a history: its transactions, and what all questions share."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pytest_joules.model import Code
from pytest_joules.store import checked, sqlite
from pytest_joules.store.address import Address, StoreError
from pytest_joules.store.tables import tables

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, Executable, FromClause, Select

    from pytest_joules.store.postgresql import PostgreSQL

    AnySelect = Select[Any]
    Column = ColumnElement[Any]
    Condition = ColumnElement[bool]

T = TypeVar("T")

#: Seconds that a server has for one transaction.
PATIENCE = 60.0

#: Databases limit how many values a statement takes; SQLite took 999 for long.
MOST_VALUES = 900


class AnyRow(Protocol):
    """A row: what its columns hold is told by :mod:`pytest_joules.store.checked` alone."""

    def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401 - whatever the database holds

    def __iter__(self) -> Iterator[Any]: ...

    def _asdict(self) -> dict[str, object]: ...


class Opened(Protocol):
    """A history that is open, wherever it is: what the functions of the queries are given."""

    @property
    def asked(self) -> Database:
        """What answers questions. Raises :class:`StoreError` where its server does not answer."""

    @property
    def written(self) -> Database:
        """What takes what is measured."""


def chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    """As many at a time as a statement takes."""
    for begin in range(0, len(values), MOST_VALUES):
        yield values[begin : begin + MOST_VALUES]


class Database:
    """An open database with our tables; for one thread."""

    def __init__(self, engine: Engine, connection: Connection, address: Address, server: PostgreSQL | None = None) -> None:
        self.address = address
        self.engine = engine
        self.left_out = checked.LeftOut()
        """Rows that no run wrote."""
        self.uuid: str | None = None
        """Of the session that is going on: what it measured is no history yet."""
        self.noted: dict[str, str] = {}
        """Of the session that is going on, the columns that were filled in later."""
        self.functions: dict[tuple[str, str], int] = {}
        """Numbers of functions that were written, by place and hash."""
        self.lite: sqlite3.Connection | None = None
        """The driver's own, of a SQLite file."""
        self._connection = connection
        self._server = server
        self._unsound: list[int] | None = None
        """Sessions that have no date."""
        driver = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            self.lite = driver

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction whose errors are :class:`StoreError`; after one, the next can begin."""
        patience = self._server.within(self._connection, PATIENCE) if self._server else contextlib.nullcontext()
        with self.address.errors(), patience:
            try:
                with self._connection.begin():
                    yield self._connection
            except BaseException:
                self.recover()
                raise

    def recover(self) -> None:
        """After an error: end the transaction, so that the next one can begin."""
        with contextlib.suppress(StoreError), self.address.errors():
            self._connection.rollback()

    def close(self) -> None:
        """May be called twice, and never fails."""
        for end in (self._connection.close, self.engine.dispose):
            with contextlib.suppress(StoreError), self.address.errors():
                end()

    def give_back(self, goes_on: Callable[[], bool] | None) -> None:
        """Room that was made, as far as there is time (``None``: all of it).

        Raises:
            StoreError: another process holds it, or the disk is full.
        """
        if self.lite is not None:
            with self.address.errors():
                sqlite.give_back(self.lite, goes_on)

    # What questions share

    def rows(self, query: Executable) -> list[AnyRow]:
        with self.transaction() as connection:
            return list(connection.execute(query).all())

    def sound(self, rows: Iterable[AnyRow], decode: Callable[[AnyRow], T], table: str = "measurement") -> Iterator[T]:
        """What ``decode`` makes of rows, without the damaged ones."""
        return self.left_out.sound(table, rows, lambda row: row.id, decode)

    def measurements(self, *columns: Column | FromClause) -> AnySelect:
        """Of measurements, the node id and these columns of the test, the session and the measurement itself."""
        import sqlalchemy as sa

        known = tables()
        together = known.measurements.join(known.sessions, known.sessions.c.id == known.measurements.c.session_id)
        return sa.select(known.tests.c.nodeid, *columns).select_from(
            together.join(known.tests, known.tests.c.id == known.measurements.c.test_id)
        )

    def of_sound_sessions(self, sessions: FromClause | None = None) -> Condition:
        """That measurements are of sessions (or this alias of them) whose date, which orders them, is one.

        Asks, when it is first called: not to be called inside of a transaction.
        """
        import sqlalchemy as sa

        known = tables().sessions
        if self._unsound is None:
            rows = self.rows(sa.select(known.c.id, known.c.created))
            sound = dict(self.sound(rows, lambda row: (row.id, checked.created(row.created)), "session"))
            self._unsound = [row.id for row in rows if row.id not in sound]
        if len(self._unsound) > MOST_VALUES:
            raise StoreError(
                f"the history {self.address.shown} has {len(self._unsound)} sessions without a date: move it away, "
                "and the next run begins a new one"
            )
        return (known if sessions is None else sessions).c.id.not_in(self._unsound) if self._unsound else sa.true()

    def codes(self, connection: Connection, numbers: Iterable[int | None]) -> dict[int, Code]:
        """What tests executed, by number."""
        import sqlalchemy as sa

        known = tables()
        wanted = sorted({number for number in numbers if isinstance(number, int)})
        rows: list[AnyRow] = []
        for chunk in chunks(wanted):
            rows += connection.execute(sa.select(known.codes).where(known.codes.c.id.in_(chunk)))
        highest = connection.execute(sa.select(sa.func.max(known.functions.c.id))).scalar() or 0

        def numbered(row: AnyRow) -> tuple[AnyRow, list[int]]:
            return row, checked.numbers(row.functions, highest)

        executed = list(self.sound(rows, numbered, "code"))
        columns = (known.functions.c.id, known.functions.c.place, known.functions.c.hash)
        functions: dict[int, tuple[str, str]] = {}
        for part in chunks(sorted(set().union(*(numbers for _, numbers in executed)))):
            found = connection.execute(sa.select(*columns).where(known.functions.c.id.in_(part)))
            functions |= self.sound(found, lambda row: (row.id, checked.function(row.place, row.hash)), "function")

        def made(pair: tuple[AnyRow, list[int]]) -> tuple[int, Code]:
            row, numbers = pair
            pairs = checked.executed(numbers, functions)
            places = {number: place for number, (place, _) in zip(numbers, pairs, strict=True)}
            return row.id, {
                "fingerprint": checked.text_or_none(row.fingerprint, "fingerprint"),
                "functions": dict(pairs),
                "unknown": checked.unknown(row.unknown),
                "counts": checked.counts(checked.counts_text(row.counts), [*places.values()]),
                "outside": checked.outside(checked.outside_text(row.outside), places),
            }

        return dict(self.left_out.sound("code", executed, lambda pair: pair[0].id, made))
