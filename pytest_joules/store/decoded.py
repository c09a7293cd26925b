"""Values out of a history, which may hold anything: a damaged disk's, another program's, or what somebody made to harm.

Every cell passes here. What does not fit is :class:`Bad`: its row is left out, and :class:`LeftOut` says so once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from json import loads
from typing import Any, NoReturn, TypeVar

from pytest_joules.model import OTHER, Record

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
_PROVENANCES = ("measured", "shared", "estimated", "unavailable")
_RESOLUTIONS = (None, "ok", "apportioned", "below")

T = TypeVar("T")
R = TypeVar("R")


class Bad(ValueError):
    """What is wrong with a row."""


class LeftOut:
    """The rows of a history that are left out, and what is wrong with the first of them."""

    def __init__(self) -> None:
        self._rows: set[tuple[str, object]] = set()
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

    def keys(self) -> list[Any]:
        return [key for _, key in self._rows]

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


def _bad(what: str, value: object, should: str) -> NoReturn:
    raise Bad(f"its {what} is {shown(value)}, not {should}")


# Cells


def text(value: object, what: str, most: int = MOST_TEXT) -> str:
    if not isinstance(value, str):
        _bad(what, value, "a text")
    if len(value) > most:
        raise Bad(f"its {what} has {len(value)} characters, more than {most}")
    return value


def text_or_none(value: object, what: str) -> str | None:
    return None if value is None else text(value, what)


def whole(value: object, what: str, least: int = 0, most: int = 10**9) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        _bad(what, value, f"a whole number from {least} on")
    return value


def quantity(value: object, what: str, *, signed: bool = False) -> float | None:
    """Joules, seconds or ticks: zero, or of a size that can be."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _bad(what, value, "a number")
    if not (value == 0 or SMALLEST <= (abs(value) if signed else value) <= LARGEST):
        _bad(what, value, "a quantity that can be")
    return value


@lru_cache(maxsize=1024)
def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def created(value: object) -> str:
    if not isinstance(value, str) or len(value) > 64 or not _is_time(value):
        _bad("date", value, "a date")
    return value


def one_of(value: object, what: str, allowed: Sequence[str | None]) -> Any:  # noqa: ANN401 - one of them
    if not isinstance(value, (str, type(None))) or value not in allowed:
        _bad(what, value, f"one of {', '.join(map(str, allowed))}")
    return value


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
        _bad(what, made, f"a JSON {'list' if kind is list else 'object'}")
    return made


# What a measurement holds


def samples(value: object) -> Record:
    """One list a quantity, all of one length."""
    found = parsed(value, "samples", dict)
    domains = found.get("domains")
    columns = [found.get(key) for key in ("energy", "duration", "tsc")]
    if not isinstance(domains, dict) or any(not isinstance(column, list) for column in (*columns, *domains.values())):
        raise Bad("its samples have not the lists that they should have")
    count = len(columns[0] or ())
    for column in (*columns, *domains.values()):
        if len(column) != count:
            raise Bad(f"its samples have {count} and {len(column)} values")
        for entry in column:
            quantity(entry, "samples")
    if (blocks := found.get("block")) is not None:
        if not isinstance(blocks, list) or len(blocks) != count:
            _bad("blocks", blocks, "a list of the samples' length")
        for entry in blocks:
            whole(entry, "blocks", 1)
    return found


def facts(value: object) -> Record:
    """What else a record says, each in the form that a report gives it."""
    found = {name: entry for name, entry in parsed(value, "facts", dict).items() if entry is not None}
    for name in found.keys() & _FACTS.keys():
        _fits(found[name], _FACTS[name], name)
    return found


def _fits(value: object, form: Any, what: str) -> None:  # noqa: ANN401 - a form, see _FACTS
    if callable(form):
        form(value, what)
    elif isinstance(form, list):
        if not isinstance(value, list) or len(value) > MOST_FUNCTIONS:
            _bad(what, value, "a list")
        for entry in value:
            _fits(entry, form[0], what)
    elif not isinstance(value, dict):
        _bad(what, value, "an object")
    elif None in form:
        for entry in value.values():
            _fits(entry, form[None], what)
    else:
        for key, part in form.items():
            # An older version may not have written it.
            _fits(value.setdefault(key, [] if isinstance(part, list) else _ABSENT.get(part)), part, f"{key} of {what}")


def _signed(value: object, what: str) -> None:
    quantity(value, what, signed=True)


def _number(value: object, what: str) -> None:
    if quantity(value, what, signed=True) is None:
        _bad(what, value, "a number")


