"""One phase of one round, and why it did not pass."""

from __future__ import annotations

from traceback import format_exception_only
from typing import cast

import pluggy
import pytest
from _pytest.tmpdir import tmppath_result_key


class PhaseRun:
    """One phase of one round. Its report is made at once; but where only pytest's own plugins take part and nothing was
    raised, it is known to have passed, and the report is made only if it is wanted: the repeats of a test need none."""

    __slots__ = ("_hook", "_item", "_report", "call", "passed")

    def __init__(self, item: pytest.Item, call: pytest.CallInfo[object], hook: pluggy.HookRelay, *, sure: bool) -> None:
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


def cause(report: pytest.TestReport) -> str:
    """Why a report is not one of a pass, in one line."""
    if hasattr(report, "wasxfail"):
        return f"xfail: {report.wasxfail}".rstrip(": ")
    longrepr = report.longrepr
    if report.skipped and isinstance(longrepr, tuple):
        return one_line(longrepr[2])
    crash = getattr(longrepr, "reprcrash", None)
    lines = [line for line in report.longreprtext.splitlines() if line.strip()]
    return one_line(crash.message if crash is not None else lines[-1] if lines else report.outcome)


def one_line(text: object, most: int = 100) -> str:
    """The first line of ``text``, or of an exception as Python names it, cut to ``most`` characters."""
    if isinstance(text, BaseException):
        text = "".join(format_exception_only(type(text), text))
    line = next(iter(str(text).strip().splitlines()), "")
    return line if len(line) <= most else f"{line[: most - 1]}…"
