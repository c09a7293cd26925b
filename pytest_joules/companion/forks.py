"""Tests in forks of this process, some at a time: each begins where this process stands, whatever the others do."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

#: What ends an answer: a process that the test has left may hold the pipe open.
_END = b"\n"
#: Seconds after which it is looked whether a fork is still there.
_LOOK = 1.0

# A test may replace them.
_write, _exit = os.write, os._exit


@dataclass(slots=True)
class _Fork:
    number: int
    """Of what it runs."""
    place: int
    pid: int
    pipe: int
    until: float
    """When it is given up, of the monotonic clock."""
    answer: bytearray = field(default_factory=bytearray)

    def died(self) -> bool:
        """Whether it has ended without an answer."""
        return sys.platform != "win32" and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def in_forks(run: Callable[[int, int], bytes], patience: Sequence[float], at_once: int) -> list[bytes]:
    """What ``run(number, place)`` answers in a fork, for each number.

    Args:
        run: the answer, without a newline; ``place`` counts those that run at a time
        patience: seconds that each may take; one that takes longer is ended
        at_once: so many run at a time

    Returns:
        an answer each; an empty one of a fork that died or was ended.
    """
    answers = [b""] * len(patience)
    places = list(range(at_once))
    waiting = list(reversed(range(len(patience))))
    forks: dict[int, _Fork] = {}
    with _none_left(forks):
        while waiting or forks:
            while waiting and places:
                number, place = waiting.pop(), places.pop(0)
                fork = _start(run, number, place, patience[number])
                forks[fork.pipe] = fork
            ready, _, _ = select.select(list(forks), [], [], _LOOK)
            for fork in list(forks.values()):
                if fork.pipe in ready:
                    heard = os.read(fork.pipe, 65536)
                    fork.answer += heard
                    over = not heard or fork.answer.endswith(_END)
                else:
                    over = time.monotonic() >= fork.until or fork.died()
                if not over:
                    continue
                if fork.answer.endswith(_END):
                    answers[fork.number] = bytes(fork.answer)
                places.append(fork.place)
                _end(forks.pop(fork.pipe))
    return answers


def _start(run: Callable[[int, int], bytes], number: int, place: int, patience: float) -> _Fork:
    assert sys.platform != "win32"
    told, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        return _Fork(number, place, pid, told, time.monotonic() + patience)
    try:
        answer = run(number, place) + _END
        while answer:
            answer = answer[_write(tell, answer) :]
        # It is ended from outside: its own end would write down all that was counted.
        signal.pause()
    finally:
        _exit(1)


def _end(fork: _Fork) -> None:
    os.close(fork.pipe)
    with suppress(OSError):
        os.kill(fork.pid, signal.SIGKILL)
    os.waitpid(fork.pid, 0)


@contextmanager
def _none_left(forks: dict[int, _Fork]) -> Iterator[None]:
    try:
        yield
    finally:
        for fork in forks.values():
            _end(fork)
