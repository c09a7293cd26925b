"""A passed test becomes a failed one for its joules: over its budget, regressed, or expected to cost more."""

from __future__ import annotations

import os
import textwrap

import pytest

from pytest_joules.report.text import display_width

#: What a test is called whose joules made it fail, by what they breach.
WORDS = {"budget": "OVER BUDGET", "regression": "REGRESSED", "predicted": "PREDICTED"}


class _BreachError(Exception):
    pass


def fail(report: pytest.TestReport, kind: str, *, text: str, numbers: str, because: str, section: tuple[str, str]) -> None:
    """Make a passed call report that of a failure.

    Args:
        kind: of :data:`WORDS`
        text: what stands in the section of failures
        numbers: first in pytest's short summary and in JUnit
        because: what follows them there
        section: title and text of a section of its own
    """
    report.outcome = "failed"
    # As of an exception: only then do all versions of pytest have the summary, and xdist carries it.
    try:
        raise _BreachError("\n".join(_wrapped(text)))
    except _BreachError as error:
        shown = pytest.ExceptionInfo.from_exception(error).getrepr(style="value")
    if shown.reprcrash is not None:
        path, line, _ = report.location
        shown.reprcrash.path, shown.reprcrash.lineno, shown.reprcrash.message = path, (line or 0) + 1, f"{numbers}: {because}"
    report.longrepr = shown
    title, lines = section
    report.sections.append((title, "\n".join(wrapped for line in lines.splitlines() for wrapped in _wrapped(line, " " * 10))))
    report.joules_breach = kind  # type: ignore[attr-defined]  # a report takes attributes and xdist carries them
    report.joules_numbers = numbers  # type: ignore[attr-defined]


def status(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """What ``pytest_report_teststatus`` says of such a report; ``None`` of any other.

    The numbers follow the node id in pytest's short summary, if they fit; else they stand before it.
    """
    word = WORDS.get(getattr(report, "joules_breach", ""))
    if word is None or report.when != "call":
        return None
    numbers = getattr(report, "joules_numbers", "")
    line = f"{word} {report.nodeid} - {numbers}..."
    writer = config.get_terminal_writer()
    # Where pytest cuts nothing off: it counts no columns of a line in colours.
    uncut = writer.hasmarkup or config.option.verbose >= 2 or os.environ.get("CI") or os.environ.get("BUILD_NUMBER")
    if numbers and not uncut and display_width(line) > writer.fullwidth:
        word = f"{word} {numbers}"
    return "failed", "J", (word, {"red": True})


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 80, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
