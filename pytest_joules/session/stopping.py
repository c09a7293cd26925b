"""SIGTERM (a CI job that is cancelled) and SIGHUP end a run that measures as Ctrl-C does: in order, with what was measured."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from pytest_joules.session.workers import WorkerNode

#: The functions beneath those of :mod:`signal`, which would make plain numbers of what they are given.
_signal: Any = importlib.import_module("_signal")
_DEFAULT = int(signal.SIG_DFL)
_NUMBERS = (int(signal.SIGTERM), int(signal.SIGHUP)) if sys.platform != "win32" else ()


class Stopped(KeyboardInterrupt):
    """The run was told to end. All that ends in order on Ctrl-C does on this."""


class _Handler(int):
    """To tests it is the default action that it stands for: ``getsignal`` gives ``SIG_DFL``, to which it is equal."""

    act: Callable[[int], None]

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.act(number)


class Stopping:
    """Takes the signals that nobody else takes, in a process that measures and is no companion."""

    def __init__(self, config: pytest.Config) -> None:
        self._worker = hasattr(config, "workerinput")
        self._handler = _Handler(_DEFAULT)
        self._handler.act = self._told
        self._session: pytest.Session | None = None
        self._received = 0
        self._ending = False
        self._workers: list[subprocess.Popen[bytes] | None] = []
        self._take()
        config.add_cleanup(self._end)

    def _take(self) -> None:
        for number in _NUMBERS:
            found = _signal.getsignal(number)
            if type(found) is int and found == _DEFAULT:
                with contextlib.suppress(ValueError):  # not the main thread
                    _signal.signal(number, self._handler)

    def _told(self, number: int) -> None:
        first, self._received = not self._received, self._received or number
        # While it is ending already, on Ctrl-C perhaps, nothing more is needed.
        if first and not self._ending and not isinstance(sys.exc_info()[1], KeyboardInterrupt):
            raise Stopped(signal.Signals(number).name)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        if self._received:
            raise Stopped(signal.Signals(self._received).name)  # a test has caught the first
        self._take()  # a test has put back the default

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node: WorkerNode) -> None:
        self._workers.append(getattr(getattr(node.gateway, "_io", None), "popen", None))  # None on another machine

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self._ending = True
        # xdist would leave them up to 10 s, which is what a CI system gives us.
        for worker in self._workers if self._received else ():
            if worker is not None:
                with contextlib.suppress(OSError):
                    worker.send_signal(self._received)

    def _end(self) -> None:
        """The exit status is that of a process that the signal has ended."""
        _forget()
        if self._received and self._session is not None:
            self._session.exitstatus = 128 + self._received
        # Where pytest itself is on its way out, nobody reads that.
        if self._received and (self._session is None or isinstance(sys.exc_info()[1], Stopped)):
            raise SystemExit(128 + self._received) from None


class StoppingWorker(Stopping):
    """A worker of pytest-xdist: once its fixtures are down it ends as it would have, so that the controller does as it would."""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if self._received:
            _forget()
            os.kill(os.getpid(), self._received)


def _give_back() -> None:
    for number in _NUMBERS:
        handler = _signal.getsignal(number)
        if type(handler) is _Handler:
            with contextlib.suppress(ValueError):  # not the main thread
                _signal.signal(number, _DEFAULT)
                _given_back.append((number, handler))


def _forget() -> None:
    """The default action for good."""
    _give_back()  # not yet, where another thread forked
    _given_back.clear()


def _take_back() -> None:
    while _given_back:
        _signal.signal(*_given_back.pop())


_given_back: list[tuple[int, _Handler]] = []
# What a test forks has the default action, and that from its first moment on: a signal that comes then is not lost.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_give_back, after_in_parent=_take_back, after_in_child=_forget)
