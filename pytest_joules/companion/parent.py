"""A pytest like this one, in a process of its own, that runs tests when told (see :mod:`pytest_joules.companion.child`)."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any

import pytest

from pytest_joules.companion import child
from pytest_joules.files import reading, scratch
from pytest_joules.model import Record
from pytest_joules.settings.options import read_settings

#: Seconds until a companion that is told to end is made to; one that was interrupted has less.
_PATIENCE = 10.0
_IMPATIENCE = 3.0
#: Seconds that the collection of tests may take.
_COLLECTING = 600.0
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a block of rounds came to."""

    record: Record | None
    """The measurement, with its samples; ``None`` where nothing was measured."""
    reports: list[Record]
    """All reports, serialised: :func:`reports_of` makes them reports again."""
    outcome: str
    """``passed``, ``failed``, ``skipped``, ``xfailed`` or ``xpassed``."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """How this run was started."""

    args: tuple[str, ...]
    """Files of arguments expanded: they may be others at another revision."""
    directory: Path
    cwd_on_path: bool
    """``python -m pytest`` puts the working directory on the path, ``pytest`` does not."""
    odd: str = ""
    """Why it cannot be repeated."""

    @classmethod
    def of(cls, config: pytest.Config) -> Invocation:
        sent = getattr(config, "workerinput", {}).get("joules_invocation")
        if sent is not None:
            return cls(tuple(sent["args"]), Path(sent["directory"]), sent["cwd_on_path"], sent["odd"])
        params = config.invocation_params
        # Of addopts, pytest takes the environment's first.
        args = expanded([*_files_in_addopts(), *map(os.fspath, params.args)], params.dir)
        odd = ""
        for plugin in params.plugins or ():
            if isinstance(plugin, str | ModuleType):
                args += ["-p", plugin if isinstance(plugin, str) else plugin.__name__]
            elif not type(plugin).__module__.startswith("_pytest."):  # pytester's only watches
                odd = f"pytest.main() was given a plugin object ({type(plugin).__name__}), which another process cannot have"
        main = sys.modules.get("__main__")
        spec = getattr(main, "__spec__", None)
        return cls(tuple(args), params.dir, spec is not None and spec.name.startswith("pytest"), odd)


def expanded(args: Sequence[str], directory: Path) -> list[str]:
    """The command line with the arguments that ``@file`` stands for, one a line, as pytest (from 8.2 on) takes them."""
    result: list[str] = []
    for argument in args:
        if not argument.startswith("@"):
            result.append(argument)
            continue
        lines: list[str] = []
        with contextlib.suppress(OSError):  # gone since this run was started
            lines = os.fsdecode(reading.read_bytes(directory / argument[1:], 2**20)).splitlines()
        result += expanded(lines, directory)
    return result


def _files_in_addopts() -> list[str]:
    """``PYTEST_ADDOPTS``, where it names files of arguments: a companion elsewhere would not find them."""
    words: list[str] = []
    with contextlib.suppress(ValueError):  # then pytest has not got here
        words = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    return words if any(word.startswith("@") for word in words) else []


def reports_of(config: pytest.Config, records: Sequence[Record]) -> list[pytest.TestReport]:
    """The reports of an answer, as they were: JSON knows no tuples, and others look for them."""
    made = []
    for record in records:
        # A copy: pytest makes its objects in the very dicts.
        report: pytest.TestReport = config.hook.pytest_report_from_serializable(config=config, data=copy.deepcopy(record))
        report.user_properties = [(name, value) for name, value in report.user_properties]
        report.sections = [(name, text) for name, text in report.sections]
        file, line, domain = report.location
        report.location = (file, line, domain)
        if isinstance(report.longrepr, list):
            report.longrepr = tuple(report.longrepr)
        made.append(report)
    return made


class Passing:
    """In a controller of pytest-xdist: tells the workers how this run was started, which they do not know."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's
        how = Invocation.of(node.config)
        node.workerinput["joules_invocation"] = {
            "args": list(how.args),
            "directory": str(how.directory),
            "cwd_on_path": how.cwd_on_path,
            "odd": how.odd,
        }


