"""How often each step of a function runs: as it was counted, and as it will be in another version of it.

Counts are turned into what they say of each step by itself: how often it is done each time it is reached, how often a loop turns
once entered, how often a branch is taken. That is what a version that is written otherwise has in common with the counted one,
and with it the new one's counts follow from the number of its calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from pytest_joules.predict.change.steps import Code, Inner, Part, Step, bound


@dataclass(frozen=True, slots=True)
class Guess:
    """What is taken for true of what nothing is known of."""

    turns: float
    """How often a loop turns."""
    elements: float
    """What a builtin goes through."""
    taken: float | None
    """How often a new condition holds; ``None``: by what it looks like."""


#: What is likely, and how far it may be from that in either direction: a new condition may hold always or never.
LIKELY, LITTLE, MUCH = Guess(8.0, 8.0, None), Guess(1.0, 2.0, 0.0), Guess(50.0, 200.0, 1.0)
#: No more is believed of a single loop.
_MOST_TURNS = 1e7
#: Nanoseconds that a call takes at least.
_CALL = 30.0
#: A condition that holds less often than that is one for errors.
_RARE = 0.05
_NAME = re.compile(r"[A-Za-z_]\w*")


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


@dataclass(slots=True)
class Work:
    """What a function does, in all its calls together."""

    ops: float = 0.0
    """Nanoseconds of the interpreter's own work."""
    sites: dict[str, float] = field(default_factory=dict)
    """How often each name is called."""
    elements: dict[str, float] = field(default_factory=dict)
    """What each builtin goes through, in all calls together."""
    steps: dict[Step, float] = field(default_factory=dict)
    """``ops`` by step, calls at the least that one takes."""
    unsure: bool = False
    """Something rests on a guess."""


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
        if step.part.inner and count > flow > 0:
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
    inflated = bool(body) and bool(body[0].part.inner)
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
        if inside and inside[0].part.inner and entered > done:
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


# Another version


@dataclass(slots=True)
class Match:
    """Which steps of the new version stand for which of the old one."""

    old: dict[Step, Step]
    names: dict[str, str]
    """New names of local variables to the old ones."""


def match(old: Sequence[Step], new: Sequence[Step]) -> Match:
    """By what steps do, in their order; then those that were moved; then loops and branches by what is in them."""
    found: dict[Step, Step] = {}
    parents = {inner: step for step in old for _, block in step.branches for inner in block}
    left, right = [step.key for step in old], [step.key for step in new]
    for block in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
        for number in range(block.size):
            found[new[block.b + number]] = old[block.a + number]
    taken = set(found.values())
    spare: dict[str, list[Step]] = {}
    for step in old:
        if step not in taken:
            spare.setdefault(step.key, []).append(step)
    for step in new:
        if step not in found and spare.get(step.key):
            found[step] = spare[step.key].pop(0)
    _by_content(new, found, parents)
    return Match(found, _renamed(found))


def _by_content(new: Sequence[Step], found: dict[Step, Step], parents: Mapping[Step, Step]) -> None:
    """Loops and branches of which nothing is found yet, by the steps in them. ``parents``: what the old steps are in."""
    taken = set(found.values())
    for step in reversed(new):
        if step in found or not step.branches or (step.is_loop and step.size is not None):
            continue
        votes: dict[Step, int] = {}
        for _, inside in step.branches:
            for inner in inside:
                above = parents.get(found[inner]) if inner in found else None
                if (
                    above is not None
                    and above not in taken
                    and bool(above.over) == bool(step.over)
                    and _sort(above) == _sort(step)
                ):
                    votes[above] = votes.get(above, 0) + 1
        if votes:
            best = max(votes, key=lambda entry: votes[entry])
            found[step] = best
            taken.add(best)


def _sort(step: Step) -> str:
    return "loop" if step.is_loop else step.kind


def _renamed(found: Mapping[Step, Step]) -> dict[str, str]:
    votes: dict[str, dict[str, int]] = {}
    for new, old in found.items():
        if len(new.names) == len(old.names):
            for name, before in zip(new.names, old.names, strict=True):
                counted = votes.setdefault(name, {})
                counted[before] = counted.get(before, 0) + 1
    return {name: max(counted, key=lambda before: (counted[before], before == name)) for name, counted in votes.items()}


