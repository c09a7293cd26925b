"""A history on a server, by way of a file here.

What is measured goes into the spool first, a SQLite file of the same schema in pytest's cache, and from there to the server: now
and then between two tests, at the end of the run, or in the next run whose server answers. So a run never waits for a network
while it measures, and a lost connection loses nothing. A measurement has the same session and number in every database: pushed
twice, it is there once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.clock import CLOCKS
from pytest_joules.model import PredictionRecord, Record, Report
from pytest_joules.store import checked, for_pages, predictor_queries, queries
from pytest_joules.store.address import Address, StoreError, Unreachable
from pytest_joules.store.history import Store
from pytest_joules.store.opening import open_store
from pytest_joules.store.rows import VALUES, row_again
from pytest_joules.store.tables import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_joules.store.database import AnyRow, Database
    from pytest_joules.store.entries import MeasurementRow, Version

    #: The columns of sessions, by their numbers.
    Sessions = dict[int, Mapping[str, object]]
    #: A measurement with its session's number.
    _OfSession = tuple[int, MeasurementRow]

#: Measurements in one transaction on the server.
_BATCH = 200

#: A killed run's machine may not come back (CI): what it measured is pushed this often, in seconds.
_INTERVAL = 10.0

#: Sessions that stay in the spool when all they measured is pushed.
_SESSIONS = 200

#: Single measurements that the server may refuse before pushing is given up.
_REFUSALS = 5


def open_for_run(url: str | os.PathLike[str], folder: Callable[[], Path | None], *, timeout: float = 5.0) -> Store | Spooled:
    """Open the history that a run writes to: a file as it is, a server with a spool in the ``folder`` (``None``: in memory).

    A server that does not answer is no error: what is measured waits in the spool.

    Raises:
        StoreError: the URL is wrong, or what is there is no history.
    """
    address = Address(url)
    if address.lite:
        return open_store(url, timeout=timeout)
    server: Store | None = None
    trouble: Unreachable | None = None
    try:
        server = open_store(url, timeout=timeout)
    except Unreachable as error:
        trouble = error
    return Spooled(address, _spool(address, folder()), server, trouble, timeout)


def _spool(address: Address, folder: Path | None) -> Store:
    if folder is not None:
        try:
            return open_store(folder / f"spool-{address.key()}.db")
        except StoreError:
            # A cache that cannot be written: the server is all there is.
            pass
    return open_store("sqlite://")


class Spooled:
    """As :class:`pytest_joules.store.Store`, of which it has two; ``notices`` are complete after :meth:`close`."""

    def __init__(self, address: Address, spool: Store, server: Store | None, trouble: StoreError | None, timeout: float) -> None:
        self.notices = list(spool.notices)
        self.written = spool.written
        self._address = address
        self._spool = spool
        self._server = server
        self._trouble: StoreError | None = trouble
        self._timeout = timeout
        self._pushed = CLOCKS.wall()
        self._closed = False
        self._sources: dict[Version, str] = {}

    @property
    def asked(self) -> Database:
        """The server's. Raises :class:`StoreError` where it does not answer."""
        if self._server is None:
            raise self._trouble or Unreachable(f"the history {self._address.shown} does not answer")
        return self._server.asked

    sessions_of = queries.sessions_of
    latest_code = queries.latest_code
    past = for_pages.past
    latest = predictor_queries.latest
    predictings = predictor_queries.predictings
    sources = predictor_queries.sources
    without_source = predictor_queries.without_source
    add_files = predictor_queries.add_files
    add_predicting = predictor_queries.add_predicting

    def begin(self, report: Report) -> int:
        """As :meth:`Store.begin`; what earlier runs could not push is pushed first.

        Raises:
            StoreError: the spool cannot be written.
        """
        earlier = self._unsent()
        number = self._spool.begin(report)
        if self._server is not None:
            self._server.written.uuid = self.written.uuid
        if earlier and self._push():
            self.notices.append(f"history: {earlier} {_tests(earlier)} of earlier runs pushed to {self._address.shown}")
        return number

    def add(self, record: Record) -> None:
        """As :meth:`Store.add`; pushed within seconds, as far as the server answers.

        Raises:
            StoreError: the spool cannot be written.
        """
        self._spool.add(record)
        if self._server is not None and CLOCKS.wall() - self._pushed > _INTERVAL * 1e9:
            self._push()

    def add_sources(self, sources: Mapping[Version, str]) -> None:
        """As :meth:`Store.add_sources`; pushed with the measurements.

        Raises:
            StoreError: the spool cannot be written.
        """
        self._spool.add_sources(sources)
        self._sources.update(sources)

    def add_predictions(self, predictions: Mapping[str, PredictionRecord]) -> None:
        """As :meth:`Store.add_predictions`: what has gone to the server already is written over there.

        Raises:
            StoreError: the spool or the server cannot be written.
        """
        predictor_queries.write_predictions(self.written, self.written.uuid, predictions)
        if self._server is not None:
            predictor_queries.write_predictions(self._server.written, self.written.uuid, predictions)

    def close(self) -> None:
        """Push what is left; never fails. What the server did not take stays for the next run, and ``notices`` says so."""
        if self._closed:
            return
        self._closed = True
        try:
            left = self._unsent()
            if left and not self._push(last=True):
                left = self._unsent()
                self.notices.append(self._kept(left))
            elif self._server is not None:
                # Some of it may have been pushed before this was known.
                self._server.add_sources(self._sources)
                predictor_queries.note(self._server.written, self.written.uuid, self.written.noted)
            self._tidy()
        except StoreError as error:
            self.notices.append(f"history: what was measured could not be pushed to {self._address.shown}: {error}")
        for store in (self._spool, self._server):
            if store is not None:
                said = len(store.notices)
                store.close()
                self.notices += store.notices[said:]

    def _kept(self, left: int) -> str:
        reason = str(self._trouble or "it did not take them")
        if not self.written.address.is_file:
            return f"history: {left} {_tests(left)} lost, as pytest's cache cannot keep them meanwhile: {reason}"
        kept = self.written.address.shown
        return f"history: {left} {_tests(left)} kept in {kept} until the next run whose store answers: {reason}"

    # To the server

    def _unsent(self) -> int:
        import sqlalchemy as sa

        with self.written.transaction() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(tables().measurements)).scalar_one())

    def _push(self, *, last: bool = False) -> bool:
        """Move what is in the spool to the server, batch by batch; whether all of it is there."""
        if self._server is None and last:
            self._connect()
        refused = after = 0
        many = _BATCH
        while self._server is not None:
            ids, sessions, rows, bad = _waiting(self.written, after, many)
            if bad:
                self._forget(bad)  # they would be kept for ever: no server takes them
            if not ids:
                break
            try:
                if not rows:
                    after = ids[-1]
                    continue
                self._give(self._server, sessions, rows)
                self._server.add_sources(self._spool.sources({pair for _, row in rows for pair in _functions(row)}))
            except StoreError as error:
                self._trouble = error
                if isinstance(error, Unreachable):
                    self._server.close()
                    self._server = None
                    if last:
                        last = False
                        self._connect()
                    continue
                # One of them may be what the server refuses: the others must not wait for it.
                if many == 1:
                    refused += 1
                    after = ids[0]
                if refused > _REFUSALS:
                    break
                many = 1
            else:
                self._forget({(session, row["number"]) for session, row in rows})
        self._pushed = CLOCKS.wall()
        return self._server is not None and not refused

    def _connect(self) -> None:
        try:
            self._server = open_store(self._address.text, timeout=self._timeout)
            self._server.written.uuid = self.written.uuid
        except StoreError as error:
            self._trouble = error

    @staticmethod
    def _give(server: Store, sessions: Sessions, rows: Sequence[_OfSession]) -> None:
        server.take(sessions, rows)

    def _forget(self, numbers: Iterable[tuple[int, int]]) -> None:
        """Measurements, by their session's number and their own, are on the server; where this is not reached, they are pushed
        again, and found there."""
        import sqlalchemy as sa

        # Not by the row's id: when another run has emptied the spool meanwhile, SQLite gives the same ones to new rows.
        measurements = tables().measurements
        gone = measurements.delete().where(
            measurements.c.session_id == sa.bindparam("session"), measurements.c.number == sa.bindparam("place")
        )
        with self.written.transaction() as connection:
            connection.execute(gone, [{"session": session, "place": number} for session, number in numbers])

    def _tidy(self) -> None:
        """Only old sessions go: another run may be in the middle of its own, in the same spool."""
        import sqlalchemy as sa

        known = tables()
        newest = sa.select(sa.func.max(known.sessions.c.id)).scalar_subquery()
        used = sa.select(known.measurements.c.id).where(known.measurements.c.session_id == known.sessions.c.id).exists()
        with self.written.transaction() as connection:
            connection.execute(known.sessions.delete().where(known.sessions.c.id < newest - _SESSIONS, ~used))


