"""Which functions a regression may come from: what changed in a test's path, the most suspicious first."""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from pytest_joules.code.installed_copies import INSTALLED, own_path
from pytest_joules.code.inventory import Stored, Texts
from pytest_joules.model import OTHER

#: By node id, what each test executed: functions and statements by key, with their hashes.
Executed = Mapping[str, Mapping[str, str]]
#: By node id, how often functions and their statements ran, by key.
Counts = Mapping[str, Mapping[str, Sequence[int]]]


class Kind(enum.IntEnum):
    """How what a test executes differs, the most telling first."""

    EDITED = 0
    """A function that was there and says something else now, under whatever name."""
    NEW = 1
    """One that was not there, or of which that is not known."""
    STATEMENT = 2
    """What is no function: a statement of a module, a class without its methods, a data file."""
    LEFT = 3
    """What the test does not execute any more, and is not as it was."""
    AROUND = 4
    """What is no code of the project: what is installed, options, parameters."""


#: Kinds that are named together, where there is nothing of those before.
_TOGETHER = ((Kind.EDITED, Kind.NEW), (Kind.STATEMENT,), (Kind.LEFT,), (Kind.AROUND,))


def blame(
    before: Executed,
    now: Executed,
    regressed: Collection[str],
    *,
    counts: Counts | None = None,
    then: Texts | None = None,
    present: Texts | None = None,
) -> dict[str, list[str]]:
    """For each regressed test the functions in its path that changed, the most suspicious first.

    A function has changed where its text is another one than that which ``then`` has of the project, at ``present``; what a test
    merely had not executed before has not. A module is the same wherever it is imported from (a copy, ``src/``). What is no
    function is named only where no function has changed.

    Of functions those come first that were there before. Then counts how much of the test may come from it: its share in the
    test's calls and statements (``counts``), and the Ochiai coefficient over the run's tests (Abreu, Zoeteweij and van Gemund,
    2007): of those whose path has the change, and of those that regressed, how many are both.
    """
    changes = _Changes(before, then or Stored({}), present or Stored({}))
    # Of what was not recorded, all would be new.
    found = {nodeid: changes.of(nodeid, functions) for nodeid, functions in now.items() if functions and before.get(nodeid)}
    failed = set(regressed) & found.keys()
    touched: dict[str, int] = {}
    hit: dict[str, int] = {}
    for nodeid, kinds in found.items():
        for key in kinds:
            touched[key] = touched.get(key, 0) + 1
            hit[key] = hit.get(key, 0) + (nodeid in failed)

    def named(nodeid: str) -> list[str]:
        kinds = found.get(nodeid, {})
        ran = (counts or {}).get(nodeid, {})
        events = sum(sum(times) for key, times in ran.items() if key != OTHER) or 1

        def order(key: str) -> tuple[int, float, float, str]:
            suspicion = hit[key] / math.sqrt(len(failed) * touched[key])
            return kinds[key], -suspicion * sum(ran.get(key, ())) / events, -suspicion, key

        for together in _TOGETHER:
            if chosen := [key for key, kind in kinds.items() if kind in together]:
                return [key.removeprefix(f"{INSTALLED}/") for key in sorted(chosen, key=order)]
        return []

    return {nodeid: named(nodeid) for nodeid in regressed}


class _Difference(NamedTuple):
    """One thing under the keys and the hashes that it has on both sides, ``None`` where it is not executed."""

    key_then: str | None
    then: str | None
    key_now: str | None
    now: str | None


