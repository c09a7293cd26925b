"""Jobs in forks of a process that does nothing else: each begins where that one stands, whatever came before and whatever runs
beside it.

What a process has done shows in what its forks do: where their memory is, how the interpreter has specialised its code. So of the
process that is to be forked another one is split off, which talks and waits; the first one only forks when it is told to.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

#: Jobs that run at a time, at most.
MOST = 4
#: What ends a job and an answer.
_END = b"\n"
#: Seconds after which it is looked whether a fork is still there.
_LOOK = 1.0

# A test may replace them.
_read, _write, _exit = os.read, os.write, os._exit


@dataclass(slots=True)
class _Fork:
    number: int
    """Of its job."""
    place: int
    pid: int
    mark: bytes
    """Of its job, and of the answer to it; of one length."""
    until: float
    """When it is given up, of the monotonic clock."""
    answer: bytearray = field(default_factory=bytearray)

    def there(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Forks:
    """The side that has jobs done."""

    def __init__(self, control: socket.socket, places: Sequence[socket.socket]) -> None:
        self._control = control
        self._places = places
        self._begun = 0

    def run(self, jobs: Sequence[bytes], patience: Sequence[float], at_once: int) -> list[bytes]:
        """What each job is answered in a fork of its own; nothing where that died or was ended.

        Args:
            jobs: each without a newline
            patience: seconds that each may take
            at_once: so many run at a time, :data:`MOST` at most
        """
        answers = [b""] * len(jobs)
        free = list(range(min(at_once, MOST)))
        waiting = list(reversed(range(len(jobs))))
        forks: dict[int, _Fork] = {}
        with _none_left(forks):
            while waiting or forks:
                while waiting and free:
                    number, place = waiting.pop(), free.pop(0)
                    forks[place] = self._start(number, place, jobs[number], patience[number])
                ready, _, _ = select.select([self._places[place] for place in forks], [], [], _LOOK)
                for place, fork in list(forks.items()):
                    if self._places[place] in ready:
                        fork.answer += self._places[place].recv(65536)
                        if not fork.answer.endswith(_END):
                            continue
                        mark, _, answer = bytes(fork.answer.removesuffix(_END)).partition(b" ")
                        if mark == fork.mark:  # else it had read the job of one that died before it did
                            answers[fork.number] = answer
                    elif fork.there() and time.monotonic() < fork.until:
                        continue
                    forks.pop(place).end()
                    free.append(place)
        return answers

    def _start(self, number: int, place: int, job: bytes, patience: float) -> _Fork:
        self._control.sendall(bytes((place,)))
        said = b""
        while not said.endswith(_END):
            said += self._control.recv(32) or _gone()
        channel = self._places[place]
        with _not_blocking(channel):
            while channel.recv(65536):
                """What the last one in this place said too late."""
        self._begun += 1
        mark = b"%09d" % self._begun
        channel.sendall(mark + b" " + job + _END)
        return _Fork(number, place, int(said), mark, time.monotonic() + patience)


def _gone() -> bytes:
    raise EOFError("the process that forks is gone")


@contextmanager
def _not_blocking(channel: socket.socket) -> Iterator[None]:
    channel.setblocking(False)
    try:
        with suppress(BlockingIOError):
            yield
    finally:
        channel.setblocking(True)


@contextmanager
def _none_left(forks: dict[int, _Fork]) -> Iterator[None]:
    try:
        yield
    finally:
        for fork in forks.values():
            fork.end()


def split(talk: Callable[[Forks], None], run: Callable[[bytes, int], bytes]) -> None:
    """Have ``talk`` run in a process of its own, which may have jobs done in forks of this one: each by ``run``, which is given
    the job and which of those it is that run at a time. Returns when ``talk`` has."""
    if sys.platform == "win32":
        return
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(1 + MOST)]
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
        (order, control), *places = pairs
        # Nobody waits for the forks.
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        if not os.fork():
            try:
                signal.signal(signal.SIGCHLD, before)
                order.close()
                talk(Forks(control, [mine for _, mine in places]))
            finally:
                _exit(0)
        for end in (control, *(mine for _, mine in places)):
            end.close()
        orders, channels = order.fileno(), [theirs.fileno() for theirs, _ in places]
        while place := _read(orders, 1):
            if pid := os.fork():
                _write(orders, b"%d\n" % pid)
                continue
            try:
                signal.signal(signal.SIGCHLD, before)
                os.close(orders)
                _answer(channels[place[0]], place[0], run)
            finally:
                _exit(1)
        signal.signal(signal.SIGCHLD, before)


def _answer(channel: int, place: int, run: Callable[[bytes, int], bytes]) -> None:
    job = b""
    while not job.endswith(_END):
        if not (more := _read(channel, 65536)):
            return
        job += more
    mark, _, text = job.partition(b" ")
    answer = mark + b" " + run(text, place) + _END
    while answer:
        answer = answer[_write(channel, answer) :]
    if sys.platform != "win32":
        # It is ended from outside: its own end would write down all that was counted.
        signal.pause()
