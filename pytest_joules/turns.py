"""Taking turns on one machine: its counters see all processes at once, so only one of them measures at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: A worker waits no longer than this for its turn, in seconds, and then measures beside the other.
_LONGEST_WAIT = 600.0


class Turns:
    """Workers on one machine take turns: its counters see all of them at once."""

    def __init__(self) -> None:
        self.lock = machine_lock()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        # Outermost, so that no time limit of the test runs while it waits.
        with turn(self.lock):
            return (yield)


@contextmanager
def turn(lock: BaseFileLock) -> Iterator[None]:
    """Hold the lock; where it is not to be had, go on without: what others do meanwhile shows as ``shared``."""
    from filelock import Timeout

    try:
        lock.acquire(timeout=_LONGEST_WAIT)
    except (Timeout, OSError):
        yield
        return
    try:
        yield
    finally:
        lock.release()


def machine_lock() -> BaseFileLock:
    """The lock that all measuring workers on this machine take; where another user owns its file, one of this user's own."""
    from filelock import FileLock

    folder = Path(tempfile.gettempdir())
    path = folder / "pytest-joules.lock"
    if path.exists() and not os.access(path, os.W_OK):
        path = folder / f"pytest-joules-{os.getuid() if hasattr(os, 'getuid') else 'user'}.lock"
    return FileLock(path, mode=0o666)


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
