"""Budgets that a person wrote: which of them holds for a test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

from pytest_joules.settings.values import SettingError, joules


@dataclass(frozen=True, slots=True)
class Budget:
    """An upper limit that a person wrote."""

    joules: float
    where: str
    """For the report: who set it."""


@dataclass(frozen=True, slots=True)
class CountBudget:
    """An upper limit of instructions that a person wrote at a test."""

    instructions: int
    where: str
    """For the report: who set it."""


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """``PATTERN = JOULES`` for all node ids that the pattern matches."""

    pattern: str
    joules: float

    @property
    def specificity(self) -> int:
        return sum(character not in "*?[]" for character in self.pattern)

    def matches(self, nodeid: str) -> bool:
        # Node ids have brackets of their own: besides a set of letters a pair of them also means itself, as in test_it[*].
        patterns = (self.pattern, self.pattern.replace("[", "[[]"))
        return self.pattern == nodeid or any(re.match(translate(pattern), nodeid) for pattern in patterns)


def budget_rule(text: str) -> BudgetRule:
    """Parse ``PATTERN=JOULES``. Raises :class:`SettingError`."""
    pattern, sign, amount = text.rpartition("=")
    pattern = pattern.strip()
    if not sign or not pattern or not amount.strip():
        raise SettingError(f"{text!r} is not PATTERN=JOULES, such as 'tests/test_io.py::*=2 J'")
    if pattern.count("[") != pattern.count("]"):
        raise SettingError(f"{pattern!r} is a malformed pattern: a bracket is not closed (for a literal one write '[[]')")
    try:
        re.compile(translate(pattern))
    except re.error as error:
        raise SettingError(f"{pattern!r} is a malformed pattern: {error}") from None
    return BudgetRule(pattern, joules(amount))


def budget_rules(given: object) -> tuple[BudgetRule, ...]:
    """Rules one a line, as a list, or as a table of TOML. Raises :class:`SettingError`."""
    if isinstance(given, Mapping):
        given = [f"{pattern} = {amount}" for pattern, amount in given.items()]
    lines = given.splitlines() if isinstance(given, str) else given
    if not isinstance(lines, list | tuple):
        raise SettingError(f"{given!r} is no list of PATTERN = JOULES, such as 'tests/test_io.py::* = 2 J'")
    return tuple(budget_rule(str(text)) for text in lines if str(text).strip())


def most_specific(rules: Sequence[BudgetRule], nodeid: str) -> BudgetRule | None:
    """The rule that matches with the most letters of its own; of equals the last one; an exact node id beats all."""
    matching = [rule for rule in rules if rule.matches(nodeid)]
    return max(
        enumerate(matching), key=lambda entry: (entry[1].pattern == nodeid, entry[1].specificity, entry[0]), default=(0, None)
    )[1]
