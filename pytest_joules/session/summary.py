"""What a run that measures says: its sources in the header, at the end the tables, or where those are hidden, what must be said
in lines of its own."""

from __future__ import annotations

import sys

import pytest

from pytest_joules.report import quiet_run, terminal
from pytest_joules.report.colours import painted
from pytest_joules.report.text import encodable, encoding_of
from pytest_joules.rounds.net import guarded
from pytest_joules.session.reporting import Reporting
from pytest_joules.session.terminal import encoding, say


class Summary:
    """Says it once: in pytest's summary, or where there is none (``--no-summary``, ``-p no:terminal``) after everything else."""

    def __init__(self, config: pytest.Config, reporting: Reporting, header: list[str]) -> None:
        self.config = config
        self.reporting = reporting
        self._header = header
        self._said = False

    def pytest_report_header(self) -> list[str]:
        return self._header

    @guarded
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self._said = True
        reporting = self.reporting
        if self.config.option.verbose < 0 or getattr(terminalreporter, "no_summary", False) or not reporting.ended:
            self._say_briefly()
            return
        messages = reporting.messages
        if not reporting.report.tests and not messages.troubles:
            return
        writer = self.config.get_terminal_writer()
        terminalreporter.section("energy")
        for line in terminal.lines(reporting.report, writer.fullwidth, reporting.settings.top, encoding(self.config)):
            terminalreporter.write_line(painted(line, writer.markup))
        say(self.config, [*messages.troubles, *messages.remarks])

    @guarded
    def pytest_unconfigure(self) -> None:
        if not self._said:
            self._say_briefly()
        commands, self.reporting.commands = self.reporting.commands, []
        if commands:
            # The CI system reads lines, each from its beginning.
            print("", *(encodable(command, encoding_of(sys.stdout)) for command in commands), sep="\n", flush=True)

    def _say_briefly(self) -> None:
        self._said = True
        found = quiet_run.lines(self.reporting.report) if self.reporting.ended else []
        say(self.config, [f"energy: {text}" for text in (*found, *self.reporting.messages.troubles)])
