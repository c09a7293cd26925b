"""What a change does to a test's cost, modelled: the functions that changed are gone through as they were and as they are, with
the counts of the test's last run.

The result is a row of numbers for each question (:data:`pytest_joules.predict.change.effect.FEATURES`), from which
:class:`pytest_joules.predict.change.model.ChangeModel` makes a distribution, and what there is to say about it. What nothing is
known of (how often a new loop turns, whether a new condition holds, what is called for the first time) is taken for what is
likely, for little and for much: how far these lie apart is part of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from pytest_joules.predict.change.alignment import Aligned, Alignment
from pytest_joules.predict.change.calls import Calls, Measured, Price, as_seen
from pytest_joules.predict.change.effect import Effect, Sum
from pytest_joules.predict.change.flow import LIKELY, LITTLE, MUCH, Guess, Run, Work
from pytest_joules.predict.change.matching import renamed
from pytest_joules.predict.change.memory import calls_without_memory
from pytest_joules.predict.change.module_changes import Readers, renumbered, touched
from pytest_joules.predict.change.module_names import meant, used
from pytest_joules.predict.change.observed import NUMBERS, Observed, Rates, alike, seen
from pytest_joules.predict.change.pairing import in_old_places, paired, renamings
from pytest_joules.predict.change.reading import code_of
from pytest_joules.predict.change.steps import Code, Part, Step, remembers, wrapped
from pytest_joules.predict.facts.expressions import turns_of
from pytest_joules.predict.protocol import Question

#: Of a step whose counterpart was not counted.
_ORDINARY = Rates()
_GUESSES = (LIKELY, LITTLE, MUCH)
_UNKNOWN = "what changed in its path is no function that it was seen to call"
_NOT_KEPT = "the source of what changed was not kept: that run was stopped"
#: What is priced at so much that the whole test took less than this share of it was not priced.
_PRICED = 0.2
#: Of what an element costs a builtin, what it may be: comparing two tuples is not comparing two numbers.
_ELEMENTS = (1.0, 0.5, 3.0)
#: How deep a function may well go that did not call itself.
_DEEP = 50.0
#: Of a call of what was handed over.
_GIVEN = Price(60.0, 10.0, 3_000.0)
#: Of a function that is new and remembers its results.
_REMEMBERED = Price(80.0, 50.0, 3_000.0)


def effects(questions: Sequence[Question], pace: float = 1.0) -> list[Effect]:
    """One for each question; all of them have a ``before``, and are about one change. ``pace``: how many times as long as
    :mod:`pytest_joules.predict.change.costs` says Python takes where they were measured."""
    outside = [question.before.outside for question in questions if question.before is not None]
    shared = _Shared(Measured(outside, pace), pace)
    return [_Test(question, shared).effect() for question in questions]


@dataclass(slots=True)
class _Shared:
    """What tests have in common: many execute a changed function equally often."""

    measured: Measured
    pace: float
    aligned: dict[object, Aligned] = field(default_factory=dict)
    counted: dict[object, tuple[Observed, tuple[Work, ...]]] = field(default_factory=dict)
    works: dict[object, tuple[Work, ...]] = field(default_factory=dict)
    pairs: dict[object, dict[str, str]] = field(default_factory=dict)
    moved: dict[object, dict[str, str]] = field(default_factory=dict)


class _Test:
    """One question."""

    def __init__(self, question: Question, shared: _Shared) -> None:
        assert question.before is not None
        self.before = question.before.sources
        self.counts = question.before.counts
        self.changed = [key for key in question.changed if "::" in key]
        self.functions = {key: self.before[key] for key in self.changed if "::<module>" not in key and key in self.before}
        self.now, self.renamed = _in_old_places(question, self.functions, shared)
        self.sum = Sum()
        self.calls = Calls(question.before, shared.measured, shared.pace)
        called = {name.rpartition(".")[2] for key, text in self.functions.items() for name in _called(text)}
        self.alignment = Alignment(self.before, self.now, frozenset(called), shared.aligned)
        self._shared = shared
        self.readers = Readers(self.before, self.now, self.counts)
        self.net: dict[str, list[list[float]]] = {}
        """By name, and by guess: calls more than there were, and what these go through."""
        self.callers: dict[str, dict[str, float]] = {}
        """By name: calls more than there were, by who calls."""

    def effect(self) -> Effect:
        texts = dict(self.functions)
        for name, path in renumbered(self.changed, self.before, self.now):
            for key in self.readers.of(name, path):
                texts.setdefault(key, self.before[key])
        for key, text in texts.items():
            self.function(key, text)
        self.called()
        self.statements(texts)
        unknown = "" if self.counts and self.changed else _UNKNOWN
        if any("::<module>" not in key and key not in self.before and any(self.counts.get(key, ())) for key in self.changed):
            unknown = _NOT_KEPT
        return self.sum.effect(self.calls.seconds, self._shared.pace, unknown)

    def function(self, key: str, text: str) -> None:
        total, counts = self.sum, self.counts.get(key)
        # Of a function whose statements were not counted, the last one of that name: those before it are overloads.
        old = code_of(text, used(key, text, self.before), len(counts) - 1 if counts and len(counts) > 1 else None)
        if old is None or not counts or counts[0] <= 0:
            return
        source = self.now.get(key)
        new = code_of(source, used(key, source, self.now)) if source is not None else None
        shared = (old, tuple(counts))
        known = self._shared.counted.get(shared)
        if known is None:
            looked = seen(old, counts)
            known = self._shared.counted[shared] = looked, _each_way(lambda guess: as_seen(old, looked, float(counts[0]), guess))
        looked, before = known
        own, most = self.calls.own(key, before[0]), self.calls.seconds * 1e9
        # All of the test took no longer: far more is no price of what it does.
        scale = min(1.0, most / own) if own > 0 else 1.0
        own *= scale
        total.own += own
        total.reach += self.calls.cost(key).each * counts[0]
        if not looked.rates or new is None or scale < _PRICED:
            total.unknown += own
        if new is None:
            self.take(key, before, -1)
            total.churn += own
            # Something else does now what it did, as likely as not.
            total.add(key, -scale * before[0].ops, -scale * before[0].ops, 0.0)
            return
        times = float(counts[0])
        if remembers(old) and not remembers(new):
            times = self.forgotten(key, before[0])
        elif remembers(new) and not remembers(old):
            total.unknown += own
        run = (*shared, new, times, self.alignment.new)
        works = self._shared.works.get(run)
        if works is None:
            works = self._shared.works[run] = _each_way(lambda guess: self.run(new, times, looked, old, guess))
        both = self.alignment.of(old, new)
        self.note(works[0], before[0], both, scale)
        self.take(key, before, -1)
        self.take(key, works, 1)
        for decorator in wrapped(old, new):
            total.add(key, *(counts[0] * value for value in _GIVEN[:3]))
            total.whys.append((counts[0] * _GIVEN.each, f"it is wrapped by {decorator}"))
        bare = key.rpartition("::")[2].rpartition(".")[2]
        if _calls(works[0], bare) and not _calls(before[0], bare):
            # It calls itself now: how deep is not known.
            total.add(key, 0.0, 0.0, _DEEP * self.calls.cost(key).each * counts[0])
        total.add(key, *(scale * (now.ops - then.ops) for now, then in zip(works, before, strict=True)))

    def take(self, key: str, works: Sequence[Work], sign: int) -> None:
        """Its calls are more (fewer) now."""
        sources = self.now if sign > 0 else self.before
        names = {name: meant(self.renamed.get(name, name), key, sources) for work in works for name in work.sites}
        for called, name in names.items():
            callers = self.callers.setdefault(name, {})
            callers[key] = callers.get(key, 0.0) + sign * works[0].sites.get(called, 0.0)
        for number, work in enumerate(works):
            for called, times in work.sites.items():
                name = names[called]
                if (net := self.net.get(name)) is None:
                    net = self.net[name] = [[0.0, 0.0] for _ in _GUESSES]
                net[number][0] += sign * times
                net[number][1] += sign * work.elements.get(called, 0.0)

    def forgotten(self, key: str, work: Work) -> float:
        """How often a function runs now that no longer remembers its results."""
        calls = float(self.counts[key][0])
        now = calls_without_memory(key, self.before, self.counts)
        self.sum.memory = max(self.sum.memory, math.log10(now / calls))
        self.sum.whys.append((1e9 * now / calls, "no longer remembers its results"))
        # What it calls runs more often too.
        self.sum.add(key, *((now - calls) * max(value - work.ops / calls, 0.0) for value in self.calls.cost(key)[:3]))
        return now

    def run(self, code: Code, times: float, looked: Observed, old: Code, guess: Guess) -> Work:
        """The new version of a function is gone through."""
        both = self.alignment.of(old, code)
        found = both.match

        def rates(step: Step) -> tuple[Rates, Step] | None:
            other = found.old.get(step)
            return (looked.rates.get(other, _ORDINARY), other) if other is not None else None

        def size(over: str) -> float | None:
            then = renamed(over, found.names)
            known = looked.sizes.get(over, looked.sizes.get(then))
            return known if known is not None else alike(then, looked.sizes)

        def turns(step: Step) -> float | None:
            return turns_of(step.range, code.aliases, size) if step.range is not None else None

        if guess is MUCH:  # no less than what was gone over until now
            guess = replace(guess, turns=max(guess.turns, 2 * max(looked.sizes.values(), default=0.0)))
        run = Run(rates, size, both.inlined.get, turns, guess)
        run.block(code.steps, times)
        return run.work

    def note(self, work: Work, before: Work, both: Aligned, scale: float) -> None:
        """What can be seen of a change, and how much is new and gone."""
        total = self.sum
        total.churn += scale * sum(before.steps.get(step, 0.0) for step in both.lost)
        self.literals(_given(both.lost), _given(both.unmatched))
        for step in both.unmatched:
            spent = scale * work.steps.get(step, 0.0)
            total.churn += spent
            if step in both.new_loops:
                spent += scale * sum(work.steps.get(inner, 0.0) for inner in step.inside())
                total.whys.append((spent, f"a loop is new: {step.text.rstrip(':')}"))
            elif spent > 0:
                # Most of what is written otherwise was there.
                total.whys.append((0.5 * spent, f"new: {step.text}"))

    # All of them

    def called(self) -> None:
        """Calls of functions that did not change, more or fewer of them than before, and of what is not the project's."""
        for name, net in self.net.items():
            if self.alignment.helper(name) is not None or all(abs(times) < 1e-6 for times, _ in net):
                continue
            price = self.price(name)
            prices = zip(price[:3], _ELEMENTS, strict=True)
            ways = [times * each + more * price.element * of for each, of in prices for times, more in net]
            each, callers = ways[0], self.callers[name]
            self.sum.add(max(callers, key=lambda key: abs(callers[key])), each, min(ways), max(ways))
            self.sum.churn += abs(each)
            if abs(each) > 0 and abs(net[0][0]) >= 0.5:
                places = self.calls.places(name)
                what = places[0].rpartition("::")[2] if places else name.lstrip(".")
                more = "more" if each > 0 else "fewer"
                self.sum.whys.append((abs(each), f"calls {what} {abs(net[0][0]):,.0f} {more} times"))

    def price(self, name: str) -> Price:
        if name == "?":
            return _GIVEN
        return _REMEMBERED if self.alignment.is_memory(name) else self.calls.price(name)

    def statements(self, texts: Mapping[str, str]) -> None:
        """What changed of modules: the functions that name it may do something else."""
        counted: set[str] = set()
        for key in self.changed:
            path, separator, name = key.partition("::<module> ")
            if not separator:
                continue
            old, new = self.before.get(key, ""), self.now.get(key, "")
            self.literals(_numbers(old), _numbers(new))
            places = {place for called in touched(name, old, new) for place in self.readers.of(called, path)}
            for place in places - texts.keys() - counted:
                self.sum.unknown += self.calls.cost(place).each * self.counts[place][0]
            counted |= places

    def literals(self, old: Sequence[float], new: Sequence[float]) -> None:
        """The largest number that is new against the largest that is gone: what it is for is not known."""
        fresh, gone = _without(new, old), _without(old, new)
        if fresh and gone and max(gone) > 0 and max(fresh) > 0:
            grown = math.log10(max(fresh) / max(gone))
            self.sum.literal = grown if abs(grown) > abs(self.sum.literal) else self.sum.literal


