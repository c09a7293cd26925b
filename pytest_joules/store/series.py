"""What a history says of each test over time, in sessions that can be compared: methods of :class:`pytest_joules.store.Store`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_joules.model import Code, CommitRecord, Provenance
from pytest_joules.store import checked
from pytest_joules.store.checked_facts import facts_of
from pytest_joules.store.database import Opened
from pytest_joules.store.entries import Within
from pytest_joules.store.queries import EVERYTHING, asked_for, of_sessions
from pytest_joules.store.rows import nodeid_of, safe
from pytest_joules.store.tables import number_of, tables

if TYPE_CHECKING:
    from pytest_joules.store.database import AnyRow, Condition


@dataclass(frozen=True, slots=True)
class PastSession:
    """A session of a history."""

    number: int
    created: str
    machine_id: str | None
    commit: CommitRecord | None


@dataclass(frozen=True, slots=True)
class Series:
    """What comparable sessions measured of a test, the oldest first: one value a session, the last one."""

    nodeid: str
    machine_id: str | None
    """``None`` of instructions as well: they are comparable wherever :attr:`identity` is the same."""
    source: str
    """Names of the sources, joined by ``+``; what counted."""
    provenance: Provenance | None
    """``None``: of instructions."""
    identity: str | None
    """Of instructions, what decided them besides the code."""
    sessions: list[int]
    """Their numbers."""
    values: list[float]
    """Joules (medians per iteration), or instructions: all above 0."""
    codes: list[int | None]
    """Numbers of what the test executed, for :func:`executed`."""
    doubts: bool
    """Of instructions: some of the test's work is none of its own thread."""


#: What makes values comparable; and one of them: the place of its session, its row's number, the value, the code's number.
_Key = tuple[int, "str | None", str, "Provenance | None", "str | None", bool]
_Entry = tuple[int, int, float, "int | None"]
_Found = dict[_Key, list[_Entry]]


def past_sessions(opened: Opened, within: Within = EVERYTHING) -> list[PastSession]:
    """The sessions whose date is one, the oldest first.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    database, known = opened.asked, tables().sessions
    columns = (known.c.id, known.c.created, known.c.machine_id, known.c.commit_id, known.c.commit_dirty)
    query = sa.select(*columns).where(database.of_sound_sessions(), of_sessions(within)).order_by(known.c.created, known.c.id)

    def made(row: AnyRow) -> PastSession:
        commit = checked.text_or_none(row.commit_id, "commit")
        dirty = bool(row.commit_dirty) if row.commit_dirty is not None else None
        return PastSession(
            checked.whole(row.id, "session"),
            checked.created(row.created),
            checked.text_or_none(row.machine_id, "machine's number"),
            {"id": commit, "dirty": dirty} if commit is not None else None,
        )

    return list(database.sound(database.rows(query), made, "session"))


def joules_over_time(opened: Opened, sessions: Sequence[PastSession], nodeid: str | None = None) -> list[Series]:
    """Joules of tests that passed, of this test or of all: a series for each test, machine, source and provenance.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    database, measurements = opened.asked, tables().measurements
    condition = sa.and_(asked_for(measurements), *_of_test(nodeid))
    place = {session.number: (place, session.machine_id) for place, session in enumerate(sessions)}
    kinds = sa.select(measurements.c.source, measurements.c.provenance).where(condition).distinct()
    found: _Found = {}
    for kind in database.rows(kinds):
        with suppress(checked.Bad):
            source, provenance = checked.text_or_none(kind.source, "source"), checked.provenance(kind.provenance)
            names = ("id", "test_id", "session_id", "code_id", "energy_median")
            of_kind = (measurements.c.source == source, measurements.c.provenance == provenance)
            query = sa.select(*(measurements.c[name] for name in names)).where(condition, *of_kind)
            lists: dict[tuple[int, str | None], list[_Entry]] = {}
            for number, test, session, code, joules in database.sound(database.rows(query), _with_joules):
                if session in place and joules:
                    there, machine_id = place[session]
                    lists.setdefault((test, machine_id), []).append((there, number, joules, code))
            found |= {(test, there, source or "-", provenance, None, False): made for (test, there), made in lists.items()}
    return list(_series(opened, found, sessions, ()))