def _waiting(spool: Database, after: int, limit: int) -> tuple[list[int], Sessions, list[_OfSession], set[tuple[int, int]]]:
    """The next measurements: their numbers in the spool, the sessions they belong to, the rows, and which of them are damaged."""
    import sqlalchemy as sa

    known = tables()
    measurements, sessions = known.measurements, known.sessions
    columns = [measurements.c[name] for name in ("id", "session_id", "test_id", "code_id", *VALUES)]
    query = (
        sa.select(known.tests.c.nodeid, *columns)
        .join(known.tests, known.tests.c.id == measurements.c.test_id)
        .where(measurements.c.id > after)
        .order_by(measurements.c.id)
        .limit(limit)
    )
    with spool.transaction() as connection:
        found = connection.execute(query).all()
        codes = spool.codes(connection, {row.code_id for row in found})
        belongs = sa.select(sessions).where(sessions.c.id.in_({row.session_id for row in found}))
        shared = connection.execute(belongs).all()

    def whole(row: AnyRow) -> tuple[int, Mapping[str, object]]:
        values = row._asdict()
        checked.session(values)
        return row.id, {name: value for name, value in values.items() if name != "id"}

    def made(row: AnyRow) -> _OfSession:
        if row.session_id not in sound:
            raise checked.Bad("its session is not there, or damaged")
        return row.session_id, row_again(row._asdict(), codes.get(row.code_id))

    sound = dict(spool.sound(shared, whole, "session"))
    rows = list(spool.sound(found, made))
    bad = {(row.session_id, row.number) for row in found} - {(session, row["number"]) for session, row in rows}
    return [row.id for row in found], sound, rows, bad


def _functions(row: MeasurementRow) -> Iterable[Version]:
    return row["code"]["functions"].items() if row["code"] is not None else ()


def _tests(count: int) -> str:
    return "test" if count == 1 else "tests"
