"""Valgrind's callgrind as a counter of instructions: how a process is run under it, and what it writes.

Cost, in multiples of the plain run: 6 to 9 where nothing is counted, 70 to 90 where it is, and some 0.2 s for each change from
one to the other. There is no cache model: it would find regressions that are none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pytest_joules.count.counter import Count, NoCounter

#: The oldest Valgrind that is known to run CPython 3.10 and later.
_OLDEST = (3, 15)
#: Of the files that it writes; ``%p`` is the process's number, so that a forked one does not write into those of another.
_FILES = "counts.%p"
#: Functions of the C level that are kept of a count, the dearest first.
_KEPT = 12


@dataclass(frozen=True, slots=True)
class Callgrind:
    """A Valgrind that is installed here."""

    path: str
    version: str

    @property
    def name(self) -> str:
        """As a report has it: ``callgrind 3.19.0``."""
        return f"callgrind {self.version}"

    def command(self, folder: Path) -> list[str]:
        """What stands before a command so that it can count itself, and write what it counts into ``folder``."""
        return [
            self.path,
            "--tool=callgrind",
            "--quiet",
            f"--log-file={folder / 'valgrind.log'}",
            "--vgdb=no",
            "--trace-children=no",
            "--instr-atstart=no",
            "--dump-line=no",
            f"--callgrind-out-file={folder / _FILES}",
        ]


def find() -> Callgrind:
    """The Valgrind of this machine.

    Raises:
        NoCounter: there is none that can be used; the message says why and what to do.
    """
    if sys.platform != "linux":
        raise NoCounter(f"Valgrind counts the instructions of CPython on Linux only, this is {sys.platform}")
    path = shutil.which("valgrind")
    if path is None:
        raise NoCounter("Valgrind is not installed", "install the package valgrind (apt-get install valgrind)")
    try:
        from pytest_joules.count import _requests  # noqa: F401 - is it there?
    except ImportError:
        raise NoCounter(
            "the compiled part of pytest-joules is missing here", "install it where there is a C compiler, or from a wheel"
        ) from None
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NoCounter(f"{path} cannot be run: {error}", "install the package valgrind again") from None
    version = re.search(r"valgrind-(\d+)\.(\d+)(\.\d+)?", said)
    if version is None:
        raise NoCounter(f"{path} does not say its version ({said.strip()[:60]!r})", "install the package valgrind again")
    if (int(version[1]), int(version[2])) < _OLDEST:
        raise NoCounter(f"{path} is {version[0]}", f"it takes Valgrind {_OLDEST[0]}.{_OLDEST[1]} or later")
    return Callgrind(path, version[0].removeprefix("valgrind-"))


def running() -> bool:
    """Whether this process runs under Valgrind."""
    try:
        from pytest_joules.count import _requests
    except ImportError:
        return False
    return _requests.running()


def cpu() -> str:
    """The features of the CPU by which libraries choose their code: under Valgrind, those of the one that it shows them."""
    from pytest_joules.count import _requests

    return _requests.features()


# The body of a test may have replaced these.
_open, _read, _close, _size, _unlink = os.open, os.read, os.close, os.fstat, os.unlink


class Requests:
    """The counter of a process that runs under callgrind.

    Args:
        folder: where callgrind was told to write
        pid: of this process
        on: every instruction is counted already
    """

    slow = True

    def __init__(self, folder: Path, pid: int, *, on: bool = False) -> None:
        from pytest_joules.count import _requests

        self.begin = _requests.zero
        self.finish = _requests.dump
        self._ask = _requests
        self._files = f"{folder}/counts.{pid}"
        self._dumps = 0
        self._on = on

    def switch(self, *, on: bool) -> None:
        """From now on, count every instruction, or none."""
        if on != self._on:
            (self._ask.instrument if on else self._ask.stop)()
            self._on = on

    def read(self) -> Count:
        """See :class:`~pytest_joules.count.counter.Counter`. Nothing but the total is read: this is run under callgrind too."""
        self._dumps += 1
        path = f"{self._files}.{self._dumps}"
        try:
            found = _SUMMARY.search(_whole(path))
        except OSError as error:
            raise NoCounter(f"callgrind did not write what it counted ({error.strerror})", "is the disk full?") from None
        if found is None:
            raise NoCounter("callgrind wrote only a part of what it counted", "is the disk full?")
        total = int(found[1])
        if total >= _NEVER:
            raise NoCounter("callgrind lost count: the test starts a process", "give what starts it a test of its own")
        return Count(total, path)

    def forget(self, count: Count) -> None:
        """See :class:`~pytest_joules.count.counter.Counter`."""
        with suppress(OSError):
            _unlink(count.account)


def _whole(path: str) -> bytes:
    file = _open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(file, _size(file).st_size)
    finally:
        _close(file)


#: A total that is below zero, as callgrind writes it.
_NEVER = 2**63
_SUMMARY = re.compile(rb"^summary: (\d+)$", re.MULTILINE)
#: A line of costs: where (absolute, relative or as before), and how many instructions.
_COST = re.compile(r"(?:[+-]?\d+|\*) (\d+)$")
#: Looks attributes up: what it calls, it does for those that are not in its cache.
_LOOKUP = "_PyType_Lookup"
_NAMED = re.compile(r"(c?)fn=\((\d+)\)(?: (.*))?$")


class Account(NamedTuple):
    """Where instructions went."""

    functions: dict[str, int]
    """What C functions spent in themselves, the dearest first."""
    misses: int | None
    """What the interpreter spent on attributes that were not in its cache (``_PyType_Lookup`` and what it calls);
    ``None`` where the interpreter's functions have no names."""


def account_of(path: str | Path) -> Account:
    """Read a file that callgrind wrote.

    The format is that of Valgrind's manual ("Callgrind Format Specification"). A line of costs that follows ``calls=`` is of
    what was called. Functions that ran when the counting began have a little more than their own, from before.

    Raises:
        OSError: the file cannot be read.
    """
    names: dict[str, str] = {}
    functions: dict[str, int] = {}
    current, called, inclusive = "", "", False
    misses = 0
    with open(path, errors="replace") as lines:  # noqa: PTH123 - a text, or a path
        for line in lines:
            if (named := _NAMED.match(line)) is not None:
                if named[3]:
                    # One that calls itself is counted by the depth, as name'2.
                    names[named[2]] = named[3].strip().partition("'")[0]
                if named[1]:
                    called = names.get(named[2], "?")
                else:
                    current = names.get(named[2], "?")
            elif line.startswith("calls="):
                inclusive = True
            elif (cost := _COST.match(line)) is not None:
                if not inclusive:
                    functions[current] = functions.get(current, 0) + int(cost[1])
                elif current.startswith(_LOOKUP) and not called.startswith(_LOOKUP):
                    misses += int(cost[1])
                inclusive = False
    dearest = sorted(functions, key=lambda name: (-functions[name], name))[:_KEPT]
    known = any(name.startswith(_LOOKUP) for name in functions)
    return Account({name: functions[name] for name in dearest}, misses if known else None)
