"""``joules report``: reports and the history, for a terminal, as a page, as Markdown; several side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli import locate
from pytest_joules.cli.output import refuse, say, say_lines
from pytest_joules.cli.parsing import Commands

if TYPE_CHECKING:
    from pytest_joules.model import Report
    from pytest_joules.model.past import Past

#: What stands for the history in the place of a file.
HISTORY = "history"
#: Reports side by side, at most.
MOST = 100


class Refused(Exception):
    """What cannot be read, in a sentence."""


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    report = commands.add_parser("report", help="a report again, as a page or as Markdown; several side by side")
    report.add_argument(
        "reports",
        nargs="*",
        metavar="REPORT.json",
        help="of --energy-json; several: a column each; or the word history (default): the newest of each test",
    )
    report.add_argument("--headline", action="store_true", help="print one line: how many tests have which verdict")
    report.add_argument("--html", type=Path, metavar="FILE", help="write it as a page that needs no other file")
    report.add_argument("--markdown", type=Path, metavar="FILE", help="write what changed as Markdown")
    locate.add_options(report)
    report.set_defaults(command=_report)


def _report(given: argparse.Namespace) -> int:
    from pytest_joules.files import atomic

    try:
        reports, past = read(given.reports, given)
        if given.headline and len(reports) > 1:
            raise Refused("--headline is of one report: environments side by side have no verdict")
        if len(reports) == 1:
            _show_one(reports[0], past, given)
        else:
            _show_several(reports, given)
    except (Refused, atomic.ReportPathError) as error:
        return refuse(str(error), 2)
    for path in (given.html, given.markdown):
        if path is not None:
            say(f"written: {path}")
    return 0


def read(names: Sequence[str], given: argparse.Namespace) -> tuple[list[Report], Past]:
    """The reports of these names, and the past of their tests where it is the history that is asked for.

    Raises:
        Refused: one cannot be read.
    """
    from pytest_joules.report.from_json import ReportError, load

    if not names or list(names) == [HISTORY]:
        return _history(given)
    if HISTORY in names:
        raise Refused("the history is shown by itself: joules report history")
    if len(names) > MOST:
        raise Refused(f"{len(names)} reports: no more than {MOST} are shown side by side")
    try:
        return [load(Path(name)) for name in names], {}
    except ReportError as error:
        raise Refused(str(error)) from None


def _history(given: argparse.Namespace) -> tuple[list[Report], Past]:
    from pytest_joules.files.checked import Bad
    from pytest_joules.report.from_json import report_of
    from pytest_joules.store import StoreError

    place = locate.place(given)
    if place is None:
        raise Refused(locate.NO_HISTORY)
    try:
        with locate.opened(place) as store:
            report, past = store.newest_report(), store.past()
    except StoreError as error:
        raise Refused(str(error)) from None
    if report is None:
        raise Refused(locate.NOTHING)
    try:
        return [report_of(report.as_record())], past
    except Bad as error:
        raise Refused(f"the history's newest session cannot be shown: {error}") from None


def _show_one(report: Report, past: Past, given: argparse.Namespace) -> None:
    from pytest_joules.report import head, markdown, page, terminal

    if given.html is not None:
        page.write(report, given.html, past)
    if given.markdown is not None:
        markdown.write(report, given.markdown)
    if given.headline:
        say(head.headline(report))
    elif given.html is None and given.markdown is None:
        say("\n".join(f"{name}: {value}" for name, value in head.facts(report)))
        say_lines(lambda width, encoding: terminal.lines(report, width, None, encoding))


def _show_several(reports: Sequence[Report], given: argparse.Namespace) -> None:
    from pytest_joules.report import environments

    found = environments.environments(reports)
    if given.html is not None:
        environments.write_page(found, given.html)
    if given.markdown is not None:
        environments.write_markdown(found, given.markdown)
    if given.html is None and given.markdown is None:
        say_lines(lambda width, encoding: environments.lines(found, width, encoding))