class Run:
    """A version of a function is gone through with all its calls at once."""

    def __init__(
        self,
        rates: Callable[[Step], tuple[Rates, Step] | None],
        sizes: Callable[[str], float | None],
        inline: Callable[[str], Code | None],
        turns: Callable[[Step], float | None] = lambda step: None,
        guess: Guess = LIKELY,
    ) -> None:
        self.work, self.guess = Work(), guess
        self._rates, self._known_sizes, self._inline, self._ranges = rates, sizes, inline, turns
        self._names: list[Mapping[str, str]] = []
        """What the arguments of the functions that are gone through inside stand for."""
        self._depth = 0

    def block(self, steps: Sequence[Step], flow: float) -> tuple[float, float]:
        """Flow out of it, and how often ``continue`` or ``break`` left it."""
        left = 0.0
        for step in steps:
            known = self._rates(step)
            rates, old = known if known is not None else (Rates(), None)
            done = flow * rates.reached
            if done <= 0:
                flow = 0.0 if step.leaves else flow * rates.reached
                continue
            self._part(step.part, done, step, rates.inner)
            if step.is_loop:
                flow = self._loop(step, done, rates, old)
                continue
            if step.leaves in ("continue", "break"):
                left += done
            flow = 0.0 if step.leaves else done
            if step.branches:
                flow, more = self._branches(step, done, rates, old)
                left += more
        return flow, left

    def _loop(self, step: Step, done: float, rates: Rates, old: Step | None) -> float:
        total = done * self._turns(step, rates, old)
        self._part(step.turn, total + done * (step.kind == "While"), step, rates.inner)
        lost = 0.0
        for label, inside in step.branches:
            if label == "body":
                out, left = self.block(inside, total)
                lost = max(0.0, total - out - left)
            else:
                self.block(inside, done * rates.branches.get(label, 0.8))
        return max(done - min(lost, done), 0.0)

    def _turns(self, step: Step, rates: Rates, old: Step | None) -> float:
        """Per entry."""
        if old is not None and rates.turns is not None and (old.key == step.key or step.kind == "While"):
            return rates.turns
        if old is not None and rates.turns is not None and step.size is not None and old.size:
            return rates.turns * step.size / old.size
        if step.size is not None:
            return min(step.size, _MOST_TURNS)
        known = self._ranges(step)
        if known is None:
            known = self._sizes(step.over)
        if known is None and old is not None:
            known = rates.turns
        return known if known is not None else self._guessed(self.guess.turns)

    def _guessed(self, value: float) -> float:
        self.work.unsure = True
        return value

    def _branches(self, step: Step, done: float, rates: Rates, old: Step | None) -> tuple[float, float]:
        turned = old is not None and old.turned != step.turned
        other = {"body": "orelse", "orelse": "body"}
        out, left, taken = 0.0, 0.0, 0.0
        for label, inside in step.branches:
            share = None
            if old is not None:
                share = rates.branches.get(other.get(label, label) if turned else label)
                if share is None and step.kind == "If" and rates.branches:
                    share = max(0.0, 1.0 - sum(rates.branches.values()))
            if share is None:
                share = self._guessed(_prior(step, label, self.guess.taken))
            entered = done * min(share, 1.0)
            flow, more = self.block(inside, entered)
            left += more
            if label == "finalbody":
                continue
            out += flow
            taken += entered if label != "handlers" else 0.0
        if (step.kind == "If" and len(step.branches) < 2) or step.kind == "Match":
            out += max(done - taken, 0.0)
        return min(out, done), left

    def _part(self, part: Part, times: float, step: Step, inner: float | None) -> None:
        if times <= 0:
            return
        work = self.work
        work.ops += times * part.ops
        called = 0.0
        for name, count in part.sites.items():
            called += count if name[0] != "@" else 0.0
            work.sites[name] = work.sites.get(name, 0.0) + times * count
            self._call(name, times * count, part)
        for name, over, known, count in part.sized:
            size = known if known is not None else self._sizes(over)
            elements = size if size is not None else self._guessed(self.guess.elements)
            work.elements[name] = work.elements.get(name, 0.0) + times * count * elements
        work.steps[step] = work.steps.get(step, 0.0) + times * (part.ops + _CALL * called)
        for entry in part.inner:
            self._part(entry.part, times * entry.weight * self._inner(entry, inner), step, None)

    def _inner(self, entry: Inner, counted: float | None) -> float:
        if counted is not None and entry.seen:
            return counted
        if entry.size is not None:
            return entry.size
        known = self._sizes(entry.over) if entry.over else None
        if known is not None:
            return known
        return self._guessed(self.guess.turns if entry.over else 2.0)

    def _call(self, name: str, times: float, part: Part) -> None:
        code = self._inline(name) if self._depth < 3 else None
        if code is None:
            return
        self._depth += 1
        self._names.append(bound(code, part.given.get(name, ())))
        self.block(code.steps, times)
        self._names.pop()
        self._depth -= 1

    def _sizes(self, over: str) -> float | None:
        for names in reversed(self._names):
            over = renamed(over, names)
        return self._known_sizes(over)


def _prior(step: Step, label: str, taken: float | None) -> float:
    if step.kind == "If":
        # What raises is there for what does not happen.
        share = step.likely if taken is None or step.likely < _RARE else taken
        return share if label == "body" else 1 - share
    if label.startswith("handlers"):
        return 0.02
    if label.startswith("cases"):
        return 1 / max(1, len(step.branches))
    return 1.0


def renamed(over: str, names: Mapping[str, str]) -> str:
    """What is gone over, in the old version's names."""
    return _NAME.sub(lambda found: names.get(found.group(), found.group()), over)
