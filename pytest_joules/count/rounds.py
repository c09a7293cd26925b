"""Which rounds of a test are counted, and what else was going on in them. The course of a test in a process that counts (see
``Course`` of ``rounds/running.py``)."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pytest_joules.count.counter import Count, Counter, Counts
from pytest_joules.model import Phase

#: Two counts in a row that differ by no more than this are the test's, relative, or by so many instructions.
_ALIKE, _FEW = 1e-3, 1000
#: Counted rounds of one test, at most: where no two agree, all stand for it.
_MOST = 3
#: Rounds before any is counted, where a plain one takes no more seconds. CPython 3.11 begins to specialise the code of a function
#: after 8 calls, later versions after two.
_WARM = {0.02: 8} if sys.version_info[:2] == (3, 11) else {0.05: 2}
#: Where it takes longer: what such a test calls, it calls often.
_WARM_LONG = 1
#: A count so large is not repeated: what a process's history changes in it is a few thousand instructions.
_PLENTY = 50_000_000
#: Seconds of a plain round from which on counting is switched off around the body: a switch costs some 0.2 s, since all code is
#: translated anew.
_SWITCHED = 0.02
#: A doubt that decides how a test is counted.
THREADS = "runs threads"
#: Of the body's time, that it may wait for something.
_WAITING = 0.1

# Bound before any test can replace them.
_perf, _process, _clock = time.perf_counter_ns, time.process_time_ns, time.clock_gettime_ns
_listdir, _open = os.listdir, open
if sys.platform != "win32":
    import resource

    _usage: Callable[[int], resource.struct_rusage] | None = resource.getrusage
else:
    _usage = None
_freeze: Callable[[], None] | None = getattr(gc, "freeze", None)
_unfreeze: Callable[[], None] | None = getattr(gc, "unfreeze", None)


class _State(NamedTuple):
    """Of this process at one instant."""

    wall: int
    cpu: int
    """Nanoseconds: what it has used of a CPU."""
    waits: int
    """Voluntary changes of context."""
    children: tuple[object, ...]
    """What child processes that ended have used, and which there are."""
    threads: dict[int, int]
    """What its other threads have used, by their number."""


def _state() -> _State:
    waits, ended = 0, tuple[object, ...]()
    if _usage is not None:
        mine, theirs = _usage(resource.RUSAGE_SELF), _usage(resource.RUSAGE_CHILDREN)
        waits, ended = mine.ru_nvcsw, (theirs.ru_utime, theirs.ru_stime, theirs.ru_minflt)
    return _State(_perf(), _process(), waits, (*ended, _children()), _threads())


class _Starts:
    """While a body runs: notes that it starts a thread."""

    def __init__(self) -> None:
        self.seen = False
        self._kept = {name: start for name in _STARTERS if (start := getattr(threading, name, None)) is not None}

    def watch(self) -> None:
        for name, start in self._kept.items():
            setattr(threading, name, self._noting(start))

    def _noting(self, start: Callable[..., object]) -> Callable[..., object]:
        def noting(*args: object, **kwargs: object) -> object:
            self.seen = True
            return start(*args, **kwargs)

        return noting

    def end(self) -> None:
        for name, start in self._kept.items():
            setattr(threading, name, start)


#: What starts all threads of Python, as ``threading`` calls it: until 3.12, and since.
_STARTERS = ("_start_new_thread", "_start_joinable_thread")


class _Unmeasured:
    """Of no round a meter is read."""

    measuring = False

    def __init__(self, *, around_runtest: bool) -> None:
        self.around_runtest = around_runtest
        """The body is what ``pytest_runtest_call`` surrounds; else, closer, what ``pytest_pyfunc_call`` does."""
        self.notes: list[str] = []

    def begin(self, phase: Phase) -> None:
        """See ``Course``."""

    def end(self, phase: Phase) -> None:
        """See ``Course``."""


def warm_rounds(seconds: float) -> int:
    """Uncounted rounds for a test whose body took so long in a plain run. After another number of them its count is not quite the
    same, and seconds differ from run to run: one that is compared has as many as it had then."""
    return next((rounds for most, rounds in _WARM.items() if seconds <= most), _WARM_LONG)


def is_switched(seconds: float) -> bool:
    """Whether counting such a test begins with its body and ends with it."""
    return seconds > _SWITCHED


class WarmRounds(_Unmeasured):
    """Goes with the rounds of a test that nothing counts: they fill its caches, and let the interpreter settle on how it runs the
    test's code. The first one shows what the test does besides."""

    def __init__(self, rounds: int, *, around_runtest: bool) -> None:
        super().__init__(around_runtest=around_runtest)
        self.doubts: list[str] = []
        """What of the test's work is no instruction of its own thread."""
        self.passed = False
        """The first round did."""
        self._left = rounds
        self._before: _State | None = None
        self._starts = _Starts()
        self._looked = False

    def enter(self) -> None:
        """The body begins."""
        if not self._looked:
            self._before = _state()
            self._starts.watch()

    def leave(self) -> None:
        """The body has ended."""
        if self._before is not None:
            self._starts.end()
            self._look(self._before, _state())
            self._before, self._looked = None, True

    def another(self) -> bool:
        """See ``Course``: after a round that passed."""
        self.passed = True
        self._left -= 1
        return self._left > 0

    def cut_off(self) -> None:
        """See ``Course``."""

    def _look(self, before: _State, after: _State) -> None:
        if self._starts.seen or any(after.threads.get(number, -1) != used for number, used in before.threads.items()):
            self.doubts.append(THREADS)
        if after.children != before.children:
            self.doubts.append("starts processes")
        wall = after.wall - before.wall
        if after.waits > before.waits and wall - (after.cpu - before.cpu) > _WAITING * wall:
            self.doubts.append("waits")