class _Changes:
    """Compares what tests executed."""

    def __init__(self, before: Executed, then: Texts, present: Texts) -> None:
        self._before = before
        self._then = then
        self._present = present
        self._own: dict[str, str] = {}

    def of(self, nodeid: str, functions: Mapping[str, str]) -> dict[str, Kind]:
        """What differs of a test that executes these functions now, by its key now, else by that before."""
        found: dict[str, Kind] = {}
        new: dict[str, str] = {}
        gone: dict[str, str] = {}
        for entry in self._differences(self._before[nodeid], functions):
            key = entry.key_now or entry.key_then or ""
            kind = self._kind(entry) if "::" in key else _around(entry)
            if kind is Kind.NEW and entry.now is not None:
                new[key] = entry.now
            elif kind is Kind.LEFT and entry.then is not None and self._text(self._present, key) == "":
                gone[key] = entry.then
            elif kind is not None:
                found[key] = kind
        found |= self._moved(new, gone)
        if "<hooks>" in found and (hooks := dict.fromkeys(self._hooks(nodeid), Kind.EDITED)):
            del found["<hooks>"]
            found |= hooks
        return found

    def _kind(self, entry: _Difference) -> Kind | None:
        """What has become of a function or statement; ``None`` where it says what it said."""
        then, now = entry.key_then, entry.key_now
        if now is None:
            return Kind.LEFT if then is not None and not self._same(then, then) else None
        if then is not None:
            return None if self._same(then, now) else _edited(now)
        name = self._name(now)
        if entry.now in self._known.get(name, ()):
            return None  # another test executed it
        same = self._same(now, now)
        if same is None:
            same = False if name in self._known else None
        if same is None or self._text(self._then, now) == "":
            return Kind.NEW
        return None if same else _edited(now)

    @cached_property
    def _known(self) -> dict[str, set[str]]:
        """Hashes that any test had before, by name."""
        found: dict[str, set[str]] = {}
        for functions in self._before.values():
            for key, value in functions.items():
                found.setdefault(self._name(key), set()).add(value)
        return found

    def _same(self, then: str, now: str) -> bool | None:
        """Whether a function or statement says the same on both sides; ``None`` where that is not known."""
        text, present = self._text(self._then, then), self._text(self._present, now)
        if text is not None and present is not None and (text or present):
            return text == present
        contents = [side.content(key.partition("::")[0]) for side, key in ((self._then, then), (self._present, now))]
        return True if contents[0] is not None and contents[0] == contents[1] else None

    def _moved(self, new: Mapping[str, str], gone: Mapping[str, str]) -> dict[str, Kind]:
        """What is new and what is gone, where the one is not the other under another name."""
        left = dict(gone)
        found: dict[str, Kind] = {}
        texts = {key: self._text(self._present, key) for key in new}
        waiting = []
        for key, value in new.items():
            alike = [old for old in left if _same_kind(old, key)]
            same = [old for old in alike if left[old] == value or (texts[key] and self._text(self._then, old) == texts[key])]
            if same:
                del left[min(same, key=lambda old: old.rpartition("::")[2] != key.rpartition("::")[2])]
            else:
                waiting.append(key)
        for key in waiting:
            path, _, name = key.partition("::")
            called = [old for old in left if old.partition("::")[2] == name]
            beside = [old for old in left if _same_kind(old, key) and self._name(old).startswith(f"{own_path(path)}::")]
            sole = len(beside) == 1 and sum(_same_kind(other, key) and other.startswith(f"{path}::") for other in waiting) == 1
            if partner := called or (beside if sole else []):
                del left[partner[0]]
            found[key] = _edited(key) if partner else Kind.NEW if _is_function(key) else Kind.STATEMENT
        return found | dict.fromkeys(left, Kind.LEFT)

    def _hooks(self, nodeid: str) -> Iterator[str]:
        """Hooks of conftest files around a test that say something else now."""
        folder = nodeid.partition("::")[0]
        while folder:
            folder = folder.rpartition("/")[0]
            path = f"{folder}/conftest.py" if folder else "conftest.py"
            then = self._then.of(path)
            for name, text in (self._present.of(path) or {}).items():
                if name.startswith("pytest_") and then is not None and then.get(name) != text:
                    yield f"{path}::{name}"

    def _text(self, side: Texts, key: str) -> str | None:
        """What a key says on one side, empty where there is no such thing; ``None`` where that is not known."""
        path, _, name = key.partition("::")
        texts = side.of(path)
        return texts.get(name, "") if texts is not None else None

    def _name(self, key: str) -> str:
        """A key as the module calls itself."""
        known = self._own.get(key)
        if known is None:
            path, colons, name = key.partition("::")
            known = self._own[key] = f"{own_path(path)}::{name}" if colons else key
        return known

    def _differences(self, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[_Difference]:
        mine = self._by_own(dict(now.items() - before.items()))
        theirs = self._by_own(dict(before.items() - now.items()))
        for own in sorted(mine.keys() | theirs.keys()):
            then, present = theirs.get(own, (None, None)), mine.get(own, (None, None))
            if then[1] != present[1]:
                yield _Difference(*then, *present)

    def _by_own(self, functions: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Keys and hashes by what the module calls itself; two of one name keep theirs."""
        found: dict[str, tuple[str, str]] = {}
        for key, value in sorted(functions.items()):
            own = self._name(key)
            found[key if own in found else own] = key, value
        return found


def _is_function(key: str) -> bool:
    return not key.partition("::")[2].startswith("<module>")


def _same_kind(key: str, other: str) -> bool:
    return _is_function(key) is _is_function(other)


def _around(entry: _Difference) -> Kind:
    key = entry.key_now or ""
    return Kind.STATEMENT if entry.key_then is not None and key and not key.startswith("<") else Kind.AROUND


def _edited(key: str) -> Kind:
    return Kind.EDITED if _is_function(key) else Kind.STATEMENT
