"""What a call costs: of functions in the path of a test by the counts of its last run, with all that these call; of what is not
the project's as it was measured in that run, and where it was not, by what is known of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from pytest_joules.model import Outside
from pytest_joules.predict.change.costs import KNOWN
from pytest_joules.predict.change.flow import LIKELY, Guess, Run, Work
from pytest_joules.predict.change.module_names import meant
from pytest_joules.predict.change.observed import Observed, Rates, seen
from pytest_joules.predict.change.reading import code_of
from pytest_joules.predict.change.steps import Code, Step, remembers
from pytest_joules.predict.protocol import Before

#: Nanoseconds that a call looks longer by being timed, and from how many on the first ones, which are slower, do not count.
_TIMING, _MANY = 200.0, 20
#: Nanoseconds of a function of the standard library, about.
_FUNCTION = 600.0
#: How deep the cost of what is called is followed.
_DEEPEST = 60


class Price(NamedTuple):
    """Nanoseconds of a call: expected, and what it may well be."""

    each: float
    least: float
    most: float
    element: float = 0.0
    """And for each element that it goes through."""

    @classmethod
    def about(cls, each: float, factor: float, element: float = 0.0) -> Price:
        return cls(each, each / factor, each * factor, element)

    @classmethod
    def mean(cls, several: Sequence[Price], share: float = 1.0) -> Price:
        """Of several that a call may be, of which only a ``share`` is."""
        each, least, most = (share * sum(values) / len(several) for values in zip(*(one[:3] for one in several), strict=True))
        return cls(each, least, most)


#: What nothing is known of may be a look into a dictionary or compile a pattern.
UNKNOWN = Price(300.0, 40.0, 20_000.0)
NOTHING = Price(0.0, 0.0, 0.0)


class Measured:
    """What calls out of the project took, by name; nanoseconds at the pace of :mod:`pytest_joules.predict.change.costs`."""

    def __init__(self, runs: Iterable[Outside], pace: float = 1.0) -> None:
        self._found: dict[str, list[float]] = {}
        for outside in runs:
            for callees in outside.values():
                for name, (calls, nanoseconds, *_) in callees.items():
                    one = self._found.setdefault(name, [0.0, 0.0])
                    one[0] += calls
                    one[1] += nanoseconds / pace

    def of(self, name: str) -> tuple[float, float] | None:
        """How many calls were timed, and the mean of their nanoseconds. What is called on a name of the module may have been
        noted as a method of whatever object."""
        found = self._found.get(name) or self._found.get(f".{name.rpartition('.')[2]}" if "." in name else name)
        return (found[0], found[1] / found[0]) if found and found[0] else None


class Calls:
    """Of one test. ``everywhere``: what was measured in all tests. ``pace``: how many times as long as here all that took."""

    def __init__(self, before: Before, everywhere: Measured, pace: float = 1.0) -> None:
        self.before, self.counts, self.outside = before.sources, before.counts, before.outside
        self.seconds = max(before.seconds / pace, 1e-9)
        self._own, self._everywhere = Measured([before.outside], pace), everywhere
        self._by_name: dict[str, list[str]] | None = None
        self._costs: dict[str, Price] = {}
        self._above: set[str] = set()
        """Functions whose cost is being added up."""

    def places(self, name: str) -> list[str]:
        """Functions in the path that a call of ``name`` may mean.

        A method of an object that nothing is known of is none of the module's functions, and no method of the project either
        where only others were seen to be called so.
        """
        if self._by_name is None:
            self._by_name = {}
            for place, counts in self.counts.items():
                if counts and counts[0] > 0:
                    for called in _called_as(place):
                        self._by_name.setdefault(called, []).append(place)
        base, _, bare = name.removeprefix("@").rpartition(".")
        found = self._by_name.get(bare, [])
        if name.startswith("@"):
            return [place for place in found if _is_property(self.before.get(place, ""))]
        found = [place for place in found if not _is_property(self.before.get(place, ""))]
        if not found or not (base or name.startswith(".")):
            return [place for place in found if not _is_method(place) or place.endswith(("__init__", "__new__"))]
        if base == "self":
            return [place for place in found if _is_method(place)]
        if base:
            last = base.rpartition(".")[2]
            return [place for place in found if last in (_owner(place), _stem(place))]
        if bare in KNOWN or self._own.of(name) is not None:
            return []
        return [place for place in found if _is_method(place)]

    def price(self, name: str) -> Price:
        """Of a call of ``name``."""
        if several := [self._asked(place) for place in self.places(name)]:
            return Price.mean(several)
        return NOTHING if name.startswith("@") else self.outside_price(name)

    def _asked(self, place: str) -> Price:
        """Of asking a function once more: one that remembers its results ran less often than it was asked."""
        cost, code = self.cost(place), code_of(self.before.get(place, ""))
        return cost if code is None or not remembers(code) else Price(min(80.0, cost.each), 50.0, max(cost.most, 80.0))

    def outside_price(self, name: str) -> Price:
        """Of one that leaves the project."""
        base, _, bare = name.rpartition(".")
        known = KNOWN.get(bare) if name != "re.compile" else None
        if known is not None and not known[1] and not base:
            # What takes less than to look at the clock, and always the same, is known better than it was measured.
            return Price.about(known[0], 2.0)
        if (found := self._own.of(name)) is not None:
            # All of them took no longer than the test.
            return Price.about(min(_timed(found), self.seconds * 1e9 / found[0]), 1.5 if found[0] >= _MANY else 2.5)
        if (found := self._everywhere.of(name)) is not None:
            return Price.about(_timed(found), 3.0)
        if known is None:
            return UNKNOWN
        if base.partition(".")[0] in sys.stdlib_module_names:  # re.split is no str.split
            return Price(max(known[0], _FUNCTION / 3), known[0] / 4, _FUNCTION * 3, known[1])
        # On a name of the module it is a method of a container there, or a function of another module.
        return Price.about(known[0], 4.0 if base else 2.0, known[1])

    def outside_spent(self, place: str) -> float | None:
        """Nanoseconds of all calls out of the project that a function made; ``None``: they were not measured."""
        timed = self.outside.get(place)
        if timed is None:
            return None
        return sum(calls * self.outside_price(name).each for name, (calls, *_) in timed.items())

    def own(self, place: str, work: Work) -> float:
        """Nanoseconds of all calls of a function, without what it calls in the project."""
        if (out := self.outside_spent(place)) is not None:
            return work.ops + out
        leaves = {name for name in work.sites if name[0] not in "@?" and not self.places(name)}
        return spent(work, lambda name, _: self.outside_price(name) if name in leaves else NOTHING)[0]

    def cost(self, place: str) -> Price:
        """Of one call of a function in the path, with all that it calls: itself at no cost."""
        known = self._costs.get(place)
        if known is not None:
            return known
        counts, source = self.counts.get(place), self.before.get(place)
        if not counts or counts[0] <= 0 or source is None or place in self._above or len(self._above) > _DEEPEST:
            return NOTHING
        code = code_of(source, (), len(counts) - 1 if len(counts) > 1 else None)
        if code is None:
            return Price(300.0, 0.0, 3_000.0)
        work = as_counted(code, tuple(counts))
        timed = self.outside.get(place, {})
        self._above.add(place)
        total = spent(work, lambda name, times: NOTHING if name in timed else self._inside(name, times, place))
        self._above.remove(place)
        out = self.outside_spent(place) or 0.0
        most = self.seconds * 1e9 / counts[0]
        each, least, dearest = (min((value + out) / counts[0], most) for value in total)
        result = Price(each, least, dearest)
        self._costs[place] = result
        return result

    def _inside(self, name: str, times: float, place: str) -> Price:
        name = meant(name, place, self.before)
        places = [other for other in self.places(name) if other != place]
        if not places:
            return NOTHING if name.startswith("@") else self.outside_price(name)
        # No more often than it was called at all: the rest of the calls of that name are of something else.
        bound = min(1.0, sum(self.counts[other][0] for other in places) / times)
        return Price.mean([self.cost(other) for other in places], bound)


def _timed(found: tuple[float, float]) -> float:
    """Nanoseconds of a call that was measured so often, with that mean."""
    calls, mean = found
    return max(mean - _TIMING, mean / 4) * (1.0 if calls >= _MANY else 0.7)


def spent(work: Work, price: Callable[[str, float], Price]) -> tuple[float, float, float]:
    """Nanoseconds of all that a function does, with what it calls at a ``price`` by name and number of calls: expected, the
    least and the most."""
    each = least = most = work.ops
    for name, times in work.sites.items():
        one = price(name, times)
        elements = work.elements.get(name, 0.0) * one.element
        each, least, most = each + times * one.each, least + times * one.least, most + times * one.most
        each, least, most = each + elements, least + elements, most + elements
    return each, least, most


@lru_cache(maxsize=16384)
def as_counted(code: Code, counts: tuple[float, ...]) -> Work:
    """What a function did in the test's last run."""
    return as_seen(code, seen(code, counts), float(counts[0]))


