"""Processes that tests start, wait for and end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

Start = Callable[..., "subprocess.Popen[str]"]

#: Seconds for what takes one or two on an idle machine.
PATIENCE = 120.0


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python in a process group of its own; what is left of the group is killed after the test.

    Signals end it, however this run was started: a shell script's background jobs, and all that they start, ignore Ctrl-C, and
    what nohup starts ignores SIGHUP.
    """
    processes = []
    handlers = {getattr(signal, name): signal.SIG_DFL for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)}
    handlers[signal.SIGINT] = signal.default_int_handler

    def start(*args: str, cwd: Path | None = None, env: dict[str, str] | None = None, stderr: int = subprocess.STDOUT):
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            process = subprocess.Popen(
                [sys.executable, *args],
                cwd=cwd,
                env=env,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=os.name == "posix",
            )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        processes.append(process)
        return process

    yield start
    for process in processes:
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.communicate()


def wait_until(condition: Callable[[], object], what: str = "it", process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something has happened, or cannot any more since ``process`` has ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        over = process is not None and process.poll() is not None and not condition()
        if process is not None and (over or time.monotonic() > deadline):
            process.kill()
            raise AssertionError(f"{what} did not happen: {process.communicate()[0]}")
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def wait_for(path: Path, process: subprocess.Popen[str] | None = None) -> int:
    """The process id that a test writes when it runs, maybe again and again: empty in between."""
    text = ""

    def written() -> str:
        nonlocal text
        text = path.read_text() if path.exists() else ""
        return text

    wait_until(written, f"writing {path.name}", process)
    return int(text)


def ended(pid: int) -> bool:
    """Whether a process has come to its end, waited for or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