class CountedRounds(_Unmeasured):
    """Goes with the rounds of a test that are counted, until two in a row agree."""

    def __init__(
        self, counter: Counter, warm: int, doubts: Sequence[str], *, switched: bool, repeatable: bool, around_runtest: bool
    ) -> None:
        """``warm`` rounds went before, which showed ``doubts``; ``switched``: the body alone is counted."""
        super().__init__(around_runtest=around_runtest)
        self.counts: list[Count] = []
        """Of each counted round."""
        self.broken: Exception | None = None
        """What went wrong with counting: nothing more is."""
        self._counter = counter
        self._warm = warm
        self._doubts = list(doubts)
        self._repeatable = repeatable
        self._entered = self._ended = False
        # Threads that began while nothing was counted would not be.
        self._switching = counter.slow and switched and THREADS not in doubts
        counter.switch(on=not self._switching)

    def begin(self, phase: Phase) -> None:
        """See ``Course``."""
        if phase == "call":
            self._entered = self._ended = False

    def enter(self) -> None:
        """The body begins: the last thing is the counter."""
        if self._switching:
            self._counter.switch(on=True)
        if _freeze is not None:
            # Empty generations: when the collector runs, and what it looks at, is the test's own doing.
            _freeze()
        self._entered = True
        self._counter.begin()

    def leave(self) -> None:
        """The body has ended: the first thing is the counter."""
        if self._entered:
            self._counter.finish()
            if _unfreeze is not None:
                _unfreeze()
            if self._switching:
                self._counter.switch(on=False)
            self._ended = True

    def another(self) -> bool:
        """See ``Course``: after a round that passed."""
        if self.broken is not None or not self._ended:
            return False
        try:
            self.counts.append(self._counter.read())
        except Exception as error:
            self.broken = error
            return False
        counts = [count.instructions for count in self.counts]
        return self._repeatable and len(counts) < _MOST and counts[-1] <= _PLENTY and not _agree(counts)

    def cut_off(self) -> None:
        """See ``Course``: the body of a repeat did not come to its end, and what was counted of it is none."""
        if self._ended:
            try:
                self._counter.read()
            except Exception as error:
                self.broken = error

    def counted(self) -> Counts | None:
        """What was counted; ``None`` where nothing was."""
        if not self.counts:
            self.another()  # nobody has asked: the test runs once
        if not self.counts:
            return None
        counts = [count.instructions for count in self.counts]
        settled = 2 if _agree(counts) else len(counts)
        chosen = min(self.counts[-settled:])
        for count in self.counts:
            if count is not chosen:
                self._counter.forget(count)
        return {"counts": counts, "warm": self._warm, "settled": settled, "doubts": self._doubts, "account": chosen.account}


def _agree(counts: Sequence[int]) -> bool:
    """Whether the last two do."""
    return len(counts) > 1 and abs(counts[-1] - counts[-2]) <= max(_FEW, _ALIKE * counts[-1])


def _threads() -> dict[int, int]:
    """Nanoseconds of the CPU clocks of other threads (clock_getcpuclockid(3): ``~number << 3 | 6``)."""
    here, found = threading.get_native_id(), {}
    for thread in threading.enumerate():
        number = thread.native_id
        if number is not None and number != here:
            try:
                found[number] = _clock(~number << 3 | 6)
            except OSError:
                found[number] = -2  # it has ended
    return found


def _children() -> frozenset[str]:
    """The processes that this one has started and that are still there."""
    found: set[str] = set()
    try:
        for task in _listdir("/proc/self/task"):
            with _open(f"/proc/self/task/{task}/children") as file:
                found.update(file.read().split())
    except OSError:
        return frozenset()
    return frozenset(found)
