"""Running a test again, correctly. With :mod:`pytest_joules.leftovers` the only place that touches pytest's private parts.

Every round is a complete one: setup, call, teardown, with fresh function-scoped fixtures; wider fixtures stay up between
rounds because each teardown but the last names the item once more (a copy of it) as what comes next.
"""

from __future__ import annotations

import copy
import functools
import inspect
import unittest
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, cast

import pytest
from _pytest.doctest import DoctestItem
from _pytest.runner import check_interactive_exception
from _pytest.skipping import xfailed_key
from _pytest.tmpdir import tmppath_result_key
from _pytest.unittest import TestCaseFunction

from pytest_joules.leftovers import Leftovers, fresh_request
from pytest_joules.limits import Limits

Phase = Literal["setup", "call", "teardown"]


class Course(Protocol):
    """What goes with the rounds of one test: told of every step, asked after every passed call whether to go on."""

    def begin(self, phase: Phase) -> None: ...
    def end(self, phase: Phase) -> None: ...
    def another(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How often a test may be run, and whether it may be measured."""

    measure: bool
    repeat: bool
    why: str = ""
    """Why not, in words for the report."""
    random: bool = False
    """The test draws new examples every round, so its rounds are not alike."""


UNMEASURED = ("setuponly", "setupshow", "setupplan", "collectonly", "trace")


def plan(item: pytest.Item) -> Plan:
    """Decide how ``item`` can be repeated, before it runs."""
    option = item.config.option
    if any(getattr(option, name, False) for name in UNMEASURED):
        return Plan(False, False, "not run as usual")
    if item.get_closest_marker("flaky") is not None or getattr(option, "reruns", None) or getattr(option, "force_reruns", None):
        return Plan(False, False, "may be rerun")
    if not isinstance(item, pytest.Function | DoctestItem):
        return Plan(True, False, "one round: not a test function")
    if "subtests" in getattr(item, "fixturenames", ()) or _has_subtests(item):
        return Plan(True, False, "one round: subtests")
    function = getattr(item, "obj", None)
    if getattr(function, "is_hypothesis_test", False):
        # Hypothesis refuses one test to run on several TestCase instances (health check differing_executors).
        once = isinstance(item, TestCaseFunction)
        return Plan(True, not once, "one round: Hypothesis in a TestCase" if once else "", random=_draws(item, function))
    return Plan(True, True)


def _has_subtests(item: pytest.Item) -> bool:
    """Whether a ``TestCase``'s test names ``subTest``, or a method of its class that it names does: each is reported at once."""
    if not isinstance(item, TestCaseFunction) or not item.config.pluginmanager.hasplugin("subtests"):
        return False
    waiting, seen = [item.originalname], set()
    while waiting:
        name = waiting.pop()
        function = getattr(item.cls, name, None)
        code = getattr(inspect.unwrap(function), "__code__", None) if function is not None else None
        if code is None or name in seen:
            continue
        seen.add(name)
        if "subTest" in code.co_names:
            return True
        waiting += [other for other in code.co_names if other not in vars(unittest.TestCase) and hasattr(item.cls, other)]
    return False


def fixtures_up(item: pytest.Item) -> Iterable[object]:
    """The fixtures that the round of ``item`` that runs has used until now, wider ones among them: pytest's definitions."""
    definitions: dict[str, object] = getattr(getattr(item, "_request", None), "_fixture_defs", {})
    return definitions.values()


def fixtures_of(item: pytest.Item) -> tuple[str, ...]:
    """The fixtures that ``item`` is known to need before it runs, each with where it is defined."""
    info = getattr(item, "_fixtureinfo", None)
    if info is None:
        return ()
    found = []
    for name in info.names_closure:
        for definition in info.name2fixturedefs.get(name, ())[-1:]:
            function = definition.func
            place = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
            found.append(f"{name} {definition.baseid} {place} {definition.scope}")
    return tuple(found)


def ini_values(config: pytest.Config) -> dict[str, str]:
    """What the ini file says, key by key, as it stands there."""
    values: dict[str, Any] = vars(config).get("_inicfg") or vars(config).get("inicfg") or {}  # pytest 9 and later; before
    return {key: str(getattr(value, "value", value)) for key, value in values.items()}


def doctest_source(item: pytest.Item) -> str | None:
    """The examples of a doctest; ``None`` for any other test."""
    if not isinstance(item, DoctestItem):
        return None
    return "".join(f"{example.source}{sorted(example.options.items())}" for example in item.dtest.examples)


def _draws(item: pytest.Item, function: object) -> bool:
    """Whether a Hypothesis test draws other examples each time."""
    if item.config.getoption("--hypothesis-seed", default=None) is not None:
        return False
    settings = getattr(function, "_hypothesis_internal_use_settings", None)
    seeded = getattr(function, "_hypothesis_internal_use_seed", None) is not None
    return not (seeded or getattr(settings, "derandomize", False))


def body_hook(item: pytest.Item) -> Literal["pyfunc", "runtest"]:
    """Which hook's innermost wrapper is closest around the body of ``item``."""
    return "pyfunc" if isinstance(item, pytest.Function) and not isinstance(item, TestCaseFunction) else "runtest"


def watched(function: Callable[..., Any], enter: Callable[[], None], leave: Callable[[], None]) -> Callable[..., Any] | None:
    """``function`` with ``enter`` and ``leave`` as close around it as can be, to stand in for it while pytest calls it: what
    pytest does between its hook and the call costs up to 10 µs, a tenth of a short test.

    ``None`` for an asynchronous function, which must keep its face for the plugin that awaits it, or for pytest to refuse.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return None

    def body(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the test takes
        __tracebackhide__ = True
        enter()
        try:
            return function(*args, **kwargs)
        finally:
            leave()

    # As functools.wraps does, which takes 3 µs a round: plugins look for marks of their own on it, such as Hypothesis'.
    vars(body).update(getattr(function, "__dict__", ()), __wrapped__=function)
    body.__name__ = getattr(function, "__name__", body.__name__)
    body.__doc__ = function.__doc__
    body.__module__ = function.__module__
    return body


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


def can_iterate(item: pytest.Item) -> bool:
    """Whether ``item`` has a function that can be called several times in a round."""
    return isinstance(item, pytest.Function)


def _iterate(item: pytest.Function, times: int) -> Callable[[], None]:
    """Make one call of ``item``'s body call it ``times`` times; the returned function undoes it."""
    function = item.obj
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def looped(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever the test takes
            for _ in range(times):
                await function(*args, **kwargs)

        item.obj = looped
        if isinstance(item, TestCaseFunction):
            # Of an asynchronous TestCase, unittest calls the method that the instance has.
            setattr(item.instance, item.name, looped)
    else:

        @functools.wraps(function)
        def looped_sync(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever the test takes
            for _ in range(times):
                function(*args, **kwargs)

        item.obj = looped_sync

    def undo() -> None:
        item.obj = function
        if isinstance(item, TestCaseFunction):
            vars(item.instance).pop(item.name, None)

    return undo


#: What these make of a phase without an exception is a passed report, whatever the test did.
_HARMLESS = ("_pytest.runner", "_pytest.skipping", "_pytest.tmpdir", "_pytest.unittest", "_pytest.subtests")


class _Phase:
    """One phase of one round. Its report is made at once; but where only pytest's own plugins take part and nothing was
    raised, it is known to have passed, and the report is made only if it is wanted: the repeats of a test need none."""

    __slots__ = ("_hook", "_item", "_report", "call", "passed")

    def __init__(self, item: pytest.Item, call: pytest.CallInfo[object], hook: Any, *, sure: bool) -> None:  # noqa: ANN401 - pluggy's
        self._item = item
        self._hook = hook
        self.call = call
        self._report: pytest.TestReport | None = None
        self.passed = sure and call.excinfo is None and not getattr(item, "_excinfo", None)
        if self.passed:
            # Making a report would have noted it; tmp_path's teardown asks.
            item.stash.setdefault(tmppath_result_key, {})[call.when] = True
        else:
            self.passed = self.report.passed

    @property
    def report(self) -> pytest.TestReport:
        """As pytest's own protocol makes it."""
        if self._report is None:
            self._report = self._hook.pytest_runtest_makereport(item=self._item, call=self.call)
        return cast(pytest.TestReport, self._report)


class Rounds:
    """The rounds of one test: :meth:`run` them.

    Where all pass, the reports of the first one are the test's verdict (with the last teardown), as in a plain run; where one
    does not, it is the last, and its reports are. ``silent`` rounds are reported to nobody.
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
        limits: Limits | None = None,
    ) -> None:
        self.item = item
        self._limits = limits or Limits(item)
        self._silent = silent
        self.nextitem = nextitem
        self.course = course
        self.repeat = repeat
        self.iterations = iterations
        self.number = 0
        """The round that runs or ran last, from 1."""
        self.expected_failure = False
        """The test is marked ``xfail``: it ran once and is not measured."""
        self.logging = False
        """The reports that pass now are ours."""
        self.reported = False
        """The test logs reports of its own (subtests): repeating it would multiply them."""
        self._hook = item.ihook  # looked up once: every access walks the conftest files
        # What ends the run: pytest 8.4 has no function that says it.
        self._reraise: tuple[type[BaseException], ...] = (pytest.exit.Exception,)
        if not item.config.getoption("usepdb", False):
            self._reraise += (KeyboardInterrupt,)
        self._sure = all(
            getattr(found.plugin, "__name__", None) in _HARMLESS
            for found in item.config.hook.pytest_runtest_makereport.get_hookimpls()
        )
        self._first: _Phase | None = None
        self._rest: pytest.CallInfo[None] | None = None
        self._held: list[_Phase] = []
        # Hooks are promised an item as what comes next; of this one only the chain of parents is asked.
        self._again = copy.copy(item)

    def run(self, decide: Callable[[pytest.TestReport], bool]) -> None:
        """Run rounds until the course has enough or one does not pass.

        ``decide`` is given the call report before it is logged and before the last teardown, and may change it. Where it returns
        true, this report and the last teardown's are held back until :meth:`release`.
        A round is known to be the last one *before* its teardown, so wider fixtures are torn down exactly when they should be.
        """
        item = self.item
        if hasattr(item, "_request") and not item._request:
            fresh_request(item)  # somebody ran the item before us
        state = Leftovers(item) if self.repeat else None
        try:
            while True:
                self.number += 1
                with self._limits.of_round(self.number):
                    going_on = self._round(state, decide)
                if not going_on or state is None:
                    return
                state.restore()
        finally:
            if hasattr(item, "_request"):
                # As pytest's own protocol leaves it.
                vars(item).update(_request=False, funcargs=None)

    def _round(self, state: Leftovers | None, decide: Callable[[pytest.TestReport], bool]) -> bool:
        """One round; whether another is to follow.

        What a plain run warns of, the first round's setup and call and the last teardown do: the repeats would only multiply it.
        A fixture may hold a warnings filter from its setup to its teardown, so the whole round is in one context.
        """
        with warnings.catch_warnings(record=True) as heard:
            going_on, torn_down = self._phases(state, decide, heard)
        for number, entry in enumerate(heard):
            if (number < torn_down and self.number == 1) or (number >= torn_down and not going_on):
                _warn_again(entry)
        return going_on

    def _phases(
        self, state: Leftovers | None, decide: Callable[[pytest.TestReport], bool], heard: Sequence[warnings.WarningMessage]
    ) -> tuple[bool, int]:
        """The phases of one round: whether another is to follow, and how many warnings were ``heard`` before the teardown."""
        again = self.number > 1
        setup = self._phase("setup")
        self._look_for_xfail()
        if not again or not setup.passed:
            self._log(setup)
        if setup.passed:
            call = self._call()
            # The body may have marked itself.
            self._look_for_xfail()
            if call.passed and state is not None and not self.expected_failure and not self.reported and self.course.another():
                if not again:
                    self._first = call
                    state.keep_first()
                before = len(heard)
                return self._between(call), before
            if state is not None:
                state.forget_repeats(passed=call.passed)
            if call.passed and self._first is not None:
                call = self._first
            if decide(call.report):
                self._held.append(call)
            else:
                self._log(call)
        before = len(heard)
        teardown = self._phase("teardown", nextitem=self._next())
        if self._held:
            assert teardown.report  # made now, while the item has what it tells
            self._held.append(teardown)
        else:
            self._log(teardown)
        return False, before

    @property
    def passed(self) -> bool:
        """Of reports that are held back: whether the last teardown passed too."""
        return all(phase.passed for phase in self._held)

    def release(self) -> None:
        """Log the reports that were held back."""
        held, self._held = self._held, []
        self._log(*held)

    def _between(self, call: _Phase) -> bool:
        """Tear down what belongs to one round; whether that went well."""
        teardown = self._phase("teardown", nextitem=self._again)
        if teardown.passed:
            return True
        self._log(self._first or call, teardown)
        if self._rest is not None:
            self._log(_Phase(self.item, self._rest, self._hook, sure=False))
        return False

    def _look_for_xfail(self) -> None:
        self.expected_failure = bool(self.item.stash.get(xfailed_key, None))

    def _call(self) -> _Phase:
        # Set anew each round: the instance whose method it loops over is another one.
        undo = _iterate(self.item, self.iterations) if self.iterations > 1 and isinstance(self.item, pytest.Function) else None
        try:
            return self._phase("call")
        finally:
            if undo is not None:
                undo()

    def _phase(self, when: Phase, **kwargs: object) -> _Phase:
        hook = getattr(self._hook, f"pytest_runtest_{when}")
        self.course.begin(when)
        # Partial, not a lambda: a frame of ours would show in the traceback of a hook that fails.
        call = pytest.CallInfo.from_call(partial(hook, item=self.item, **kwargs), when=when, reraise=self._reraise)
        self.course.end(when)
        if call.excinfo is not None and kwargs.get("nextitem") is self._again:
            self._tear_down_the_rest()  # before its report is made, which tells what it prints
        phase = _Phase(self.item, call, self._hook, sure=self._sure and self.number > 1)
        if not phase.passed and self.number > 1 and not (when == "teardown" and self._wider(kwargs["nextitem"])):
            phase.report.sections.append(
                (
                    "pytest-joules",
                    f"passed in {'round 1' if self.number == 2 else f'rounds 1 to {self.number - 1}'}, did not pass in round "
                    f"{self.number}: shared state? Does it leave something behind that its next run meets? If it is meant to, "
                    "mark it @pytest.mark.energy(rounds=1, warmup=0).",
                )
            )
        return phase

    def _log(self, *phases: _Phase) -> None:
        for phase in phases if not self._silent else ():
            report = phase.report
            self.logging = True
            try:
                self._hook.pytest_runtest_logreport(report=report)
            finally:
                self.logging = False
            if check_interactive_exception(phase.call, report):
                self._hook.pytest_exception_interact(node=self.item, call=phase.call, report=report)

    def _next(self) -> pytest.Item | None:
        session = self.item.session
        return None if session.shouldfail or session.shouldstop else self.nextitem

    def _wider(self, nextitem: object) -> bool:
        """Whether a teardown before ``nextitem`` takes down more than the item: what fails then need not be of this round."""
        return getattr(nextitem, "parent", None) is not self.item.parent

    def _tear_down_the_rest(self) -> None:
        """A teardown between rounds failed: the item is down, but what the next item does not need is still up."""
        capture = self.item.config.pluginmanager.get_plugin("capturemanager")
        with capture.item_capture("teardown", self.item) if capture is not None else nullcontext():
            down = partial(self.item.session._setupstate.teardown_exact, self._next())
            call = pytest.CallInfo.from_call(down, when="teardown", reraise=self._reraise)
        if call.excinfo is not None:
            self._rest = call


def _warn_again(entry: warnings.WarningMessage) -> None:
    """Hand a recorded warning on to whoever listens outside."""
    show: Callable[[warnings.WarningMessage], None] | None = getattr(warnings, "_showwarnmsg", None)
    if show is not None:
        show(entry)  # with its source, which the public function drops
    else:
        warnings.showwarning(entry.message, entry.category, entry.filename, entry.lineno)


def tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> pytest.TestReport | None:
    """Take down what was kept up for another run of ``item`` that does not come. The report, where that fails."""
    call = pytest.CallInfo.from_call(
        partial(item.session._setupstate.teardown_exact, nextitem),
        when="teardown",
        reraise=(pytest.exit.Exception, KeyboardInterrupt),
    )
    if call.excinfo is None:
        return None
    return cast(pytest.TestReport, item.ihook.pytest_runtest_makereport(item=item, call=call))
