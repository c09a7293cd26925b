"""What a run says when it is over: the tables, or where those are hidden, what must be said in lines of its own."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_joules.report import brief, terminal
from pytest_joules.report.paint import painted
from pytest_joules.report.text import sentence
from pytest_joules.rounds.net import guarded

if TYPE_CHECKING:
    from pytest_joules.session.reporting import Reporting


class Closing:
    """Says it once: in pytest's summary, or where there is none (``--no-summary``, ``-p no:terminal``) after everything else."""

    def __init__(self, config: pytest.Config, reporting: Reporting) -> None:
        self.config = config
        self.reporting = reporting
        self._said = False

    @guarded
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - pytest's private type
        self._said = True
        reporting = self.reporting
        if self.config.option.verbose < 0 or getattr(terminalreporter, "no_summary", False) or not reporting.ended:
            self._say_briefly(terminalreporter)
            return
        if not reporting.report.tests and not reporting.troubles:
            return
        writer = self.config.get_terminal_writer()
        terminalreporter.section("energy")
        for line in terminal.lines(reporting.report, writer.fullwidth, reporting.settings.top, _encoding(writer)):
            terminalreporter.write_line(painted(line, writer.markup))
        self._write(terminalreporter, [*reporting.troubles, *reporting.messages])

    @guarded
    def pytest_unconfigure(self) -> None:
        if not self._said:
            self._say_briefly(self.config.pluginmanager.get_plugin("terminalreporter"))

    def _say_briefly(self, terminalreporter: Any) -> None:  # noqa: ANN401 - pytest's private type, or nothing
        self._said = True
        found = (
            [*brief.lines(self.reporting.report), *self.reporting.troubles] if self.reporting.ended else self.reporting.troubles
        )
        self._write(terminalreporter, [f"energy: {message}" for message in found])

    def _write(self, terminalreporter: Any, messages: list[str]) -> None:  # noqa: ANN401 - pytest's private type, or nothing
        if terminalreporter is None:
            encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
            for message in messages:
                print(*sentence(message, shutil.get_terminal_size().columns, encoding, broken=False), sep="\n", file=sys.stderr)
            return
        writer = self.config.get_terminal_writer()
        if messages:
            terminalreporter.ensure_newline()
        for message in messages:
            for line in sentence(message, writer.fullwidth, _encoding(writer), broken=False):
                terminalreporter.write_line(painted(line, writer.markup))


def _encoding(writer: Any) -> str:  # noqa: ANN401 - pytest's terminal writer
    return getattr(writer._file, "encoding", None) or "utf-8"
