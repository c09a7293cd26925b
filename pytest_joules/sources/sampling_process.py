"""A process beside the tests that reads counters for them, and the memory that it shares with them."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_joules.clock import CLOCKS
from pytest_joules.sources.base import Unavailable

#: Nanoseconds between two looks whether the process that is served is still there.
_ASK = 200_000_000


class SamplingProcess:
    """A process that writes 64-bit words into memory that this one sees.

    It is nobody's child (a test that waits for its children does not see it), in a session of its own (Ctrl-C ends the tests, not
    the last reading), and ends when told to, when the pipe to it closes, or when this process is gone.

    Args:
        function: what it runs, ``module:name``; called with the file to share, the process to serve and ``arguments``
        words: how many 64-bit words are shared
        ready: the word that is no longer 0 once it works
        arguments: for the function
        paths: where its modules lie, before ours

    Raises:
        Unavailable: it does not start.
    """

    def __init__(self, function: str, words: int, ready: int, arguments: Sequence[str], paths: Sequence[str] = ()) -> None:
        paths = [*paths, str(Path(__file__).parents[2])]
        descriptor, self.file = tempfile.mkstemp(prefix="joules-")
        self._owner = os.getpid()
        self._memory: mmap.mmap | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            os.truncate(descriptor, 8 * words)
            self._memory = mmap.mmap(descriptor, 8 * words)
        finally:
            os.close(descriptor)
        self.words = memoryview(self._memory).cast("q")
        module, _, name = function.partition(":")
        code = f"import sys; sys.path[:0] = {paths!r}; from {module} import {name}; {name}(sys.argv[1:])"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code, self.file, str(self._owner), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if sys.platform != "win32":
                self._process.wait(30)  # it leaves the work to a process of its own
            self._await_first(ready)
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            raise Unavailable(f"the process that samples the power does not start: {error}") from error
        except Unavailable:
            self.close()
            raise
        self._unlink()

    def close(self) -> None:
        """End it. May be called twice."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                if os.getpid() == self._owner:  # a fork of ours does not end it for us
                    process.stdin.write(b"q")
                process.stdin.close()
            if os.getpid() == self._owner:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
        memory, self._memory = self._memory, None
        if memory is not None:
            self.words.release()
            with contextlib.suppress(BufferError):
                memory.close()
        self._unlink()

    def _await_first(self, ready: int) -> None:
        until = CLOCKS.wall() + 10_000_000_000
        while not self.words[ready]:
            if CLOCKS.wall() > until or self._process is None or self._process.returncode:
                raise Unavailable("the process that samples the power does not start")
            CLOCKS.sleep(0.005)

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):  # Windows keeps it while it is mapped
            Path(self.file).unlink()


def detach() -> None:
    """In the new process: leave the work to one that is nobody's child, in a session of its own."""
    if sys.platform != "win32":
        if os.fork():
            os._exit(0)
        os.setsid()


def shared_words(file: str) -> memoryview:
    """In the new process: the words."""
    with Path(file).open("r+b") as shared:
        memory = mmap.mmap(shared.fileno(), 0)
    return memoryview(memory).cast("q")


def end_of(owner: int) -> Callable[[float], bool]:
    """A wait of so many seconds that tells whether the process ``owner`` wants no more, or is gone."""
    if sys.platform == "win32":
        over = threading.Event()

        def listen() -> None:
            sys.stdin.buffer.read(1)
            over.set()

        threading.Thread(target=listen, daemon=True).start()
        return over.wait

    asked = CLOCKS.wall()

    def wait(seconds: float) -> bool:
        nonlocal asked
        if select.select([0], [], [], seconds)[0]:
            return True  # a letter, or the end of the pipe
        if CLOCKS.wall() - asked < _ASK:
            return False
        asked = CLOCKS.wall()
        try:
            # a fork of the owner may hold the pipe open beyond the owner's end
            os.kill(owner, 0)
        except PermissionError:
            return False
        except OSError:
            return True
        return False

    return wait