def _in_old_places(
    question: Question, functions: Mapping[str, str], shared: _Shared
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The sources of now, with what has another name or place standing where it was; names that functions have now, and those
    that they had. ``functions``: those that changed, as they were."""
    assert question.before is not None
    before, now = question.before.sources, question.facts.sources
    gone = tuple(key for key in functions if key not in now)
    fresh = tuple(key for key in now if key not in before) if gone else ()
    if not fresh:
        return now, {}
    if (pairs := shared.pairs.get((gone, fresh))) is None:
        pairs = shared.pairs[gone, fresh] = paired({key: before[key] for key in gone}, {key: now[key] for key in fresh})
    if not pairs:
        return now, {}
    touched = tuple(key for key in (*question.changed, *fresh) if key in now)
    if (moved := shared.moved.get((gone, touched))) is None:
        moved = shared.moved[gone, touched] = in_old_places({key: now[key] for key in touched}, pairs)
    return {key: text for key, text in now.items() if key not in pairs.values()} | moved, renamings(pairs)


def _each_way(run: Callable[[Guess], Work]) -> tuple[Work, ...]:
    """What is likely, and with all that is guessed taken for little and for much."""
    likely = run(LIKELY)
    return (likely, run(LITTLE), run(MUCH)) if likely.unsure else (likely,) * len(_GUESSES)


def _calls(work: Work, bare: str) -> bool:
    return any(times > 0 and name.rpartition(".")[2] == bare for name, times in work.sites.items() if name[0] != "@")


@lru_cache(maxsize=8192)
def _called(text: str) -> frozenset[str]:
    """The names that a function calls."""
    code = code_of(text)
    steps = code.all() if code is not None else ()
    return frozenset(name for step in steps for name in _names((step.part, step.turn)))


def _names(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        yield from part.sites
        yield from _names(inner.part for inner in part.inner)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBERS.findall(text)]


def _given(steps: Iterable[Step]) -> list[float]:
    """Numbers that are handed to functions."""
    texts = (text for step in steps for part in (step.part, step.turn) for given in part.given.values() for text in given)
    return [number for text in texts for number in _numbers(text)]


def _without(some: Sequence[float], others: Sequence[float]) -> list[float]:
    left = list(others)
    result = []
    for value in some:
        if value in left:
            left.remove(value)
        else:
            result.append(value)
    return result
