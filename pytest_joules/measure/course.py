"""The rounds of one test, from the first warm-up to the last: what to read, and when it is enough.

Which way a test is measured follows from how long its body lasts and how its counters move:

``plain``    counters that move continuously (a model of CPU time) or only in jumps are read at the body's borders
``aligned``  a body of three ticks or more: spin to a tick at both ends, the spin taken off
``block``    a shorter one: rounds go on until they span 50 ms together, and the block's joules are shared out to the bodies
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from math import sqrt
from typing import Literal, Protocol

from pytest_joules import stats
from pytest_joules.measure.garbage import Collector
from pytest_joules.measure.meter import ALIGNED_TICKS, Edge, Meter, Window
from pytest_joules.measure.other_load import LIMIT, ForeignLoad
from pytest_joules.measure.summary import LEAST, MOST, Round, Tally
from pytest_joules.model import Effort, Measurement, Phase, Reading

#: ``auto`` stops when the median's 95 % interval is within this of the median.
PRECISION = 0.02
#: Setup and teardown are read in so many measured rounds: they stand beside the test's energy, not for it.
PHASES = 1
#: Where so many rounds are measured, one more goes first: it counts what runs when caches are warm.
COUNTED_APART = 10
#: Seconds of a body that is not run once more for that.
TOO_LONG = 0.5
#: Rounds in a row without a number before a test is given up.
GIVE_UP = 3
#: Recording a round may take so much of the time for a test, and of the limit that somebody sets for it.
OF_TIME, OF_LIMIT = 0.25, 0.05
#: A round that takes more of its limit is not run again for more samples: once more, and it may fail.
NEAR_LIMIT = 0.6


class Recording(Protocol):
    """Notes what a round executes. Such a round takes longer than a plain one, so it is never a sample."""

    def begin(self, *, again: bool, most: float) -> None:
        """A round to record; ``again``: another one of the same test. It may become ``most`` seconds longer."""

    def end(self) -> None: ...
    def enter(self) -> None: ...
    def leave(self) -> None: ...
    def much_ran(self) -> bool:
        """Whether it matters if a round's caches are warm."""


@dataclass(slots=True)
class Progress:
    """For a person who waits."""

    rounds: int
    target: int


def _apart(step: Callable[[Course, Phase], None]) -> Callable[[Course, Phase], None]:
    """The test is not to notice what goes wrong beside it: that ends the measuring, and is a note."""

    @wraps(step)
    def safe(self: Course, phase: Phase) -> None:
        if not self.broken:
            try:
                step(self, phase)
            except Exception as error:
                self.broken = error

    return safe