class Companion:
    """A process that collects the tests of this run and runs them when told. Use it in a ``with`` statement.

    Args:
        config: of this run
        label: what messages call it
        directory: where it is run; where this run was, unless given
        args: its command line; this run's, unless given
        env: variables to be set; an empty text removes one
    """

    def __init__(
        self,
        config: pytest.Config,
        *,
        label: str,
        directory: Path | None = None,
        args: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.label = label
        self.nodeids: Sequence[str] = ()
        self.errors: Mapping[str, str] = {}
        """By node id, what could not be collected, and why."""
        self.bodies: Mapping[str, str] = {}
        """By node id, a hash of the test's own code."""
        self.idle_watts: float | None = None
        """What the machine draws when idle, where that was to be measured."""
        self.modules: dict[str, str] = {}
        """The files of the modules that it has imported until now, by name."""
        self._known: frozenset[str] = frozenset()
        self._how = Invocation.of(config)
        self._settings = read_settings(config)
        self._directory = directory or self._how.directory
        self._args = list(args if args is not None else self._how.args)
        self._caching = config.pluginmanager.hasplugin("cacheprovider")
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._temp: Path | None = None
        self._stopping = False

    def __enter__(self) -> Companion:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()
        else:
            self.interrupt()

    def __contains__(self, nodeid: str) -> bool:
        """Whether it has collected this test."""
        return nodeid in self._known

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # Its life

    def start(self) -> None:
        """Start it, and wait until it has collected. Raises :class:`CompanionError`."""
        if self._how.odd:
            raise CompanionError(f"{self.label}: {self._how.odd}")
        self.kill()
        self._known = frozenset()
        self._stopping = False
        scratch.sweep()
        try:
            self._temp = scratch.folder("companion")
            with (self._temp / "output.txt").open("wb") as output:
                self._process = subprocess.Popen(
                    [sys.executable, *_flags(), "-c", _PROGRAM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    cwd=self._directory,
                    env=self._environment(),
                    **_APART,
                )
        except OSError as error:
            raise CompanionError(f"{self.label}: cannot be started: {error}") from None
        assert self._process.stdout is not None
        self._answers = queue.SimpleQueue()
        self.modules.clear()
        threading.Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True).start()
        caching = ["-o", f"cache_dir={self._temp / 'cache'}"] if self._caching else []
        self._say(
            {
                "args": _before_dashes(self._args, caching),
                "settings": child.pack(self._settings),
                "cwd_on_path": self._how.cwd_on_path,
                "temp": str(self._temp),
                "parent": os.getpid(),
            }
        )
        hello = self._hear(_COLLECTING, "while it collected the tests")
        if hello.get("protocol") != child.PROTOCOL:
            self.kill()
            raise CompanionError(f"{self.label}: has another version of pytest-joules")
        self.nodeids, self.errors, self.bodies = hello["nodeids"], hello["errors"], hello["bodies"]
        self.idle_watts = hello["idle_watts"]
        self._known = frozenset(self.nodeids)

    def tell_to_end(self) -> None:
        """What comes before :meth:`close` where several are closed: they end at the same time."""
        if self.running:
            with contextlib.suppress(CompanionError):
                self._say({"do": "end"})

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
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        if self._temp is not None:
            scratch.remove(self._temp)
            self._temp = None

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    # What it does

    def measure(
        self,
        nodeid: str,
        *,
        last: bool = True,
        following: str | None = None,
        rounds: int | None = None,
        max_time: float | None = None,
        timeout: float | None = -1.0,
        cpu: int | None = None,
    ) -> Answer:
        """Run a block of rounds of a test.

        Args:
            last: no other block of this test follows: what only its next test does not need is torn down
            following: the test that comes next, whose wider fixtures stay up
            rounds: so many, instead of what the settings say
            max_time: seconds, no more than what the settings say
            timeout: seconds until it is given up and killed; ``None`` for never; without it, three times the time to measure and
                a minute
            cpu: the processor to begin on; where it goes from there is the system's choice

        Raises:
            CompanionError: it died or did not answer; :meth:`start` makes it anew.
        """
        if nodeid not in self:
            raise CompanionError(f"{self.label}: {nodeid} is not there{self._because(nodeid)}")
        if timeout is not None and timeout < 0:
            timeout = 3 * (self._settings.max_time if max_time is None else max_time) + 60
        how: Record = {"nodeid": nodeid, "last": last, "next": following, "rounds": rounds, "max_time": max_time, "cpu": cpu}
        self._say({"do": "measure", **how})
        reports = self._hear(timeout, f"while it ran {nodeid}")["reports"]
        # That of a test of which nothing was measured says why, and is none here.
        records = [record for report in reports if (record := report.get("joules")) is not None and record["source"] is not None]
        codes = [code for report in reports if (code := report.pop("joules_code", None)) is not None]
        if records and codes:
            records[-1]["code"] = codes[-1]
        return Answer(records[-1] if records else None, reports, _outcome(reports))

    def tear_down(self, nodeid: str, following: str | None = None) -> list[Record]:
        """No other block of a test follows after all: tear down what was kept for it. The reports, if that failed.

        Raises:
            CompanionError: it died or did not answer.
        """
        self._say({"do": "down", "nodeid": nodeid, "next": following})
        return list(self._hear(_COLLECTING, f"while it tore down {nodeid}")["reports"])

    def _because(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        for place, text in self.errors.items():
            if place and (nodeid.startswith(place) or place == file):
                lines = text.strip().splitlines()
                return f": {place} could not be collected: {lines[-1].strip() if lines else 'no reason was given'}"
        return ""

    # The wire

    def _say(self, command: Record) -> None:
        if self._process is None or self._process.stdin is None:
            raise CompanionError(f"{self.label}: is not running")
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died("before it was told what to do") from None

    def _hear(self, timeout: float | None, when: str) -> Record:
        assert self._process is not None
        answer: Record
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
        if _files_in_addopts():
            del env["PYTEST_ADDOPTS"]  # it stands in the arguments
        for key, value in self._env.items():
            env.pop(key, None)
            if value:
                env[key] = value
        return env


def _listen(pipe: IO[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    """Hand on what is said, line by line, and an empty one at the end."""
    with pipe, contextlib.suppress(OSError, ValueError):
        for line in iter(pipe.readline, b""):
            answers.put(line)
    answers.put(b"")


def _before_dashes(args: Sequence[str], more: Sequence[str]) -> list[str]:
    """``args`` with more options: behind all others, so that they win, but not behind ``--``."""
    place = args.index("--") if "--" in args else len(args)
    return [*args[:place], *more, *args[place:]]


def _flags() -> list[str]:
    """The interpreter's own options, such as ``-O``, ``-W`` and ``-X``: as :mod:`multiprocessing` passes them on."""
    given: Callable[[], list[str]] | None = getattr(subprocess, "_args_from_interpreter_flags", None)
    return given() if given is not None else []


def _outcome(reports: Sequence[Record]) -> str:
    """A test's outcome in one word."""
    if any(report["outcome"] == "failed" for report in reports):
        return "failed"
    for report in reports:
        if "wasxfail" in report:
            return "xfailed" if report["outcome"] == "skipped" else "xpassed"
    return "skipped" if any(report["outcome"] == "skipped" for report in reports) else "passed"


#: The working directory is not on the path while this plugin is imported: a folder of the project must not stand in for it.
_PROGRAM = """
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
from pytest_joules.companion import guard
guard.stand(0)
from pytest_joules.companion.child import main
main()
"""

#: In a session of its own: Ctrl-C reaches this process alone, which ends the other.
_APART: dict[str, Any] = (
    {"start_new_session": True} if os.name == "posix" else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
)
