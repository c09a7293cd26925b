"""How often a test's warm-up round called each function of the project, and how often each of its statements ran."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterable
from types import CodeType

from pytest_joules.code.source_file import File
from pytest_joules.model import OTHER

#: So many calls of a function are followed line by line; its other calls are taken to be like them.
FOLLOWED = 16
#: A line is counted so often at most: its function is then followed no further.
MOST_OF_A_LINE = 100_000
#: Calls at one place are timed so often at most; later ones are taken to be like them.
MOST_AT_A_SITE = 1000


#: Instructions after which the next one may not follow.
_TURNS = frozenset((*dis.hasjrel, *dis.hasjabs, dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"]))


def is_straight(code: CodeType) -> bool:
    """Whether each call runs every statement once: there is nothing to follow."""
    return _TURNS.isdisjoint(code.co_code[::2])


class Site:
    """What was seen of an instruction that calls: ``seen`` so often, of which ``calls`` out of the project took
    ``nanoseconds``, and as many as ``returned`` came back into it. Of one that is seen no more though its function is still
    followed: it is on ``line``, which had been begun in so many ``turns``. Where it is not seen what is called, ``entered`` are
    names of the project's functions that began meanwhile, and how often."""

    __slots__ = ("calls", "entered", "line", "nanoseconds", "returned", "seen", "turns")

    def __init__(self) -> None:
        self.seen = 0
        self.calls = 0
        self.nanoseconds = 0
        self.returned = 0
        self.line = 0
        self.turns = 0.0
        self.entered: dict[str, int] = {}


class Counted:
    """What was counted of one code object: ``calls``, of which ``followed`` line by line, and how often each line was begun; of
    a ``straight`` one the calls say it all. ``cut``: following it became too dear, so that its lines are not all there.
    ``timed``: its own calls out of the project are, at their ``sites``, by instruction,
    of which so many ``instructions`` were told of one by one."""

    __slots__ = ("begin", "calls", "code", "cut", "followed", "instructions", "lines", "sites", "straight", "timed")

    def __init__(self, code: CodeType, *, straight: bool = False, begin: int | None = None, timed: bool = False) -> None:
        self.code = code
        self.straight = straight
        self.timed = timed
        self.begin = begin
        """Of code that is called once and resumed often, the instruction at which it begins."""
        self.cut = False
        self.calls = 0
        self.followed = 0
        self.instructions = 0
        self.lines: dict[int, int] = {}
        self.sites: dict[int, Site] = {}

    def time_no_more(self, offset: int, part: float = 1.0) -> None:
        """The calls of this instruction are seen no more, its line still is; ``part`` of its turns until now were timed."""
        site = self.sites[offset]
        if site.turns:
            return
        positions = [*self.code.co_positions()]  # from Python 3.11 on
        site.line = positions[offset // 2][0] or 0
        site.turns = self.lines.get(site.line, 0) * part


def by_function(
    counted: Iterable[Counted], locate: Callable[[CodeType], tuple[str, str, File] | None], other: int | None = None
) -> dict[str, list[int]]:
    """``[calls, times the first statement ran, the second, ...]`` by function (``path::qualname``).

    ``locate`` gives a code object's path, qualified name and file, or ``None`` where it is in no function of the project.
    Statements are those of :func:`pytest_joules.code.statements.statements`. What runs inside a statement, such as a
    comprehension or a lambda, counts as the statement where that is more. A function of which only the calls are known, and one
    whose name stands for several, has no statements. ``other`` calls, where known, stand under
    :data:`pytest_joules.model.OTHER`.
    """
    calls: dict[str, int] = {}
    times: dict[str, list[int] | None] = {}
    for entry in counted:
        place = locate(entry.code)
        if place is None:
            continue
        path, name, file = place
        key = f"{path}::{name}"
        known = file.statements.get(name)
        own = entry.code.co_name == name.rpartition(".")[2]
        if own:
            calls[key] = calls.get(key, 0) + entry.calls
        if known is None or entry.cut or not (entry.followed or entry.straight) or times.get(key, known) is None:
            times[key] = None
            continue
        found = times.setdefault(key, [0] * len(known.headers))
        assert found is not None
        if entry.straight:
            if own:
                found[:] = [max(count, entry.calls) for count in found]
            continue
        scale = entry.calls / entry.followed
        for line, count in entry.lines.items():
            number = known.by_line.get(line)
            if number is not None:
                found[number] = max(found[number], round(count * scale))
    result = {key: [calls[key], *(times.get(key) or ())] for key in calls}
    return result | {OTHER: [other]} if other is not None else result