class Course:
    """Goes with the rounds of one test (see ``Course`` of ``rounds/running.py``) and turns them into a measurement."""

    def __init__(
        self,
        meter: Meter,
        effort: Effort,
        *,
        foreign: ForeignLoad | None = None,
        quiesce: Callable[[], object] | None = None,
        progress: Callable[[Progress], None] | None = None,
        idle_watts: float | None = None,
        repeatable: bool = True,
        around_runtest: bool = False,
        recording: Recording | None = None,
        limit: float | None = None,
        worth: Callable[[float], bool] | None = None,
    ) -> None:
        """``limit``: seconds that somebody else (pytest-timeout) allows a round. ``worth``: whether a body of so many seconds is
        worth rounds that will not reach the precision; without, every one is."""
        self.meter = meter
        self.effort = effort
        self.foreign = foreign
        self.tally = Tally(meter, effort, idle_watts)
        self.around_runtest = around_runtest
        """The body is what ``pytest_runtest_call`` surrounds; else, closer, what ``pytest_pyfunc_call`` does."""
        self.broken: Exception | None = None
        """What went wrong with measuring: nothing more is."""
        self._quiesce = quiesce
        self._progress = progress
        self._wall = meter.clocks.wall
        self._collector = Collector()
        self._begun = self._wall()
        self._warmups_left = effort.warmup if repeatable else 0
        # What the first warm-up round executes is recorded, and nothing that is measured.
        self._recording = recording if self._warmups_left else None
        self._again: Recording | None = None
        """In the second one, what runs is counted anew."""
        self._recorded = 0
        self._limit = limit
        self._worth = worth
        self._repeatable = repeatable
        self._number = 0
        self._traced = False
        """The round that runs or ran last is recorded."""
        self._recorded_seconds = 0.0
        self._no_more = ""
        """Why no more rounds are run than there are, where more would be better."""
        self._mode: Literal["plain", "aligned", "block"] = "aligned" if meter.tick else "plain"
        self._current = Round()
        self._before: Reading | None = None
        self._start: Edge | None = None
        self._phase_begun: Reading | None = None
        self._spare: Round | None = None
        """A round that stands for the measured ones where none can be run."""
        self._cold = False
        """It was the first one."""
        self._rounds: list[Round] = []
        self._energies: list[float] = []
        self._missing = 0
        self._block: tuple[Reading, Edge | None] | None = None
        self._block_window: Window | None = None
        self._round_begun = self._begun
        self._longest = 0.0
        if repeatable and not effort.warmup:
            self._measuring_begins()

    # What the rounds tell

    @_apart
    def begin(self, phase: Phase) -> None:
        if phase == "setup":
            self._number += 1
            self._traced = self._recording is not None
            if self._recording is not None:
                most = min(OF_TIME * self.effort.max_time, OF_LIMIT * self._limit if self._limit else 1.0)
                self._recording.begin(again=self._recorded > 0, most=most)
                self._recorded += 1
            self._round_begun = self._wall()
            last = self._current.body
            self._current = Round()
            self._collector.settle(int(last.seconds * 1e9) if last is not None else 0)
            if self._mode == "block" and not self._warmups_left and self._block is None:
                self._block = self.meter.open_block()
        if phase != "call" and not self._warmups_left and len(self._rounds) < PHASES:
            self._phase_begun = self.meter.glance_before() if self._block is not None else self.meter.read()

    @_apart
    def end(self, phase: Phase) -> None:
        if self._recording is not None and phase == "teardown":
            self._recording.end()
            self._recording, self._again = self._again, None
        if phase == "call" or self._phase_begun is None:
            return
        ended = self.meter.glance_after() if self._block is not None else self.meter.read_after()
        stretch = (self._phase_begun, ended)
        self._phase_begun = None
        if phase == "setup":
            self._current.setup = stretch
        else:
            self._current.teardown = stretch
            self._note_length()

    def enter(self) -> None:
        """The body begins."""
        try:
            if self._recording is not None:
                self._recording.enter()
            if self._block is not None:
                self._before, self._start = self.meter.glance_before(), None
            else:
                self._before, self._start = self.meter.open(align=self._mode == "aligned" and not self._warmups_left)
        except Exception as error:
            self.broken = self.broken or error

    def leave(self) -> None:
        """The body has ended."""
        if self._before is None:
            return
        try:
            if self._recording is not None:
                self._recording.leave()
            if self._quiesce is not None:
                self._quiesce()
            if self._block is not None:
                self._current.body = Window(self._before, self.meter.glance_after())
            else:
                self._current.body = self.meter.close(self._before, self._start)
            self._collector.look(self._current.body.after.wall - self._before.wall)
        except Exception as error:
            self.broken = self.broken or error
        self._before = None

    @property
    def measuring(self) -> bool:
        """Whether the rounds that have ended counted (the first warm-ups do not)."""
        return bool(self._rounds)

    def another(self) -> bool:
        """After a call that passed: whether another round is to follow."""
        if not self.broken:
            try:
                return self._goes_on()
            except Exception as error:
                self.broken = error
        return False

    def _goes_on(self) -> bool:
        self._note_length()
        if self._current.body is None:
            # A plugin that runs the function itself: take the wider view from now on.
            missed, self.around_runtest = not self.around_runtest, True
            return missed
        if self._warmups_left:
            return self._warmed_up(self._current.body.seconds)
        self._current.shared = self._disturbed(self._round_begun)
        self._rounds.append(self._current)
        if self._mode == "aligned" and self._too_short(self._current.body.seconds):
            # The mode was a guess: what was read is no sample, if there is time for others.
            self._spare, self._cold = self._current, False
            self._rounds.clear()
            self._mode = "block"
            return self._time_left()
        if self._block_is_enough() if self._mode == "block" else self._rounds_are_enough():
            return False
        if self._progress is not None:
            self._tell()
        return self._time_left()

    def cut_off(self) -> None:
        """The round that runs did not pass: it is no sample."""
        self._current = Round()

    # Deciding

    def _warmed_up(self, seconds: float) -> bool:
        """After a round that is no sample, its body so long: whether another is to follow."""
        self._warmups_left -= 1
        if not self._traced:
            self._spare, self._cold = self._current, self._number == 1
        if self._recording is not None and self._counts_anew(seconds):
            self._again = self._recording
            self._warmups_left = self._warmups_left or 1
        elif not self._time_left():
            if self._spare is not None:
                return False
            # Nothing but a recorded round until now, which takes longer than a plain one: one is measured, whatever the time.
            self._warmups_left = 0
        if not self._warmups_left:
            self._measuring_begins(seconds)
        return True

    def _counts_anew(self, seconds: float) -> bool:
        """Whether a second warm-up round is to be counted: the first one filled caches, which the measured ones find full."""
        if self._recorded > 1 or self._recording is None or not self._recording.much_ran():
            return False
        many = self.effort.rounds is None or self.effort.rounds >= COUNTED_APART
        return (self._warmups_left > 0 or (many and seconds < TOO_LONG)) and self._time_left(2)

    def _measuring_begins(self, seconds: float | None = None) -> None:
        if self._mode != "aligned":
            return
        if seconds is not None and self._too_short(seconds):
            self._mode = "block"
        elif seconds is not None:
            self.meter.refresh_spin()

    def _too_short(self, seconds: float) -> bool:
        return seconds < ALIGNED_TICKS * self.meter.tick

    def _note_length(self) -> None:
        seconds = (self._wall() - self._round_begun) / 1e9
        if self._traced:
            self._recorded_seconds = max(self._recorded_seconds, seconds)
        else:
            self._longest = max(self._longest, seconds)

    def _time_left(self, rounds: int = 1) -> bool:
        """Whether so many rounds like the longest so far still fit: like a recorded one only where there is no other."""
        longest = self._longest or self._recorded_seconds
        if self._limit is not None and longest > NEAR_LIMIT * self._limit:
            self._no_more = f"too near its time limit of {self._limit:g} s"
        elif (self._wall() - self._begun) / 1e9 + rounds * longest > self.effort.max_time:
            self._no_more = f"the time was up, {self.effort.bound or f'--energy-max-time={self.effort.max_time:g}'}"
            if self._recorded_seconds > OF_TIME * self.effort.max_time:
                self._no_more += f", of which recording a round took {self._recorded_seconds:.2g} s"
        else:
            self._no_more = ""
        return not self._no_more

    def _rounds_are_enough(self) -> bool:
        number = len(self._rounds)
        joules = self.tally.joules(self._rounds[-1])
        if self.meter.counts:
            total = self.meter.total(joules)
        else:
            total = self._rounds[-1].body.seconds if self._rounds[-1].body else None
        if total is None:
            self._missing += 1
            if self._missing >= GIVE_UP and not self._energies:
                return True
        elif not self._rounds[-1].shared:
            self._energies.append(total)
        clean = len(self._energies)
        if self.effort.rounds is not None:
            return number >= self.effort.rounds
        if clean >= MOST or number >= 2 * MOST:
            return True
        return clean >= LEAST and self._as_precise_as_it_gets(self._energies)

    def _as_precise_as_it_gets(self, values: Sequence[float]) -> bool:
        """Whether the precision is reached; or, of a test that is not worth more, whether the rounds that are left cannot reach
        it: the interval shrinks with the square root of their number."""
        width = stats.relative_half_width(values)
        if width <= PRECISION:
            return True
        body = self._rounds[-1].body
        foreseen = width * sqrt(len(values) / MOST)
        return self._worth is not None and body is not None and foreseen > PRECISION and not self._worth(body.seconds)

    def _block_is_enough(self) -> bool:
        assert self._block is not None
        number = len(self._rounds)
        if (self._wall() - self._block[0].wall) / 1e9 < self.meter.block_seconds:
            return False
        if self.effort.rounds is not None:
            if number < self.effort.rounds or number % self.effort.rounds:
                return False
        elif number < LEAST or (number > MOST and number % MOST):
            return False
        elif number < MOST:
            shares = [entry.body.cpu_seconds for entry in self._rounds if entry.body is not None]
            if not self._as_precise_as_it_gets(shares):
                return False
        if not self._missing and self._time_left() and self._disturbed(self._block[0].wall):
            # One more block, if time allows.
            self._missing = 1
            self._rounds.clear()
            self._block = None
            return False
        return True

    def _tell(self) -> None:
        assert self._progress is not None
        number = len(self._rounds)
        self._progress(Progress(number, max(self.effort.rounds or MOST, number)))

    def _disturbed(self, begun: int) -> bool:
        """Whether others used the machine since the wall time ``begun``."""
        return self.foreign is not None and (self.foreign.known or self.foreign.share(begun) > LIMIT)

    # The end

    def measurement(self, nodeid: str) -> Measurement | None:
        """The measurement of the rounds so far; ``None`` where none of them can be one, see :attr:`why_not`."""
        if self.broken:
            return None
        if self._rounds and self._mode != "block":
            self._say_how_many(len(self._rounds))
            return self.tally.of_rounds(nodeid, self._rounds)
        if self._rounds and self._block is not None:
            self._say_how_many(len(self._rounds))
            shared = self._disturbed(self._block[0].wall)
            return self.tally.of_block(nodeid, self._rounds, self.meter.close_block(*self._block), shared=shared)
        if self._spare is None and self._number == 1 and not self._traced and self._current.body is not None:
            self._current.shared = self._disturbed(self._round_begun)
            self._spare = self._current
        elif self._cold:
            self._no_more = f"not warmed up: {self._no_more}"
        if self._spare is None:
            return None
        self._say_how_many(1)
        return self.tally.of_one(nodeid, self._spare)

    def _say_how_many(self, rounds: int) -> None:
        """A note where there are fewer rounds than were asked for, or one alone."""
        asked = self.effort.rounds
        if not self._repeatable or rounds >= (asked or LEAST):
            why = "" if rounds > 1 or asked != 1 else "no more were asked for"
        else:
            why = self._no_more
        if why:
            number = "one round" if rounds == 1 else f"{rounds} rounds"
            self.tally.notes.append(f"{number}{f' of {asked}' if asked is not None and asked > rounds else ''}: {why}")

    @property
    def why_not(self) -> str:
        """Why there is no measurement, where nothing is :attr:`broken`."""
        if not self._recorded:
            return "its body was not seen"
        return "no round but the one in which its code was recorded (--energy-warmup=0 records none)"
