"""Recording which functions of a project run while a test does: what both ways have in common."""

from __future__ import annotations

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
#: Seconds that it may always cost: of a very short body, an account is worth more.
FREE = 5e-5
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
        self.silent: Callable[[], int] = lambda: 0
        """Nanoseconds that it has taken to be told of what is no event."""
        self._share = share
        self._fold = fold
        self._seconds = 0.0
        self._counted = 0
        self._counts: Counter[int] = Counter()
        self._begun = self._before = 0
        """Since when what recording costs is added up, and how many events there were by then."""
        self._free = 0.0
        """Seconds that it may cost however short the body was until now."""
        self._threads: dict[int, str] = {}

    def begin_test(self, seconds: float) -> None:
        self._seconds = seconds
        self.folded.clear()

    def begin(self) -> None:
        """A body begins."""
        self.events.clear()
        self.due.clear()
        self._counts.clear()
        self._counted = self._before = 0
        self.cut = False
        self._begun = CLOCKS.wall()
        self._free = max(self._share * self._seconds, FREE)
        self.mark()

    def mark(self) -> None:
        self.events.append((CLOCKS.wall(), threading.get_ident(), None, MARK, (CLOCKS.thread(), CLOCKS.cpu()), self.silent()))

    def look(self) -> None:
        """Leave out what is called most often where recording costs too much."""
        new = self.events[self._counted :]
        self._counted += len(new)
        self._counts.update(event[2] for event in new if isinstance(event[2], int))
        now = CLOCKS.wall()
        spent = (self._counted - self._before) * self.cost
        may = max(self._share * ((now - self._begun) / 1e9 - spent), self._free, 1e-9)
        if spent > may or self._counted >= MOST_EVENTS:
            ((key, _),) = self._counts.most_common(1) or ((None, 0),)
            if key is not None:
                self.cut = True
                self.folded[key] = self.codes[key]
                self._fold(key)
            # What it has cost is not undone: from now on it is as if the body began.
            self._counts.clear()
            self._begun, self._before, self._free = now, self._counted, self._free / 2

    def end(self, name: Callable[[CodeType], str]) -> Recorded:
        """The body has ended."""
        self.mark()
        events, self.events[:] = self.events[:], []
        known = {thread.ident: thread.name for thread in threading.enumerate()}
        self._threads.update({ident: text for ident, text in known.items() if ident is not None})
        keys = {event[2] for event in events}
        parts: dict[object, Part] = {key: Part(name(code), None, "function") for key, code in self.codes.items() if key in keys}
        return Recorded(events, parts, dict(self._threads), frozenset(self.folded), noting=self.cost)

    def remarks(self, name: Callable[[CodeType], str]) -> list[str]:
        if not self.folded:
            return []
        names = sorted({name(code) for code in self.folded.values()})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        verb = "is called so often that it counts as its caller"
        if len(names) > 1:
            verb = "are called so often that they count as their callers"
        return [f"{', '.join(names[:3])}{more} {verb}"]


def name_of(code: CodeType, relative: Callable[[str], str | None]) -> str:
    """``path::qualname``, as the records of what a test executes have it."""
    return f"{relative(code.co_filename)}::{getattr(code, 'co_qualname', code.co_name)}"