def _with_joules(row: AnyRow) -> tuple[int, int, int, int | None, float]:
    number, test, session, code, joules = row
    # A check of two hundred thousand rows: what is as it should be is not asked further.
    sound = type(joules) is float and checked.SMALLEST <= joules <= checked.LARGEST
    return number, test, session, code, joules if sound else checked.present(joules, "joules")


def instructions_over_time(opened: Opened, sessions: Sequence[PastSession], nodeid: str | None = None) -> list[Series]:
    """Instructions of tests that passed, of this test or of all: a series for each test and all that decides a count besides the
    code. Where that was not kept, nothing can be compared.

    Raises:
        StoreError: it cannot be read.
    """
    import sqlalchemy as sa

    database, known = opened.asked, tables()
    measurements, kept = known.measurements, known.sessions
    place = {session.number: place for place, session in enumerate(sessions)}
    counting = sa.select(kept.c.id).where(kept.c.settings.not_like('%"count": null%'))
    names = ("id", "test_id", "session_id", "code_id", "facts")
    found: _Found = {}
    doubtful: set[_Key] = set()

    def entry(row: AnyRow) -> None:
        number, test, session, code, text = row
        facts = facts_of(text)
        counted, identity = facts.get("instructions"), facts.get("counting")
        if counted is None or identity is None:
            return
        # Which names share a place in the interpreter's cache of attributes is chance.
        own = counted["count"] - (counted["misses"] or 0)
        if own > 0:
            key = (test, None, counted["counter"], None, identity, counted["misses"] is not None)
            found.setdefault(key, []).append((place[session], number, own, code))
            if counted["doubts"]:
                doubtful.add(key)

    for session in (row.id for row in database.rows(counting)):
        if session in place:
            condition = (measurements.c.session_id == session, measurements.c.outcome == "passed")
            query = sa.select(*(measurements.c[name] for name in names)).where(
                *condition, measurements.c.facts.like('%"instructions"%'), *_of_test(nodeid)
            )
            for _ in database.sound(database.rows(query), entry):
                pass
    return list(_series(opened, found, sessions, doubtful))


def executed(opened: Opened, numbers: Collection[int | None]) -> dict[int, Code]:
    """What tests executed, by the numbers of :attr:`Series.codes`.

    Raises:
        StoreError: it cannot be read.
    """
    database = opened.asked
    with database.transaction() as connection:
        return database.codes(connection, numbers)


def _of_test(nodeid: str | None) -> list[Condition]:
    return [tables().measurements.c.test_id == number_of(safe(nodeid))] if nodeid is not None else []


def _series(opened: Opened, found: _Found, sessions: Sequence[PastSession], doubtful: Collection[_Key]) -> Iterator[Series]:
    """The series in the order of their tests' names."""
    import sqlalchemy as sa

    database, tests = opened.asked, tables().tests
    query = sa.select(tests.c.id, tests.c.id.label("test_id"), tests.c.nodeid)
    wanted = {key[0] for key in found}
    rows = (row for row in database.rows(query) if row.id in wanted)
    names = dict(database.sound(rows, lambda row: (row.id, nodeid_of(row._asdict())), "test"))
    for key in sorted((key for key in found if key[0] in names), key=lambda key: (names[key[0]], *map(str, key[1:]))):
        number, machine_id, source, provenance, identity, _ = key
        # Of several measurements in a session the last one counts.
        last = list({entry[0]: entry for entry in sorted(found[key])}.values())
        yield Series(
            names[number],
            machine_id,
            source,
            provenance,
            identity,
            [sessions[entry[0]].number for entry in last],
            [entry[2] for entry in last],
            [entry[3] for entry in last],
            key in doubtful,
        )
