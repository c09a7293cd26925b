"""Runs a command and ends with it whatever descends from it (Linux): ``subreaper.py FILE_SIZE MEMORY PROCESSES COMMAND...``.

A program of its own, of the standard library alone, as each sandbox needs one. A process whose parent ends becomes this one's
child (it is their "subreaper"), whatever session, environment or name it has taken; so when no child is left, nothing is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36


class _Ended(BaseException):
    """Whoever started this one wants an end."""


def main(arguments: Sequence[str]) -> int:
    """Exit status of the command; of a killed one, this process is killed in the same way."""
    limits, command = [int(text) for text in arguments[:3]], list(arguments[3:])
    control = ctypes.CDLL(None).prctl
    control(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    control(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, _end)
    child = os.fork()
    if not child:
        _become(command, limits)
    status = None
    try:
        status = _of(child)
    except _Ended:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    found = _end_all(child)
    status = found if status is None else status
    if os.WIFSIGNALED(status):
        with contextlib.suppress(OSError):  # of SIGKILL nothing is to be set
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _become(command: list[str], limits: Sequence[int]) -> None:
    """The command, in this process, within limits."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    kinds = (resource.RLIMIT_FSIZE, resource.RLIMIT_DATA, resource.RLIMIT_NPROC)
    for kind, limit in (*zip(kinds, limits, strict=True), (resource.RLIMIT_CORE, 0)):
        highest = resource.getrlimit(kind)[1]
        value = limit if highest == resource.RLIM_INFINITY else min(limit, highest)
        resource.setrlimit(kind, (value, value))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
    os._exit(127)


def _end(*_: object) -> None:
    raise _Ended


def _of(child: int) -> int:
    """Wait for the command; what is left to this process and ends is taken leave of."""
    while True:
        number, status = os.waitpid(-1, 0)
        if number == child:
            return status


def _end_all(child: int) -> int:
    """Kill all that is left, until there is none; the status of the command, where it was among them."""
    status = 0
    while True:
        for number in _descendants(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                status = ended[1] if ended[0] == child else status
        except ChildProcessError:
            return status
        time.sleep(0.002)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names only
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY)
                try:
                    # The program's name, which may hold anything, is in brackets.
                    parent = int(os.read(descriptor, 4096).rpartition(b")")[2].split()[1])
                finally:
                    os.close(descriptor)
                children.setdefault(parent, []).append(int(name))
    found = [root]
    for number in found:
        found += children.get(number, ())
    return found[1:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
