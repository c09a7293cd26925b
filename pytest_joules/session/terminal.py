"""Writing sentences beside what pytest writes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import pytest

from pytest_joules.report.colours import painted
from pytest_joules.report.text import encoding_of, sentence


def say(config: pytest.Config, sentences: Sequence[str]) -> None:
    """Write sentences, each from the beginning of a line and within the terminal; without one, to the standard error stream."""
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        known = encoding_of(sys.stderr)
        for text in sentences:
            print(*sentence(text, shutil.get_terminal_size().columns, known, broken=False), sep="\n", file=sys.stderr)
        return
    writer = config.get_terminal_writer()
    if sentences:
        reporter.ensure_newline()
    for text in sentences:
        for line in sentence(text, writer.fullwidth, encoding(config), broken=False):
            reporter.write_line(painted(line, writer.markup))


def encoding(config: pytest.Config) -> str:
    """Of what pytest writes to."""
    return encoding_of(config.get_terminal_writer()._file)
