"""A version of a function is gone through: how often each of its steps is done, and what it calls, by the number of its calls and
by what was observed of the steps that it has in common with the one that was counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_joules.predict.change.matching import renamed
from pytest_joules.predict.change.observed import Rates
from pytest_joules.predict.change.steps import Code, Inner, Part, Step, bound, flat


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
                share = self._guessed(self._prior(step, label))
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

    def _prior(self, step: Step, label: str) -> float:
        """How often a branch is entered of which nothing is known."""
        if step.kind == "If":
            # What raises is there for what does not happen.
            share = self._likely(step) if self.guess.taken is None or step.likely < _RARE else self.guess.taken
            return share if label == "body" else 1 - share
        if label.startswith("handlers"):
            return 0.02
        return 1 / max(1, len(step.branches)) if label.startswith("cases") else 1.0

    def _likely(self, step: Step) -> float:
        """A new condition is there for what is rare, unless it was put around what ran before."""
        known = [label for label, inside in step.branches if any(self._rates(inner) is not None for inner in flat(inside))]
        return step.likely * 0.2 if len(known) != 1 else 0.95 if known == ["body"] else 0.05

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
