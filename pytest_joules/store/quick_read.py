"""What a predictor asks of a history before tests run, read with ``sqlite3`` alone: SQLAlchemy takes 0.2 s to import, and nothing
may take that long before the first test.

A SQLite file of the schema in use is read here; for all others, and for whatever is wrong with a file, there is
:class:`pytest_joules.store.Store`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytest_joules.model import OTHER, Code, Report, ReportedPredicting
from pytest_joules.store import checked
from pytest_joules.store.address import SetAside, StoreError
from pytest_joules.store.entries import LatestRecord, PastPredicting
from pytest_joules.store.migrations import schema_version
from pytest_joules.store.rows import as_json, latest_of, safe, session_row
from pytest_joules.store.sqlite import SQLite, as_text
from pytest_joules.store.tables import number_of

#: So many of the latest sessions are read as a whole where many tests are asked for; all others are looked up test by test.
_WHOLE_SESSIONS = 3
_MANY_TESTS = 100

#: Values in a statement at most.
_MOST_VALUES = 900

_NAMES = (
    *("id", "test_id", "session_id", "code_id", "energy_median", "energy_low", "energy_high", "duration_median"),
    *("outcome", "source", "provenance", "resolution", "rounds", "iterations"),
)
#: A row, whatever its cells hold.
_Cells = tuple[Any, ...]
_COLUMNS = ", ".join(f"m.{name}" for name in _NAMES)
_SOUND = (
    "m.code_id IS NOT NULL AND m.outcome = 'passed' AND m.provenance IN ('measured', 'estimated') AND m.energy_median IS NOT NULL"
)


class QuickReader:
    """A history in a SQLite file. Every method raises ``sqlite3.Error`` or ``ValueError`` where it is not as it should be."""

    def __init__(self, path: Path, *, write: bool = False, timeout: float = 5.0) -> None:
        file = SQLite(path)
        try:
            file.recognise()
        except (StoreError, SetAside) as error:
            raise ValueError(str(error)) from None
        self._shown = str(path)
        self._connection = sqlite3.connect(file.uri(write), uri=True, timeout=timeout, isolation_level=None)
        self._connection.text_factory = as_text
        try:
            found = self._connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
            if found is None or found[0] != str(schema_version()):
                raise ValueError("of another schema")
        except BaseException:
            self._connection.close()
            raise
        self._left_out = checked.LeftOut()
        self._codes: dict[int, tuple[list[int], str | None, str | None]] = {}
        """By identity of a record's code, the numbers of its functions, the text of its counts and that of its calls out of the
        project."""
        self._places: dict[int, tuple[str, str]] = {}

    @property
    def notice(self) -> str | None:
        """What there is to say of rows that were left out."""
        return self._left_out.sentence(self._shown)

    def close(self) -> None:
        self._connection.close()

    def latest(self, machine_id: str, source: str | None, nodeids: Iterable[str]) -> dict[str, LatestRecord]:
        """As :meth:`pytest_joules.store.Store.latest`, of these tests; ``code`` has no ``counts`` and no
        ``outside`` yet (:meth:`texts`)."""
        wanted = {number_of(safe(nodeid)): nodeid for nodeid in nodeids}
        query = "SELECT id, created FROM sessions WHERE machine_id = ? ORDER BY created DESC, id DESC"
        dates = self._connection.execute(query, (safe(machine_id),))
        created = dict(self._left_out.sound("session", dates, lambda row: row[0], lambda row: (row[0], checked.created(row[1]))))
        order = {session: place for place, session in enumerate(created)}
        by_source = ("", ()) if source is None else (" AND m.source = ?", (safe(source),))
        rows: dict[int, _Cells] = {}
        for session in list(created)[: _WHOLE_SESSIONS if len(wanted) > _MANY_TESTS else 0]:
            if len(rows) < len(wanted):
                query = (
                    f"SELECT {_COLUMNS} FROM measurements m WHERE m.session_id = ? AND {_SOUND}{by_source[0]} ORDER BY m.id DESC"
                )
                for row in self._connection.execute(query, (session, *by_source[1])):
                    if row[1] in wanted:
                        rows.setdefault(row[1], row)
        # All that tells the newest is in an index; of the row itself, and of its pages, only that one is read.
        query = f"SELECT m.session_id, m.id FROM measurements m WHERE m.test_id = ? AND {_SOUND}{by_source[0]}"
        for test in wanted.keys() - rows.keys():
            found = [pair for pair in self._connection.execute(query, (test, *by_source[1])) if pair[0] in order]
            if found:
                newest = min(found, key=lambda pair: (order[pair[0]], -pair[1]))[1]
                one = f"SELECT {_COLUMNS} FROM measurements m WHERE m.id = ?"
                rows[test] = self._connection.execute(one, (newest,)).fetchone()
        codes = self._code({row[3] for row in rows.values() if isinstance(row[3], int)})
        files = self._files({row[2] for row in rows.values()})

        def made(row: _Cells) -> tuple[str, LatestRecord]:
            nodeid = wanted[row[1]]
            values = dict(zip(_NAMES, row, strict=True))
            return nodeid, latest_of(nodeid, values, created[row[2]], checked.known(codes, row[3]), files.get(row[2], {}))

        return dict(self._left_out.sound("measurement", rows.values(), lambda row: row[0], made))

    def _code(self, numbers: Iterable[int]) -> dict[int, Code]:
        query = "SELECT id, fingerprint, functions, unknown, counts, outside FROM codes WHERE id IN "
        highest = self._connection.execute("SELECT max(id) FROM functions").fetchone()[0] or 0
        executed = list(
            self._left_out.sound(
                "code", self._chunked(query, numbers), lambda row: row[0], lambda row: (row, checked.numbers(row[2], highest))
            )
        )
        everything = set().union(*(found for _, found in executed))
        places = self._places = dict(
            self._left_out.sound(
                "function",
                self._chunked("SELECT id, place, hash FROM functions WHERE id IN ", everything),
                lambda row: row[0],
                lambda row: (row[0], checked.function(row[1], row[2])),
            )
        )

        def made(pair: tuple[_Cells, list[int]]) -> tuple[int, Code]:
            (number, fingerprint, _, unknown, counts, outside), found = pair
            code: Code = {
                "fingerprint": checked.text_or_none(fingerprint, "fingerprint"),
                "functions": dict(checked.executed(found, places)),
                "unknown": checked.unknown(unknown),
                "counts": {},
                "outside": {},
            }
            self._codes[id(code)] = found, checked.counts_text(counts), checked.outside_text(outside)
            return number, code

        return dict(self._left_out.sound("code", executed, lambda pair: pair[0][0], made))

    def _files(self, sessions: Iterable[int]) -> dict[int, dict[str, str]]:
        rows = self._chunked("SELECT id, files FROM sessions WHERE files IS NOT NULL AND id IN ", sessions)
        return dict(self._left_out.sound("session", rows, lambda row: row[0], lambda row: (row[0], checked.files(row[1]))))

    def texts(self, records: Sequence[LatestRecord]) -> dict[tuple[str, str], str]:
        """The sources of all that is in the path of these entries of :meth:`latest`, by place and hash; their ``counts`` and
        ``outside`` are filled in."""
        needed: set[int] = set()
        for record in records:
            numbers, counts, outside = self._codes[id(record["code"])]
            needed.update(numbers)
            record["code"]["counts"] = _Counts(counts, numbers, self._places)
            if outside is not None:
                record["code"]["outside"] = _Outside(outside, numbers, self._places)
        rows = self._chunked("SELECT id, source FROM functions WHERE source IS NOT NULL AND id IN ", needed)
        return dict(
            self._left_out.sound(
                "function", rows, lambda row: row[0], lambda row: (self._places[row[0]], checked.text(row[1], "source"))
            )
        )

    def predictings(self, limit: int) -> list[PastPredicting]:
        """As :meth:`pytest_joules.store.Store.predictings`."""
        query = "SELECT id, created, predicting FROM sessions WHERE predicting IS NOT NULL ORDER BY created DESC, id DESC LIMIT ?"

        def made(row: _Cells) -> PastPredicting:
            return {**checked.account(row[2]), "created": checked.created(row[1])}

        return list(self._left_out.sound("session", self._connection.execute(query, (limit,)), lambda row: row[0], made))

    def add_predicting(self, report: Report, account: ReportedPredicting) -> None:
        """Note the predictor's account, of a session that measured nothing."""
        values = {**session_row(report, uuid4().hex), "predicting": as_json(account)}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self._connection.execute(f"INSERT INTO sessions ({names}) VALUES ({marks})", list(values.values()))

    def _chunked(self, query: str, numbers: Iterable[int]) -> Iterator[_Cells]:
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


class _Outside(Mapping[str, dict[str, list[int]]]):
    """The calls out of the project of a record's code, read when one is asked for."""

    def __init__(self, text: str, numbers: Sequence[int], places: Mapping[int, tuple[str, str]]) -> None:
        self._parts = (text, numbers, places)

    @cached_property
    def _all(self) -> dict[str, dict[str, list[int]]]:
        text, numbers, places = self._parts
        return checked.outside(text, {number: places[number][0] for number in numbers})

    def __getitem__(self, place: str) -> dict[str, list[int]]:
        return self._all[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def path_of(url: str) -> Path | None:
    """The file that a history's URL or path names, where that is easily told."""
    if url.startswith("sqlite:///") and "?" not in url:
        return Path(url.removeprefix("sqlite:///"))
    return Path(url) if ":" not in url else None
