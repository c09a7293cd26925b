"""The reports of one test that runs in rounds: logged at once, held back, or told to nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from _pytest.runner import check_interactive_exception

from pytest_joules.rounds.phase import PhaseRun


class Reports:
    """``decide`` is given the call report before it is logged and may change it. Where it returns true, this report and the last
    teardown's are held back until :meth:`release`; with ``hold``, all are, whatever it returns. ``down`` is given the last
    teardown's report before it is logged."""

    def __init__(self, item: pytest.Item, *, silent: bool, hold: bool = False) -> None:
        self.logging = False
        """The reports that pass now are ours."""
        self._item = item
        self._hook = item.ihook
        self._silent = silent
        self._hold = hold
        self._earlier: list[PhaseRun | pytest.TestReport] = []
        """What is held back besides, in its order."""
        self._held: list[PhaseRun] = []
        self._decide: Callable[[pytest.TestReport], bool] = lambda report: False
        self._down: Callable[[pytest.TestReport], None] | None = None

    def ask(self, decide: Callable[[pytest.TestReport], bool], down: Callable[[pytest.TestReport], None] | None) -> None:
        """From now on."""
        self._decide, self._down = decide, down

    @property
    def passed(self) -> bool:
        """Of reports that are held back: whether the last teardown passed too."""
        return all(phase.passed for phase in self._held)

    def add_properties(self, properties: Sequence[tuple[str, object]]) -> None:
        """To the reports that are held back: of one of them JUnit's file takes its own."""
        for phase in self._held:
            phase.report.user_properties.extend(properties)

    def verdict(self, call: PhaseRun) -> None:
        """The call that stands for the test."""
        if self._decide(call.report):
            self._held.append(call)
        else:
            self.log(call)

    def end(self, teardown: PhaseRun) -> None:
        """The last teardown."""
        if self._down is not None:
            self._down(teardown.report)
        if self._held:
            assert teardown.report  # made now, while the item has what it tells
            self._held.append(teardown)
        else:
            self.log(teardown)

    def release(self) -> None:
        """Log the reports that were held back."""
        held = [*self._earlier, *self._held]
        self._hold, self._earlier, self._held = False, [], []
        self.log(*held)

    def keep(self, report: pytest.TestReport) -> bool:
        """Hold a report that the test logs itself back too; whether that was done."""
        if self._hold:
            self._earlier.append(report)
        return self._hold

    def log(self, *phases: PhaseRun | pytest.TestReport) -> None:
        for phase in phases if not self._silent else ():
            report = phase.report if isinstance(phase, PhaseRun) else phase
            if self._hold:
                self._earlier.append(phase)
                continue
            self.logging = True
            try:
                self._hook.pytest_runtest_logreport(report=report)
            finally:
                self.logging = False
            if isinstance(phase, PhaseRun) and check_interactive_exception(phase.call, report):
                self._hook.pytest_exception_interact(node=self._item, call=phase.call, report=report)
