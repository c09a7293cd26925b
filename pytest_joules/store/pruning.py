"""How a history stays small: so many sessions of a machine are kept, of those before only the newest measurement of each test.

That newest one is what ``--energy-changed-only`` and the predictor ask for: it is never removed. A run compacts what its machine
has too much of, in small transactions, for no more than a small share of the time it has taken; ``joules history --prune`` does
all of it, and removes what is damaged or belongs to nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_joules.clock import CLOCKS
from pytest_joules.store import cleaning
from pytest_joules.store.database import chunks
from pytest_joules.store.queries import asked_for
from pytest_joules.store.tables import tables

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause

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
            pruning.removed.functions = cleaning.functions(store.written)
    store.written.give_back(goes_on)
    return pruning.removed


def prune(store: Store, keep: int, told: Callable[[int, int], None] = lambda done, total: None) -> Removed:
    """Remove all that need not be kept, and what is damaged. ``keep``: sessions of each machine; 0: all.

    Raises:
        StoreError: it cannot be written.
    """
    import sqlalchemy as sa

    pruning = _Pruning(store, lambda: True)
    pruning.removed.damaged = cleaning.damaged(store.written, told)
    sessions = tables().sessions
    with store.written.transaction() as connection:
        machines = list(connection.execute(sa.select(sessions.c.machine_id).distinct()).scalars())
    for machine in machines:
        if keep and pruning.begin(machine, keep, again=True):
            pruning.old_sessions()
    with store.written.transaction() as connection:
        pruning.removed.codes += cleaning.codes(connection, None)
    pruning.removed.functions = cleaning.functions(store.written)
    store.written.give_back(None)
    return pruning.removed


class _Pruning:
    def __init__(self, store: Store, goes_on: Callable[[], bool]) -> None:
        self.removed = Removed()
        self._database = store.written
        self._session = store.number
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
        sound = self._database.of_sound_sessions()
        query = sa.select(known.sessions.c.id, known.sessions.c.created).where(mine, sound).order_by(*newest).offset(keep)
        if self._database.engine.dialect.name == "sqlite":
            query = query.limit(-1)
        with self._database.transaction() as connection:
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
        with self._database.transaction() as connection:
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
                sa.or_(~sa.func.coalesce(_kept(measurements), sa.false()), self._is_older()),
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
        with self._database.transaction() as connection:
            mine = sa.select(measurements.c.test_id).where(measurements.c.session_id == self._session).distinct()
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
        newer = sa.or_(session.c.created > own.c.created, sa.and_(session.c.created == own.c.created, other.c.id > mine.c.id))
        there = (
            sa.select(other.c.id)
            .select_from(other.join(session, session.c.id == other.c.session_id))
            .where(
                other.c.test_id == mine.c.test_id,
                other.c.source == mine.c.source,
                _kept(other),
                session.c.machine_id.is_not_distinct_from(self._machine),
                self._database.of_sound_sessions(session),
                newer,
            )
        )
        return there.correlate(mine, own).exists()

    def _remove(self, *conditions: ColumnElement[bool]) -> None:
        import sqlalchemy as sa

        known = tables()
        measurements = known.measurements
        query = (
            sa.select(measurements.c.id, measurements.c.code_id)
            .select_from(measurements.join(known.sessions, known.sessions.c.id == measurements.c.session_id))
            .where(*conditions)
        )
        with self._database.transaction() as connection:
            rows = connection.execute(query).all()
            for part in chunks([row.id for row in rows]):
                connection.execute(measurements.delete().where(measurements.c.id.in_(part)))
            self.removed.measurements += len(rows)
            codes = {row.code_id for row in rows if isinstance(row.code_id, int)}
            self.removed.codes += cleaning.codes(connection, codes)

    def _keep_mark(self) -> None:
        meta = tables().meta
        self._empty_sessions()
        with self._database.transaction() as connection:
            connection.execute(meta.delete().where(meta.c.key == self._mark()))
            connection.execute(meta.insert(), {"key": self._mark(), "value": self._done})

    def _empty_sessions(self) -> None:
        import sqlalchemy as sa

        known = tables()
        there = sa.select(known.measurements.c.id).where(known.measurements.c.session_id == known.sessions.c.id).exists()
        done = [number for number, created in self._old if _place(number, created) <= self._done]
        with self._database.transaction() as connection:
            for part in chunks(done):
                gone = connection.execute(known.sessions.delete().where(known.sessions.c.id.in_(part), ~there))
                self.removed.sessions += gone.rowcount


def _place(number: int, created: str) -> str:
    """What orders sessions."""
    return f"{created} {number:019d}"


def _kept(measurements: FromClause) -> ColumnElement[bool]:
    """That measurements (or this alias of them) are what the predictor asks for: see ``Store.latest``."""
    import sqlalchemy as sa

    return sa.and_(measurements.c.code_id.is_not(None), asked_for(measurements))
