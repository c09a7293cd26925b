"""What a predictor asks of a history, and leaves in it."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_joules.model import PredictingRecord, Record
from pytest_joules.store import decoded
from pytest_joules.store.entries import LatestRecord, PastPredicting, PastPrediction, VersionRecord
from pytest_joules.store.rows import as_json, nodeid_of, safe
from pytest_joules.store.tables import number_of, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Select

T = TypeVar("T")

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
    left_out: decoded.LeftOut
    _functions: dict[tuple[str, str], int]

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def codes(self, connection: Connection, numbers: Iterable[int | None]) -> dict[int, Record]: ...

    @abstractmethod
    def _comparable(self, machine_id: str, source: str | None, before: str | None, condition: Any) -> Select[Any]: ...  # noqa: ANN401 - a clause

    @abstractmethod
    def of_sound_sessions(self, alias: Any = None) -> Any: ...  # noqa: ANN401 - a clause

    @abstractmethod
    def _sound(self, rows: Iterable[Row[Any]], decode: Callable[[Row[Any]], T]) -> Iterator[T]: ...

    @abstractmethod
    def _measurements(self, *columns: Any) -> Select[Any]: ...  # noqa: ANN401 - columns and tables

    # Asked

    def latest(self, machine_id: str, source: str | None, nodeids: Collection[str] | None = None) -> dict[str, LatestRecord]:
        """The newest measurement of each of these tests (``None``: of all) by this machine and source (``None``: by any) whose
        code is known, without its samples: ``nodeid``, ``created``, ``joules`` and ``seconds`` (medians per iteration),
        ``source``, ``provenance``, ``rounds``, ``iterations``, ``code``, and ``files``: the digests of the project's files as
        they were.

        Only tests that passed, with a provenance of ``measured`` or ``estimated``; not those of the session that is going on.
        """
        known = tables()
        measured = (column for column in known.measurements.c if column.name not in ("samples", "facts"))
        columns = (known.sessions.c.created, *measured)

        def made(row: Row[Any], code: Record, files: Record) -> Record:
            values = row._asdict()
            joules, _, seconds = decoded.energies(values)
            checked = decoded.columns(values)
            return {
                "nodeid": nodeid_of(values),
                "created": row.created,
                "joules": joules,
                "seconds": seconds,
                **{name: checked[name] for name in ("source", "provenance", "rounds", "iterations")},
                "code": code,
                "files": files,
            }

        return self._newest(machine_id, source, nodeids, columns, made, files=True)

    def _newest(
        self,
        machine_id: str,
        source: str | None,
        nodeids: Collection[str] | None,
        columns: Sequence[Any],
        made: Callable[[Row[Any], Record, Record], Record],
        *,
        files: bool = False,
    ) -> dict[str, Record]:
        """By node id, what ``made`` makes of the newest measurement of each test, its code and the files of its session."""
        import sqlalchemy as sa

        known = tables()
        self.of_sound_sessions()  # a question of its own
        result: dict[str, Record] = {}
        with self.transaction() as connection:
            if nodeids is None:
                numbers = [number for (number,) in connection.execute(sa.select(known.tests.c.id)) if isinstance(number, int)]
            else:
                numbers = [number_of(safe(nodeid)) for nodeid in nodeids]
            there: dict[int, Record] = {}
            for chunk in chunks(sorted(set(numbers))):
                condition = sa.and_(known.measurements.c.test_id.in_(chunk), known.measurements.c.code_id.is_not(None))
                ranked = self._comparable(machine_id, source, None, condition).subquery()
                newest = sa.select(ranked.c.id).where(ranked.c.place == 1)
                rows = connection.execute(self._measurements(*columns).where(known.measurements.c.id.in_(newest))).all()
                codes = self.codes(connection, {row.code_id for row in rows})
                if files:
                    there |= self._files(connection, {row.session_id for row in rows} - there.keys())
                result.update(self._sound(rows, partial(_with_code, made, codes, there)))
        return result

    def _files(self, connection: Connection, numbers: Iterable[int]) -> dict[int, Record]:
        import sqlalchemy as sa

        sessions = tables().sessions
        found: dict[int, Record] = {}
        for chunk in chunks(sorted(numbers)):
            query = sa.select(sessions.c.id, sessions.c.files).where(sessions.c.id.in_(chunk), sessions.c.files.is_not(None))
            rows = connection.execute(query)
            found |= self.left_out.sound("session", rows, lambda row: row.id, lambda row: (row.id, decoded.files(row.files)))
        return found

    def versions(self, machine_id: str | None = None, source: str | None = None) -> list[VersionRecord]:
        """Every measurement whose code is known, the oldest first: ``nodeid``, ``created``, ``session`` (its number),
        ``machine_id``, ``source``, ``provenance``, ``joules``, ``seconds`` and ``tsc`` (medians per iteration; ``None`` where not
        known), and ``code``.

        Only tests that passed, with a provenance of ``measured`` or ``estimated``; of this machine and source where given.
        """
        known = tables()
        measurements, sessions = known.measurements, known.sessions
        columns = (*(column for column in measurements.c if column.name != "facts"), sessions.c.created, sessions.c.machine_id)
        query = (
            self._measurements(*columns)
            .where(
                measurements.c.code_id.is_not(None),
                measurements.c.outcome == "passed",
                measurements.c.provenance.in_(("measured", "estimated")),
                self.of_sound_sessions(),
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

        def made(row: Row[Any]) -> Record:
            if row.code_id not in codes:
                raise decoded.Bad("what it executed is not there, or damaged")
            values = row._asdict()
            joules, _, seconds = decoded.energies(values)
            checked = decoded.columns(values)
            return {
                "nodeid": nodeid_of(values),
                "created": row.created,
                "session": row.session_id,
                "machine_id": decoded.text_or_none(row.machine_id, "machine's number"),
                "source": checked["source"],
                "provenance": checked["provenance"],
                "joules": joules,
                "seconds": seconds,
                "tsc": _median(decoded.samples(row.samples)["tsc"]),
                "code": codes[row.code_id],
            }

        return list(self._sound(rows, made))

    def predictions(self, told: Callable[[int, int], None] = lambda done, total: None) -> list[PastPrediction]:
        """What was predicted of tests, the oldest session first: ``prediction`` as in the report, with ``nodeid``, ``session``
        and ``created``. Only sessions in which the predictor was asked are read. ``told``: of how many sessions are done."""
        import sqlalchemy as sa

        known = tables()
        measurements, sessions = known.measurements, known.sessions
        asked = sa.or_(sessions.c.predicting.is_not(None), sessions.c.settings.not_like('%"predict": null%'))
        with self.transaction() as connection:
            numbers = list(connection.execute(sa.select(sessions.c.id).where(asked).order_by(sessions.c.created)).scalars())
        columns = (measurements.c.id, measurements.c.test_id, measurements.c.facts, sessions.c.created)
        query = (
            self._measurements(*columns)
            .where(
                measurements.c.session_id == sa.bindparam("session"),
                measurements.c.facts.like('%"prediction"%'),
                self.of_sound_sessions(),
            )
            .order_by(measurements.c.id)
        )
        found: list[Record] = []
        for done, number in enumerate(numbers):
            told(done, len(numbers))

            def made(row: Row[Any], number: int = number) -> Record | None:
                said: Record | None = decoded.facts(row.facts).get("prediction")
                same = {"nodeid": nodeid_of(row._asdict()), "session": number, "created": row.created}
                return said | same if said is not None else None

            with self.transaction() as connection:
                rows = connection.execute(query, {"session": number}).all()
            found += [entry for entry in self._sound(rows, made) if entry is not None]
        return found

    def sources(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The source of functions and statements, by place and hash, of those that are known."""
        import sqlalchemy as sa

        functions = tables().functions
        wanted = {number_of(place, found): (place, found) for place, found in pairs}
        result: dict[tuple[str, str], str] = {}
        with self.transaction() as connection:
            for chunk in chunks(sorted(wanted)):
                query = sa.select(functions.c.id, functions.c.number, functions.c.source).where(
                    functions.c.number.in_(chunk), functions.c.source.is_not(None)
                )
                rows = connection.execute(query)
                result |= self.left_out.sound(
                    "function", rows, lambda row: row.id, lambda row: (wanted[row.number], decoded.text(row.source, "source"))
                )
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

    def predictings(self, limit: int) -> list[PastPredicting]:
        """The predictor's accounts (:meth:`add_predicting`) of the latest sessions that it was asked in, the newest first, each
        with ``created``."""
        import sqlalchemy as sa

        sessions = tables().sessions
        query = (
            sa.select(sessions.c.id, sessions.c.created, sessions.c.predicting)
            .where(sessions.c.predicting.is_not(None), self.of_sound_sessions())
            .order_by(sessions.c.created.desc(), sessions.c.id.desc())
            .limit(limit)
        )
        with self.transaction() as connection:
            rows = connection.execute(query).all()
        return list(
            self.left_out.sound(
                "session", rows, lambda row: row.id, lambda row: decoded.account(row.predicting) | {"created": row.created}
            )
        )

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

    def add_predicting(self, account: PredictingRecord) -> None:
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


def _with_code(
    made: Callable[[Row[Any], Record, Record], Record],
    codes: Mapping[int, Record],
    files: Mapping[int, Record],
    row: Row[Any],
) -> tuple[str, Record]:
    if row.code_id not in codes:
        raise decoded.Bad("what it executed is not there, or damaged")
    return row.nodeid, made(row, codes[row.code_id], files.get(row.session_id, {}))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
