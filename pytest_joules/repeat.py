"""Running a test again, correctly. The only place that touches pytest's private parts.

Every round is a complete one: setup, call, teardown, with fresh function-scoped fixtures; wider fixtures stay up between
rounds because each teardown but the last names the item's parent as what comes next.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import pytest
from _pytest.doctest import DoctestItem
from _pytest.runner import check_interactive_exception, get_reraise_exceptions
from _pytest.skipping import xfailed_key
from _pytest.unittest import TestCaseFunction

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
    if item.get_closest_marker("flaky") is not None or getattr(option, "reruns", None):
        return Plan(False, False, "may be rerun")
    if not isinstance(item, pytest.Function | DoctestItem):
        return Plan(True, False, "one round: not a test function")
    if "subtests" in getattr(item, "fixturenames", ()):
        return Plan(True, False, "one round: subtests")
    function = getattr(item, "obj", None)
    if getattr(function, "is_hypothesis_test", False):
        # Hypothesis refuses one test to run on several TestCase instances (health check differing_executors).
        return Plan(True, not isinstance(item, TestCaseFunction), "one round: Hypothesis", random=_draws(item, function))
    return Plan(True, True)


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

    ``None`` for a coroutine function, which must keep its face for the plugin that awaits it.
    """
    if inspect.iscoroutinefunction(function):
        return None

    def body(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the test takes
        __tracebackhide__ = True
        enter()
        try:
            return function(*args, **kwargs)
        finally:
            leave()

    return body


def iterate(item: pytest.Item, times: int) -> Callable[[], None]:
    """Make one call of ``item``'s body call it ``times`` times; the returned function undoes it.

    Raises:
        pytest.UsageError: the item has no function to call again.
    """
    if not isinstance(item, pytest.Function):
        raise pytest.UsageError(f"{item.nodeid}: iterations= needs a test function; leave it out or use rounds=")
    function = item.obj
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def looped(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever the test takes
            for _ in range(times):
                await function(*args, **kwargs)

        item.obj = looped
    else:

        @functools.wraps(function)
        def looped_sync(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever the test takes
            for _ in range(times):
                function(*args, **kwargs)

        item.obj = looped_sync

    def undo() -> None:
        item.obj = function

    return undo


class _State:
    """What a round leaves on its item, as it was before the first one."""

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.sections = list(item._report_sections)
        self.properties = list(item.user_properties)
        self.markers = list(item.own_markers)
        self.keywords = dict(cast(Any, item.keywords)._markers)
        self.globs = dict(item.dtest.globs) if isinstance(item, DoctestItem) else None

    def restore(self) -> None:
        item = self.item
        item._report_sections[:] = self.sections
        item.user_properties[:] = self.properties
        item.own_markers[:] = self.markers
        keywords = cast(Any, item.keywords)._markers
        if keywords != self.keywords:
            keywords.clear()
            keywords.update(self.keywords)
        if isinstance(item, DoctestItem) and self.globs is not None:
            item.dtest.globs.clear()
            item.dtest.globs.update(self.globs)
        elif (
            isinstance(item, pytest.Function)
            and not isinstance(item, TestCaseFunction)
            and getattr(item, "_instance", None) is not None
            and not getattr(item.obj, "is_hypothesis_test", False)
        ):
            del item._instance
            item._obj = None
        _fresh_request(item)


def _fresh_request(item: pytest.Item) -> None:
    if hasattr(item, "_initrequest"):
        item._initrequest()


#: What these make of a phase without an exception is a passed report, whatever the test did.
_HARMLESS = ("_pytest.runner", "_pytest.skipping", "_pytest.tmpdir", "_pytest.unittest", "_pytest.subtests")


class _Phase:
    """One phase of one round. Its report is made at once; but where only pytest's own plugins take part and nothing was
    raised, it is known to have passed, and the report is made only if it is wanted: the repeats of a test need none."""

    __slots__ = ("_call", "_hook", "_item", "_report", "passed")

    def __init__(self, item: pytest.Item, call: pytest.CallInfo[object], hook: Any, *, sure: bool) -> None:  # noqa: ANN401 - pluggy's relay
        self._item = item
        self._hook = hook
        self._call = call
        self._report: pytest.TestReport | None = None
        self.passed = (sure and call.excinfo is None and not getattr(item, "_excinfo", None)) or self.report.passed

    @property
    def report(self) -> pytest.TestReport:
        """As pytest's own protocol makes it."""
        if self._report is None:
            hook = self._hook
            report: pytest.TestReport = hook.pytest_runtest_makereport(item=self._item, call=self._call)
            self._report = report
            if check_interactive_exception(self._call, report):
                hook.pytest_exception_interact(node=self._item, call=self._call, report=report)
        return self._report


class Rounds:
    """The rounds of one test: :meth:`run` them; the reports of the last one are the test's verdict."""

    def __init__(self, item: pytest.Item, nextitem: pytest.Item | None, course: Course, *, repeat: bool) -> None:
        self.item = item
        self.nextitem = nextitem
        self.course = course
        self.repeat = repeat
        self.number = 0
        """The round that runs or ran last, from 1."""
        self.expected_failure = False
        """The test is marked ``xfail``: it ran once and is not measured."""
        self.logging = False
        """The reports that pass now are ours."""
        self.reported = False
        """The test logs reports of its own (subtests): repeating it would multiply them."""
        self._hook = item.ihook  # looked up once: every access walks the conftest files
        self._reraise = get_reraise_exceptions(item.config)
        self._sure = all(
            getattr(found.plugin, "__name__", None) in _HARMLESS
            for found in item.config.hook.pytest_runtest_makereport.get_hookimpls()
        )

    def run(self, decide: Callable[[pytest.TestReport], None]) -> None:
        """Run rounds until the course has enough or one does not pass.

        ``decide`` is given the last round's call report before it is logged and before the last teardown, and may change it.
        A round is known to be the last one *before* its teardown, so wider fixtures are torn down exactly when they should be.
        """
        item = self.item
        if hasattr(item, "_request") and not item._request:
            _fresh_request(item)  # somebody ran the item before us
        state = _State(item) if self.repeat else None
        try:
            while True:
                self.number += 1
                if self.number == 1:
                    going_on = self._round(decide)
                else:
                    # The first round's warnings are those that a plain run shows; the repeats' would only multiply them.
                    with warnings.catch_warnings(record=True):
                        going_on = self._round(decide)
                if not going_on or state is None:
                    return
                state.restore()
        finally:
            if hasattr(item, "_request"):
                # As pytest's own protocol leaves it.
                vars(item).update(_request=False, funcargs=None)

    def _round(self, decide: Callable[[pytest.TestReport], None]) -> bool:
        """One round; whether another is to follow."""
        setup = self._phase("setup")
        phases = [setup]
        self.expected_failure = bool(self.item.stash.get(xfailed_key, None))
        if setup.passed:
            call = self._phase("call")
            phases.append(call)
            if call.passed and self.repeat and not self.expected_failure and not self.reported and self.course.another():
                teardown = self._phase("teardown", nextitem=self.item.parent)
                if teardown.passed:
                    return True
                self._log(*phases, teardown)
                self._tear_down_the_rest()
                return False
            decide(call.report)
        self._log(*phases)
        self._log(self._phase("teardown", nextitem=self._next()))
        return False

    def _phase(self, when: Phase, **kwargs: object) -> _Phase:
        hook = getattr(self._hook, f"pytest_runtest_{when}")
        self.course.begin(when)
        call = pytest.CallInfo.from_call(lambda: hook(item=self.item, **kwargs), when=when, reraise=self._reraise)
        self.course.end(when)
        phase = _Phase(self.item, call, self._hook, sure=self._sure and self.number > 1)
        if not phase.passed and self.number > 1:
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
        self.logging = True
        try:
            for phase in phases:
                self._hook.pytest_runtest_logreport(report=phase.report)
        finally:
            self.logging = False

    def _next(self) -> pytest.Item | None:
        session = self.item.session
        return None if session.shouldfail or session.shouldstop else self.nextitem

    def _tear_down_the_rest(self) -> None:
        """A teardown between rounds failed: the item is down, but what the next item does not need is still up."""
        call = pytest.CallInfo.from_call(lambda: self.item.session._setupstate.teardown_exact(self._next()), when="teardown")
        if call.excinfo is not None:
            self._log(_Phase(self.item, call, self._hook, sure=False))


def time_limit(item: pytest.Item) -> float | None:
    """Seconds that pytest-timeout allows all rounds of ``item`` together, or ``None``."""
    marker = item.get_closest_marker("timeout")
    value: object = getattr(item.config, "_env_timeout", None)
    if marker is not None and item.config.pluginmanager.hasplugin("timeout"):
        value = marker.kwargs.get("timeout", marker.args[0] if marker.args else value)
    try:
        seconds = float(cast(Any, value))
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else None
