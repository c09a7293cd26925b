"""What a change does to a test's cost, modelled: the functions that changed are gone through as they were and as they are, with
the counts of the test's last run.

The result is a row of numbers for each question (:data:`pytest_joules.predict.change.effect.FEATURES`), from which
:class:`pytest_joules.predict.change.model.ChangeModel` makes a ratio and an interval, and what there is to say about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_joules.predict.change.alignment import Aligned, Alignment
from pytest_joules.predict.change.calls import Calls, as_counted, as_seen
from pytest_joules.predict.change.effect import Effect, Sum
from pytest_joules.predict.change.flow import Observed, Rates, Run, Work, renamed, seen
from pytest_joules.predict.change.module_constants import constant, used
from pytest_joules.predict.change.reading import code_of
from pytest_joules.predict.change.steps import Code, Step
from pytest_joules.predict.facts.expressions import turns_of
from pytest_joules.predict.protocol import Question

#: Of a step whose counterpart was not counted.
_ORDINARY = Rates()
_MEMORIES = re.compile(r"\b(lru_cache|cache|cached|cached_property|memoize|memoized|memo)\b")
_NUMBERS = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")


def effects(questions: Sequence[Question]) -> list[Effect]:
    """One for each question; all of them have a ``before``, and are about one change."""
    shared = _Shared()
    return [_Test(question, shared).effect() for question in questions]


@dataclass(slots=True)
class _Shared:
    """What tests have in common: many execute a changed function equally often."""

    aligned: dict[object, Aligned] = field(default_factory=dict)
    counted: dict[object, tuple[Observed, Work]] = field(default_factory=dict)
    works: dict[object, Work] = field(default_factory=dict)


class _Test:
    """One question."""

    def __init__(self, question: Question, shared: _Shared) -> None:
        assert question.before is not None
        self.before, self.now = question.before.sources, question.facts.sources
        self.counts = question.before.counts
        self.changed = question.changed
        self.sum = Sum()
        self.calls = Calls(question.before)
        self.alignment = Alignment(self.before, self.now, shared.aligned)
        self._shared, self._works = shared.counted, shared.works
        self.known = False

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
        return total.effect(self.calls.seconds, len(functions), self.known)

    def renumbered(self) -> list[tuple[str, str]]:
        """Names of modules' constants that are another number now, and their files."""
        found = []
        for key in self.changed:
            path, separator, name = key.partition("::<module> ")
            if separator and key in self.now and key in self.before:
                old, new = constant(name, self.before[key]), constant(name, self.now[key])
                if old is not None and new is not None and old != new:
                    found.append((name, path))
        return found

    def function(self, key: str, text: str, calls: dict[str, float], guessed_calls: dict[str, float]) -> None:
        total, counts = self.sum, self.counts.get(key)
        old = code_of(text, used(key, text, self.before), len(counts) - 1 if counts else None)
        if old is None or not counts or counts[0] <= 0:
            return
        self.known = True
        source = self.now.get(key)
        new = code_of(source, used(key, source, self.now)) if source is not None else None
        shared = (old, tuple(counts))
        known = self._shared.get(shared)
        if known is None:
            looked = seen(old, counts)
            known = self._shared[shared] = looked, as_seen(old, looked, float(counts[0]))
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
        run = (*shared, new, times, self.alignment.new)
        work = self._works.get(run)
        if work is None:
            work = self._works[run] = self.run(new, times, looked, old)
        self.note(work, self.alignment.of(old, new), old)
        for name, count in work.sites.items():
            calls[name] = calls.get(name, 0.0) + count
        for name, count in work.guessed_sites.items():
            guessed_calls[name] = guessed_calls.get(name, 0.0) + count
        difference = work.nanoseconds - old_work.nanoseconds
        total.add(key, difference, max(work.guessed - old_work.guessed, 0.0))
        self.literals(text, source or "")

    def forgotten(self, key: str, old: Code, looked: Observed, calls: float) -> float:
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
            sites = as_counted(code, counts).sites
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
        cost, guessed = self.calls.cost(key)
        work = as_counted(old, self.counts[key]).nanoseconds / calls
        # What it calls runs more often too.
        self.sum.add(key, (now - calls) * max(cost - work, 0.0), (now - calls) * guessed)
        return now

    def run(self, code: Code, times: float, looked: Observed, old: Code) -> Work:
        """The new version of a function is gone through."""
        both = self.alignment.of(old, code)
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

    def note(self, work: Work, both: Aligned, old: Code) -> None:
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

    # All of them

    def called(self, calls: Mapping[str, float], guessed: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """Calls of functions that did not change, more or fewer of them than before."""
        for name, difference in calls.items():
            if abs(difference) < 1e-6 * max(self.sum.calls, 1.0) or self.alignment.helper(name) is not None:
                continue
            places = [place for place in self.calls.places(name) if place not in texts]
            unsure = min(guessed.get(name, 0.0), abs(difference)) / abs(difference)
            if not places:
                spent = difference * self.calls.unknown(name)
                if spent:
                    self.sum.add(next(iter(texts), ""), spent, abs(spent))
                    self.sum.new_calls += max(difference, 0.0)
                continue
            costs = [self.calls.cost(place) for place in places]
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


def _remembers(code: Code) -> bool:
    return any(_MEMORIES.search(text) for text in code.decorators)


def _without(some: Sequence[float], others: Sequence[float]) -> list[float]:
    left = list(others)
    result = []
    for value in some:
        if value in left:
            left.remove(value)
        else:
            result.append(value)
    return result
