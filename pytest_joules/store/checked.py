"""Values out of a history, which may hold anything: a damaged disk's, another program's, or what somebody made to harm.

Every cell passes here. What does not fit is :class:`Bad`: its row is left out, and :class:`LeftOut` says so once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from json import loads
from typing import NoReturn, TypeVar, cast

from pytest_joules.model import OTHER, Code, Provenance, ReportedPredicting, Resolution
from pytest_joules.store.entries import Columns, SampleLists

#: Characters of one cell: the facts of a large test are some 100,000, the files of a large project a million.
MOST_TEXT = 16 * 2**20
#: Characters of the functions of one test, and of how often what ran.
MOST_CODE = 4 * 2**20
#: Functions and statements of one test.
MOST_FUNCTIONS = 200_000
#: A quantity is zero, or between these: what is made of two of them (a ratio, a square) is a number still.
SMALLEST, LARGEST = 1e-30, 1e30

_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?", re.ASCII)
_COUNTS = re.compile(r"(?:\d{1,18}(?: \d{1,18})*)?(?:;(?:\d{1,18}(?: \d{1,18})*)?)*", re.ASCII)
_CALLEES = r"[^ ;|\0]{1,100}(?: \d{1,18}){3}"
_OUTSIDE = re.compile(rf"\d{{1,18}} {_CALLEES}(?:;{_CALLEES})*(?:\|\d{{1,18}} {_CALLEES}(?:;{_CALLEES})*)*", re.ASCII)
_PROVENANCES: Sequence[Provenance] = ("measured", "shared", "attributed", "estimated", "unavailable")
_RESOLUTIONS: Sequence[Resolution | None] = (None, "ok", "apportioned", "below")

T = TypeVar("T")
R = TypeVar("R")
N = TypeVar("N")


class Bad(ValueError):
    """What is wrong with a row."""


class LeftOut:
    """The rows of a history that are left out, and what is wrong with the first of them."""

    def __init__(self) -> None:
        self._rows: set[tuple[str, int | str]] = set()
        self._first = ""

    def add(self, table: str, key: object, why: Bad) -> None:
        self._first = self._first or f"{table} {shown(key)}: {why}"
        self._rows.add((table, key if isinstance(key, (int, str)) else repr(key)[:60]))

    def sound(self, table: str, rows: Iterable[R], key: Callable[[R], object], decode: Callable[[R], T]) -> Iterator[T]:
        """What ``decode`` makes of each row, without those that it calls bad."""
        for row in rows:
            try:
                made = decode(row)
            except Bad as error:
                self.add(table, key(row), error)
                continue
            yield made

    def numbers(self) -> list[int]:
        """Of the rows whose number is one."""
        return [key for _, key in self._rows if isinstance(key, int)]

    def sentence(self, place: str) -> str | None:
        """For the user; ``None`` where nothing was left out."""
        if not self._rows:
            return None
        count = f"{len(self._rows)} damaged row{'' if len(self._rows) == 1 else 's'}"
        return (
            f"left out {count} of the history {place} ({self._first}): what they were of is measured anew; "
            "joules history --prune removes them"
        )


def shown(value: object) -> str:
    """A value for a message."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."


def bad(what: str, value: object, should: str) -> NoReturn:
    raise Bad(f"its {what} is {shown(value)}, not {should}")


# Cells


def text(value: object, what: str, most: int = MOST_TEXT) -> str:
    if not isinstance(value, str):
        bad(what, value, "a text")
    if len(value) > most:
        raise Bad(f"its {what} has {len(value)} characters, more than {most}")
    return value


def text_or_none(value: object, what: str) -> str | None:
    return None if value is None else text(value, what)


def whole(value: object, what: str, least: int = 0, most: int = 10**9) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        bad(what, value, f"a whole number from {least} on")
    return value


