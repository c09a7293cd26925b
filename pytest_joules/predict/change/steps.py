"""A function as steps: what each of its statements does whenever it runs, written so that versions can be laid side by side.

Names of local variables do not count, nor does whether a value is returned, named first or thrown away, nor whether a test is
negated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_joules.predict.facts.expressions import shown


@dataclass(slots=True)
class Part:
    """What happens each time: nanoseconds of the interpreter's own work, and what is called."""

    ops: float = 0.0
    sites: dict[str, float] = field(default_factory=dict)
    """How often a name is called: ``name``, ``.name`` where it is a method of whatever object, ``base.name`` of a name that is
    none of the function's own, ``self.name``; ``@name`` where an attribute is read; ``?`` of what was handed over."""
    sized: list[tuple[str, str, float | None, float]] = field(default_factory=list)
    """Of a builtin whose cost depends on it: what it goes through, how large that is where literals say so, and how often."""
    inner: list[Inner] = field(default_factory=list)
    given: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The arguments of the last call of a name."""

    def call(self, name: str, times: float) -> None:
        self.sites[name] = self.sites.get(name, 0.0) + times


@dataclass(slots=True)
class Inner:
    """A comprehension or a lambda."""

    over: str
    """What it goes over; ``""`` of a lambda."""
    size: float | None
    part: Part
    weight: float
    seen: bool
    """A statement's count shows how often it ran: it stands on the statement's first line."""


@dataclass(slots=True, eq=False)
class Step:
    """A statement without those inside it."""

    node: ast.stmt
    kind: str
    key: str
    turned: bool
    """Its test is the negation of what ``key`` says."""
    part: Part
    turn: Part
    """On each turn of a loop, before its body."""
    index: int
    """Its place among the function's counts; -1: not counted."""
    over: str = ""
    size: float | None = None
    """How often a loop runs, where literals say so."""
    range: ast.expr | None = None
    """The end of the range that a loop goes over."""
    branches: list[tuple[str, list[Step]]] = field(default_factory=list)
    leaves: str = ""
    """``return``, ``continue`` or ``break``."""
    names: tuple[str, ...] = ()
    """Of local variables, in order."""
    likely: float = 0.5
    """How often a test is taken to hold of which nothing is known."""
    spread: bool = False
    """It begins on one line and goes on on others, so that its count may be that of its lines."""

    @property
    def text(self) -> str:
        return shown(self.node)

    @property
    def inflated(self) -> bool:
        """Its count may be larger than how often it was done."""
        return self.spread or bool(self.part.inner)

    @property
    def is_loop(self) -> bool:
        return bool(self.over and self.branches)

    def inside(self) -> Iterator[Step]:
        """Every step in it."""
        for _, block in self.branches:
            yield from flat(block)


@dataclass(slots=True, eq=False)
class Code:
    """A function."""

    steps: list[Step]
    counted: int
    """How many counts it has besides that of its calls."""
    decorators: tuple[str, ...]
    arguments: tuple[str, ...]
    size: int
    """How many steps it has."""
    aliases: dict[str, ast.expr]
    """Local names that are bound once, and to what."""

    def all(self) -> Iterator[Step]:
        """Every step, each before those inside it."""
        return flat(self.steps)


_MEMORIES = re.compile(r"\b(lru_cache|cache|cached|cached_property|memoize|memoized|memo)\b")


def remembers(code: Code) -> bool:
    """Its decorators say that it keeps its results."""
    return any(_MEMORIES.search(text) for text in code.decorators)


#: Decorators that cost a call nothing.
_FREE = frozenset(
    ("property", "staticmethod", "classmethod", "abstractmethod", "overload", "override", "final", "setter", "wraps")
)


def wrapped(old: Code, new: Code) -> tuple[str, ...]:
    """Decorators that are new, each of which may be called instead: without those of pytest, and those that keep results."""
    fresh = [text for text in new.decorators if text not in old.decorators]
    bare = ((text, text.partition("(")[0]) for text in fresh)
    return tuple(
        text
        for text, name in bare
        if name.rpartition(".")[2] not in _FREE and not name.startswith("pytest.") and not _MEMORIES.search(text)
    )


def flat(steps: Iterable[Step]) -> Iterator[Step]:
    """Steps, each before those inside it."""
    for step in steps:
        yield step
        yield from step.inside()


def bound(code: Code, given: Sequence[str]) -> dict[str, str]:
    """The arguments of a call, by the names that the function has for them."""
    plain = [entry for entry in given if not re.match(r"\w+=[^=]", entry)]
    named = dict(entry.split("=", 1) for entry in given if entry not in plain)
    return dict(zip(code.arguments, plain, strict=False)) | named
