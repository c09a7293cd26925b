"""Functions that have another name or place now: those that are gone and those that are new, paired by what they do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from pytest_joules.predict.change.reading import code_of

#: Of the steps of both together, those that must be alike; of two of one name fewer.
_ALIKE, _OF_ONE_NAME = 0.6, 0.3
#: More are not compared.
_MOST = 60


def paired(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Places of functions that are gone, and of those that have taken theirs: of the same name in another file, else by what they
    do."""
    gone = [key for key in before if key not in now and "::<module>" not in key and "::" in key]
    fresh = [key for key in now if key not in before and "::<module>" not in key and "::" in key]
    if not gone or not fresh:
        return {}
    moved = {key.partition("::")[2]: key for key in fresh}
    result = {key: moved[name] for key in gone if (name := key.partition("::")[2]) in moved}
    gone = [key for key in gone if key not in result][:_MOST]
    fresh = [key for key in fresh if key not in result.values()][:_MOST]
    steps = {key: _steps(text) for some, of in ((gone, before), (fresh, now)) for key in some if (text := of[key])}
    found = sorted(
        (
            (-alike, old, new)
            for old in gone
            for new in fresh
            if (alike := _alike(steps[old], steps[new])) >= (_OF_ONE_NAME if _bare(old) == _bare(new) else _ALIKE)
        ),
    )
    taken: set[str] = set()
    for _, old, new in found:
        if old not in result and new not in taken:
            result[old] = new
            taken.add(new)
    return result


def in_old_places(now: Mapping[str, str], pairs: Mapping[str, str]) -> dict[str, str]:
    """The sources of now with the paired functions where they were, called as they were."""
    if not pairs:
        return dict(now)
    found = {key: text for key, text in now.items() if key not in pairs.values()}
    found |= {old: now[new] for old, new in pairs.items()}
    names = renamings(pairs)
    if not names:
        return found
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(names)))})\b")
    return {
        key: pattern.sub(lambda match: names[match.group()], text) if "::<module>" not in key else text
        for key, text in found.items()
    }


def renamings(pairs: Mapping[str, str]) -> dict[str, str]:
    """Names that functions have now, and those that they had."""
    return {_bare(new): _bare(old) for old, new in pairs.items() if _bare(new) != _bare(old)}


def _steps(text: str) -> Counter[str]:
    code = code_of(text)
    return Counter(step.key for step in code.all()) if code is not None else Counter()


def _alike(old: Counter[str], new: Counter[str]) -> float:
    together = old.total() + new.total()
    return 2 * (old & new).total() / together if together else 0.0


def _bare(key: str) -> str:
    return key.rpartition("::")[2].rpartition(".")[2]
