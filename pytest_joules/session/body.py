"""What surrounds the body of the test that runs in rounds, and what its fixtures do meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_joules.measure.course import Course
from pytest_joules.measure.regions import Energy
from pytest_joules.rounds import body, quiet
from pytest_joules.rounds.net import guarded
from pytest_joules.rounds.running import Rounds

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef


class Body:
    """Tells the course of the rounds that run when their body begins and ends."""

    def __init__(self, config: pytest.Config, energy: Energy) -> None:
        self.config = config
        self.course: Course | None = None
        """``None`` while no test runs in rounds."""
        self._energy = energy
        self._rounds: Rounds | None = None

    @contextmanager
    def of(self, course: Course, rounds: Rounds) -> Iterator[None]:
        """While these rounds run."""
        self.course, self._rounds = course, rounds
        try:
            yield
        finally:
            self.course = self._rounds = None

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_runtest_setup(self) -> None:
        # Fixtures may measure regions too.
        if self.course is not None:
            self._energy.new_round(measured=self.course.measuring)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: FixtureDef[object]) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            if self._rounds is not None and fixturedef.scope != "function":
                self._rounds.wider_fixture_came()

    def pytest_enter_pdb(self) -> None:
        if self._rounds is not None:
            self._rounds.stop("a debugger was entered")

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        course = self.course
        if course is None or course.around_runtest:
            return (yield)
        function = pyfuncitem.obj  # perhaps in a wrapper of a hook's
        watched = body.watched(function, course.enter, course.leave)
        if watched is None:
            return (yield from self._around(course))
        pyfuncitem.obj = watched
        try:
            return (yield)
        finally:
            if pyfuncitem.obj is watched:  # else the wrapper has taken itself off
                pyfuncitem.obj = function

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        course = self.course
        if course is None or not course.around_runtest:
            return (yield)
        watched = body.watched(item.runtest, course.enter, course.leave) if "runtest" not in vars(item) else None
        if watched is None:
            return (yield from self._around(course))
        item.runtest = watched  # type: ignore[method-assign]  # for this call only
        try:
            return (yield)
        finally:
            del item.runtest

    @staticmethod
    def _around(course: Course) -> Generator[None, object, object]:
        course.enter()
        try:
            return (yield)
        finally:
            course.leave()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._rounds is not None and not self._rounds.reports.logging and not self._rounds.hears(report):
            raise quiet.NotHeard
