"""What a predictor asks of a history before tests run, read with ``sqlite3`` alone: SQLAlchemy takes 0.2 s to import, and nothing
may take that long before the first test.

A SQLite file of the schema in use is read here; for all others, and for whatever is wrong with a file, there is
:class:`pytest_joules.store.Store`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytest_joules import __version__
from pytest_joules.model import OTHER, Record, Report
from pytest_joules.store.migrations import schema_version
from pytest_joules.store.rows import as_json, safe
from pytest_joules.store.sqlite import SQLite
from pytest_joules.store.tables import number_of, unranged

#: So many of the latest sessions are read as a whole; what was measured before is looked up test by test.
_WHOLE_SESSIONS = 3

#: Values in a statement at most.
_MOST_VALUES = 900

_COLUMNS = (
    "m.id, m.test_id, m.session_id, m.code_id, m.energy_median, m.duration_median, m.source, m.provenance, m.rounds, m.iterations"
)
_SOUND = (
    "m.code_id IS NOT NULL AND m.outcome = 'passed' AND m.provenance IN ('measured', 'estimated') AND m.energy_median IS NOT NULL"
)


class Glance:
    """A history in a SQLite file. Every method raises ``sqlite3.Error`` or ``ValueError`` where it is not as it should be."""

    def __init__(self, path: Path, *, write: bool = False, timeout: float = 5.0) -> None:
        self._connection = sqlite3.connect(SQLite(path).uri(write), uri=True, timeout=timeout, isolation_level=None)
        try:
            found = self._connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
            if found is None or found[0] != str(schema_version()):
                raise ValueError("of another schema")
        except BaseException:
            self._connection.close()
            raise
        self._codes: dict[int, tuple[list[int], str | None]] = {}
        """By identity of a record's code, the numbers of its functions and the text of its counts."""
        self._places: dict[int, tuple[str, str]] = {}

    def close(self) -> None:
        self._connection.close()

    def latest(self, machine_id: str, source: str | None, nodeids: Iterable[str]) -> dict[str, Record]:
        """As :meth:`pytest_joules.store.Store.latest`, of these tests; ``code`` has no ``counts`` yet (:meth:`texts`)."""
        wanted = {number_of(safe(nodeid)): nodeid for nodeid in nodeids}
        query = "SELECT id, created FROM sessions WHERE machine_id = ? ORDER BY created DESC, id DESC"
        created: dict[int, str] = dict(self._connection.execute(query, (safe(machine_id),)))
        order = {session: place for place, session in enumerate(created)}
        by_source = ("", ()) if source is None else (" AND m.source = ?", (safe(source),))
        rows: dict[int, tuple[Any, ...]] = {}
        for session in list(created)[:_WHOLE_SESSIONS]:
            if len(rows) < len(wanted):
                query = (
                    f"SELECT {_COLUMNS} FROM measurements m WHERE m.session_id = ? AND {_SOUND}{by_source[0]} ORDER BY m.id DESC"
                )
                for row in self._connection.execute(query, (session, *by_source[1])):
                    if row[1] in wanted:
                        rows.setdefault(row[1], row)
        query = f"SELECT {_COLUMNS} FROM measurements m WHERE m.test_id = ? AND {_SOUND}{by_source[0]}"
        for test in wanted.keys() - rows.keys():
            found = [row for row in self._connection.execute(query, (test, *by_source[1])) if row[2] in order]
            if found:
                rows[test] = min(found, key=lambda row: (order[row[2]], -row[0]))
        codes = self._code({row[3] for row in rows.values()})
        files = self._files({row[2] for row in rows.values()})
        names = ("joules", "seconds", "source", "provenance", "rounds", "iterations")
        return {
            wanted[test]: {
                "nodeid": wanted[test],
                "created": created[row[2]],
                **dict(zip(names, row[4:], strict=True)),
                "code": codes[row[3]],
                "files": files.get(row[2], {}),
            }
            for test, row in rows.items()
        }

    def _code(self, numbers: Iterable[int]) -> dict[int, Record]:
        rows = list(self._chunked("SELECT id, fingerprint, functions, unknown, counts FROM codes WHERE id IN ", numbers))
        executed = {row[0]: unranged(row[2]) for row in rows}
        everything = set().union(*executed.values())
        pairs = self._chunked("SELECT id, place, hash FROM functions WHERE id IN ", everything)
        places = self._places = {number: (place, found) for number, place, found in pairs}
        codes: dict[int, Record] = {}
        for number, fingerprint, _, unknown, counts in rows:
            functions = dict(map(places.__getitem__, executed[number]))
            code = {
                "fingerprint": fingerprint,
                "functions": functions,
                "unknown": json.loads(unknown) if unknown != "[]" else [],
                "counts": {},
            }
            self._codes[id(code)] = executed[number], counts
            codes[number] = code
        return codes

    def _files(self, sessions: Iterable[int]) -> dict[int, Record]:
        rows = self._chunked("SELECT id, files FROM sessions WHERE files IS NOT NULL AND id IN ", sessions)
        return {number: json.loads(text) for number, text in rows}

    def texts(self, records: Sequence[Record]) -> dict[tuple[str, str], str]:
        """The sources of all that is in the path of these entries of :meth:`latest`, by place and hash; their ``counts`` are
        filled in."""
        needed: set[int] = set()
        for record in records:
            numbers, counts = self._codes[id(record["code"])]
            needed.update(numbers)
            record["code"]["counts"] = _Counts(counts, numbers, self._places)
        rows = self._chunked("SELECT id, source FROM functions WHERE source IS NOT NULL AND id IN ", needed)
        return {self._places[number]: text for number, text in rows}

    def predictings(self, limit: int) -> list[Record]:
        """As :meth:`pytest_joules.store.Store.predictings`."""
        query = "SELECT created, predicting FROM sessions WHERE predicting IS NOT NULL ORDER BY created DESC, id DESC LIMIT ?"
        return [json.loads(text) | {"created": created} for created, text in self._connection.execute(query, (limit,))]

    def add_predicting(self, report: Report, account: Record) -> None:
        """Note the predictor's account, of a session that measured nothing."""
        commit = report.commit or {}
        values = {
            "created": report.created,
            "machine_id": report.machine.get("id"),
            "machine": as_json(report.machine),
            "commit_id": commit.get("id"),
            "commit_dirty": commit.get("dirty"),
            "settings": as_json(report.settings),
            "sources": as_json(report.sources),
            "plugin_version": __version__,
            "uuid": uuid4().hex,
            "predicting": as_json(account),
        }
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        given = [safe(value) if isinstance(value, str) else value for value in values.values()]
        self._connection.execute(f"INSERT INTO sessions ({names}) VALUES ({marks})", given)

    def _chunked(self, query: str, numbers: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        ordered = sorted(numbers)
        for begin in range(0, len(ordered), _MOST_VALUES):
            part = ordered[begin : begin + _MOST_VALUES]
            yield from self._connection.execute(f"{query}({', '.join('?' * len(part))})", part)


class _Counts(Mapping[str, list[int]]):
    """The counts of a record's code, read when one is asked for: of a thousand tests, few are."""

    def __init__(self, text: str | None, numbers: Sequence[int], places: Mapping[int, tuple[str, str]]) -> None:
        self._parts = (numbers, text, places)
        self._entries: dict[str, str | list[int]] | None = None

    def _all(self) -> dict[str, str | list[int]]:
        if self._entries is None:
            numbers, text, places = self._parts
            names = [*(places[number][0] for number in numbers), OTHER]
            entries = (text or "").split(";")
            self._entries = {name: entry for name, entry in zip(names, entries, strict=False) if entry}
        return self._entries

    def __getitem__(self, place: str) -> list[int]:
        entries = self._all()
        entry = entries[place]
        if isinstance(entry, str):
            entry = entries[place] = [int(count) for count in entry.split()]
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def path_of(url: str) -> Path | None:
    """The file that a history's URL or path names, where that is easily told."""
    if url.startswith("sqlite:///") and "?" not in url:
        return Path(url.removeprefix("sqlite:///"))
    return Path(url) if ":" not in url else None
