"""What the counts of a test's last run say of each step of a function by itself.

How often it is done each time it is reached, how often a loop turns once entered, how often a branch is taken: that is what a
version that is written otherwise has in common with the counted one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_joules.predict.change.steps import Code, Step

#: Numbers in a source text.
NUMBERS = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")


@dataclass(slots=True)
class Rates:
    """What is known of a step."""

    reached: float = 1.0
    """How often it is done each time that it is reached."""
    turns: float | None = None
    inner: float | None = None
    """Turns of its comprehensions and lambdas, each time it is done."""
    branches: dict[str, float] = field(default_factory=dict)
    """How often each is entered, each time it is done."""


@dataclass(slots=True)
class Observed:
    """All of a function's steps, as they were counted."""

    rates: dict[Step, Rates]
    sizes: dict[str, float]
    """Elements of what is gone over, by what it is called."""


def alike(over: str, sizes: Mapping[str, float]) -> float | None:
    """Elements of ``text * 80`` where those of ``text * 20`` were seen: of what is gone over and differs in its numbers alone. A
    number that it is multiplied by, or that a range ends at, counts in proportion."""
    shape = NUMBERS.sub("#", over)
    known = next((text for text in sizes if text != over and NUMBERS.sub("#", text) == shape), None)
    if known is None:
        return None
    pairs = zip(map(float, NUMBERS.findall(over)), map(float, NUMBERS.findall(known)), strict=True)
    grows = " * " in over or over.startswith("range(")
    return sizes[known] * math.prod(now / then for now, then in pairs if then and grows)


def seen(code: Code, counts: Sequence[float]) -> Observed:
    """What ``counts`` ([calls, of each statement]) say of its steps; of a function whose statements were not counted, nothing."""
    result = Observed({}, {})
    if len(counts) == code.counted + 1:
        _look(code.steps, float(counts[0]), counts, result)
    return result


def _look(steps: Sequence[Step], flow: float, counts: Sequence[float], result: Observed) -> float:
    """Flow out of the block."""
    for step in steps:
        count = float(counts[step.index + 1]) if step.index >= 0 else flow
        rates = Rates()
        result.rates[step] = rates
        if step.is_loop:
            flow = _look_loop(step, flow, counts, result, rates)
            continue
        done = count
        if step.inflated and count > flow > 0:
            done = flow
        if step.part.inner and done > 0 and any(inner.seen for inner in step.part.inner):
            rates.inner = count / done
            for inner in step.part.inner:
                if inner.over and inner.seen:
                    result.sizes.setdefault(inner.over, rates.inner)
        if flow > 0:
            rates.reached = done / flow
        out = 0.0 if step.leaves else done
        if step.branches:
            out = _look_branches(step, done, counts, result, rates)
        flow = out
    return flow


def _first(steps: Sequence[Step], counts: Sequence[float]) -> float | None:
    """How often a block was entered."""
    for step in steps[:1]:
        if step.index >= 0:
            count = float(counts[step.index + 1])
            if step.is_loop:  # a loop's header counts its turns as well
                body = _first(step.branches[0][1], counts)
                return max(count - body, 0.0) if body is not None else None
            return count
    return None


def _look_loop(step: Step, flow: float, counts: Sequence[float], result: Observed, rates: Rates) -> float:
    count = float(counts[step.index + 1]) if step.index >= 0 else flow
    body = step.branches[0][1]
    turns = _first(body, counts)
    inflated = bool(body) and body[0].inflated
    if turns is None or turns > count or inflated:
        turns = max(count - flow, 0.0)
    entries = max(count - turns, 0.0)
    if flow > 0:
        rates.reached = min(entries / flow, 1.0) if entries else 1.0
    if entries > 0:
        rates.turns = turns / entries
        result.sizes[step.over] = max(rates.turns, result.sizes.get(step.over, 0.0))
    lost = 0.0
    for label, inside in step.branches:
        if label == "body":
            out = _look(inside, turns, counts, result)
            lost = max(0.0, turns - out - _left(inside, counts))
        else:
            _look(inside, _first(inside, counts) or 0.0, counts, result)
    return max(entries - lost, 0.0)


def _left(steps: Iterable[Step], counts: Sequence[float]) -> float:
    """How often ``continue`` and ``break`` end a turn of the loop that these are the body of."""
    total = 0.0
    for step in steps:
        if step.leaves in ("continue", "break") and step.index >= 0:
            total += counts[step.index + 1]
        for label, inside in step.branches:
            if not (step.over and label == "body"):
                total += _left(inside, counts)
    return total


def _look_branches(step: Step, done: float, counts: Sequence[float], result: Observed, rates: Rates) -> float:
    out, taken = 0.0, 0.0
    for label, inside in step.branches:
        entered = _first(inside, counts)
        if entered is None:
            entered = done if label in ("finalbody",) else done * 0.5 if label == "body" else 0.0
        if inside and inside[0].inflated and entered > done:
            entered = done
        if done > 0:
            rates.branches[label] = entered / done
        left = _look(inside, entered, counts, result)
        if label == "finalbody":
            out = min(out, left) if inside and left == 0 else out
        else:
            out += left
            taken += entered if label != "handlers" else 0.0
    if (step.kind == "If" and len(step.branches) < 2) or step.kind == "Match":
        out += max(done - taken, 0.0)
    elif step.kind == "Try":
        out = min(out, done)
    return out
