"""Two versions of a function side by side: which steps of the new one stand for which of the old one, and what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_joules.predict.change.matching import Match, match
from pytest_joules.predict.change.module_names import used
from pytest_joules.predict.change.reading import code_of
from pytest_joules.predict.change.steps import Code, Step, bound, remembers


@dataclass(frozen=True, slots=True)
class Aligned:
    """Two versions of a function side by side, whatever their counts."""

    inlined: Mapping[str, Code]
    """New functions that the new version calls."""
    order: Sequence[Step]
    """All steps of the new version, those of the inlined functions where they are called."""
    match: Match
    unmatched: Sequence[Step]
    lost: Sequence[Step]
    """Steps of the old version that are gone."""
    new_loops: Sequence[Step]


class Alignment:
    """Of the functions of one test. ``called``: names that their old versions call: such a function is not new, whether it was in
    the path or not. ``known``: what was found of others that are about the same change."""

    def __init__(
        self, before: Mapping[str, str], now: Mapping[str, str], called: frozenset[str], known: dict[object, Aligned]
    ) -> None:
        self._now, self._known = now, known
        new = (key for key in now if key not in before and "::<module>" not in key)
        found = {name: key for key in new if (name := key.rpartition("::")[2].rpartition(".")[2]) not in called}
        self._memories = {name for name, key in found.items() if (code := code_of(now[key])) is not None and remembers(code)}
        self._helpers = {name: key for name, key in found.items() if name not in self._memories}
        self.new = frozenset(self._helpers.values())
        """Keys of new functions."""

    def of(self, old: Code, new: Code) -> Aligned:
        key = (old, new, self.new)
        known = self._known.get(key)
        if known is None:
            inlined: dict[str, Code] = {}
            order, before = self._flat(new, inlined, 0), list(old.all())
            found = match(before, order)
            fresh = [step for step in order if step not in found.old]
            kept = set(found.old.values())
            gone = [step for step in before if step not in kept]
            known = self._known[key] = Aligned(inlined, order, found, fresh, gone, [step for step in fresh if step.is_loop])
        return known

    def _flat(self, code: Code, inlined: dict[str, Code], depth: int) -> list[Step]:
        """The steps of a function with those of new functions that it calls, where it calls them."""
        result: list[Step] = []
        for step in code.all():
            result.append(step)
            for part in (step.part, step.turn):
                for name in part.sites:
                    if depth < 3 and name not in inlined and (key := self.helper(name)) is not None:
                        helper = self._called_with(key, part.given.get(name, ()))
                        if helper is not None:
                            inlined[name] = helper
                            result += self._flat(helper, inlined, depth + 1)
        return result

    def _called_with(self, key: str, given: Sequence[str]) -> Code | None:
        """A new function; where it is given numbers, they say how long its loops are."""
        source = self._now[key]
        constants = used(key, source, self._now)
        code = code_of(source, constants)
        if code is None:
            return None
        numbers = {name: value for name, text in bound(code, given).items() if (value := _number(text)) is not None}
        return code_of(source, constants, None, tuple(sorted(numbers.items()))) if numbers else code

    def is_memory(self, name: str) -> bool:
        """It is a new function that remembers its results: what it does is done once."""
        return name.rpartition(".")[2] in self._memories

    def helper(self, name: str) -> str | None:
        """The key of a function that is new."""
        return None if name.startswith("@") else self._helpers.get(name.rpartition(".")[2])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
