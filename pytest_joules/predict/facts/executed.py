"""What a test made the interpreter do the last time, or probably would: the operations of all functions in its path, each as
often as it ran."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_joules.model import OTHER
from pytest_joules.predict.facts.feature_names import NAMES
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.facts.opcodes import statement_features
from pytest_joules.predict.facts.operations import OPERATIONS
from pytest_joules.predict.facts.parsed import body_of
from pytest_joules.predict.facts.sizes import iterations, number
from pytest_joules.predict.facts.statement import LOOP_KINDS, Array, Statements

_NUMBER = re.compile(r"\d{1,7}(?:\.\d{0,20})?")
_MODULE = "::<module>"
_OPERATIONS = [f"op:{name}" for name in OPERATIONS]


class _Row(NamedTuple):
    """A function's statements, ready to be added up."""

    statements: Statements
    ids: NDArray[np.intp]
    """The numbers of the names it adds to."""
    matrix: Array
    """What each adds: the call and the statements, once reached; a trip of each of :attr:`loops`; a trip inside each of
    :attr:`inner`, and inside each loop's test."""
    loops: tuple[int, ...]
    inner: tuple[int, ...]

    def vector(self, counts: Sequence[float] | None, constants: Mapping[str, float] | None) -> tuple[Array, float]:
        """What it adds, by :attr:`ids`, and the most trips of one of its loops once entered."""
        statements = self.statements
        if not statements.irregular and counts is not None and statements.fits(counts):
            return np.array(counts, float) @ self.matrix, 0.0
        times, trips, inner = statements.reached(counts, constants)
        if not statements.irregular:
            return np.array(times, float) @ self.matrix, 0.0
        most = 0.0
        weights = times.copy()
        for at in self.loops:
            weights.append(trips[at])
            most = max(most, trips[at] / max(times[at], 1.0))
        weights += [times[at] * inner[at] for at in self.inner]
        weights += [trips[at] * inner[at] for at in self.inner]
        return np.array(weights, float) @ self.matrix, most


@lru_cache(maxsize=16_384)
def _row(source: str) -> _Row:
    found = statement_features(source)
    size, parts = len(found.places) + 1, len(found.part_kind)
    done = np.flatnonzero(found.operations.any(0))
    names = np.zeros((parts, len(found.names)))
    np.add.at(names, (found.name_part, found.name_index), found.name_amount)
    totals = found.operations.sum(1, keepdims=True)
    by_part = np.hstack((found.operations[:, done], names, totals)) * found.part_times[:, None]
    loops = tuple(at + 1 for at in found.irregular if found.places[at].kind in LOOP_KINDS)
    inner = tuple(at + 1 for at in found.irregular if found.places[at].inner)
    matrix = np.zeros((4 * size, by_part.shape[1] + 2))
    np.add.at(matrix[:, :-2], found.part_kind * size + found.part_statement, by_part)
    matrix[1:size, -2] = 1.0
    matrix[[size + at for at in loops], -2] = 1.0  # a loop's header, on each trip
    matrix[0, -1] = 1.0
    kept = [*range(size), *(size + at for at in loops), *(2 * size + at for at in inner), *(3 * size + at for at in inner)]
    called = (*(_OPERATIONS[at] for at in done), *found.names, "total:ops", "total:statements", "total:calls")
    ids = np.array([NAMES.number(name) for name in called], np.intp)
    return _Row(found, ids, np.ascontiguousarray(matrix[kept]), loops, inner)


def executed(facts: TestFacts) -> dict[str, float]:
    """Of all functions of the project in a test's path: ``op:GROUP``, operations by group; ``called:NAME``, calls by the last
    part of the name, and ``argument:NAME``, the sum of the numbers among their arguments; ``total:calls`` of the project's
    functions, ``total:other calls`` of Python functions that are not the project's (where counted), ``total:calls out`` and
    ``total:time out``, the calls that left the project and the nanoseconds that they took (where timed), ``total:statements``,
    ``total:functions``, ``total:ops``, ``total:trips of a loop``: the most that one loop ran once entered; ``kind:KIND``,
    functions and module statements by kind. All as often as counted the last time.

    What was not counted while others were ran when its module was imported, or is new: it adds nothing. In a test that never ran,
    each function runs once, and loops as often as literals, the module's constants and the test's parameters say, 10 times where
    nothing says it. (How often a function is called was once guessed from the calls that others make of its name: that made
    predictions worse.)
    """
    ids: list[NDArray[np.intp]] = []
    amounts: list[Array] = []
    most = 0.0
    kinds: dict[str, float] = {}
    constants: Mapping[str, float] | None = None
    for place, source in facts.sources.items():
        row = _row(source)
        kind = row.statements.kind
        kinds[kind] = kinds.get(kind, 0.0) + 1.0
        counts = facts.counts.get(place)
        if _MODULE in place or (facts.counts and not counts):
            continue
        if constants is None and not (counts and row.statements.fits(counts)):
            constants = _constants(facts)
        added, trips = row.vector(counts, constants)
        ids.append(row.ids)
        amounts.append(added)
        most = max(most, trips)
    found = NAMES.summed(ids, amounts)
    found.update((f"kind:{kind}", count) for kind, count in kinds.items())
    if library := facts.counts.get(OTHER):
        found["total:other calls"] = float(library[0])
    for callees in facts.outside.values():
        for calls, nanoseconds, *_ in callees.values():
            found["total:calls out"] = found.get("total:calls out", 0.0) + calls
            found["total:time out"] = found.get("total:time out", 0.0) + nanoseconds
    found["total:functions"] = float(len(amounts))
    found["total:trips of a loop"] = most
    return found


def _constants(facts: TestFacts) -> dict[str, float]:
    """What names stand for: constants of modules that are numbers, or displays and such by their size; the test's parameters."""
    found: dict[str, float] = {}
    for place, source in facts.sources.items():
        if _MODULE in place:
            found |= _assigned(source)
    test = facts.sources.get(facts.test) if facts.test is not None else None
    if test is not None and facts.parameters:
        found |= parameter_values(test, facts.parameters)
    return found


@lru_cache(maxsize=4096)
def _assigned(source: str) -> Mapping[str, float]:
    found = {}
    for node in body_of(source) or ():
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign):
            size = number(value, {})
            if size is None and isinstance(value, ast.AST):
                size = iterations(value, {})
            if size is not None:
                found[target.id] = size
    return found


@lru_cache(maxsize=4096)
def parameter_values(source: str, parameters: str) -> Mapping[str, float]:
    """The numbers among a test's parameters, by the names of its ``parametrize`` decorators: of ``"n, word"`` and ``"100-blue"``,
    ``{"n": 100}``. Empty where the brackets do not have as many values as there are names."""
    names: list[str] = []
    for node in body_of(source) or ():
        # The decorator next to the function comes first in the brackets.
        for decorator in reversed(getattr(node, "decorator_list", ())):
            if isinstance(decorator, ast.Call) and getattr(decorator.func, "attr", "") == "parametrize" and decorator.args:
                names += _argument_names(decorator.args[0])
    values = parameters.split("-")
    if len(values) != len(names):
        return {}
    return {name: float(value) for name, value in zip(names, values, strict=True) if _NUMBER.fullmatch(value)}


def _argument_names(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [name.strip() for name in node.value.split(",") if name.strip()]
    if isinstance(node, ast.List | ast.Tuple):
        return [str(entry.value) for entry in node.elts if isinstance(entry, ast.Constant)]
    return []
