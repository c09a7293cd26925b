"""A run as Markdown for people on a pull request: the verdict in one line, what changed with the worst first, what could not be
told and why, the rest folded. Never more than the site takes.

Names are in code spans, where nothing is a link, a mention or HTML; other texts are escaped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

from pytest_joules.files import atomic
from pytest_joules.model import Report
from pytest_joules.report import findings, head, quantity, variants
from pytest_joules.report.comparison import dotted
from pytest_joules.report.findings import Finding
from pytest_joules.report.quantity import median_of
from pytest_joules.report.text import escaped

#: Bytes: GitHub drops a step summary above 1 MiB as a whole, and refuses a comment of more than 65,536 characters.
SUMMARY, COMMENT = 1024 * 1024, 65_536
#: Reasons that are told, places and characters of a name.
_REASONS, _PLACES, _LONG = 5, 2, 200
_FACTS = ("source", "instructions", "machine", "left out", "labels")
#: Bytes kept for what stands below a table that was cut.
_REST = 4000

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Write it, in no more than a comment takes.

    Raises:
        pytest_joules.files.atomic.ReportPathError: the file cannot be written.
    """

    def writer(file: TextIO) -> None:
        file.write(text(report, COMMENT))

    atomic.atomically(path, writer)


def text(report: Report, most: int) -> str:
    """The report in at most ``most`` bytes of UTF-8; below :data:`_REST` there is the first line alone."""
    since = f" compared with {prose(head.since(report))}" if report.comparison is not None else ""
    parts = [f"**Energy: {prose(head.headline(report))}**{since}\n"]
    room = most - _size(parts) - _REST
    if room < 0:
        return "".join(parts).encode()[:most].decode("utf-8", "ignore")
    if not_compared := _not_compared(report):
        parts.append(f"\n{not_compared}\n")
    found = findings.findings(report)
    if found:
        header = ["test", "verdict", "before", "now", "ratio", "95 % interval", "changed in its path"]
        parts.append("\n" + rows(header, "llrrrll", [_row(one) for one in found], room - _size(parts)))
    parts += _undecided(report)
    for one in variants.tables(report):
        parts.append(variants_text(one, max(0, room - _size(parts))))
    told = [f"{name}: {value}" for name, value in head.facts(report) if name in _FACTS]
    parts.append("\n" + prose(". ".join(told)) + ".\n" if told else "")
    rest = most - _size(parts) - 200
    if rest > 500:
        parts.append(_all(report, rest))
    return "".join(parts)


def variants_text(table: variants.Table, most: int) -> str:
    """A table of variants, in no more than so many bytes."""
    header, cells = variants.header_and_rows(table)
    title = f"\n**{prose(table.title)}**\n\n"
    said = "".join(f"\n{prose(text)}.\n" for text in table.said())
    room = most - len((title + said).encode())
    if room < 500:
        return ""
    shown = [[code(row[0]), *map(prose, row[1:])] for row in cells]
    return title + rows([prose(name) for name in header], "l" + "r" * (len(header) - 1), shown, room) + said


def write_variants(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the tables of variants alone. Raises :class:`pytest_joules.files.atomic.ReportPathError`."""
    found = variants.tables(report)
    parts = [variants_text(one, COMMENT // len(found)) for one in found]
    atomic.atomically(path, lambda file: file.writelines(["".join(parts).lstrip("\n")]))


def code(value: str) -> str:
    """A code span that holds any text, also in a table."""
    shown = escaped(value)
    shown = shown if len(shown) <= _LONG else f"{shown[: _LONG - 1]}…"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if shown.startswith(("`", " ")) or shown.endswith(("`", " ")) or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|")


def prose(value: str) -> str:
    """A text in which nothing is Markdown, HTML, a mention or a link."""
    return _SPECIAL.sub(r"\\\1", escaped(value)).replace("@", "@\u200b").replace("://", ":\u200b//").replace("www.", "www\u200b.")


def _not_compared(report: Report) -> str:
    facts = report.comparison
    return f"Nothing was compared: {prose(facts['why'])}." if facts is not None and facts["why"] else ""


def _row(found: Finding) -> list[str]:
    places = ", ".join(code(dotted(place)) for place in found.changed[:_PLACES])
    if not places:
        places = prose("; ".join(found.where[:_PLACES]))
    numbers = [found.before_said, found.shown(found.now), quantity.ratio(found.ratio), found.interval_said]
    return [code(found.nodeid), found.said, *numbers, places]


def _undecided(report: Report) -> Iterable[str]:
    groups = findings.undecided(report)
    for group in groups[:_REASONS]:
        count = len(group.nodeids)
        which = f"{count} tests, such as {code(group.nodeids[0])}" if count > 1 else code(group.nodeids[0])
        yield f"\nCannot tell of {which}: {prose(group.why[:500])}.\n"
    if rest := sum(len(group.nodeids) for group in groups[_REASONS:]):
        yield f"\nCannot tell of {rest} more, for other reasons.\n"


def _all(report: Report, most: int) -> str:
    """Every test that has a number, folded."""
    known = [test for test in report.tests if test["instructions"] is not None or median_of(test["energy"]) is not None]
    tests = findings.dearest_first(known)
    if not tests:
        return ""
    counted, measured = (any(test[key] is not None for test in tests) for key in ("instructions", "energy"))
    header = ["test", *(["energy", "±"] if measured else []), *(["instructions"] if counted else []), "provenance", "verdict"]
    cells = []
    for test in tests:
        row = [code(test["nodeid"])]
        row += [quantity.joules(median_of(test["energy"])), quantity.precision(test["energy"])] if measured else []
        row += [quantity.instructions(findings.count_of(test))] if counted else []
        verdicts = ", ".join(dict.fromkeys(findings.all_verdicts(test)))
        cells.append([*row, test["provenance"] if test["energy"] is not None else "", verdicts])
    head_line = f"\n<details><summary>{len(tests)} tests, the dearest first</summary>\n\n"
    tail = "\n</details>\n"
    return head_line + rows(header, "l" + "r" * (len(header) - 3) + "ll", cells, most - len(head_line) - len(tail)) + tail


def rows(header: Sequence[str], align: str, cells: Sequence[Sequence[str]], most: int) -> str:
    """As many rows as fit into so many bytes, and how many are left out. Columns that say nothing are left out."""
    used = [place for place in range(len(header)) if place == 0 or any(row[place] for row in cells)]
    lines = [_line([header[place] for place in used]), _line(["---:" if align[place] == "r" else "---" for place in used])]
    room = most - sum(len(line.encode()) for line in lines) - 60
    for number, row in enumerate(cells):
        line = _line([row[place] for place in used])
        room -= len(line.encode())
        if room < 0:
            return "".join(lines) + f"\n{len(cells) - number} left out.\n"
        lines.append(line)
    return "".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _size(parts: Sequence[str]) -> int:
    return sum(len(part.encode()) for part in parts)
