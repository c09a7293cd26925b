"""Which steps of one version of a function stand for which of another one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pytest_joules.predict.change.steps import Step

_NAME = re.compile(r"[A-Za-z_]\w*")


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


def renamed(over: str, names: Mapping[str, str]) -> str:
    """What is gone over, in the old version's names."""
    return _NAME.sub(lambda found: names.get(found.group(), found.group()), over)
