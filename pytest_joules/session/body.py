"""What surrounds the body of the test that runs in rounds, and what its fixtures do meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest

from pytest_joules.measure.regions import Energy
from pytest_joules.rounds import body, quiet
from pytest_joules.rounds.net import guarded
from pytest_joules.rounds.running import Rounds

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef


class Surrounding(Protocol):
    """The course of a test, as it is told of the body."""

    around_runtest: bool

    @property
    def notes(self) -> list[str]:
        """What there is to say of the test."""

    @property
    def measuring(self) -> bool:
        """Whether this round is a sample."""

    def enter(self) -> None: ...
    def leave(self) -> None: ...


class Body:
    """Tells the course of the rounds that run when their body begins and ends."""

    def __init__(self, config: pytest.Config, energy: Energy | None = None) -> None:
        """``energy``: what measures regions, where anything is measured."""
        self.config = config
        self.course: Surrounding | None = None
        """``None`` while no test runs in rounds."""
        self._energy = energy
        self._rounds: Rounds | None = None

    @contextmanager
    def of(self, course: Surrounding, rounds: Rounds) -> Iterator[None]:
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
        if self.course is not None and self._energy is not None:
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
        return (yield from body.around_function(pyfuncitem, course.enter, course.leave))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        course = self.course
        if course is None or not course.around_runtest:
            return (yield)
        return (yield from body.around_runtest(item, course.enter, course.leave))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        rounds = self._rounds
        if rounds is not None and not rounds.reports.logging and (not rounds.hears(report) or rounds.reports.keep(report)):
            raise quiet.NotHeard