def quantity(value: object, what: str, *, signed: bool = False) -> float | None:
    """Joules, seconds or ticks: zero, or of a size that can be."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        bad(what, value, "a number")
    if not (value == 0 or SMALLEST <= (abs(value) if signed else value) <= LARGEST):
        bad(what, value, "a quantity that can be")
    return value


@lru_cache(maxsize=1024)
def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def present(value: object, what: str) -> float:
    """A quantity that must be there."""
    found = quantity(value, what)
    if found is None:
        bad(what, value, "a number")
    return found


def created(value: object) -> str:
    if not isinstance(value, str) or len(value) > 64 or not _is_time(value):
        bad("date", value, "a date")
    return value


def one_of(value: object, what: str, allowed: Sequence[N]) -> N:
    for one in allowed:
        if type(value) is type(one) and value == one:
            return one
    bad(what, value, f"one of {', '.join(map(str, allowed))}")


def _no_number(word: str) -> NoReturn:
    raise Bad(f"it holds {word}, which is no number")


def parsed(value: object, what: str, kind: type[T]) -> T:
    """JSON of this kind."""
    found = text(value, what)
    try:
        made = loads(found, parse_constant=_no_number)
    except Bad:
        raise
    except (ValueError, RecursionError):  # numbers of thousands of digits, brackets in brackets
        raise Bad(f"its {what} are no JSON that a run wrote") from None
    if not isinstance(made, kind):
        bad(what, made, f"a JSON {'list' if kind is list else 'object'}")
    return made


# What a measurement holds


def samples(value: object) -> SampleLists:
    """One list a quantity, all of one length."""
    found = parsed(value, "samples", dict)
    domains, blocks = found.get("domains"), found.get("block")
    columns = [found.get(key) for key in ("energy", "duration", "tsc")]
    if not isinstance(domains, dict) or any(not isinstance(column, list) for column in (*columns, *domains.values())):
        raise Bad("its samples have not the lists that they should have")
    energy, duration, tsc = (_column(column, len(columns[0] or ())) for column in columns if column is not None)
    made: SampleLists = {
        "energy": energy,
        "duration": duration,
        "tsc": tsc,
        "domains": {str(name): _column(column, len(energy)) for name, column in domains.items()},
    }
    if blocks is not None:
        if not isinstance(blocks, list) or len(blocks) != len(energy):
            bad("blocks", blocks, "a list of the samples' length")
        made["block"] = [whole(entry, "blocks", 1) for entry in blocks]
    return made


def _column(values: Sequence[object], count: int) -> list[float | None]:
    if len(values) != count:
        raise Bad(f"its samples have {count} and {len(values)} values")
    return [quantity(entry, "samples") for entry in values]


def provenance(value: object) -> Provenance:
    return one_of(value, "provenance", _PROVENANCES)


def columns(row: Mapping[str, object]) -> Columns:
    """The columns that all measurements have, without samples and facts."""
    return {
        "outcome": text_or_none(row["outcome"], "outcome"),
        "source": text_or_none(row["source"], "source"),
        "provenance": provenance(row["provenance"]),
        "resolution": one_of(row["resolution"], "resolution", _RESOLUTIONS),
        "rounds": whole(row["rounds"], "rounds"),
        "iterations": whole(row["iterations"], "iterations", 1),
    }


def energies(row: Mapping[str, object]) -> tuple[float | None, list[float] | None, float | None]:
    """Median joules, their interval, median seconds."""
    low, high = (quantity(row[f"energy_{name}"], "interval", signed=True) for name in ("low", "high"))
    interval = [low, high] if low is not None and high is not None else None
    return quantity(row["energy_median"], "joules"), interval, quantity(row["duration_median"], "seconds")


# What a test executed


def numbers(value: object, highest: int) -> list[int]:
    """The inverse of :func:`pytest_joules.store.tables.ranges`, of numbers up to the ``highest`` that there is."""
    found: list[int] = []
    for part in text(value, "functions", MOST_CODE).split():
        match = _RANGE.fullmatch(part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 < low <= high <= highest:
            bad("functions", part, f"a range of the {highest} that there are")
        if len(found) + high - low >= MOST_FUNCTIONS:
            raise Bad(f"it has more than {MOST_FUNCTIONS} functions")
        found += range(low, high + 1)
    return found


def counts_text(value: object) -> str | None:
    """How often what ran, unread: of a thousand tests, few are asked for."""
    if value is None:
        return None
    if not _COUNTS.fullmatch(text(value, "counts", MOST_CODE)):
        bad("counts", value, "numbers")
    return str(value)


def counts(value: str | None, places: Sequence[str]) -> dict[str, list[int]]:
    """The inverse of :func:`pytest_joules.store.tables.counts_text`, by the ``places`` of a test's functions."""
    entries = (value or "").split(";")
    return {
        place: [int(count) for count in entry.split()] for place, entry in zip((*places, OTHER), entries, strict=False) if entry
    }


