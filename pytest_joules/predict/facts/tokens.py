"""The words of a source text and how often each occurs: names, keywords, operators, sizes of numbers and of texts."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_joules.predict.facts.parsed import UNREADABLE, body_of, magnitude, nested

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
#: What stands in the text as a keyword or a sign: its kind is the word.
_WRITTEN = ast.stmt | ast.operator | ast.boolop | ast.unaryop | ast.cmpop | ast.IfExp | ast.Lambda | ast.comprehension | ast.Await


def tokens(source: str) -> dict[str, float]:
    """By word, how often it occurs; comments, layout, texts that stand alone and functions inside left out. ``{}`` for a source
    that does not parse."""
    body = body_of(source)
    if body is None:
        return {}
    try:
        return dict(Counter(_words(body)))
    except UNREADABLE:
        return {}


def _words(body: Sequence[ast.stmt]) -> Iterator[str]:
    apart = set(map(id, nested(body)))
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if id(node) in apart or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        if isinstance(node, ast.Constant):
            yield from _size(node.value)
            continue
        if isinstance(node, ast.JoinedStr):
            yield "text:f"
            continue
        if isinstance(node, _WRITTEN):
            yield type(node).__name__.lower()
        yield from (value for _, value in ast.iter_fields(node) if isinstance(value, str))
        waiting += ast.iter_child_nodes(node)


def _size(value: object) -> Iterator[str]:
    if isinstance(value, str | bytes):
        yield f"text:{magnitude(len(value))}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield f"num:{magnitude(_bounded(value))}"
    else:
        yield repr(value)


def _bounded(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def parameter_words(parameters: str) -> dict[str, float]:
    """The same for what stands in the brackets of a node id."""
    found = Counter(f"num:{magnitude(value)}" for value in numbers(parameters))
    found.update(word for word in re.split(r"[^A-Za-z_]+", parameters) if word)
    return dict(found)


def numbers(parameters: str) -> list[float]:
    """The numbers in the brackets of a node id; a hyphen between two values is no sign."""
    return [float(text.lstrip("-")) for text in _NUMBER.findall(parameters)]
