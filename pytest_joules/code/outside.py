"""What calls out of the project cost in a test's warm-up round: how often each callee was called, and how long that took.

Timed are the calls of which the round's followed functions (:data:`pytest_joules.code.counting.FOLLOWED`) make so many; both
numbers are then scaled to all calls, as the counts of statements are. What a call took is wall time, less what it takes to tell
its beginning and its end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import CodeType

from pytest_joules.code.bytecode import is_resumed
from pytest_joules.code.callees import by_instruction
from pytest_joules.code.counting import Counted, Site
from pytest_joules.code.source_file import File

#: So many callees of a test are kept, the dearest.
KEPT = 40


class OutsideCalls:
    """Names the instructions that call, each code object's once; those it has seen must be kept by somebody."""

    def __init__(self, locate: Callable[[CodeType], tuple[str, str, File] | None]) -> None:
        """``locate`` gives a code object's path, qualified name and file, or ``None`` where it is in no function of the
        project."""
        self._locate = locate
        self._names: dict[int, dict[int, str]] = {}

    def by_callee(self, counted: Iterable[Counted], overhead: float) -> dict[str, dict[str, list[int]]]:
        """``[calls, nanoseconds, came back]`` by function (``path::qualname``) and callee, as its source names it.

        Calls of the project's own functions are not among them. ``came back`` are calls that ended up in code of the project
        (a key of ``sorted``, the constructor of one of its classes): they are no part of the other two numbers. What runs inside
        a comprehension or a lambda is the function's around it. ``overhead``: nanoseconds by which each call seemed longer.
        """
        counted = list(counted)
        # Where it is not seen what is called, only this tells that a generator of the project was made and has not begun.
        own = {entry.code.co_name for entry in counted if is_resumed(entry.code)} if sys.version_info < (3, 12) else ()
        found: dict[tuple[str, str], list[float]] = {}
        for entry in counted:
            if not entry.sites or entry.cut or not entry.followed or (place := self._locate(entry.code)) is None:
                continue
            path, name, file = place
            names = self._named(entry.code, file)
            for offset, site in list(entry.sites.items()):
                callee = names.get(offset)
                if callee is None or callee.rpartition(".")[2] in own:
                    continue
                times, returned = _times(entry, site), site.returned + _came_back(entry.code, callee, site.entered)
                total = found.setdefault((f"{path}::{name}", callee), [0.0, 0.0, 0.0])
                total[0] += times * site.calls
                total[1] += times * max(site.nanoseconds - site.calls * overhead, 0)
                total[2] += times * returned
        result: dict[str, dict[str, list[int]]] = {}
        for (function, callee), numbers in sorted(found.items(), key=_dearest)[:KEPT]:
            if numbers[0] or numbers[2]:
                result.setdefault(function, {})[callee] = [round(number) for number in numbers]
        return result

    def _named(self, code: CodeType, file: File) -> dict[int, str]:
        known = self._names.get(id(code))
        if known is None:
            known = self._names[id(code)] = by_instruction(code, file.callees)
        return known


def _dearest(entry: tuple[tuple[str, str], list[float]]) -> tuple[float, float, tuple[str, str]]:
    place, (_, spent, returned) = entry
    return -spent, -returned, place


def _times(entry: Counted, site: Site) -> float:
    """How often what was timed at a site happened: that was in some calls of the function, and in some turns of a loop."""
    times = entry.calls / entry.followed
    if site.turns:
        times *= max(entry.lines.get(site.line, 0) / site.turns, 1)
    return times


def _came_back(code: CodeType, callee: str, entered: Mapping[str, int]) -> int:
    """How many calls of a callee came back into the project, by the names of the functions that began there: not those that were
    what was called, as far as names tell."""
    name = callee.rpartition(".")[2]
    variable = callee in code.co_varnames or callee in code.co_cellvars or callee in code.co_freevars
    return sum(times for other, times in entered.items() if other != name and (not variable or other in _OF_CLASSES))


#: What a call of a class begins.
_OF_CLASSES = frozenset(("__init__", "__new__", "__call__"))
