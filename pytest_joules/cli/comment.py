"""``joules comment``: the text of a comment on a pull request that is written over from run to run, and which comment that is.

No token and no network here: who calls it asks the site (``gh api``), and hands on what that says.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_joules.cli.output import refuse
from pytest_joules.cli.parsing import Commands

_MARKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Characters of the comments that are read.
_MOST = 64 * 2**20


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    comment = commands.add_parser("comment", help="the text of a comment on a pull request, and which one it replaces")
    comment.add_argument("report", nargs="?", type=Path, metavar="REPORT.json", help="of --energy-json")
    comment.add_argument(
        "--marker", type=_marker, default="energy", metavar="NAME", help="which comment it is (default %(default)s)"
    )
    comment.add_argument(
        "--find", metavar="FILE", help="print the id of the comment with this marker in what gh api lists (-: the standard input)"
    )
    comment.add_argument("--author", metavar="LOGIN", help="with --find: whose it must be, such as 'github-actions[bot]'")
    comment.set_defaults(command=_comment)


def _marker(text: str) -> str:
    if not _MARKER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a marker: write letters, digits, '.', '_' and '-'")
    return text


def _comment(given: argparse.Namespace) -> int:
    if (given.report is None) == (given.find is None):
        return refuse("name a REPORT.json, whose comment is printed, or --find=FILE with the comments that there are", 2)
    head = f"<!-- pytest-joules: {given.marker} -->\n"
    if given.find is not None:
        return _find(given.find, head.strip(), given.author)
    from pytest_joules.report import markdown
    from pytest_joules.report.from_json import ReportError, load

    try:
        report = load(given.report)
    except ReportError as error:
        return refuse(str(error), 2)
    # Whatever the terminal's encoding is: the site takes UTF-8.
    sys.stdout.buffer.write((head + markdown.text(report, markdown.COMMENT - len(head))).encode("utf-8", "backslashreplace"))
    return 0


def _find(name: str, head: str, author: str | None) -> int:
    try:
        text = sys.stdin.read(_MOST) if name == "-" else Path(name).read_text("utf-8")
        comments = list(_comments(text))
    except OSError as error:
        return refuse(f"{name}: {error.strerror or error}", 2)
    except ValueError:
        return refuse(f"{name} is not what gh api lists: a JSON list of comments, each with id and body", 2)
    for comment in comments:
        user, body = comment.get("user"), comment.get("body")
        login = user.get("login") if isinstance(user, dict) else None
        # At its beginning: whoever quotes one does not become one.
        if isinstance(body, str) and body.startswith(head) and isinstance(comment.get("id"), int) and author in (None, login):
            print(comment["id"])
            return 0
    return refuse(f"no comment with this marker among {len(comments)}")


def _comments(text: str) -> Iterator[dict[str, object]]:
    """Of one list or several: ``gh api --paginate`` writes one behind the other. Raises ``ValueError``."""
    decoder, place = json.JSONDecoder(), 0
    text = text.strip()
    while place < len(text):
        found, place = decoder.raw_decode(text, place)
        while place < len(text) and text[place].isspace():
            place += 1
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise ValueError("not a list of objects")
        yield from found
