"""How long it will take, for a person who waits: one line that is written over, and taken away in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from pytest_joules.clock import CLOCKS
from pytest_joules.report.text import display_width, encodable, encoding_of, shorten_end

#: Seconds after which somebody waits.
AFTER = 10.0


class Progress:
    """How much of something is done, and how long the rest will take if it goes on like that."""

    def __init__(self, what: str, total: int | None, *, unit: str = "", clock: Callable[[], int] = CLOCKS.wall) -> None:
        """``total``: of whatever :attr:`done` counts, ``None`` where nobody knows; ``clock``: monotonic, nanoseconds."""
        self.what = what
        self.total = total
        self.unit = unit
        self.done = 0.0
        self.detail = ""
        """What is being done."""
        self._clock = clock
        self._begun = self._stepped = clock()

    def step(self, done: float, detail: str = "") -> None:
        """So much is done."""
        self.done, self.detail, self._stepped = done, detail, self._clock()

    def left(self) -> float | None:
        """Seconds; ``None`` where nothing tells."""
        if not self.total or not self.done:
            return None
        each = (self._stepped - self._begun) / self.done
        return max(0.0, (each * (self.total - self.done) - (self._clock() - self._stepped)) / 1e9)

    def line(self) -> str:
        """Such as ``collecting 12 of 40, about 3 min left (test_x)``; empty as long as nobody waits."""
        spent = (self._clock() - self._begun) / 1e9
        if spent < AFTER:
            return ""
        of = f" {int(self.done)} of {self.total}{self.unit}," if self.total else ""
        left = self.left()
        time = f"about {span(left)} left" if left else f"since {span(spent)}"
        return f"{self.what}{of} {time}" + (f" ({self.detail})" if self.detail else "")


def span(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Shown:
    """A text after what a terminal's line already has. Written with backspaces alone, so that nothing is left of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    def show(self, text: str, room: int) -> None:
        """In the place of what is shown, in at most ``room`` columns."""
        text = encodable(shorten_end(text, room), encoding_of(self._stream)) if room > 20 else ""
        width = display_width(text)
        blank = max(0, self._width - width)
        if width or blank:
            self._write(text + " " * blank + "\b" * (width + blank))
        self._width = width

    def hide(self) -> None:
        if self._width:
            self.show("", 0)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._width = 0  # nobody reads it any more
