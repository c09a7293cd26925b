"""A run as one HTML page that needs no other file: a table, what changed, and every test with its samples and its past.

Readable without JavaScript, which only sorts and filters. Nothing is fetched: the page's own policy forbids it.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from pytest_joules import __version__
from pytest_joules.files import atomic
from pytest_joules.model import AccountRecord, Record, Report
from pytest_joules.model.past import Past, Series
from pytest_joules.report import (
    account,
    account_section,
    findings,
    head,
    pictures,
    prediction,
    quantity,
    terminal,
    variants,
    variants_picture,
)
from pytest_joules.report.comparison import dotted
from pytest_joules.report.pictures import Mark
from pytest_joules.report.quantity import median_of
from pytest_joules.report.text import escaped

if TYPE_CHECKING:
    from jinja2 import Template

#: Tests that have a section of their own: those that something was found of, and the dearest.
_SECTIONS = 1000


class Cell(NamedTuple):
    text: str
    value: float | None = None
    """What it is sorted by; ``None``: by its text."""


@dataclass(frozen=True, slots=True)
class Row:
    """A test in the table."""

    name: str
    section: str
    """Its id; empty where it has none."""
    cells: Sequence[Cell]
    verdict: str
    """The worst."""


@dataclass(slots=True)
class Section:
    """All there is to say of a test."""

    id: str
    name: str
    said: list[str] = field(default_factory=list)
    figures: list[tuple[str, list[str]]] = field(default_factory=list)
    """SVG, and what it shows."""
    tables: list[tuple[str, Sequence[str], list[Sequence[str]]]] = field(default_factory=list)
    """Caption, header, rows."""


class Change(NamedTuple):
    """A finding in the table of what changed."""

    name: str
    section: str
    kind: str
    before: str
    now: str
    ratio: str
    interval: str
    where: str


def write(report: Report, path: str | os.PathLike[str], past: Past) -> None:
    """Write the page.

    Raises:
        pytest_joules.files.atomic.ReportPathError: the file cannot be written.
    """
    atomic.atomically(path, lambda file: file.writelines(_template().generate(contents(report, past))))


def write_table(
    path: str | os.PathLike[str], title: str, facts: Sequence[tuple[str, str]], columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Write a page that has a table alone. Raises :class:`pytest_joules.files.atomic.ReportPathError`."""
    shown = {**_frame(title), "facts": facts, "columns": columns, "rows": rows, "verdicts": _verdicts(rows)}
    atomic.atomically(path, lambda file: file.writelines(_template().generate(shown)))


def write_accounts(accounts: Mapping[str, AccountRecord], path: str | os.PathLike[str], rows: int) -> None:
    """Write a page of accounts alone, by their names, ``rows`` parts in each table at most (0: all).

    Raises:
        pytest_joules.files.atomic.ReportPathError: the file cannot be written.
    """
    sections = []
    for number, (name, record) in enumerate(accounts.items(), 1):
        found = account_section.section(record, rows)
        sections.append(Section(f"t{number}", escaped(name), found.said, found.figures, found.tables))
    name, record = next(iter(accounts.items()))
    title = f"{escaped(name)}, {account.title(record)}" if len(accounts) == 1 else f"where it goes in {len(accounts)} tests"
    shown = {**_frame(title), "listed": False, "heading": "Where the joules go", "facts": [], "sections": sections}
    atomic.atomically(path, lambda file: file.writelines(_template().generate(shown)))


def contents(report: Report, past: Past) -> dict[str, object]:
    """What the template shows, by its names."""
    tests = findings.dearest_first(report.tests)
    found = findings.findings(report)
    chosen = dict.fromkeys(one.nodeid for one in found)
    chosen |= dict.fromkeys(test["nodeid"] for test in tests)
    sections = {nodeid: f"t{number}" for number, nodeid in enumerate(list(chosen)[:_SECTIONS], 1)}
    noted = _noted(tests)
    columns, rows = _table(tests, noted, sections)
    return {
        **_frame(head.headline(report)),
        "since": head.since(report),
        "totals": head.totals(report),
        "facts": [(name, escaped(value)) for name, value in head.facts(report) if name != "compared with"],  # said above them
        "changes": [_change(one, sections) for one in found],
        "undecided": [(escaped(one.why), [escaped(name) for name in one.nodeids]) for one in findings.undecided(report)],
        "columns": columns,
        "rows": rows,
        "verdicts": _verdicts(rows),
        "sections": [_section(test, sections[test["nodeid"]], past) for test in tests if test["nodeid"] in sections],
        "variants": [_variants(one) for one in variants.tables(report)],
        "left_out": max(0, len(tests) - _SECTIONS),
        "legend": _legend(report, {word for words in noted for word in words}),
    }


