"""The text of a test that a language model reads: its source and that of what is in its path, cut to what runs most often.

Three representations, named as those of the other models: ``source``, lines as they are written; ``ast``, the kinds of the nodes
of the same statements; ``bytecode``, operations with how often they ran. The same facts make the same text. How often a statement
ran is counted where the test ran, and otherwise supposed from its loops.
"""

from __future__ import annotations

import ast
import heapq
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from pytest_joules.code.statements import statements
from pytest_joules.predict.facts.executed import executed
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.facts.opcodes import statement_features
from pytest_joules.predict.facts.parsed import UNREADABLE, body_of, magnitude

REPRESENTATIONS = ("source", "ast", "bytecode")

#: Characters to a token, more than any text of ours has; what is too long is cut to tokens later.
_CHARACTERS = 5
#: Of a statement, and of one function's statements that run equally often.
_LONGEST = 240
_MOST_STATEMENTS = 40

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_APART = ast.stmt | ast.ExceptHandler | ast.match_case | ast.expr_context


def text_of(facts: TestFacts, representation: str, tokens: int) -> str:
    """The text of a test for so many tokens; ``""`` where nothing of its code is known.

    Raises:
        KeyError: there is no such representation.
    """
    if representation not in REPRESENTATIONS:
        raise KeyError(representation)
    most = tokens * _CHARACTERS
    told = _operations(facts, most) if representation == "bytecode" else _statements(facts, representation, most)
    return told.encode("utf-8", "replace").decode()  # without halves of characters, which no tokenizer reads


# Operations


def _operations(facts: TestFacts, most: int) -> str:
    if not facts.sources:
        return ""
    amounts = {name: value for name, value in executed(facts).items() if value > 0}
    ordered = sorted(amounts, key=lambda name: (not name.startswith("total:"), -amounts[name], name))
    parts, size = [], 0
    for name in ordered:
        part = f"{name.replace(':', ' ')} {math.log10(1 + amounts[name]):.1f}"
        size += len(part) + 2
        if size > most:
            break
        parts.append(part)
    return ", ".join(parts)


# Statements


class _Line(NamedTuple):
    """A statement that may be told; ordered by how much it should be."""

    times: float
    named: bool
    """The test's own text has the function's name."""
    backwards: tuple[int, int]
    """Minus the function's and the statement's number: the first of equals comes first."""
    text: str


def _statements(facts: TestFacts, representation: str, most: int) -> str:
    own = [place for place in facts.sources if facts.test is not None and _within(place, facts.test)]
    told = [f"parameters {facts.parameters[:_LONGEST]}"] if facts.parameters else []
    # The test itself is told first, and leaves half of the room to what it calls.
    said = [line for place in own for line in _lines(facts.sources[place], representation)]
    rest = [place for place in facts.sources if place not in own and "::<module>" not in place]
    left = _fill(told, said, most // 2 if rest else most)
    words = frozenset(_words(" ".join(facts.sources[place] for place in own)))
    rest.sort()
    candidates = [line for number, place in enumerate(rest) for line in _of_function(facts, place, representation, number, words)]
    left = most - (most // 2 if rest else most) + left
    chosen: dict[int, list[tuple[int, str]]] = {}
    order: list[int] = []
    for line in heapq.nlargest(_MOST_STATEMENTS * 8, candidates):
        left -= len(line.text) + 1
        if left < 0:
            break
        function = -line.backwards[0]
        if function not in chosen:
            order.append(function)
        chosen.setdefault(function, []).append((-line.backwards[1], line.text))
    for function in order:
        told += [text for _, text in sorted(chosen[function])]
    return "\n".join(told)


def _fill(told: list[str], lines: Sequence[str], most: int) -> int:
    """Lines as far as there is room; how much of it is left."""
    for line in lines:
        if len(line) + 1 > most:
            break
        told.append(line)
        most -= len(line) + 1
    return most


def _within(place: str, test: str) -> bool:
    return place == test or place.startswith(f"{test}.")


def _words(text: str) -> Iterator[str]:
    word = ""
    for character in text:
        if character.isalnum() or character == "_":
            word += character
        elif word:
            yield word
            word = ""
    if word:
        yield word


def _of_function(facts: TestFacts, place: str, representation: str, number: int, words: frozenset[str]) -> list[_Line]:
    source = facts.sources[place]
    lines = _lines(source, representation)
    counts = facts.counts.get(place)
    if facts.counts and not counts:
        return []  # it ran when its module was imported
    times: Sequence[float] = counts if counts and len(counts) == len(lines) else _supposed(source)
    named = place.rpartition("::")[2].rpartition(".")[2] in words
    found = [
        _Line(times[at], named, (-number, -at), line)
        for at, line in enumerate(lines[: len(times)])
        if times[at] > 0 or not facts.counts
    ]
    return found if len(found) <= _MOST_STATEMENTS else heapq.nlargest(_MOST_STATEMENTS, found)


@lru_cache(maxsize=16_384)
def _supposed(source: str) -> tuple[float, ...]:
    return tuple(statement_features(source).reached(None)[0])


@lru_cache(maxsize=16_384)
def _lines(source: str, representation: str) -> tuple[str, ...]:
    """Of the function in a source text its head, and each of its statements, in the order that they are counted in."""
    functions = [node for node in body_of(source) or () if isinstance(node, _FUNCTIONS)]
    if not functions:
        return ()
    written = source.encode("utf-8", "replace").split(b"\n")
    try:
        nodes: list[ast.stmt] = [functions[0], *(inner for node in functions for inner in statements(node))]
        if representation == "ast":
            return tuple(" ".join(_kinds(node))[:_LONGEST] for node in nodes)
        return tuple(_head(written, node)[:_LONGEST] for node in nodes)
    except UNREADABLE:
        return ()


def _head(written: Sequence[bytes], node: ast.stmt) -> str:
    """A statement as it is written, without the blocks in it."""
    begin, end = node.lineno - 1, node.end_lineno or node.lineno
    inside = next(iter(getattr(node, "body", None) or getattr(node, "cases", None) or ()), None)
    stop: int | None = node.end_col_offset
    if inside is not None:
        at = inside.pattern if isinstance(inside, ast.match_case) else inside
        end, stop = (at.lineno - 1, None) if at.lineno - 1 > begin else (at.lineno, at.col_offset)
    lines = list(written[begin:end])
    if lines and stop is not None:
        lines[-1] = lines[-1][:stop]
    if lines:
        lines[0] = lines[0][node.col_offset :]
    return " ".join(b" ".join(lines).decode("utf-8", "replace").split())


def _kinds(node: ast.AST) -> Iterator[str]:
    """The kinds of a statement's nodes, and the sizes of its literals; no names."""
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, str | bytes):
            yield f"text {magnitude(len(value))}"
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"number {_size(value)}"
        else:
            yield str(value)
        return
    yield type(node).__name__
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _APART):
            yield from _kinds(child)


def _size(value: float) -> str:
    try:
        return magnitude(value)
    except OverflowError:
        return "1e18"
