"""A long run says at the terminal how long it will take."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any

import pytest

from pytest_joules.clock import CLOCKS
from pytest_joules.report.progress import Progress, Shown

#: Nanoseconds between two looks at how long it will take.
_EVERY = 1_000_000_000


class ProgressLine:
    """Shows it behind what pytest has written on its line, and takes it away before pytest goes on."""

    def __init__(self, config: pytest.Config, clock: Callable[[], int] = CLOCKS.wall) -> None:
        self._config = config
        self._clock = clock
        self._shown: Shown | None = None
        """``None`` until the session starts."""
        self._progress: Progress | None = None
        self._tests = 0
        self._said = 0
        self._text = ""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:
        if not _is_seen(self._config):
            self._config.pluginmanager.unregister(self)
            return
        self._shown = Shown(self._config.get_terminal_writer()._file)

    def within(self, done: int, of: int, what: str) -> None:
        """So many rounds or blocks of the test that runs are done."""
        if self._progress is not None and of:
            self._progress.step(self._tests + min(done / of, 1.0), f"{what} {done} of {of}")
            self._tell()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        self._progress = Progress("  energy: test", len(session.items), clock=self._clock)
        try:
            return (yield)
        finally:
            self._progress = None
            self._hide()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            self._tests += 1
            if self._progress is not None:
                self._progress.step(self._tests)

    def _tell(self) -> None:
        if self._progress is None:
            return
        now = self._clock()
        if now - self._said >= _EVERY:
            self._said, self._text = now, self._progress.line()
        if self._text and self._shown is not None:
            writer = self._config.get_terminal_writer()
            self._shown.show(self._text, writer.fullwidth - writer.width_of_current_line - 1)

    def _hide(self) -> None:
        if self._shown is not None:
            self._shown.hide()

    def _away(self) -> Generator[None, object, object]:
        self._hide()
        try:
            return (yield)
        finally:
            self._tell()

    # What pytest writes at.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, object, object]:
        return (yield from self._away())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, object, object]:
        return (yield from self._away())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None, object, object]:
        return (yield from self._away())

    @pytest.hookimpl(tryfirst=True)
    def pytest_exception_interact(self) -> None:
        self._hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_enter_pdb(self) -> None:
        self._hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self._hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self) -> None:
        self._hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._hide()


def _is_seen(config: pytest.Config) -> bool:
    """Whether there is a terminal that is pytest's alone to write to."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    option = config.option
    # A terminal reporter of others (pytest-sugar, ...) has ways of its own; with -s tests write too, with log_cli what they log.
    return bool(
        type(terminal).__module__ == "_pytest.terminal"
        and terminal.isatty
        and os.environ.get("TERM") != "dumb"
        and option.verbose >= 0
        and option.capture != "no"
        and not option.collectonly
        and not config.getini("log_cli")
        and not getattr(option, "log_cli_level", None)
    )