def as_seen(code: Code, looked: Observed, calls: float, guess: Guess = LIKELY) -> Work:
    def rates(step: Step) -> tuple[Rates, Step] | None:
        return (looked.rates[step], step) if step in looked.rates else None

    run = Run(rates, looked.sizes.get, lambda name: None, guess=guess)
    run.block(code.steps, calls)
    return run.work


@lru_cache(maxsize=16384)
def _called_as(place: str) -> tuple[str, ...]:
    """By which names a function is called: its own, and that of its class where it makes one."""
    owner, _, last = place.partition("::")[2].rpartition(".")
    return (last, owner.rpartition(".")[2]) if last in ("__init__", "__new__", "__call__") and owner else (last,)


@lru_cache(maxsize=16384)
def _owner(place: str) -> str:
    """The class, or the function, that it is in."""
    return place.partition("::")[2].rpartition(".")[0].rpartition(".")[2]


@lru_cache(maxsize=16384)
def _stem(place: str) -> str:
    """The module's name, of a function that is in nothing else."""
    path, _, name = place.partition("::")
    return "" if "." in name else path.rpartition("/")[2].removesuffix(".py")


@lru_cache(maxsize=16384)
def _is_method(place: str) -> bool:
    """It is in something that is no function."""
    owner = place.partition("::")[2].rpartition(".")[0]
    return bool(owner) and not owner.endswith("<locals>")


@lru_cache(maxsize=4096)
def _is_property(source: str) -> bool:
    head = source.partition("def ")[0]
    return "property" in head or ".setter" in head