def outside_text(value: object) -> str | None:
    """What calls out of the project cost, unread."""
    if value is None:
        return None
    if not _OUTSIDE.fullmatch(text(value, "outside", MOST_CODE)):
        bad("outside", value, "functions with their callees")
    return str(value)


def outside(value: str | None, places: Mapping[int, str]) -> dict[str, dict[str, list[int]]]:
    """The inverse of :func:`pytest_joules.store.tables.outside_text`, by the ``places`` of functions."""
    found = {}
    for entry in value.split("|") if value else ():
        number, _, callees = entry.partition(" ")
        if (place := places.get(int(number))) is not None:
            parts = [callee.split(" ") for callee in callees.split(";")]
            found[place] = {name: [int(count) for count in numbers] for name, *numbers in parts}
    return found


def unknown(value: object) -> list[str]:
    found = parsed(value, "unknown", list) if value != "[]" else []
    if len(found) > MOST_FUNCTIONS:
        bad("unknown", found, "a list")
    return [text(entry, "unknown") for entry in found]


def function(place: object, digest: object) -> tuple[str, str]:
    found = text(place, "place", MOST_CODE), text(digest, "hash", 1000)
    if not found[0] or "\0" in found[0]:
        bad("place", place, "a name")
    return found


def executed(found: Sequence[int], functions: Mapping[int, tuple[str, str]]) -> list[tuple[str, str]]:
    """The functions with these numbers."""
    try:
        return [functions[number] for number in found]
    except KeyError as error:
        raise Bad(f"its function {error.args[0]} is not there") from None


def known(codes: Mapping[int, Code], number: int) -> Code:
    """The code with this number."""
    if number not in codes:
        raise Bad("what it executed is not there, or damaged")
    return codes[number]


def files(value: object) -> dict[str, str]:
    """The project's files with their digests."""
    return {name: text(entry, "files") for name, entry in parsed(value, "files", dict).items()}


def account(value: object) -> ReportedPredicting:
    """The predictor's account of a session."""
    found = parsed(value, "account", dict)
    for name in ("joules", "saved", "suite", "seconds"):
        quantity(found.get(name), name)
    for name in ("asking", "widened", "affected"):
        if name in found:
            present(found[name], name)
    if "asked" in found:
        whole(found["asked"], "asked")
    stretches = found.get("stretches", [])
    if not isinstance(stretches, list):
        bad("stretches", stretches, "a list")
    for one in stretches:
        present(one, "stretches")
    return cast(ReportedPredicting, found)  # what is computed with was looked at; an older version may have written less


def session(row: Mapping[str, object]) -> None:
    """All that a session holds."""
    created(row["created"])
    for name, kind in (("machine", dict), ("settings", dict), ("sources", list)):
        parsed(row[name], name, kind)
    text_or_none(row["machine_id"], "machine's number")
    if row["files"] is not None:
        files(row["files"])
    if row["predicting"] is not None:
        account(row["predicting"])
