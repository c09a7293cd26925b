"""What a predictor asks of a history, and leaves in it."""

from __future__ import annotations

import json
import statistics
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from pytest_joules.model import Record
from pytest_joules.store.rows import as_json, safe
from pytest_joules.store.tables import number_of, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

#: Databases limit how many values a statement takes; SQLite took 999 for long.
MOST_VALUES = 900


def chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    """As many at a time as a statement takes."""
    for begin in range(0, len(values), MOST_VALUES):
        yield values[begin : begin + MOST_VALUES]


class ForPredictor:
    """A part of :class:`pytest_joules.store.Store`. Every method raises ``StoreError`` where the database cannot do it."""

    uuid: str | None
    noted: dict[str, Any]
    _functions: dict[tuple[str, str], int]

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def codes(self, connection: Connection, numbers: Iterable[int | None]) -> dict[int, Record]: ...

    @abstractmethod
    def _comparable(self, machine_id: str, source: str | None, before: str | None, condition: Any) -> Select[Any]: ...  # noqa: ANN401 - a clause

    # Asked

    def latest(self, machine_id: str, source: str | None) -> dict[str, Record]:
        """The newest measurement of each test by this machine and source (``None``: by any) whose code is known, without its
        samples: ``nodeid``, ``created``, ``joules`` and ``seconds`` (medians per iteration), ``source``, ``provenance``,
        ``rounds``, ``iterations``, ``code``, and ``files``: the digests of the project's files as they were.

        Only tests that passed, with a provenance of ``measured`` or ``estimated``; not those of the session that is going on.
        """
        import sqlalchemy as sa

        known = tables()
        measurements, sessions = known.measurements, known.sessions
        ranked = self._comparable(machine_id, source, None, measurements.c.code_id.is_not(None)).subquery()
        newest = sa.select(ranked.c.id).where(ranked.c.place == 1)
        names = ("session_id", "code_id", "energy_median", "duration_median", "source", "provenance", "rounds", "iterations")
        query = (
            sa.select(known.tests.c.nodeid, sessions.c.created, *(measurements.c[name] for name in names))
            .join(sessions, sessions.c.id == measurements.c.session_id)
            .join(known.tests, known.tests.c.id == measurements.c.test_id)
            .where(measurements.c.id.in_(newest))
        )
        with self.transaction() as connection:
            rows = connection.execute(query).all()
            codes = self.codes(connection, {row.code_id for row in rows})
            files = self._files(connection, {row.session_id for row in rows})
        return {
            row.nodeid: {
                "nodeid": row.nodeid,
                "created": row.created,
                "joules": row.energy_median,
                "seconds": row.duration_median,
                **{name: getattr(row, name) for name in ("source", "provenance", "rounds", "iterations")},
                "code": codes[row.code_id],
                "files": files.get(row.session_id, {}),
            }
            for row in rows
        }

    @staticmethod
    def _files(connection: Connection, numbers: Iterable[int]) -> dict[int, Record]:
        import sqlalchemy as sa

        sessions = tables().sessions
        found: dict[int, Record] = {}
        for chunk in chunks(sorted(numbers)):
            query = sa.select(sessions.c.id, sessions.c.files).where(sessions.c.id.in_(chunk), sessions.c.files.is_not(None))
            found |= {number: json.loads(text) for number, text in connection.execute(query)}
        return found

    def versions(self, machine_id: str | None = None, source: str | None = None) -> list[Record]:
        """Every measurement whose code is known, the oldest first: ``nodeid``, ``created``, ``session`` (its number),
        ``machine_id``, ``source``, ``provenance``, ``joules``, ``seconds`` and ``tsc`` (medians per iteration; ``None`` where not
        known), ``code``, and ``prediction`` where one was made.

        Only tests that passed, with a provenance of ``measured`` or ``estimated``; of this machine and source where given.
        """
        import sqlalchemy as sa

        known = tables()
        measurements, sessions = known.measurements, known.sessions
        names = ("session_id", "code_id", "source", "provenance", "energy_median", "duration_median", "samples", "facts")
        query = (
            sa.select(known.tests.c.nodeid, sessions.c.created, sessions.c.machine_id, *(measurements.c[name] for name in names))
            .join(sessions, sessions.c.id == measurements.c.session_id)
            .join(known.tests, known.tests.c.id == measurements.c.test_id)
            .where(
                measurements.c.code_id.is_not(None),
                measurements.c.outcome == "passed",
                measurements.c.provenance.in_(("measured", "estimated")),
            )
            .order_by(sessions.c.created, measurements.c.id)
        )
        if machine_id is not None:
            query = query.where(sessions.c.machine_id == safe(machine_id))
        if source is not None:
            query = query.where(measurements.c.source == safe(source))
        with self.transaction() as connection:
            rows = connection.execute(query).all()
            codes = self.codes(connection, {row.code_id for row in rows})
        return [
            {
                "nodeid": row.nodeid,
                "created": row.created,
                "session": row.session_id,
                "machine_id": row.machine_id,
                "source": row.source,
                "provenance": row.provenance,
                "joules": row.energy_median,
                "seconds": row.duration_median,
                "tsc": _median(json.loads(row.samples)["tsc"]),
                "code": codes[row.code_id],
                "prediction": json.loads(row.facts).get("prediction") if '"prediction"' in row.facts else None,
            }
            for row in rows
        ]

    def sources(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The source of functions and statements, by place and hash, of those that are known."""
        import sqlalchemy as sa

        functions = tables().functions
        wanted = {number_of(place, found): (place, found) for place, found in pairs}
        result: dict[tuple[str, str], str] = {}
        with self.transaction() as connection:
            for chunk in chunks(sorted(wanted)):
                query = sa.select(functions.c.number, functions.c.source).where(
                    functions.c.number.in_(chunk), functions.c.source.is_not(None)
                )
                result |= {wanted[number]: text for number, text in connection.execute(query)}
        return result

    def without_source(self) -> set[tuple[str, str]]:
        """Place and hash of the functions and statements that this session met first, as far as their source is not there."""
        import sqlalchemy as sa

        functions = tables().functions
        mine = {number: key for key, number in self._functions.items() if "::" in key[0]}
        result: set[tuple[str, str]] = set()
        with self.transaction() as connection:
            for chunk in chunks(sorted(mine)):
                query = sa.select(functions.c.id).where(functions.c.id.in_(chunk), functions.c.source.is_(None))
                result |= {mine[number] for (number,) in connection.execute(query)}
        return result

    def predictings(self, limit: int) -> list[Record]:
        """The predictor's accounts (:meth:`add_predicting`) of the latest sessions that it was asked in, the newest first, each
        with ``created``."""
        import sqlalchemy as sa

        sessions = tables().sessions
        query = (
            sa.select(sessions.c.created, sessions.c.predicting)
            .where(sessions.c.predicting.is_not(None))
            .order_by(sessions.c.created.desc(), sessions.c.id.desc())
            .limit(limit)
        )
        with self.transaction() as connection:
            return [json.loads(text) | {"created": created} for created, text in connection.execute(query)]

    # Left

    def add_sources(self, sources: Mapping[tuple[str, str], str]) -> None:
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
        with self.transaction() as connection:
            connection.execute(change, [{"which": number, "text": text} for number, text in rows])

    def add_files(self, files: Mapping[str, str]) -> None:
        """Note the hashes of the project's files, by path, as they were in this session."""
        self._note(files=as_json(dict(files)))

    def add_predicting(self, account: Record) -> None:
        """Note the predictor's account of this session."""
        self._note(predicting=as_json(account))

    def _note(self, **columns: str) -> None:
        if self.uuid is None:
            raise RuntimeError("begin() comes first")
        self.noted.update(columns)
        self.note(self.uuid, self.noted)

    def note(self, uuid: str | None, columns: Mapping[str, str]) -> None:
        """Fill in columns of the session with this uuid; nothing where it is not there."""
        sessions = tables().sessions
        if columns:
            with self.transaction() as connection:
                connection.execute(sessions.update().where(sessions.c.uuid == uuid).values(**columns))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