def _frame(title: str) -> dict[str, object]:
    """What every page has; parts that it may have are empty."""
    style, script = _asset("page.css"), _asset("page.js")
    empty: dict[str, object] = dict.fromkeys(("since", "totals"), "")
    return {
        **empty,
        **{name: [] for name in ("changes", "undecided", "variants", "sections", "legend")},
        "left_out": 0,
        "listed": True,
        "heading": "Test by test",
        "title": title,
        "version": __version__,
        "style": style,
        "script": script,
        "policy": f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
    }


def _verdicts(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.verdict for row in rows if row.verdict))


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html")


def _asset(name: str) -> str:
    try:
        return files("pytest_joules.report").joinpath("templates", name).read_text("utf-8")
    except OSError as error:
        why = f"{name} of this package cannot be read ({error.strerror})"
        raise atomic.ReportPathError(f"cannot write the page: {why}. Install pytest-joules again.") from None


def _hash(text: str) -> str:
    """As a content security policy names an inline text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _noted(tests: Sequence[Record]) -> list[list[str]]:
    """What the terminal notes of each test, without verdicts, which have a column of their own."""
    every_estimated = all(test["provenance"] == "estimated" for test in tests if test["energy"] is not None)
    return [[word for word in terminal.notes(test, every_estimated) if word not in findings.ORDER] for test in tests]


def _table(tests: Sequence[Record], noted: Sequence[Sequence[str]], sections: Mapping[str, str]) -> tuple[list[str], list[Row]]:
    """Columns as in the terminal; those that no test has anything in are left out."""
    names = ["energy", "±", "net", "power", "time", "rounds", "instructions", "verdict", "note"]
    rows = []
    for test, words in zip(tests, noted, strict=True):
        share = quantity.relative_half_width(test["energy"])
        count = findings.count_of(test)
        energy, power, time = median_of(test["energy"]), median_of(test["power"]), median_of(test["duration"])
        verdicts = sorted(set(findings.all_verdicts(test)), key=findings.ORDER.index)
        note = ", ".join(words) or ("" if energy is not None or count is not None else _why(test))
        cells = [
            Cell(_shown(quantity.joules, energy), energy),
            Cell(quantity.precision(test["energy"]), share),
            Cell(_shown(quantity.joules, test["net_energy"]), test["net_energy"]),
            Cell(_shown(quantity.watts, power), power),
            Cell(_shown(quantity.seconds, time), time),
            Cell(str(test["rounds"] or ""), test["rounds"] or None),
            Cell(_shown(quantity.instructions, count), count),
            Cell(", ".join(verdicts)),
            Cell(note),
        ]
        rows.append(Row(escaped(test["nodeid"]), sections.get(test["nodeid"], ""), cells, verdicts[0] if verdicts else ""))
    used = [place for place in range(len(names)) if any(row.cells[place].text for row in rows)]
    kept = [Row(row.name, row.section, [row.cells[place] for place in used], row.verdict) for row in rows]
    return [names[place] for place in used], kept


def _shown(show: Callable[[float | None], str], value: float | None) -> str:
    return show(value) if value is not None else ""


def _why(test: Record) -> str:
    """Why a test has no number."""
    return escaped(test["notes"][0]) if test["notes"] else test["outcome"] or ""


def _change(found: findings.Finding, sections: Mapping[str, str]) -> Change:
    where = ", ".join(dotted(place) for place in found.changed[:3]) or "; ".join(found.where[:3])
    return Change(
        escaped(found.nodeid),
        sections.get(found.nodeid, ""),
        found.said,
        found.before_said,
        found.shown(found.now),
        quantity.ratio(found.ratio),
        found.interval_said,
        escaped(where),
    )


def _section(test: Record, identity: str, past: Past) -> Section:
    section = Section(identity, escaped(test["nodeid"]))
    section.said += _said(test)
    energy, samples = test["energy"], [value for sample in test["samples"] if (value := sample["energy"]) is not None]
    compared, budget = test["comparison"], test["budget"]
    if energy is not None and samples:
        marks = []
        if compared is not None and compared["before"] is not None:
            marks.append(Mark(escaped(compared["baseline"] or "before"), compared["before"]))
        # A budget far away would leave no room for the samples: it is said in words.
        if budget is not None and budget["joules"] < 4 * max(samples):
            marks.append(Mark("budget", budget["joules"]))
        picture = pictures.strip(samples, energy["median"], energy["ci95"], marks)
        words = pictures.strip_text(samples, energy["median"], energy["ci95"], marks, quantity.joules)
        section.figures.append((picture, [words]))
    for unit in ("J", "instr"):
        series: list[Series] = [one for one in past.get(test["nodeid"], ()) if one.unit == unit and one.levels]
        if any(len(one.levels) > 1 for one in series):
            section.figures.append((pictures.line(series), [escaped(text) for text in pictures.line_text(series)]))
    section.tables += _tables(test)
    if (account_record := test["account"]) is not None:
        found = account_section.section(account_record)
        section.said += found.said
        section.figures += found.figures
        section.tables += found.tables
    return section


def _variants(table: variants.Table) -> tuple[str, list[str], list[list[str]], str, str, list[str]]:
    """Title, header, rows, picture, what it shows, and what there is to say."""
    header, rows = variants.header_and_rows(table)
    picture = variants_picture.picture(table)
    return table.title, header, rows, picture, variants_picture.words(table) if picture else "", table.said()


def _said(test: Record) -> list[str]:
    """Verdicts with what they rest on, predictions against what came, notes."""
    said = [found.sentence() for found in findings.of_test(test)]
    said += [f"cannot tell: {why}" for why in findings.reasons(test)]
    budget, counted, foretold = test["budget"], test["instructions"], test["prediction"]
    if budget is not None and budget["verdict"] == "ok":
        said.append(f"within its budget of {quantity.joules(budget['joules'])}")
    if counted is not None:
        spread = "" if counted["spread"] is None else f", which differ by {100 * counted['spread']:.2g} %"
        rounds = f"{len(counted['counts'])} rounds{spread}"
        said.append(f"{quantity.instructions(counted['count'])}, counted by {counted['counter']} in {rounds}")
        said += [f"not all of its work: {', '.join(counted['doubts'])}"] if counted["doubts"] else []
        compared = counted["comparison"]
        said += compared["where"] if compared is not None else []
    if foretold is not None and foretold["joules"] is not None:
        came = f"; measured {quantity.joules(foretold['measured'])}" if foretold["measured"] is not None else ""
        outcome = f": {foretold['outcome']}" if foretold["outcome"] else ""
        said.append(f"predicted: {prediction.headline(foretold)}{came}{outcome}")
    phases = (("setup", test["phases"]["setup"]), ("teardown", test["phases"]["teardown"]))
    around = [f"{name} {quantity.joules(value)}" for name, value in phases if value]
    said += [f"beside its body: {', '.join(around)}"] if around else []
    return [escaped(text) for text in (*said, *test["notes"])]


def _tables(test: Record) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
    found: list[tuple[str, Sequence[str], list[Sequence[str]]]] = []
    if len(test["domains"]) > 1:
        rows: list[Sequence[str]] = [
            (escaped(name), quantity.joules(median_of(summary))) for name, summary in test["domains"].items()
        ]
        found.append(("domains", ("domain", "energy"), rows))
    if test["regions"]:
        rows = [
            (escaped(name), quantity.joules(median_of(region["energy"])), quantity.seconds(median_of(region["duration"])))
            for name, region in test["regions"].items()
        ]
        found.append(("regions", ("region", "energy", "time"), rows))
    if test["work"]:
        rows = [
            (
                escaped(name),
                f"{work['amount']:g}" if work["amount"] is not None else "",
                quantity.joules(work["joules_per_unit"]),
            )
            for name, work in test["work"].items()
        ]
        found.append(("work", ("unit of work", "amount", "energy a unit"), rows))
    if test["scores"]:
        rows = [(escaped(name), f"{score:g}" if score is not None else "") for name, score in test["scores"].items()]
        found.append(("scores", ("score", "value"), rows))
    return found


def _legend(report: Report, occurring: Collection[str]) -> list[tuple[str, str]]:
    """The words of the column of notes that occur."""
    baseline = escaped(report.comparison["baseline"]) if report.comparison is not None else "before"
    return [(word, text.format(baseline=baseline)) for _, word, text in terminal.NOTES if word in occurring]
