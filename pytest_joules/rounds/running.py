"""Running a test again, correctly. With :mod:`pytest_joules.rounds.leftovers` the only place that touches pytest's private parts.

Every round is a complete one: setup, call, teardown, with fresh function-scoped fixtures; wider fixtures stay up between
rounds because each teardown but the last names the item once more (a copy of it) as what comes next.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from copy import copy
from functools import partial
from typing import Protocol, cast
from warnings import catch_warnings

import pytest
from _pytest.skipping import xfailed_key
from _pytest.tmpdir import tmppath_result_key

from pytest_joules.model import LATE_NOTE, Phase
from pytest_joules.rounds.body import iterate
from pytest_joules.rounds.item import names_of_fixtures_up
from pytest_joules.rounds.leftovers import Leftovers
from pytest_joules.rounds.limits import Limits
from pytest_joules.rounds.net import described
from pytest_joules.rounds.phase import PhaseRun, cause, one_line
from pytest_joules.rounds.plan import one_round
from pytest_joules.rounds.quiet import Unheard, forget_failed_subtest, only_pytest_reports
from pytest_joules.rounds.reports import Reports
from pytest_joules.rounds.teardown import ENDING, in_two_steps, tear_down_the_rest


class Course(Protocol):
    """What goes with the rounds of one test: told of every step, asked after every passed call whether to go on. A
    round that is ``cut_off`` did not pass: it is no sample."""

    def begin(self, phase: Phase) -> None: ...
    def end(self, phase: Phase) -> None: ...
    def another(self) -> bool: ...
    def cut_off(self) -> None: ...


def run_by_others(item: pytest.Item, nextitem: pytest.Item | None, own: object) -> object:
    """Let other plugins run ``item`` that want to (pytest-forked, a conftest): the result of the first that did, or ``None``.

    Repeating it here would take their work from them: a test run in a process of its own, say, because it crashes.
    """
    arguments = {"item": item, "nextitem": nextitem}
    for found in reversed(item.ihook.pytest_runtest_protocol.get_hookimpls()):
        if found.wrapper or found.hookwrapper or found.plugin is own or found.plugin_name == "runner":
            continue
        result = found.function(*[arguments[name] for name in found.argnames])
        if result is not None:
            return result
    return None


#: The remedy for a test whose repeats do not pass.
ONCE = "if it is meant to run once only, mark it @pytest.mark.energy(rounds=1, warmup=0)"


class Rounds:
    """The rounds of one test: :meth:`run` them.

    A test whose first round passes has passed: that round's reports are its verdict, with the last teardown, as in a plain run.
    What does not pass in a repeat ends the repeating and is :attr:`ended`; or, where ``strict``, that round's reports are the
    verdict. ``silent`` rounds are reported to nobody; with ``hold``, all reports are held back until they are released.
    """

    def __init__(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        course: Course,
        *,
        repeat: bool,
        iterations: int = 1,
        silent: bool = False,
        strict: bool = False,
        limits: Limits | None = None,
        hold: bool = False,
    ) -> None:
        self.item = item
        self._limits = limits or Limits(item)
        self._silent = silent
        self._strict = strict
        self.nextitem = nextitem
        self.course = course
        self.repeat = repeat
        self.iterations = iterations
        self.number = 0
        """The round that runs or ran last, from 1."""
        self.ended = ""
        """Why there are no more rounds, where that is not the course's decision; for the report."""
        self.cut_off = False
        """The body of the last round did not come to its end: it is no sample."""
        self.expected_failure = False
        """The test is marked ``xfail``: it ran once and is not measured."""
        self.seconds = 0.0
        """That the phases of the first round took."""
        self.reports = Reports(item, silent=silent, hold=hold)
        self.reported = False
        """The test logs reports of its own that others must hear of: repeating it would multiply them."""
        self._hook = item.ihook  # looked up once: every access walks the conftest files
        # With --pdb Ctrl-C is the debugger's.
        self._reraise = ENDING[:1] if item.config.getoption("usepdb", False) else ENDING
        self._sure = only_pytest_reports(item.config)
        self._subtest = ""
        """What failed last of the subtests."""
        self._unheard = Unheard(item.config)
        self._state = Leftovers.of(item)
        self._now: Phase | None = None
        self._first: PhaseRun | None = None
        self._rest: pytest.CallInfo[None] | None = None
        # Hooks are promised an item as what comes next; of this one only the chain of parents is asked.
        self._again = copy(item)

    def run(self, decide: Callable[[pytest.TestReport], bool], down: Callable[[pytest.TestReport], None] | None = None) -> None:
        """Run rounds until the course has enough or one does not pass.

        ``decide`` is given the call report before it is logged and, where that is known to be the last one, before the teardown.
        It may change it. Where it returns true, this report and the last teardown's are held back until :meth:`release`.
        ``down`` is given the last teardown's report before it is logged: the test's own fixtures are down.
        A round is known to be the last one *before* its teardown, so wider fixtures are torn down exactly when they should be.
        """
        item = self.item
        self.reports.ask(decide, down)
        try:
            while True:
                self.number += 1
                with self._limits.of_round(self.number):
                    going_on = self._round()
                if not going_on:
                    return
                try:
                    self._state.restore()
                except Exception as error:
                    self.stop(f"it cannot be run again: {described(error)}")
                    self.reports.verdict(cast(PhaseRun, self._first))
                    self.reports.end(PhaseRun(item, self._tear_down_the_rest(), self._hook, sure=False))
                    return
        finally:
            with suppress(Exception):
                self._state.given.done()
            if hasattr(item, "_request"):
                # As pytest's own protocol leaves it.
                vars(item).update(_request=False, funcargs=None)
            if self.number > 1:
                self._unheard.forget()

    def stop(self, why: str) -> None:
        """No more rounds after this one."""
        self.repeat = False
        self.ended = self.ended or why

    def forgive(self) -> None:
        """The rounds from now on are no repeats that anything is asked of: what does not pass is a remark."""
        self._strict = False

    def wider_fixture_came(self) -> None:
        """A fixture that stays up between the rounds was set up: what it has done to the test's values is to stay too."""
        if self._now == "setup" and self.number == 1 and not self._state.rounds:
            try:
                self._state.given.keep()
            except Exception as error:
                self.stop(f"it cannot be run again: {described(error)}")

    def hears(self, report: pytest.TestReport) -> bool:
        """Of a report that the test logs itself, such as a subtest's: whether others are to hear of it."""
        if type(report).__module__ != "_pytest.subtests" or not self._sure:
            self.reported = True
            return True
        if report.failed:
            self._subtest = f"subtest: {cause(report)}"
        if not (self._silent or self._repeats) or (report.failed and self._strict):
            return True
        if report.failed:
            forget_failed_subtest(self.item)
        return False

    def _round(self) -> bool:
        """One round; whether another is to follow.

        What a plain run warns of, the first round's setup and call and the last teardown do: the repeats would only multiply it.
        A fixture may hold a warnings filter from its setup to its teardown, so the whole round is in one context.
        """
        with catch_warnings(record=True) as heard:
            going_on, torn_down = self._phases(heard)
        for number, entry in enumerate(heard):
            if (number < torn_down and self.number == 1) or (number >= torn_down and not going_on):
                _warn_again(entry)
        return going_on

    def _phases(self, heard: Sequence[warnings.WarningMessage]) -> tuple[bool, int]:
        """The phases of one round: whether another is to follow, and how many warnings were ``heard`` before the teardown."""
        setup = self._phase("setup")
        self._look_for_xfail()
        if self.number == 1 or (self._strict and not setup.passed):
            self.reports.log(setup)
        call: PhaseRun | None = None
        if setup.passed:
            call = self._call()
            # The body may have marked itself.
            self._look_for_xfail()
            if self._subtest and self._lenient:
                call.passed = False
            if call.passed and self._goes_on():
                if self._first is None:
                    self._first = call
                    self._state.keep_first()
                before = len(heard)
                return self._between(call), before
        failed = None if call is not None and call.passed else call or setup
        if self._lenient and self._first is not None and (failed is not None or self.expected_failure):
            self._give_up(failed or call or setup)
            self.cut_off = True
            self.course.cut_off()
            call = failed = None
        self._state.forget_repeats(passed=failed is None)
        verdict = self._first if failed is None and self._first is not None else call
        if verdict is not None:
            self.reports.verdict(verdict)
        before = len(heard)
        self.reports.end(self._last_teardown())
        return False, before

    @property
    def _lenient(self) -> bool:
        """Whether what does not pass now is a remark: an earlier round, of this block or of one before, passed."""
        return self._repeats and not self._strict

    @property
    def _repeats(self) -> bool:
        return self._state.rounds > 0

    def _goes_on(self) -> bool:
        if not self.repeat or self.expected_failure or self.reported:
            return False
        if self._first is None:
            # Some of it is known only now: fixtures that the body asked for, what a wider fixture made.
            why = self._state.given.spent and f"one round: {self._state.given.spent}"
            why = why or (self._subtest and "one round: a subtest failed")
            if why := why or one_round(self.item, names_of_fixtures_up(self.item)):
                self.stop(why)
                return False
        return not self._subtest and self.course.another()

    def _between(self, call: PhaseRun) -> bool:
        """Tear down what belongs to one round; whether that went well."""
        teardown = self._phase("teardown", nextitem=self._again)
        if teardown.passed:
            return True
        if self._lenient:
            self._give_up(teardown)
            self._state.forget_repeats(passed=True)
            self.reports.verdict(cast(PhaseRun, self._first))
            self.reports.end(PhaseRun(self.item, self._tear_down_the_rest(), self._hook, sure=False))
            return False
        self.reports.log(self._first or call, teardown)
        if self._rest is not None and self._rest.excinfo is not None:
            self.reports.log(PhaseRun(self.item, self._rest, self._hook, sure=False))
        return False

    def _give_up(self, phase: PhaseRun) -> None:
        """A repeat did not pass: it is as if it had not been, but for a remark."""
        self.expected_failure = False
        self.stop(
            f"round {self._state.rounds + 1} did not pass ({phase.call.when}: {self._subtest or cause(phase.report)}): {ONCE}"
        )
        self.item.stash.setdefault(tmppath_result_key, {}).update(setup=True, call=True)
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            vars(sys).pop(name, None)  # as after a test that passed

    def _last_teardown(self) -> PhaseRun:
        """What fails of the item's own fixtures in a repeat is a remark; of wider ones it is an error as in a plain run."""
        if not self._lenient:
            return self._phase("teardown", nextitem=self._next())
        with in_two_steps(self.item, self._again, self._reraise) as troubles:
            teardown = self._phase("teardown", nextitem=self._next())
        if troubles and not self.ended:
            text = f"round {self._state.rounds + 1} did not pass (teardown: {one_line(troubles[0])}): {ONCE}"
            # The call report, with its measurement, is gone.
            teardown.report.user_properties.append((LATE_NOTE, text))
        return teardown

    def _look_for_xfail(self) -> None:
        self.expected_failure = bool(self.item.stash.get(xfailed_key, None))

    def _call(self) -> PhaseRun:
        # Set anew each round: the instance whose method it loops over is another one.
        undo = iterate(self.item, self.iterations) if self.iterations > 1 and isinstance(self.item, pytest.Function) else None
        try:
            return self._phase("call")
        finally:
            if undo is not None:
                undo()

    def _phase(self, when: Phase, **kwargs: object) -> PhaseRun:
        hook = getattr(self._hook, f"pytest_runtest_{when}")
        again = self.number > 1
        with self._unheard.collecting(keep=self.number < 3, first=not again and when == "setup"):
            self.course.begin(when)
        self._now = when
        between = kwargs.get("nextitem") is self._again
        reraise = (*self._reraise, KeyboardInterrupt) if self._lenient else self._reraise
        with self._unheard.silent() if between or (again and when != "teardown") else nullcontext():
            # Partial, not a lambda: a frame of ours would show in the traceback of a hook that fails.
            call = pytest.CallInfo.from_call(partial(hook, item=self.item, **kwargs), when=when, reraise=reraise)
        self._now = None
        self.course.end(when)
        if not again:
            self.seconds += call.duration
        if call.excinfo is not None and between and not self._lenient:
            self._rest = self._tear_down_the_rest()  # before its report is made, which tells what it prints
        phase = PhaseRun(self.item, call, self._hook, sure=self._sure and again)
        if self._strict and not phase.passed and again and not (when == "teardown" and self._wider(kwargs["nextitem"])):
            phase.report.sections.append(
                (
                    "pytest-joules",
                    f"passed in {'round 1' if self.number == 2 else f'rounds 1 to {self.number - 1}'}, did not pass in round "
                    f"{self.number}: shared state? Does it leave something behind that its next run meets? If it is meant to, "
                    "mark it @pytest.mark.energy(rounds=1, warmup=0).",
                )
            )
        return phase

    def _next(self) -> pytest.Item | None:
        session = self.item.session
        return None if session.shouldfail or session.shouldstop else self.nextitem

    def _wider(self, nextitem: object) -> bool:
        """Whether a teardown before ``nextitem`` takes down more than the item: what fails then need not be of this round."""
        return getattr(nextitem, "parent", None) is not self.item.parent

    def _tear_down_the_rest(self) -> pytest.CallInfo[None]:
        return tear_down_the_rest(self.item, self._next(), self._reraise)


def _warn_again(entry: warnings.WarningMessage) -> None:
    """Hand a recorded warning on to whoever listens outside."""
    show: Callable[[warnings.WarningMessage], None] | None = getattr(warnings, "_showwarnmsg", None)
    if show is not None:
        show(entry)  # with its source, which the public function drops
    else:
        warnings.showwarning(entry.message, entry.category, entry.filename, entry.lineno)
