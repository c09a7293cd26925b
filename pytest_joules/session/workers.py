"""Taking turns on one machine: its counters see all processes at once, so only one of them measures at a time.

Two locks. The workers of one run wait for each other as long as that takes, at a file that their controller has made. The one
whose turn it is waits for other runs at a file that all users share, and not for long: its holder may be stopped, or a stranger.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import pytest

from pytest_joules.clock import CLOCKS
from pytest_joules.files import locks, scratch

#: Seconds after which a run that waits for another one says so, and after which it goes on beside it.
NAMED, LEFT = 10.0, 60.0
#: Seconds that a worker waits for the others of its run, and between two looks.
_LONGEST, _STEP = 600.0, 0.02
_NAME = "joules-turns"
_SENT = "joules_turns"


def turn_of(config: pytest.Config) -> AbstractContextManager[None]:
    """A turn, in a process that has to wait for one."""
    turns: Turns | None = config.pluginmanager.get_plugin(_NAME)
    return turns.turn() if turns is not None else nullcontext()


class WorkerNode(Protocol):
    """A worker, as pytest-xdist's controller knows it."""

    workerinput: dict[str, object]
    workeroutput: dict[str, object]
    gateway: object


class Ordering:
    """In a controller: makes the folder in which its workers' lock is, and whose presence says that none has waited in vain."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerNode) -> None:
        if self._folder is None:
            self._folder = scratch.folder("turns")
            (self._folder / "lock").touch()
        node.workerinput[_SENT] = str(self._folder)

    def pytest_unconfigure(self) -> None:
        if self._folder is not None:
            scratch.remove(self._folder)


class Turns:
    """Workers on one machine take turns: its counters see all of them at once."""

    def __init__(self, config: pytest.Config) -> None:
        self.alone = True
        """Whether nobody else measures during this turn."""
        self.said = ""
        self._config = config
        self._path = machine_lock()
        sent = getattr(config, "workerinput", {}).get(_SENT)
        # A controller on another machine has none here.
        self._folder = Path(sent) if sent is not None and Path(sent).is_dir() else None
        self._turn = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        # Outermost, so that no time limit of the test runs while it waits.
        with self.turn():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._config.workeroutput[_SENT] = self.said  # type: ignore[attr-defined]  # xdist's

    def pytest_unconfigure(self) -> None:
        remove_lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """What others do where the lock is not to be had shows as ``shared``."""
        if self._turn:
            yield
            return
        own = shared = None
        self._turn = True
        try:
            own = self._wait_for_workers()
            shared = self._wait_for_runs()
            yield
        finally:
            self._turn = False
            for descriptor in (shared, own):
                if descriptor is not None:
                    locks.release(descriptor)

    def _wait_for_workers(self) -> int | None:
        if self._folder is None:
            return None
        begun = CLOCKS.wall()
        path = self._folder / "lock"
        with contextlib.suppress(OSError):
            while True:
                descriptor = locks.take(path)
                if descriptor is not None or _since(begun) > _LONGEST:
                    return descriptor
                CLOCKS.sleep(_STEP)
        return None

    def _wait_for_runs(self) -> int | None:
        begun = CLOCKS.wall()
        # Without the workers' lock it cannot be told who is a stranger.
        left = LEFT if self._folder is not None else _LONGEST
        while True:
            try:
                descriptor = locks.take(self._path, shared=True)
            except FileExistsError:
                continue  # just made by another
            except OSError as error:
                what = f"it is {error}, not a file" if isinstance(error, locks.NoLock) else error.strerror
                self._say(f"{self._path} cannot be locked ({what}): other runs on this machine are not waited for; remove it")
                return None
            waited = _since(begun)
            if descriptor is not None:
                self.alone = True
                return descriptor
            if waited >= left or self._given_up():
                self.alone = False
                self._give_up()
                return None
            if waited >= NAMED:
                self._say(
                    f"waiting for {self._path}, which {_who(self._path)} holds; after {left:.0f} s this run goes on "
                    "beside it, and what it measures then is marked shared"
                )
            CLOCKS.sleep(_STEP)

    def _given_up(self) -> bool:
        return self._folder is not None and (self._folder / "given-up").exists()

    def _give_up(self) -> None:
        """For all workers of the run: the next test does not wait again."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder / "given-up").touch()

    def _say(self, text: str) -> None:
        """Once, at once, where the controller's errors go; and in its report at the end."""
        if self.said:
            return
        self.said = text
        with contextlib.suppress(OSError, ValueError):
            capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
            with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
                print(f"\nenergy: {text}", file=sys.stderr, flush=True)


def beside_others(config: pytest.Config) -> bool:
    """Whether this process measures though it is another one's turn."""
    turns: Turns | None = config.pluginmanager.get_plugin(_NAME)
    return turns is not None and not turns.alone


def remove_lock() -> None:
    """Where nobody holds it. Whoever waits at it looks whether it is the one that is there."""
    path = machine_lock()
    with contextlib.suppress(OSError):
        if (descriptor := locks.take(path)) is not None:
            try:
                path.unlink()
            finally:
                locks.release(descriptor)


def _since(begun: int) -> float:
    return (CLOCKS.wall() - begun) / 1e9


def machine_lock() -> Path:
    """The file that all measuring workers on this machine lock; where another user's cannot be opened, one of this user's own."""
    folder = Path(tempfile.gettempdir())
    path = folder / "pytest-joules.lock"
    if path.exists() and not os.access(path, os.R_OK):
        path = folder / f"pytest-joules-{os.getuid() if hasattr(os, 'getuid') else 'user'}.lock"
    return path


def _who(path: Path) -> str:
    import psutil

    pid = locks.holder(path)
    if pid is None:
        return "a process that cannot be told from here (another container's, perhaps)"
    try:
        process = psutil.Process(pid)
        stopped = ", stopped" if process.status() == psutil.STATUS_STOPPED else ""
        return f"process {pid} of {process.username()} ({' '.join(process.cmdline())[:80]}{stopped})"
    except (psutil.Error, KeyError):
        return f"process {pid}"


@contextmanager
def reported_by_worker(item: pytest.Item) -> Iterator[None]:
    """A worker of pytest-xdist reports only of the test that it believes to be running: let it be this one."""
    for plugin in item.config.pluginmanager.get_plugins():
        if type(plugin).__name__ == "WorkerInteractor" and hasattr(plugin, "item_index"):
            before, plugin.item_index = plugin.item_index, item.session.items.index(item)
            try:
                yield
            finally:
                plugin.item_index = before
            return
    yield
