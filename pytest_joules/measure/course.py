"""The rounds of one test, from the first warm-up to the last: what to read, and when it is enough.

Which way a test is measured follows from how long its body lasts and how its counters move:

``plain``    counters that move continuously (a model of CPU time) or only in jumps are read at the body's borders
``aligned``  a body of three ticks or more: spin to a tick at both ends, the spin taken off
``block``    a shorter one: rounds go on until they span 50 ms together, and the block's joules are shared out to the bodies
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Literal

from pytest_joules.measure.enough import Enough
from pytest_joules.measure.garbage import Collector
from pytest_joules.measure.meter import Edge, Meter, Window
from pytest_joules.measure.other_load import LIMIT, OtherLoad
from pytest_joules.measure.recorded_rounds import RecordedRounds, Recording
from pytest_joules.measure.summary import LEAST, MOST, Round, Summariser
from pytest_joules.measure.time_left import TimeLeft
from pytest_joules.model import Effort, Measurement, Phase, Reading

#: Setup and teardown are read in so many measured rounds: they stand beside the test's energy, not for it.
PHASES = 1


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
        foreign: OtherLoad | None = None,
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
        self.summariser = Summariser(meter, effort, idle_watts)
        self.around_runtest = around_runtest
        """The body is what ``pytest_runtest_call`` surrounds; else, closer, what ``pytest_pyfunc_call`` does."""
        self.broken: Exception | None = None
        """What went wrong with measuring: nothing more is."""
        self._quiesce = quiesce
        self._progress = progress
        self._wall = meter.clocks.wall
        self._collector = Collector()
        self._time = TimeLeft(meter.clocks.wall, effort, limit)
        self._warmups_left = effort.warmup if repeatable else 0
        # What the first warm-up round executes is recorded, and nothing that is measured.
        self._recorded = RecordedRounds(recording if self._warmups_left else None, effort.max_time, limit)
        self._enough = Enough(meter, effort, worth)
        self._repeatable = repeatable
        self._number = 0
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
        self._second_block = False
        self._block: tuple[Reading, Edge | None] | None = None
        if repeatable and not effort.warmup:
            self._measuring_begins()

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the measurement."""
        return self.summariser.notes

    # What the rounds tell

    @_apart
    def begin(self, phase: Phase) -> None:
        if phase == "setup":
            self._number += 1
            self._recorded.begin()
            self._time.begin_round()
            last = self._current.body
            self._current = Round()
            self._collector.settle(int(last.seconds * 1e9) if last is not None else 0)
            if self._mode == "block" and not self._warmups_left and self._block is None:
                self._block = self.meter.open_block()
        if phase != "call" and not self._warmups_left and len(self._rounds) < PHASES:
            self._phase_begun = self.meter.glance_before() if self._block is not None else self.meter.read()

    @_apart
    def end(self, phase: Phase) -> None:
        if phase == "teardown":
            self._recorded.end()
        if phase == "call" or self._phase_begun is None:
            return
        ended = self.meter.glance_after() if self._block is not None else self.meter.read_after()
        stretch = (self._phase_begun, ended)
        self._phase_begun = None
        if phase == "setup":
            self._current.setup = stretch
        else:
            self._current.teardown = stretch
            self._time.note(recorded=self._recorded.traced)

    def enter(self) -> None:
        """The body begins."""
        try:
            self._recorded.enter()
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
            self._recorded.leave()
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
    def complete(self) -> bool:
        """The measurement is made: rounds that follow are not of it, however they end."""
        return False

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
        self._time.note(recorded=self._recorded.traced)
        if self._current.body is None:
            # A plugin that runs the function itself: take the wider view from now on.
            missed, self.around_runtest = not self.around_runtest, True
            return missed
        if self._warmups_left:
            return self._warmed_up(self._current.body.seconds)
        self._current.shared = self._disturbed(self._time.round_begun)
        self._rounds.append(self._current)
        if self._mode == "aligned" and self._too_short(self._current.body.seconds):
            # The mode was a guess: what was read is no sample, if there is time for others.
            self._spare, self._cold = self._current, False
            self._rounds.clear()
            self._mode = "block"
            return self._time.left()
        if self._mode == "block":
            enough = self._block_is_enough()
        else:
            enough = self._enough.rounds(self._rounds, self.summariser.joules(self._current))
        if enough:
            return False
        if self._progress is not None:
            self._tell()
        return self._time.left()

    def cut_off(self) -> None:
        """The round that runs did not pass: it is no sample."""
        self._current = Round()

    def close(self) -> None:
        """The rounds have ended, however that went."""

    # Deciding

    def _warmed_up(self, seconds: float) -> bool:
        """After a round that is no sample, its body so long: whether another is to follow."""
        self._warmups_left -= 1
        if not self._recorded.traced:
            self._spare, self._cold = self._current, self._number == 1
        anew = self._recorded.counts_anew(seconds, warmups_left=self._warmups_left, rounds=self.effort.rounds)
        if anew and self._time.left(2):
            self._recorded.again()
            self._warmups_left = self._warmups_left or 1
        elif not self._time.left():
            if self._spare is not None:
                return False
            # Nothing but a recorded round until now, which takes longer than a plain one: one is measured, whatever the time.
            self._warmups_left = 0
        if not self._warmups_left:
            self._measuring_begins(seconds)
        return True

    def _measuring_begins(self, seconds: float | None = None) -> None:
        if self._mode != "aligned":
            return
        if seconds is not None and self._too_short(seconds):
            self._mode = "block"
        elif seconds is not None:
            self.meter.refresh_spin()

    def _too_short(self, seconds: float) -> bool:
        return seconds < self.meter.alone_seconds

    def _block_is_enough(self) -> bool:
        assert self._block is not None
        begun = self._block[0].wall
        if (self._wall() - begun) / 1e9 < self.meter.block_seconds or not self._enough.block(self._rounds):
            return False
        if not self._second_block and self._time.left() and self._disturbed(begun):
            # One more block, if time allows.
            self._second_block = True
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
            return self.summariser.of_rounds(nodeid, self._rounds)
        if self._rounds and self._block is not None:
            self._say_how_many(len(self._rounds))
            shared = self._disturbed(self._block[0].wall)
            return self.summariser.of_block(nodeid, self._rounds, self.meter.close_block(*self._block), shared=shared)
        if self._spare is None and self._number == 1 and not self._recorded.traced and self._current.body is not None:
            self._current.shared = self._disturbed(self._time.round_begun)
            self._spare = self._current
        elif self._cold:
            self._time.why_not = f"not warmed up: {self._time.why_not}"
        if self._spare is None:
            return None
        self._say_how_many(1)
        return self.summariser.of_one(nodeid, self._spare)

    def _say_how_many(self, rounds: int) -> None:
        """A note where there are fewer rounds than were asked for, or one alone."""
        asked = self.effort.rounds
        if not self._repeatable or rounds >= (asked or LEAST):
            why = "" if rounds > 1 or asked != 1 else "no more were asked for"
        else:
            why = self._time.why_not
        if why:
            number = "one round" if rounds == 1 else f"{rounds} rounds"
            self.summariser.notes.append(f"{number}{f' of {asked}' if asked is not None and asked > rounds else ''}: {why}")

    @property
    def why_not(self) -> str:
        """Why there is no measurement, where nothing is :attr:`broken`."""
        if not self._recorded.number:
            return "its body was not seen"
        return "no round but the one in which its code was recorded (--energy-warmup=0 records none)"
