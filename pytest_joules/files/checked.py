"""Values out of a JSON file that may hold anything: truncated, merged by hand, or made to harm.

Whatever does not fit is a :class:`Bad`, which says what it is; who reads the file says where, and what to do.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn, TypeAlias, TypeVar, overload

T = TypeVar("T")

#: An object of JSON.
Object: TypeAlias = "Mapping[str, object]"

#: Of JSON, about so many bytes of memory may be taken.
MOST_MEMORY = 400 * 2**20

#: What the objects come to that such characters stand for: values of lists, texts, containers, entries.
_MEMORY = {",": 36, '"': 28, "[": 64, "{": 64, ":": 100}


class Bad(ValueError):
    """What is wrong with a file, without where and what to do."""


@contextmanager
def within(name: object) -> Iterator[None]:
    """What is wrong inside is said to be wrong with ``name``."""
    try:
        yield
    except Bad as error:
        raise Bad(f"{shown(name)}: {error}") from None


def decode(text: str) -> dict[str, object]:
    """The object that the text is, without doubled keys and without what is no number."""
    needed = sys.getsizeof(text) + sum(each * text.count(character) for character, each in _MEMORY.items())
    if needed > MOST_MEMORY:
        raise Bad(f"would take {needed / 2**20:.0f} MiB of memory, and no more than {MOST_MEMORY // 2**20} are given to it")
    try:
        data = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_number)
    except Bad:
        raise
    except json.JSONDecodeError as error:
        if re.search(r"^<{7}|^>{7}", text, re.MULTILINE):
            raise Bad("holds the marks of an unfinished merge") from None
        end = not text[error.pos :].strip()
        raise Bad("ends too early: it is not whole" if end else f"is not JSON (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets in brackets in brackets
        raise Bad("is JSON that no program of ours wrote") from None
    if not isinstance(data, dict):
        raise Bad("is not a baseline")
    return data


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        double = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise Bad(f"has {shown(double)} twice")
    return result


def _no_number(word: str) -> NoReturn:
    raise Bad(f"holds {word}, which is no number of joules")


def shown(value: object) -> str:
    """A value for a message."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def required(data: Object, key: str, kind: type[T]) -> T:
    """The value under ``key``, which must be there and of this kind."""
    if key not in data:
        raise Bad(f"{key!r} is missing")
    value = data[key]
    if not isinstance(value, kind):
        raise Bad(f"{shown(key)} is {shown(value)}")
    return value


@overload
def optional(data: Object, key: str, kind: type[T]) -> T | None: ...


@overload
def optional(data: Object, key: str, kind: type[T], default: T) -> T: ...


def optional(data: Object, key: str, kind: type[T], default: T | None = None) -> T | None:
    """The value under ``key``; ``default`` where there is none, or null."""
    value = data.get(key)
    return default if value is None else required(data, key, kind)


def words(data: Object, key: str) -> str | None:
    """The text under ``key``, where there is one, short enough to be said in a sentence."""
    value = optional(data, key, str)
    if value is not None and len(value) > 1000:
        raise Bad(f"{shown(key)} has {len(value)} characters: {shown(value)}")
    return value


def list_of(data: Object, key: str, kind: type[T]) -> list[T]:
    """The list under ``key``, all of one kind; empty where there is none."""
    values: list[T] = []
    for value in optional(data, key, list, []):
        if not isinstance(value, kind):
            raise Bad(f"{key!r} holds {shown(value)}")
        values.append(value)
    return values


def one_of(data: Object, key: str, *allowed: T) -> T:
    """The value under ``key``, which must be one of these; ``None`` where there is none."""
    value = data.get(key)
    for word in allowed:
        if value == word:
            return word
    raise Bad(f"{key!r} is {shown(value)}")


def count(data: Object, key: str, least: int) -> int:
    """The whole number under ``key``, from ``least`` to a milliard."""
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 10**9:
        raise Bad(f"{key!r} is {shown(value)}")
    return value


def whole(value: object, what: str) -> int:
    """A number of instructions."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise Bad(f"{what!r} holds {shown(value)}, which is no number of instructions")


def number(value: object, what: str, above: float | None = None) -> float:
    """Joules or seconds: not negative, finite; where ``above`` is given, more than that."""
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 <= value < 1e300
        and (above is None or value > above)
    ):
        return float(value)
    raise Bad(f"{what!r} holds {shown(value)}, which is no such quantity")


def numbers(line: Object, key: str, above: float | None = None) -> tuple[float, ...]:
    """The list of joules or seconds under ``key``."""
    return tuple(number(value, key, above) for value in optional(line, key, list, []))


def interval(value: object) -> list[float] | None:
    """Lower and upper bound, or ``None``."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise Bad(f"'ci95' is {shown(value)}")
    ends = [float(end) for end in value if isinstance(end, (int, float)) and not isinstance(end, bool) and abs(end) < 1e300]
    if len(ends) != 2 or ends[0] > ends[1]:
        raise Bad(f"'ci95' is {shown(value)}")
    return ends
