"""What a change does to a test's cost, modelled: the functions that changed are gone through as they were and as they are, with
the counts of the test's last run.

The result is a row of numbers for each question (:data:`pytest_joules.predict.change.effect.FEATURES`), from which
:class:`pytest_joules.predict.change.model.ChangeModel` makes a ratio and an interval, and what there is to say about it.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pytest_joules.predict.change.costs import KNOWN
from pytest_joules.predict.change.effect import Effect, Sum
from pytest_joules.predict.change.flow import Match, Rates, Run, Seen, Work, match, renamed, seen
from pytest_joules.predict.change.steps import Code, Step, bound, code_of
from pytest_joules.predict.facts.expressions import turns_of
from pytest_joules.predict.protocol import Question

#: How deep the cost of what is called is followed.
_DEEPEST = 6
#: Of a step whose counterpart was not counted.
_ORDINARY = Rates()
_MEMORIES = re.compile(r"\b(lru_cache|cache|cached|cached_property|memoize|memoized|memo)\b")
_NAMES = re.compile(r"[A-Za-z_]\w*")
_NUMBERS = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")


def effects(questions: Sequence[Question]) -> list[Effect]:
    """One for each question; all of them have a ``before``, and are about one change."""
    shared = _Shared()
    return [_Test(question, shared).effect() for question in questions]


@dataclass(frozen=True, slots=True)
class _Aligned:
    """Two versions of a function side by side, whatever their counts."""

    inlined: Mapping[str, Code]
    """New functions that the new version calls."""
    order: Sequence[Step]
    """All steps of the new version, those of the inlined functions where they are called."""
    match: Match
    unmatched: Sequence[Step]
    lost: int
    new_loops: Sequence[Step]
    loops: int
    """Loops that it has more."""
    inside: int
    """New loops inside loops."""


@dataclass(slots=True)
class _Shared:
    """What tests have in common: many execute a changed function equally often."""

    aligned: dict[object, _Aligned] = field(default_factory=dict)
    counted: dict[object, tuple[Seen, Work]] = field(default_factory=dict)
    works: dict[object, Work] = field(default_factory=dict)


class _Test:
    """One question."""

    def __init__(self, question: Question, shared: _Shared) -> None:
        assert question.before is not None
        self.before, self.now = question.before.sources, question.facts.sources
        self.counts = question.before.counts
        self.seconds = max(question.before.seconds, 1e-9)
        self.changed = question.changed
        self.sum = Sum()
        self._aligned, self._shared, self._works = shared.aligned, shared.counted, shared.works
        self.known = False
        self.new = [key for key in self.now if key not in self.before]
        self.helpers = {key.rpartition("::")[2].rpartition(".")[2]: key for key in self.new if "::<module>" not in key}
        self._by_name: dict[str, list[str]] | None = None
        self._costs: dict[str, tuple[float, float]] = {}

    # What is called

    def places(self, name: str) -> list[str]:
        """Functions in the path that a call of ``name`` may mean."""
        if self._by_name is None:
            self._by_name = {}
            for place, counts in self.counts.items():
                if counts and counts[0] > 0:
                    for called in _called_as(place):
                        self._by_name.setdefault(called, []).append(place)
        if name.startswith("@"):
            return [place for place in self._by_name.get(name[1:], ()) if _is_property(self.before.get(place, ""))]
        bare = name.rpartition(".")[2]
        found = self._by_name.get(bare, [])
        if name.startswith(".") and _common(bare):
            return []  # rather a list's
        return [place for place in found if not _is_property(self.before.get(place, ""))]

    def cost(self, place: str, above: frozenset[str] = frozenset()) -> tuple[float, float]:
        """Nanoseconds of one call with all that it calls, and the part of these that is guessed."""
        known = self._costs.get(place)
        if known is not None:
            return known
        counts, source = self.counts.get(place), self.before.get(place)
        if not counts or counts[0] <= 0 or source is None or place in above or len(above) > _DEEPEST:
            return 0.0, 0.0
        code = code_of(source, (), len(counts) - 1)
        if code is None:
            return 300.0, 300.0
        work = _as_counted(code, counts)
        total, guessed = work.nanoseconds, work.guessed
        for name, times in work.sites.items():
            several = self.places(name)
            more = [self.cost(other, above | {place}) for other in several if other != place]
            if more:
                # No more often than it was called at all.
                often = min(times, sum(self.counts[other][0] for other in several))
                total += often * sum(cost for cost, _ in more) / len(more)
                guessed += often * sum(part for _, part in more) / len(more)
        result = min(total / counts[0], self.seconds * 1e9 / counts[0]), guessed / counts[0]
        if not above:
            self._costs[place] = result
        return result

    def unknown_call(self, name: str) -> float:
        """Nanoseconds of a call of which nothing is known."""
        return 0.0 if name.startswith(("@", "?")) or _common(name.rpartition(".")[2]) else 200.0

    # A changed function

    def effect(self) -> Effect:
        total = self.sum
        functions = [key for key in self.changed if "::" in key and "::<module>" not in key]
        total.others = len(self.changed) - len(functions)
        texts = {key: self.before[key] for key in functions if key in self.before}
        for name, path in self.renumbered():
            pattern = re.compile(rf"\b{re.escape(name)}\b")
            for key, text in self.before.items():
                if (
                    key not in texts
                    and key.startswith(f"{path}::")
                    and "::<module>" not in key
                    and key in self.now
                    and pattern.search(text)
                ):
                    texts[key] = text
        calls: dict[str, float] = {}
        guessed_calls: dict[str, float] = {}
        for key, text in texts.items():
            self.function(key, text, calls, guessed_calls)
        self.called(calls, guessed_calls, texts)
        self.statements()
        return total.effect(self.seconds, len(functions), self.known)

    def renumbered(self) -> list[tuple[str, str]]:
        """Names of modules' constants that are another number now, and their files."""
        found = []
        for key in self.changed:
            path, separator, name = key.partition("::<module> ")
            if separator and key in self.now and key in self.before:
                old, new = _constant(name, self.before[key]), _constant(name, self.now[key])
                if old is not None and new is not None and old != new:
                    found.append((name, path))
        return found

    def function(self, key: str, text: str, calls: dict[str, float], guessed_calls: dict[str, float]) -> None:
        total, counts = self.sum, self.counts.get(key)
        old = code_of(text, _used(key, text, self.before), len(counts) - 1 if counts else None)
        if old is None or not counts or counts[0] <= 0:
            return
        self.known = True
        source = self.now.get(key)
        new = code_of(source, _used(key, source, self.now)) if source is not None else None
        shared = (old, tuple(counts))
        known = self._shared.get(shared)
        if known is None:
            looked = seen(old, counts)
            known = self._shared[shared] = looked, self.run(old, float(counts[0]), looked, None)
        looked, old_work = known
        if not looked.rates:
            total.uncounted += 1
        total.old += old_work.nanoseconds
        total.old_guessed += old_work.guessed
        total.calls += counts[0]
        for name, times in old_work.sites.items():
            calls[name] = calls.get(name, 0.0) - times
        if new is None:
            total.add(key, -old_work.nanoseconds, old_work.nanoseconds * 0.5)
            return
        times = float(counts[0])
        if _remembers(old) and not _remembers(new):
            times = self.forgotten(key, old, looked, times)
        elif _remembers(new) and not _remembers(old):
            total.guessed += 0.3 * old_work.nanoseconds
        run = (*shared, new, times, frozenset(self.new))
        work = self._works.get(run)
        if work is None:
            work = self._works[run] = self.run(new, times, looked, old)
        self.note(work, self.aligned(old, new), old)
        for name, count in work.sites.items():
            calls[name] = calls.get(name, 0.0) + count
        for name, count in work.guessed_sites.items():
            guessed_calls[name] = guessed_calls.get(name, 0.0) + count
        difference = work.nanoseconds - old_work.nanoseconds
        total.add(key, difference, max(work.guessed - old_work.guessed, 0.0))
        self.literals(text, source or "")

    def forgotten(self, key: str, old: Code, looked: Seen, calls: float) -> float:
        """How often a function runs now that no longer remembers its results: as often as it is called."""
        name = key.rpartition(".")[2].rpartition("::")[2]
        asked, own = 0.0, 0.0
        for place, counts in self.counts.items():
            text = self.before.get(place, "")
            if not counts or counts[0] <= 0 or name not in text:
                continue
            code = code_of(text, (), len(counts) - 1)
            if code is None:
                continue
            sites = _as_counted(code, counts).sites
            times = sum(sites.get(form, 0.0) for form in (name, f".{name}", f"self.{name}", f"@{name}"))
            if place == key:
                own = times
            else:
                asked += times
        each = own / calls if calls else 0.0
        now = max(asked, calls - own if own < calls else 1.0)
        # It calls itself: each of these calls is made anew, which may well be without end.
        now = now / (1 - each) if each < 0.95 else max(now, 1.0) * 20.0 * calls
        now = max(now, calls)
        self.sum.memory = max(self.sum.memory, math.log10(1 + now / max(calls, 1.0)))
        self.sum.whys.append((now / max(calls, 1.0), "no longer remembers its results"))
        cost, guessed = self.cost(key)
        work = _as_counted(old, self.counts[key]).nanoseconds / calls
        # What it calls runs more often too.
        self.sum.add(key, (now - calls) * max(cost - work, 0.0), (now - calls) * guessed)
        return now

    def run(self, code: Code, times: float, looked: Seen, old: Code | None) -> Work:
        """A version of a function is gone through: the old one as counted (``old`` is ``None``), or the new one."""
        if old is None:
            run = Run(
                lambda step: (looked.rates[step], step) if step in looked.rates else None, looked.sizes.get, lambda name: None
            )
            run.block(code.steps, times)
            return run.work
        both = self.aligned(old, code)
        found = both.match

        def rates(step: Step) -> tuple[Rates, Step] | None:
            other = found.old.get(step)
            return (looked.rates.get(other, _ORDINARY), other) if other is not None else None

        def size(over: str) -> float | None:
            known = looked.sizes.get(over)
            return known if known is not None else looked.sizes.get(renamed(over, found.names))

        def turns(step: Step) -> float | None:
            return turns_of(step.range, code.aliases, size) if step.range is not None else None

        run = Run(rates, size, both.inlined.get, turns)
        run.block(code.steps, times)
        return run.work

    def note(self, work: Work, both: _Aligned, old: Code) -> None:
        """What can be seen of a change, and what is new and what it costs."""
        total = self.sum
        total.steps += len(both.order)
        total.unmatched += len(both.unmatched)
        total.old_steps += old.size
        total.lost += both.lost
        total.helpers += len(both.inlined)
        total.loops += both.loops
        total.inside += both.inside
        for step in both.unmatched:
            spent = work.steps.get(step, 0.0)
            if step in both.new_loops:
                spent += sum(work.steps.get(inner, 0.0) for inner in step.inside())
                total.whys.append((spent, f"a loop is new: {step.text.rstrip(':')}"))
            elif spent > 0:
                total.whys.append((spent, f"new: {step.text}"))

    def aligned(self, old: Code, new: Code) -> _Aligned:
        key = (old, new, frozenset(self.new))
        known = self._aligned.get(key)
        if known is None:
            inlined: dict[str, Code] = {}
            order, before = self.flat(new, inlined, 0), list(old.all())
            found = match(before, order)
            fresh = [step for step in order if step not in found.old]
            kept = set(found.old.values())
            gone = sum(step.is_loop for step in before if step not in kept)
            loops = [step for step in fresh if step.is_loop]
            inside = sum(_within(new.steps, step) for step in loops)
            more = max(0, len(loops) - gone)
            known = self._aligned[key] = _Aligned(inlined, order, found, fresh, len(before) - len(kept), loops, more, inside)
        return known

    def flat(self, code: Code, inlined: dict[str, Code], depth: int) -> list[Step]:
        """The steps of a function with those of new functions that it calls, where it calls them."""
        result: list[Step] = []
        for step in code.all():
            result.append(step)
            for part in (step.part, step.turn):
                for name in part.sites:
                    if depth < 3 and name not in inlined and (key := self.helper(name)) is not None:
                        helper = self.called_with(key, part.given.get(name, ()))
                        if helper is not None:
                            inlined[name] = helper
                            result += self.flat(helper, inlined, depth + 1)
        return result

    def called_with(self, key: str, given: Sequence[str]) -> Code | None:
        """A new function; where it is given numbers, they say how long its loops are."""
        source = self.now[key]
        constants = _used(key, source, self.now)
        code = code_of(source, constants)
        if code is None:
            return None
        numbers = {name: value for name, text in bound(code, given).items() if (value := _number(text)) is not None}
        return code_of(source, constants, None, tuple(sorted(numbers.items()))) if numbers else code

    def helper(self, name: str) -> str | None:
        """The key of a function that is new."""
        return None if name.startswith("@") else self.helpers.get(name.rpartition(".")[2])

    # All of them

    def called(self, calls: Mapping[str, float], guessed: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """Calls of functions that did not change, more or fewer of them than before."""
        for name, difference in calls.items():
            if abs(difference) < 1e-6 * max(self.sum.calls, 1.0) or self.helper(name) is not None:
                continue
            places = [place for place in self.places(name) if place not in texts]
            unsure = min(guessed.get(name, 0.0), abs(difference)) / abs(difference)
            if not places:
                spent = difference * self.unknown_call(name)
                if spent:
                    self.sum.add(next(iter(texts), ""), spent, abs(spent))
                    self.sum.new_calls += max(difference, 0.0)
                continue
            costs = [self.cost(place) for place in places]
            each = sum(cost for cost, _ in costs) / len(costs)
            part = sum(guess for _, guess in costs) / len(costs)
            spent = difference * each
            self.sum.add(next(iter(texts), ""), spent, abs(difference) * (part + unsure * each))
            what = places[0].rpartition("::")[2]
            more = "more" if difference > 0 else "fewer"
            self.sum.whys.append((abs(spent), f"calls {what} {abs(difference):,.0f} {more} times"))

    def statements(self) -> None:
        for key in self.changed:
            if "::<module>" in key:
                self.literals(self.before.get(key, ""), self.now.get(key, ""))

    def literals(self, before: str, now: str) -> None:
        """The largest number that is new against the largest that is gone."""
        old, new = (sorted(float(number) for number in _NUMBERS.findall(text)) for text in (before, now))
        fresh, gone = _without(new, old), _without(old, new)
        if fresh and gone and max(gone) > 0 and max(fresh) > 0:
            grown = math.log10(max(fresh) / max(gone))
            self.sum.literal = grown if abs(grown) > abs(self.sum.literal) else self.sum.literal


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _as_counted(code: Code, counts: Sequence[float]) -> Work:
    looked = seen(code, counts)
    run = Run(lambda step: (looked.rates[step], step) if step in looked.rates else None, looked.sizes.get, lambda name: None)
    run.block(code.steps, float(counts[0]))
    return run.work


def _within(steps: Sequence[Step], wanted: Step, inside: bool = False) -> bool:
    for step in steps:
        if step is wanted:
            return inside
        if any(_within(block, wanted, inside or step.is_loop) for _, block in step.branches):
            return True
    return False


def _remembers(code: Code) -> bool:
    return any(_MEMORIES.search(text) for text in code.decorators)


@lru_cache(maxsize=16384)
def _called_as(place: str) -> tuple[str, ...]:
    """By which names a function is called: its own, and that of its class where it makes one."""
    owner, _, last = place.partition("::")[2].rpartition(".")
    return (last, owner.rpartition(".")[2]) if last in ("__init__", "__new__", "__call__") else (last,)


@lru_cache(maxsize=4096)
def _is_property(source: str) -> bool:
    head = source.partition("def ")[0]
    return "property" in head or ".setter" in head


def _common(name: str) -> bool:
    return name in KNOWN


def _without(some: Sequence[float], others: Sequence[float]) -> list[float]:
    left = list(others)
    result = []
    for value in some:
        if value in left:
            left.remove(value)
        else:
            result.append(value)
    return result


@lru_cache(maxsize=8192)
def _constant(name: str, text: str) -> int | float | str | None:
    """What a statement of a module binds a name to, where that is a number or a text and the statement does nothing else."""
    if len(text) > 200:
        return None
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    node = body[0] if len(body) == 1 else None
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
        return None
    return node.value.value if isinstance(node.value.value, int | float | str) else None


@lru_cache(maxsize=8192)
def _words(text: str) -> frozenset[str]:
    return frozenset(_NAMES.findall(text))


def _used(key: str, text: str, sources: Mapping[str, str]) -> tuple[tuple[str, object], ...]:
    """Numbers and texts that a function names: constants of its module."""
    path = key.partition("::")[0]
    found = []
    for name in _words(text):
        source = sources.get(f"{path}::<module> {name}")
        if source is not None and (value := _constant(name, source)) is not None:
            found.append((name, value))
    return tuple(sorted(found))
