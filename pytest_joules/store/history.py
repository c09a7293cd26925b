"""An open history: written to, asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from pytest_joules.model import Record, Report
from pytest_joules.store import for_pages, predictor_queries, queries, series
from pytest_joules.store.database import Database
from pytest_joules.store.rows import row_of, session_row
from pytest_joules.store.writing import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pytest_joules.store.address import Address
    from pytest_joules.store.entries import MeasurementRow
    from pytest_joules.store.postgresql import PostgreSQL


class Store:
    """An open history. Use :func:`pytest_joules.store.open_store`; for one thread.

    ``notices`` are sentences for the user, complete after :meth:`close`.
    """

    def __init__(self, engine: Engine, connection: Connection, address: Address, server: PostgreSQL | None = None) -> None:
        self.notices: list[str] = []
        self.asked = self.written = Database(engine, connection, address, server)
        self.number: int | None = None
        """Of the session that is going on."""
        self._writer = Writer(self.written)
        self._report: Report | None = None
        """Of the session that is going on."""
        self._measured = 0
        self._closed = False

    history = queries.history
    nodeids = queries.nodeids
    overview = queries.overview
    sessions_of = queries.sessions_of
    past = for_pages.past
    newest_report = for_pages.newest_report
    latest_code = queries.latest_code
    past_sessions = series.past_sessions
    joules_over_time = series.joules_over_time
    instructions_over_time = series.instructions_over_time
    executed = series.executed
    latest = predictor_queries.latest
    versions = predictor_queries.versions
    predictions = predictor_queries.predictions
    predictings = predictor_queries.predictings
    sources = predictor_queries.sources
    without_source = predictor_queries.without_source
    add_sources = predictor_queries.add_sources
    add_files = predictor_queries.add_files
    add_predicting = predictor_queries.add_predicting
    add_predictions = predictor_queries.add_predictions

    def begin(self, report: Report) -> int:
        """Note what all tests of a session share; the measurements added from now on belong to it. Returns its number.

        Raises:
            StoreError: it cannot be written.
        """
        uuid = uuid4().hex
        with self._writer.transaction() as connection:
            self.number = self._writer.take_session(connection, session_row(report, uuid))
        self.written.uuid, self._report = uuid, report
        return self.number

    def add(self, record: Record) -> None:
        """Keep a test's measurement, in a transaction of its own: once this returns, a killed run does not lose it.

        A record that is an earlier session's (``cached``) is there already, and is not kept again.

        Raises:
            StoreError: it cannot be written. The store stays usable; what was kept before is still there.
        """
        if self.number is None or self._report is None:
            raise RuntimeError("begin() comes before add()")
        if not record["cached"]:
            self._measured += 1
            self._writer.add(self.number, row_of(record, self._measured, self._report.session.get("counting")))

    def take(self, sessions: Mapping[int, Mapping[str, object]], rows: Sequence[tuple[int, MeasurementRow]]) -> None:
        """Keep measurements of another database, in one transaction: its sessions by number, rows with their session's number.

        Raises:
            StoreError: they cannot be written.
        """
        with self._writer.transaction() as connection:
            numbers = {number: self._writer.take_session(connection, values) for number, values in sorted(sessions.items())}
            self._writer.take(connection, [(numbers[number], row) for number, row in rows])

    def close(self) -> None:
        """Close it; may be called twice, and never fails: all that was added is kept already."""
        if not self._closed and (sentence := self.asked.left_out.sentence(self.asked.address.shown)) is not None:
            self.notices.append(sentence)
        self._closed = True
        self.asked.close()
