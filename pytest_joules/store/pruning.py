"""How a history stays small: so many sessions of a machine are kept, of those before only the newest measurement of each test.

That newest one is what ``--energy-changed-only`` and the predictor ask for: it is never removed. A run compacts what its machine
has too much of, in small transactions, for no more than a small share of the time it has taken; ``joules history --prune`` does
all of it, and removes what is damaged or belongs to nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_joules.clock import CLOCKS
from pytest_joules.store import decoded
from pytest_joules.store.predictor_queries import chunks
from pytest_joules.store.rows import nodeid_of, record_of
from pytest_joules.store.tables import tables

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

    from pytest_joules.store.history import Store

#: Measurements in one transaction: some milliseconds, for which other runs wait.
_STEP = 800
#: Of a run's seconds, and at least: what compacting may take.
_SHARE, _LEAST = 0.05, 0.1
#: Every so many sessions a run looks for functions that no code names any more.
_SWEEP = 50


@dataclass(slots=True)
class Removed:
    """How much of what is gone."""

    sessions: int = 0
    measurements: int = 0
    damaged: int = 0
    """Of all rows."""
    codes: int = 0
    functions: int = 0

    def sentence(self) -> str:
        parts = [
            f"{count:,} {name if count == 1 else many}"
            for count, name, many in (
                (self.sessions, "session", "sessions"),
                (self.measurements, "measurement", "measurements"),
                (self.damaged, "damaged row", "damaged rows"),
                (self.codes, "version of a test's code", "versions of tests' code"),
                (self.functions, "function", "functions"),
            )
            if count
        ]
        return ", ".join(parts) or "nothing"


def step(store: Store, machine_id: str, keep: int, seconds: float) -> Removed:
    """Compact after a run of so many seconds, as far as it is not noticed; the next run goes on.

    Raises:
        StoreError: another process holds it, say.
    """
    most = 1e9 * max(_LEAST, _SHARE * seconds)
    begun = CLOCKS.wall()

    def goes_on() -> bool:
        return CLOCKS.wall() - begun < most

    pruning = _Pruning(store, goes_on)
    if keep and pruning.begin(machine_id, keep):
        begun = CLOCKS.wall()
        pruning.superseded()
        pruning.old_sessions()
        if store.number is not None and store.number % _SWEEP == 0 and goes_on():
            pruning.functions()
    store.give_back(goes_on)
    return pruning.removed


def prune(store: Store, keep: int, told: Callable[[int, int], None] = lambda done, total: None) -> Removed:
    """Remove all that need not be kept, and what is damaged. ``keep``: sessions of each machine; 0: all.

    Raises:
        StoreError: it cannot be written.
    """
    import sqlalchemy as sa

    pruning = _Pruning(store, lambda: True)
    pruning.damaged(told)
    sessions = tables().sessions
    with store.transaction() as connection:
        machines = list(connection.execute(sa.select(sessions.c.machine_id).distinct()).scalars())
    for machine in machines:
        if keep and pruning.begin(machine, keep, again=True):
            pruning.old_sessions()
    pruning.codes(None)
    pruning.functions()
    store.give_back(None)
    return pruning.removed


class _Pruning:
    def __init__(self, store: Store, goes_on: Callable[[], bool]) -> None:
        self.removed = Removed()
        self._store = store
        self._goes_on = goes_on
        self._machine: str | None = None
        self._old: list[tuple[int, str]] = []
        """Sessions of the machine that are too many, the oldest first: number and date."""
        self._done = ""
        """The last of those that have been looked through: what they still have was the newest of its test."""

    # What is too much

    def begin(self, machine_id: str | None, keep: int, *, again: bool = False) -> bool:
        """Whether a machine has more sessions than it keeps. ``again``: look through all of them."""
        import sqlalchemy as sa

        known = tables()
        self._machine = machine_id
        mine = known.sessions.c.machine_id.is_not_distinct_from(machine_id)
        newest = (known.sessions.c.created.desc(), known.sessions.c.id.desc())
        sound = self._store.of_sound_sessions()
        query = sa.select(known.sessions.c.id, known.sessions.c.created).where(mine, sound).order_by(*newest).offset(keep)
        if self._store.dialect == "sqlite":
            query = query.limit(-1)
        with self._store.transaction() as connection:
            self._old = [(number, created) for number, created in connection.execute(query)][::-1]
            if not self._old:
                return False
            mark = sa.select(known.meta.c.value).where(known.meta.c.key == self._mark())
            found = connection.execute(mark).scalar()
            self._done = found if isinstance(found, str) and not again else ""
            for index in known.measurements.indexes:
                # Of older histories one is missing; it takes some seconds for a gigabyte, once.
                index.create(connection, checkfirst=True)
        return True

    def _mark(self) -> str:
        return f"pruned {self._machine}"[:64]

    def old_sessions(self) -> None:
        """Of each session that is too many, all measurements go but those that are the newest of their test."""
        for number, created in self._old:
            place = _place(number, created)
            if place > self._done:
                if not self._emptied(number):
                    return
                self._done = place
                self._keep_mark()

    def _emptied(self, session: int) -> bool:
        """Whether all of a session has been looked through."""
        import sqlalchemy as sa

        measurements = tables().measurements
        with self._store.transaction() as connection:
            last = connection.execute(sa.select(sa.func.max(measurements.c.number)).where(measurements.c.session_id == session))
            most = last.scalar()
        after = 0
        while isinstance(most, int) and after < most:
            if not self._goes_on():
                return False
            self._remove(
                measurements.c.session_id == session,
                measurements.c.number > after,
                measurements.c.number <= after + _STEP,
                sa.or_(~sa.func.coalesce(_sound(measurements), sa.false()), self._is_older()),
            )
            after += _STEP
        return True

    def superseded(self) -> None:
        """What was left of the old sessions for being the newest of its test, and is so no more by this run."""
        import sqlalchemy as sa

        measurements = tables().measurements
        sessions = [number for number, created in self._old if _place(number, created) <= self._done]
        if not sessions:
            return
        with self._store.transaction() as connection:
            mine = sa.select(measurements.c.test_id).where(measurements.c.session_id == self._store.number).distinct()
            tests = list(connection.execute(mine).scalars())
        for part in chunks(tests):
            for old in chunks(sessions):
                if not self._goes_on():
                    return
                self._remove(measurements.c.test_id.in_(part), measurements.c.session_id.in_(old), self._is_older())
        self._empty_sessions()

    def _is_older(self) -> ColumnElement[bool]:
        """Whether there is a newer measurement of the same test by this machine and source, of a kind that is asked for."""
        import sqlalchemy as sa

        known = tables()
        mine, own = known.measurements, known.sessions
        other, session = known.measurements.alias(), known.sessions.alias()
        newer = sa.or_(
            session.c.created > own.c.created,
            sa.and_(session.c.created == own.c.created, other.c.id > mine.c.id),
        )
        there = (
            sa.select(other.c.id)
            .select_from(other.join(session, session.c.id == other.c.session_id))
            .where(
                other.c.test_id == mine.c.test_id,
                other.c.source == mine.c.source,
                _sound(other),
                session.c.machine_id.is_not_distinct_from(self._machine),
                self._store.of_sound_sessions(session),
                newer,
            )
        )
        return there.correlate(mine, own).exists()

    def _remove(self, *conditions: Any) -> None:  # noqa: ANN401 - clauses
        import sqlalchemy as sa

        known = tables()
        measurements = known.measurements
        query = (
            sa.select(measurements.c.id, measurements.c.code_id)
            .select_from(measurements.join(known.sessions, known.sessions.c.id == measurements.c.session_id))
            .where(*conditions)
        )
        with self._store.transaction() as connection:
            rows = connection.execute(query).all()
            for part in chunks([row.id for row in rows]):
                connection.execute(measurements.delete().where(measurements.c.id.in_(part)))
            self.removed.measurements += len(rows)
            self._codes(connection, {row.code_id for row in rows if isinstance(row.code_id, int)})

    def _keep_mark(self) -> None:
        meta = tables().meta
        self._empty_sessions()
        with self._store.transaction() as connection:
            connection.execute(meta.delete().where(meta.c.key == self._mark()))
            connection.execute(meta.insert(), {"key": self._mark(), "value": self._done})

    def _empty_sessions(self) -> None:
        import sqlalchemy as sa

        known = tables()
        there = sa.select(known.measurements.c.id).where(known.measurements.c.session_id == known.sessions.c.id).exists()
        done = [number for number, created in self._old if _place(number, created) <= self._done]
        with self._store.transaction() as connection:
            for part in chunks(done):
                gone = connection.execute(known.sessions.delete().where(known.sessions.c.id.in_(part), ~there))
                self.removed.sessions += gone.rowcount

    # What belongs to nothing

    def codes(self, numbers: Sequence[int] | None) -> None:
        """What no test executes any more, of these (``None``: of all)."""
        with self._store.transaction() as connection:
            self._codes(connection, numbers)

    def _codes(self, connection: Connection, numbers: Iterable[int] | None) -> None:
        import sqlalchemy as sa

        known = tables()
        unused = ~sa.select(known.measurements.c.id).where(known.measurements.c.code_id == known.codes.c.id).exists()
        parts = [known.codes.c.id.in_(part) for part in chunks(sorted(numbers))] if numbers is not None else [sa.true()]
        for part in parts:
            self.removed.codes += connection.execute(known.codes.delete().where(part, unused)).rowcount

    def functions(self) -> None:
        """What no code names any more."""
        import sqlalchemy as sa

        known = tables()
        # In one transaction: a run that is under way must not name one meanwhile.
        with self._store.transaction() as connection:
            there = {number for (number,) in connection.execute(sa.select(known.functions.c.id))}
            highest = max(there, default=0)
            texts = connection.execute(sa.select(known.codes.c.functions)).scalars()
            for named in decoded.LeftOut().sound("code", texts, str, lambda text: decoded.numbers(text, highest)):
                there.difference_update(named)
            for part in chunks(sorted(there)):
                connection.execute(known.functions.delete().where(known.functions.c.id.in_(part)))
        self.removed.functions += len(there)

    # What is damaged

    def damaged(self, told: Callable[[int, int], None]) -> None:
        """All rows that a question would leave out."""
        import sqlalchemy as sa

        known = tables()
        measurements, sessions, tests, codes, functions = (
            *(known.measurements, known.sessions, known.tests),
            *(known.codes, known.functions),
        )
        self._bad(sessions, lambda row: decoded.session(row._asdict()), *sessions.c)
        self._bad(tests, lambda row: nodeid_of(row._asdict()), tests.c.id, tests.c.id.label("test_id"), tests.c.nodeid)
        self._bad(
            functions, lambda row: decoded.function(row.place, row.hash), functions.c.id, functions.c.place, functions.c.hash
        )
        with self._store.transaction() as connection:
            there = set(connection.execute(sa.select(functions.c.id)).scalars())
        highest = max(there, default=0)

        def code(row: Row[Any]) -> None:
            if not there.issuperset(decoded.numbers(row.functions, highest)):
                raise decoded.Bad("a function is not there")
            decoded.text_or_none(row.fingerprint, "fingerprint")
            decoded.unknown(row.unknown)
            decoded.counts_text(row.counts)

        self._bad(codes, code, *codes.c)
        orphaned = [
            measurements.c.session_id.not_in(sa.select(sessions.c.id)),
            measurements.c.test_id.not_in(sa.select(tests.c.id)),
        ]
        with self._store.transaction() as connection:
            # What a test executed is not known any more, what it cost is.
            lost = sa.and_(measurements.c.code_id.is_not(None), measurements.c.code_id.not_in(sa.select(codes.c.id)))
            connection.execute(measurements.update().where(lost).values(code_id=None))
            self.removed.damaged += connection.execute(measurements.delete().where(sa.or_(*orphaned))).rowcount
        self._bad(measurements, lambda row: record_of(row._asdict()), *measurements.c, tests.c.nodeid, told=told)

    def _bad(
        self,
        table: Any,  # noqa: ANN401 - a table
        check: Callable[[Row[Any]], object],
        *columns: Any,  # noqa: ANN401 - columns
        told: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        known = tables()
        measurements = known.measurements
        found = decoded.LeftOut()
        for _ in found.sound(table.name, self._all(table, columns, told), lambda row: row.id, check):
            pass
        bad = found.keys()
        with self._store.transaction() as connection:
            for part in chunks(bad):
                # A server keeps what is referred to.
                if table is known.codes:
                    connection.execute(measurements.update().where(measurements.c.code_id.in_(part)).values(code_id=None))
                elif table in (known.sessions, known.tests):
                    column = measurements.c.session_id if table is known.sessions else measurements.c.test_id
                    self.removed.damaged += connection.execute(measurements.delete().where(column.in_(part))).rowcount
                connection.execute(table.delete().where(table.c.id.in_(part)))
        self.removed.damaged += len(bad)

    def _all(self, table: Any, columns: Sequence[Any], told: Callable[[int, int], None]) -> Iterator[Row[Any]]:  # noqa: ANN401
        """All rows, some at a time."""
        import sqlalchemy as sa

        known = tables()
        query = sa.select(*columns)
        if table is known.measurements:
            query = query.select_from(table.join(known.tests, known.tests.c.id == table.c.test_id))
        with self._store.transaction() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        after, done = None, 0
        while True:
            some = query.order_by(table.c.id).limit(_STEP)
            with self._store.transaction() as connection:
                rows = connection.execute(some if after is None else some.where(table.c.id > after)).all()
            if not rows:
                return
            yield from rows
            after, done = rows[-1].id, done + len(rows)
            told(done, total)


def _place(number: int, created: str) -> str:
    """What orders sessions."""
    return f"{created} {number:019d}"


def _sound(table: Any) -> ColumnElement[bool]:  # noqa: ANN401 - measurements, or an alias of them
    """Of a kind that is asked for: see ``Store.latest``."""
    import sqlalchemy as sa

    return sa.and_(
        table.c.code_id.is_not(None),
        table.c.outcome == "passed",
        table.c.provenance.in_(("measured", "estimated")),
        table.c.energy_median.is_not(None),
    )