def _finite(value: object, what: str) -> None:
    """A number of the user's own: of any size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
        _bad(what, value, "a number")


def _finite_or_none(value: object, what: str) -> None:
    if value is not None:
        _finite(value, what)


def _interval(value: object, what: str) -> None:
    if value is None:
        return
    if not isinstance(value, list) or len(value) != 2:
        _bad(what, value, "two numbers")
    for end in value:
        _number(end, what)


def _flag(value: object, what: str) -> None:
    if not isinstance(value, bool):
        _bad(what, value, "true or false")


def _flag_or_none(value: object, what: str) -> None:
    if value is not None:
        _flag(value, what)


def _tally(value: object, what: str) -> None:
    whole(value, what)


_SUMMARY = dict.fromkeys(("median", "mean", "stdev", "iqr", "cv"), _signed) | {"ci95": _interval}


def _summary(value: object, what: str) -> None:
    if value is not None:
        _fits(value, _SUMMARY, what)


#: What a key stands for that is not there, by its form; else it is nothing.
_ABSENT: Mapping[Any, object] = {_flag: False, _tally: 0}

#: The forms of facts: a check of its own, ``[form]`` of a list's entries, ``{None: form}`` of an object's, ``{key: form}``.
_FACTS: Mapping[str, Any] = {
    "phases": dict.fromkeys(("setup", "call", "teardown"), _signed),
    "net_energy": _signed,
    "own_share": _signed,
    "regions": {None: {"energy": _summary, "duration": _summary}},
    "work": {None: {"amount": _finite, "joules_per_unit": _finite_or_none}},
    "scores": {None: _finite_or_none},
    "notes": [text],
    "budget": {"joules": _number, "verdict": text, "why": text_or_none},
    "prediction": {
        "model": text_or_none,
        "state": text,
        **dict.fromkeys(("joules", "ratio", "last", "limit", "threshold", "measured"), _signed),
        "interval": _interval,
        "since": text_or_none,
        "because": [text],
        "changed": _tally,
        "limited_by": text_or_none,
        "flagged": _flag,
        "why": text_or_none,
        "failed": _flag,
        "dearer": _flag_or_none,
        "outcome": text_or_none,
    },
}


def provenance(value: object) -> str:
    return str(one_of(value, "provenance", _PROVENANCES))


def columns(row: Mapping[str, Any]) -> Record:
    """The columns that all measurements have, without samples and facts."""
    return {
        "outcome": text_or_none(row["outcome"], "outcome"),
        "source": text_or_none(row["source"], "source"),
        "provenance": provenance(row["provenance"]),
        "resolution": one_of(row["resolution"], "resolution", _RESOLUTIONS),
        "rounds": whole(row["rounds"], "rounds"),
        "iterations": whole(row["iterations"], "iterations", 1),
    }


def energies(row: Mapping[str, Any]) -> tuple[float | None, list[float] | None, float | None]:
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
            _bad("functions", part, f"a range of the {highest} that there are")
        if len(found) + high - low >= MOST_FUNCTIONS:
            raise Bad(f"it has more than {MOST_FUNCTIONS} functions")
        found += range(low, high + 1)
    return found


def counts_text(value: object) -> str | None:
    """How often what ran, unread: of a thousand tests, few are asked for."""
    if value is None:
        return None
    if not _COUNTS.fullmatch(text(value, "counts", MOST_CODE)):
        _bad("counts", value, "numbers")
    return str(value)


def counts(value: str | None, places: Sequence[str]) -> dict[str, list[int]]:
    """The inverse of :func:`pytest_joules.store.tables.counts_text`, by the ``places`` of a test's functions."""
    entries = (value or "").split(";")
    return {
        place: [int(count) for count in entry.split()] for place, entry in zip((*places, OTHER), entries, strict=False) if entry
    }


def unknown(value: object) -> list[str]:
    found = parsed(value, "unknown", list) if value != "[]" else []
    _fits(found, [text], "unknown")
    return found


def function(place: object, digest: object) -> tuple[str, str]:
    found = text(place, "place", MOST_CODE), text(digest, "hash", 1000)
    if not found[0] or "\0" in found[0]:
        _bad("place", place, "a name")
    return found


def executed(found: Sequence[int], functions: Mapping[int, tuple[str, str]]) -> list[tuple[str, str]]:
    """The functions with these numbers."""
    try:
        return [functions[number] for number in found]
    except KeyError as error:
        raise Bad(f"its function {error.args[0]} is not there") from None


def files(value: object) -> dict[str, str]:
    """The project's files with their digests."""
    found = parsed(value, "files", dict)
    _fits(found, {None: text}, "files")
    return found


def account(value: object) -> Record:
    """The predictor's account of a session."""
    found = parsed(value, "account", dict)
    for name in ("joules", "saved", "suite", "seconds"):
        quantity(found.get(name), name)
    return found


def session(row: Mapping[str, Any]) -> None:
    """All that a session holds."""
    created(row["created"])
    for name, kind in (("machine", dict), ("settings", dict), ("sources", list)):
        parsed(row[name], name, kind)
    text_or_none(row["machine_id"], "machine's number")
    if row["files"] is not None:
        files(row["files"])
    if row["predicting"] is not None:
        account(row["predicting"])
