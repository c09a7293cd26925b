"""The process of a companion, and the line to it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from pytest_joules.companion.invocation import files_in_addopts
from pytest_joules.companion.messages import Command, Start
from pytest_joules.files import scratch

#: Seconds until a companion that is told to end is made to; one that was interrupted has less.
_PATIENCE = 10.0
_IMPATIENCE = 3.0
#: Lines shown of what a companion said before it died.
_LAST_LINES = 15

#: Variables that say whose child a process is, or make it write where its parent does.
_NOT_INHERITED = (
    "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT",
    "PYTEST_XDIST_TESTRUNUID",
    "PYTEST_CURRENT_TEST",
    "PYTEST_VERSION",
    "COV_CORE_SOURCE",
    "COV_CORE_CONFIG",
    "COV_CORE_DATAFILE",
    "COVERAGE_PROCESS_START",
)


class CompanionError(Exception):
    """A companion could not be started, died, or did not answer; the message says which, and shows what it said last."""

    def __init__(self, text: str, last_words: str = "") -> None:
        super().__init__(f"{text}; it said last:{last_words}" if last_words else text)
        self.short = text
        """Without what it said last, in one line."""


class World(Protocol):
    """How a process is to be run where nothing may depend on the machine."""

    prelude: str
    """Python that is run first."""

    def command(self, folder: Path) -> list[str]:
        """What stands before the command; ``folder``: for what it writes."""

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """Its environment, made of this one."""


class Process:
    """A Python process that reads commands and writes answers.

    Args:
        label: what messages call it
        directory: where it is run
        env: variables to be set; an empty text removes one
        world: if it is to run in a world of its own
    """

    def __init__(self, label: str, directory: Path, env: Mapping[str, str], world: World | None = None) -> None:
        self.label = label
        self.modules: dict[str, str] = {}
        """The files of the modules that it has imported until now, by name."""
        self._directory = directory
        self._env = dict(env)
        self._world = world
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._temp: Path | None = None
        self._stopping = False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    # Its life

    def start(self) -> Path:
        """Start it; the folder for what it writes. Raises :class:`CompanionError`."""
        self.kill()
        self._stopping = False
        scratch.sweep()
        try:
            self._temp = scratch.folder("companion")
            with (self._temp / "output.txt").open("wb") as output:
                before = self._world.command(self._temp) if self._world is not None else []
                program = self._world.prelude + _PROGRAM if self._world is not None else _PROGRAM
                self._process = subprocess.Popen(
                    [*before, sys.executable, *_flags(), "-c", program],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    cwd=self._directory,
                    env=self._environment(),
                    # In a session of its own: Ctrl-C reaches this process alone, which ends the other.
                    start_new_session=os.name == "posix",
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
        except OSError as error:
            raise CompanionError(f"{self.label}: cannot be started: {error}") from None
        assert self._process.stdout is not None
        self._answers = queue.SimpleQueue()
        self.modules.clear()
        threading.Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True).start()
        return self._temp

    def tell_to_end(self) -> None:
        """What comes before :meth:`close` where several are closed: they end at the same time."""
        if self.running:
            with contextlib.suppress(CompanionError):
                self.say({"do": "end"})

    def close(self) -> None:
        """End it in order: fixtures are torn down."""
        self.tell_to_end()
        if self.running:
            self._wait(_PATIENCE)
        self.kill()

    def tell_to_stop(self) -> None:
        """What comes before :meth:`interrupt` where several are interrupted."""
        if self._process is not None and self.running and not self._stopping:
            self._stopping = True
            with contextlib.suppress(OSError, ValueError):
                self._process.send_signal(signal.SIGINT if os.name == "posix" else signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined,unused-ignore]  # Windows'

    def interrupt(self) -> None:
        """End it as Ctrl-C would."""
        self.tell_to_stop()
        if self.running:
            self._wait(_IMPATIENCE)
        self.kill()

    def kill(self) -> None:
        """End it at once, and what it has started with it, and remove what it left."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                if os.name == "posix":
                    os.killpg(process.pid, signal.SIGKILL)  # ended or not: what it has started may be left
                else:
                    process.kill()
            process.wait()
        if self._temp is not None:
            scratch.remove(self._temp)
            self._temp = None
        # Last: it lets the guard end, which under Valgrind writes into that folder.
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    # The line

    def say(self, command: Start | Command) -> None:
        """Raises :class:`CompanionError`: it is not there any more."""
        if self._process is None or self._process.stdin is None:
            raise CompanionError(f"{self.label}: is not running")
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died("before it was told what to do") from None

    def hear(self, timeout: float | None, when: str) -> Any:  # noqa: ANN401 - of the kind that was asked for: see messages.py
        """The next answer.

        Args:
            timeout: seconds until it is given up and killed; ``None`` for never
            when: what it was to do, for the message

        Raises:
            CompanionError: it died or did not answer.
        """
        assert self._process is not None
        waited = 0.0
        while True:
            try:
                line = self._answers.get(timeout=1.0)
            except queue.Empty:
                waited += 1.0
                # A process that it forked may hold the pipe open.
                if self._process.poll() is not None and self._answers.empty():
                    raise self._died(when) from None
                if timeout is not None and waited >= timeout:
                    self.kill()
                    raise CompanionError(f"{self.label}: did not answer within {timeout:.0f} s {when}, and was ended") from None
                continue
            if not line:
                raise self._died(when)
            try:
                answer = json.loads(line)
            except ValueError:
                raise self._died(f"with an answer that nobody understands ({line[:60]!r}) {when}") from None
            self.modules.update(answer.get("modules", {}))
            return answer

    def _died(self, when: str) -> CompanionError:
        assert self._process is not None
        self._wait(_IMPATIENCE)
        code = self._process.poll()
        said = self._last_words()
        self.kill()
        how = "ended"
        if code is not None and code < 0:
            how = f"was killed by signal {signal.Signals(-code).name if -code in list(signal.Signals) else -code}"
        elif code is not None:
            how = f"ended with exit status {code}"
        return CompanionError(f"{self.label}: {how} {when}", said)

    def _last_words(self) -> str:
        if self._temp is None:
            return ""
        try:
            with (self._temp / "output.txt").open("rb") as output:
                output.seek(0, os.SEEK_END)
                output.seek(max(0, output.tell() - 65536))
                lines = [line.rstrip() for line in output.read().decode("utf-8", "replace").splitlines() if line.strip()]
        except OSError:
            return ""
        # What faulthandler says of a crash is longest at its uninteresting end.
        fatal = next((number for number, line in enumerate(lines) if "Fatal Python error" in line), None)
        shown = lines[-_LAST_LINES:] if fatal is None else lines[fatal : fatal + _LAST_LINES]
        return "".join(f"\n    {line}" for line in shown)

    def _environment(self) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        if files_in_addopts():
            del env["PYTEST_ADDOPTS"]  # it stands in the arguments
        for key, value in self._env.items():
            env.pop(key, None)
            if value:
                env[key] = value
        return self._world.variables(env) if self._world is not None else env


def _listen(pipe: IO[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    """Hand on what is said, line by line, and an empty one at the end."""
    with pipe, contextlib.suppress(OSError, ValueError):
        for line in iter(pipe.readline, b""):
            answers.put(line)
    answers.put(b"")


def _flags() -> list[str]:
    """The interpreter's own options, such as ``-O``, ``-W`` and ``-X``: as :mod:`multiprocessing` passes them on."""
    given: Callable[[], list[str]] | None = getattr(subprocess, "_args_from_interpreter_flags", None)
    return given() if given is not None else []


#: The working directory is not on the path while this plugin is imported: a folder of the project must not stand in for it. Nor
#: is garbage looked for: imports make none.
_PROGRAM = """
import gc, sys
gc.disable()
if sys.path[:1] == [""]:
    del sys.path[0]
from pytest_joules.companion import guard
guard.stand(0)
from pytest_joules.companion.child import main
gc.enable()
main()
"""
