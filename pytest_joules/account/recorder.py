"""Recording which functions of a project run while a test does: what both ways have in common."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import CodeType
from typing import Protocol

from pytest_joules.account.events import MARK, Event, Recorded
from pytest_joules.account.timeline import Part
from pytest_joules.clock import CLOCKS

#: Nanoseconds after which CPU time is looked at again: the look takes several times as long as all else.
OLD = 50_000
#: Events from one look at what they cost to the next.
EVERY = 256
#: Of one body.
MOST_EVENTS = 500_000


class Functions(Protocol):
    """Records functions in the bodies of traced rounds."""

    @property
    def trouble(self) -> str | None:
        """Why it does not record, or has not recorded all of the body that ran last."""

    @property
    def cut(self) -> bool:
        """Functions were left out while the last body ran: until then they have cost too much."""

    def arm(self, seconds: float) -> None:
        """Traced rounds of a test follow, whose body takes ``seconds``; until :meth:`disarm`."""

    def disarm(self) -> None: ...

    def enter(self) -> None:
        """A body begins."""

    def leave(self) -> Recorded:
        """It has ended."""

    def remarks(self) -> list[str]:
        """What a reader of the account must know."""


class Noted:
    """The events of a body, and what they may cost."""

    def __init__(self, share: float, fold: Callable[[int], None]) -> None:
        """``share``: what recording may cost, of what the body takes without; ``fold``: a function is not to be told of again."""
        self.events: list[Event] = []
        self.due: dict[int, int] = {}
        """By thread, when its CPU time is looked at again."""
        self.codes: dict[int, CodeType] = {}
        """Of the project, by identity."""
        self.folded: dict[int, CodeType] = {}
        """What counts as its caller, because it is called so often."""
        self.cut = False
        self.cost = 3e-7
        """Seconds that an event takes."""
        self._share = share
        self._fold = fold
        self._seconds = 0.0
        self._counted = 0
        self._counts: Counter[int] = Counter()
        self._begun = 0
        self._threads: dict[int, str] = {}

    def begin_test(self, seconds: float) -> None:
        self._seconds = seconds
        self.folded.clear()

    def begin(self) -> None:
        """A body begins."""
        self.events.clear()
        self.due.clear()
        self._counts.clear()
        self._counted = 0
        self.cut = False
        self._begun = CLOCKS.wall()
        self.mark()

    def mark(self) -> None:
        self.events.append((CLOCKS.wall(), threading.get_ident(), None, MARK, (CLOCKS.thread(), CLOCKS.cpu())))

    def look(self, more: float = 0.0) -> float:
        """Leave out what is called most often where recording costs too much; ``more``: seconds besides the events.

        Returns by how many times it is too much.
        """
        new = self.events[self._counted :]
        self._counted += len(new)
        self._counts.update(event[2] for event in new if isinstance(event[2], int))
        taken = (CLOCKS.wall() - self._begun) / 1e9
        spent = self._counted * self.cost + more
        may = self._share * max(taken - spent, self._seconds)
        if spent <= may and self._counted < MOST_EVENTS:
            return spent / may if may else 1.0
        for key, _ in self._counts.most_common(1):
            del self._counts[key]
            self.cut = True
            self.folded[key] = self.codes[key]
            self._fold(key)
        return spent / may if may else 2.0

    def end(self, name: Callable[[CodeType], str]) -> Recorded:
        """The body has ended."""
        self.mark()
        events, self.events[:] = self.events[:], []
        known = {thread.ident: thread.name for thread in threading.enumerate()}
        self._threads.update({ident: text for ident, text in known.items() if ident is not None})
        keys = {event[2] for event in events}
        parts: dict[object, Part] = {key: Part(name(code), None, "function") for key, code in self.codes.items() if key in keys}
        return Recorded(events, parts, self._threads, frozenset(self.folded))

    def remarks(self, name: Callable[[CodeType], str]) -> list[str]:
        if not self.folded:
            return []
        names = sorted({name(code) for code in self.folded.values()})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        verb = "is called so often that it counts as its caller" if len(names) == 1 else "are called so often that they count as their callers"
        return [f"{', '.join(names[:3])}{more} {verb}"]


def name_of(code: CodeType, relative: Callable[[str], str | None]) -> str:
    """``path::qualname``, as the records of what a test executes have it."""
    return f"{relative(code.co_filename)}::{getattr(code, 'co_qualname', code.co_name)}"


def functions(relative: Callable[[str], str | None]) -> Functions:
    """The way that this Python offers. ``relative``: the path of a project's file; ``None`` of any other."""
    if sys.version_info >= (3, 12):
        from pytest_joules.account.monitored import Monitored

        return Monitored(relative)
    from pytest_joules.account.profiled import Profiled

    return Profiled(relative)
