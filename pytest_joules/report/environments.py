"""Reports of several environments side by side: a test a row, an environment a column. No verdicts: an environment is no change,
so what is not alike *differs*."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from pytest_joules.files import atomic
from pytest_joules.model import Record, Report
from pytest_joules.report import findings, head, markdown, page, quantity
from pytest_joules.report.page import Cell, Row
from pytest_joules.report.quantity import median_of
from pytest_joules.report.table import Column, table
from pytest_joules.report.text import escaped, last_part, printable, sentence, shorten_nodeid

#: The smallest difference that is called one, relative.
_LEAST = 0.05


class Environment(NamedTuple):
    name: str
    """Made of what is not the same in all of them."""
    report: Report


class Difference(NamedTuple):
    ratio: float | None
    """The dearest over the cheapest."""
    word: str
    why: str = ""
    """It is not comparable."""

    @property
    def said(self) -> str:
        return f"{self.word}: {self.why}" if self.why else self.word


@dataclass(frozen=True, slots=True)
class Side:
    """One test in all environments."""

    nodeid: str
    records: Sequence[Record | None]
    difference: Difference
    counted: bool
    """Its instructions are compared, as it has no joules anywhere."""

    def shown(self, record: Record | None) -> str:
        value = self.value(record)
        if value is None:
            return quantity.UNAVAILABLE if record is not None else ""
        return quantity.instructions(value) if self.counted else quantity.joules(value)

    def value(self, record: Record | None) -> float | None:
        return _value(record, counted=self.counted)


def _value(record: Record | None, *, counted: bool) -> float | None:
    if record is None:
        return None
    if not counted:
        return median_of(record["energy"])
    return findings.count_of(record)


def environments(reports: Sequence[Report]) -> list[Environment]:
    """The reports with names: their Python, machine, commit and labels, as far as these differ."""
    facts = [_facts(report) for report in reports]
    keys = [key for key in dict.fromkeys(key for one in facts for key in one) if len({one.get(key) for one in facts}) > 1]
    names = [", ".join(one[key] for key in keys if key in one) or "same" for one in facts]
    seen: dict[str, int] = {}
    found = []
    for name, report in zip(names, reports, strict=True):
        seen[name] = number = seen.get(name, 0) + 1
        found.append(Environment(escaped(name if names.count(name) == 1 else f"{name} #{number}"), report))
    return found


def _facts(report: Report) -> dict[str, str]:
    machine, commit = report.machine, report.commit
    said = {
        "python": machine["python"],
        "os": machine["os"],
        "machine": machine["id"][:8] if machine["id"] else None,
        "commit": commit["id"][:8] if commit is not None and commit["id"] else None,
        **{f"label {key}": f"{key}={value}" for key, value in report.settings.get("labels", {}).items()},
    }
    return {key: value for key, value in said.items() if value}


def sides(found: Sequence[Environment]) -> list[Side]:
    """Every test of any environment, those that differ most first."""
    by_test: list[Mapping[str, Record]] = [{test["nodeid"]: test for test in one.report.tests} for one in found]
    result = []
    for nodeid in dict.fromkeys(nodeid for tests in by_test for nodeid in tests):
        records = [tests.get(nodeid) for tests in by_test]
        counted = all(_value(record, counted=False) is None for record in records)
        result.append(Side(nodeid, records, _difference(found, records, counted=counted), counted))
    return sorted(result, key=lambda side: (-(side.difference.ratio or 0.0), side.nodeid))


def _difference(found: Sequence[Environment], records: Sequence[Record | None], *, counted: bool) -> Difference:
    values = [
        (value, record, one.report)
        for one, record in zip(found, records, strict=True)
        if record is not None and (value := _value(record, counted=counted)) is not None
    ]
    if len(values) < 2:
        return Difference(None, "in one only" if values else "")
    low, high = min(values, key=lambda one: one[0]), max(values, key=lambda one: one[0])
    ratio = high[0] / low[0] if low[0] > 0 else None
    machines = {report.machine["id"] for _, _, report in values}
    if not counted and len(machines) > 1 and any(record["provenance"] == "estimated" for _, record, _ in values):
        return Difference(ratio, "not comparable", "estimates of several machines")
    if not counted and len({record["source"] for _, record, _ in values}) > 1:
        return Difference(ratio, "not comparable", "other sources")
    ends = [record["energy"]["ci95"] if record["energy"] is not None else None for _, record, _ in (low, high)]
    if not counted and (ends[0] is None or ends[1] is None):
        return Difference(ratio, "no interval")
    apart = counted or (ends[0] is not None and ends[1] is not None and ends[0][1] < ends[1][0])
    return Difference(ratio, "differs" if apart and ratio is not None and ratio > 1 + _LEAST else "alike")


def lines(found: Sequence[Environment], width: int, encoding: str) -> list[str]:
    """For a terminal, no line wider than ``width``."""
    known = sides(found)
    columns = [Column("test", [side.nodeid for side in known], shorten=shorten_nodeid, least=last_part)]
    for place, one in enumerate(found):
        shown = [side.shown(side.records[place]) for side in known]
        columns.append(Column(one.name, shown, "right", drop=len(found) - place))
    columns.append(Column("most/least", [_ratio(side) for side in known], "right"))
    columns.append(Column("", [side.difference.word for side in known]))
    grid = table(columns, width, encoding)
    said = [f"not comparable: {count} {why}" for why, count in Counter(side.difference.why for side in known).items() if why]
    if hidden := [one.name for one in found if printable(one.name, encoding) not in grid[0]]:
        said.append(f"not shown for want of room: {'; '.join(hidden)}: --html=FILE has all")
    return [*grid, *(line for text in (*said, summary(known)) for line in sentence(text, width, encoding))]


def summary(known: Sequence[Side]) -> str:
    """How many differ."""
    differ = sum(side.difference.word == "differs" for side in known)
    return (
        f"{differ} of {len(known)} differ by more than {100 * _LEAST:.0f} % beyond their intervals; "
        "that is no verdict: environments differ by what they are"
    )


def _ratio(side: Side) -> str:
    return quantity.ratio(side.difference.ratio) if side.difference.ratio is not None else ""


def write_markdown(found: Sequence[Environment], path: str | os.PathLike[str]) -> None:
    """As a table. Raises :class:`pytest_joules.files.atomic.ReportPathError`."""

    def writer(file: TextIO) -> None:
        known = sides(found)
        file.write(f"**Energy: {markdown.prose(summary(known))}**\n\n")
        header = ["test", *(markdown.prose(one.name) for one in found), "most/least", " "]
        rows = [
            [markdown.code(side.nodeid), *map(side.shown, side.records), _ratio(side), side.difference.said] for side in known
        ]
        file.write(markdown.rows(header, "l" + "r" * (len(found) + 1) + "l", rows, markdown.COMMENT - 2000))

    atomic.atomically(path, writer)


def write_page(found: Sequence[Environment], path: str | os.PathLike[str]) -> None:
    """As a page. Raises :class:`pytest_joules.files.atomic.ReportPathError`."""
    known = sides(found)
    rows = []
    for side in known:
        cells = [Cell(side.shown(record), side.value(record)) for record in side.records]
        cells += [Cell(_ratio(side), side.difference.ratio), Cell(side.difference.said)]
        rows.append(Row(escaped(side.nodeid), "", cells, side.difference.word))
    columns = [*(one.name for one in found), "most/least", "note"]
    page.write_table(path, summary(known), list(_about(found)), columns, rows)


def _about(found: Sequence[Environment]) -> Iterator[tuple[str, str]]:
    names = ("machine", "Python", "source", "instructions", "commit")
    for one in found:
        said = dict(head.facts(one.report))
        yield one.name, escaped("; ".join(said[name] for name in names if name in said))
