"""What a recorded run comes to, and the text of what is in a test's path, in sums: nothing is parsed, so that they cost next to
nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from zlib import crc32

from pytest_joules.model import OTHER

_WORD = re.compile(r"[A-Za-z_]\w+|\d+")
#: Words are told apart by so many numbers.
_HASHES = 2048


def calls(counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """``total:calls`` of the project's functions in one run; ``counts``: by place, calls and then how often each statement ran.
    Empty for a test that never ran."""
    return {"total:calls": float(sum(own[0] for place, own in counts.items() if own and place != OTHER))} if counts else {}


def counted(counts: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The same with ``total:other calls`` of Python functions that are not the project's (where counted), ``total:statements``
    and ``total:functions`` that ran, and the most calls of one function, runs of one statement, and statements of one
    function."""
    own = [numbers for place, numbers in counts.items() if numbers and place != OTHER]
    if not counts:
        return {}
    statements = [sum(numbers[1:]) for numbers in own]
    found = {
        "total:calls": sum(numbers[0] for numbers in own),
        "total:statements": sum(statements),
        "total:functions": len(own),
        "most calls": max((numbers[0] for numbers in own), default=0),
        "most of a statement": max((max(numbers[1:], default=0) for numbers in own), default=0),
        "most of a function": max(statements, default=0),
    }
    if library := counts.get(OTHER):
        found["total:other calls"] = library[0]
    return {name: float(value) for name, value in found.items()}


def text(sources: Mapping[str, str], test: str | None) -> dict[str, float]:
    """``total:characters`` and ``total:functions`` of the sources, by place; of the test itself ``test:characters`` and how often
    each word occurs, by the word's hash."""
    own = sources.get(test, "") if test is not None else ""
    found = {f"word:{crc32(word.encode()) % _HASHES}": float(count) for word, count in Counter(_WORD.findall(own)).items()}
    found["total:characters"] = float(sum(map(len, sources.values())))
    found["total:functions"] = float(len(sources))
    found["test:characters"] = float(len(own))
    return found
