"""A line for who waits for the ``joules`` command at a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from pytest_joules.cli.output import say, width
from pytest_joules.report.progress import Progress, Shown


class Waiting:
    """Shows the line on the standard error while a ``with`` block runs, anew every second. Where that is no terminal: nothing, or
    with ``every`` a line every so many seconds."""

    def __init__(self, what: str, total: int | None = None, unit: str = "", every: float | None = None) -> None:
        self._progress = Progress(what, total, unit=unit)
        self._shown = Shown(sys.stderr) if sys.stderr.isatty() else None
        self._every = 1.0 if self._shown is not None else every
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="joules-waiting", daemon=True)

    def __enter__(self) -> Waiting:
        if self._every is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._every is not None:
            self._thread.join()
        if self._shown is not None:
            self._shown.hide()

    def step(self, done: float, detail: str = "") -> None:
        """So much is done."""
        self._progress.step(done, detail)

    def of(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self._progress.total = total
        self._progress.step(done)

    def say(self, text: str, tell: Callable[[str], object] = say) -> None:
        """A line that stays."""
        with self._lock:
            if self._shown is not None:
                self._shown.hide()
            tell(text)
            sys.stdout.flush()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            line = self._progress.line()
            if self._shown is not None:
                with self._lock:
                    self._shown.show(line, width() - 1)
            elif line:
                with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                    print(line.strip(), file=sys.stderr, flush=True)
