"""Variants side by side: joules, ratios, joules for a unit of work, scores, and which of them others dominate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_joules.model import Record, Report, ScoreRecord, VariantRecord
from pytest_joules.report import quantity
from pytest_joules.report.quantity import median_of
from pytest_joules.report.table import Column, fits, table
from pytest_joules.report.text import escaped, sentence

#: Said of what was measured one after another: by then the machine may have drawn more for anything.
NOT_IN_TURN = "not measured in turn: what the machine did meanwhile is in the ratios"
_MISSING = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """A variant, with what was measured of it."""

    found: VariantRecord
    test: Record

    @property
    def score(self) -> ScoreRecord | None:
        name = self.found["score"]
        return self.test["score_details"].get(name) if name is not None else None


@dataclass(frozen=True, slots=True)
class Table:
    """The variants of one test, the reference first."""

    name: str
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        first = self.rows[0].found
        how = f"in turn, {max(row.found['blocks'] for row in self.rows)} blocks" if first["in_turn"] else "not in turn"
        return f"variants of {escaped(self.name)} by {first['parameter']}, {how}"

    @property
    def score(self) -> str | None:
        return next((row.found["score"] for row in self.rows if row.found["score"] is not None), None)

    @property
    def unit(self) -> str | None:
        return next((row.found["unit"] for row in self.rows if row.found["unit"] is not None), None)

    @property
    def has_front(self) -> bool:
        return any(row.found["front"] is not None for row in self.rows)

    def said(self) -> list[str]:
        """What stands below it: why there is no verdict, and what a reader must know of all of it."""
        first = self.rows[0].found
        reasons: dict[str, list[str]] = {}
        for row in self.rows:
            if row.found["verdict"] == "cannot tell" and row.found["why"]:
                reasons.setdefault(row.found["why"], []).append(escaped(row.found["variant"]))
        found = [f"{', '.join(names)}: cannot tell: {why}" for why, names in reasons.items()]
        if first["friedman"] is not None:
            p = first["friedman"]
            found.append(f"that all cost the same (Friedman over the blocks): {f'p = {p:.1g}' if p >= 0.0001 else 'p < 0.0001'}")
        return found + [escaped(text) for text in first["remarks"]]

    def columns(self) -> tuple[list[Column], list[Column]]:
        """Those of the joules, and those of the score; both begin with the variants."""
        rows = self.rows
        names = Column("variant", [escaped(row.found["variant"]) for row in rows])
        energy = [
            names,
            Column("energy", [energy_text(row) for row in rows], "right"),
            Column("ratio [95 %]", [ratio_text(row.found) for row in rows], "right"),
        ]
        if (unit := self.unit) is not None:
            energy += [
                Column(f"J/{escaped(unit)}", [unit_text(row.found) for row in rows], "right", drop=2),
                Column(f"{escaped(unit)}/s", [speed_text(row.found) for row in rows], "right", drop=1),
            ]
        energy.append(Column("verdict", [verdict_text(row.found) for row in rows]))
        if (score := self.score) is None:
            return energy, []
        scored = [
            Column(f"{escaped(score)} [95 %]", [score_text(row) for row in rows], "right"),
            Column("difference", [difference_text(row.found) for row in rows], "right"),
        ]
        if self.has_front:
            scored.append(Column("front", [front_text(row.found) for row in rows]))
        return energy, [names, *scored]


def tables(report: Report) -> list[Table]:
    """The tables of a report, in the order of its tests; the reference is each one's first row."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for test in report.tests:
        if (found := test["variants"]) is not None:
            groups.setdefault((found["group"], found["parameter"]), []).append(Row(found, test))
    for rows in groups.values():
        rows.sort(key=lambda row: row.found["variant"] != row.found["reference"])
    return [Table(name, rows) for (name, _), rows in groups.items()]


def lines(report: Report, width: int, encoding: str = "utf-8") -> list[str]:
    """All tables for a terminal, no line wider than ``width``: the score's columns stand below where they do not fit beside."""
    result: list[str] = []
    for one in tables(report):
        energy, scored = one.columns()
        result += ["", *sentence(one.title, width, encoding)]
        whole = [*energy, *scored[1:]]
        if not scored or fits(whole, width, encoding):
            result += table(whole, width, encoding)
        else:
            result += [*table(energy, width, encoding), "", *table(scored, width, encoding)]
        for text in one.said():
            result += sentence(text, width, encoding)
    return result


def energy_text(row: Row) -> str:
    value = median_of(row.test["energy"])
    if value is None:
        return _MISSING
    precision = quantity.precision(row.test["energy"])
    return f"{quantity.joules(value)} {precision}" if precision else quantity.joules(value)


def ratio_text(found: VariantRecord) -> str:
    if found["verdict"] == "reference":
        return "1"
    if found["ratio"] is None:
        return _MISSING
    interval = found["ci95"]
    bounds = f" [{', '.join(map(quantity.ratio, interval))}]" if interval is not None else ""
    return f"{quantity.ratio(found['ratio'])}{bounds}"


def verdict_text(found: VariantRecord) -> str:
    return "same" if found["verdict"] == "same within threshold" else found["verdict"]


def unit_text(found: VariantRecord) -> str:
    return quantity.joules(found["joules_per_unit"]) if found["joules_per_unit"] is not None else _MISSING


def speed_text(found: VariantRecord) -> str:
    return f"{found['units_per_second']:.3g}" if found["units_per_second"] is not None else _MISSING


def score_text(row: Row) -> str:
    if (score := row.score) is None:
        return _MISSING
    bounds = score["ci95"] or score["spread"]
    return f"{score['value']:.3g}" + (f" [{bounds[0]:.3g}, {bounds[1]:.3g}]" if bounds is not None else "")


def difference_text(found: VariantRecord) -> str:
    if found["score_difference"] is None:
        return "" if found["verdict"] == "reference" else _MISSING
    interval = found["score_ci95"]
    bounds = f" [{interval[0]:+.2g}, {interval[1]:+.2g}]" if interval is not None else ""
    return f"{found['score_difference']:+.2g}{bounds}"


def front_text(found: VariantRecord) -> str:
    if found["front"] == "dominated":
        return f"dominated by {escaped(found['dominated_by'][0])}"
    return found["front"] or _MISSING


def header_and_rows(one: Table) -> tuple[list[str], list[list[str]]]:
    """A table as texts: all columns, for pages and Markdown."""
    energy, scored = one.columns()
    columns = [*energy, *scored[1:]]
    cells = zip(*(column.cells for column in columns), strict=True)
    return [column.header for column in columns], [list(row) for row in cells]


def numbers(found: Iterable[Table]) -> Iterable[list[object]]:
    """A row a variant, as :data:`COLUMNS` says."""
    for one in found:
        for row in one.rows:
            it, energy, score = row.found, row.test["energy"], row.score
            scored = (score["value"], *_pair(score["ci95"]), score["higher_is_better"]) if score is not None else (None,) * 4
            yield [
                *(one.name, it["parameter"], it["variant"], it["reference"], it["in_turn"], it["blocks"], row.test["rounds"]),
                *(median_of(energy), *_pair(energy["ci95"] if energy is not None else None)),
                *(it["ratio"], *_pair(it["ci95"]), it["p"], it["verdict"], it["why"]),
                *(it["unit"], it["joules_per_unit"], it["units_per_second"]),
                *(it["score"], *scored, it["score_difference"], *_pair(it["score_ci95"])),
                *(it["front"], "; ".join(it["dominated_by"]), row.test["provenance"], row.test["source"]),
            ]


def _pair(interval: Sequence[float] | None) -> tuple[float | None, float | None]:
    return (interval[0], interval[1]) if interval is not None else (None, None)


#: What each column of the CSV holds, in their order.
COLUMNS = {
    "test": "the test without the parameter",
    "parameter": "whose values are the variants",
    "variant": "id of this value",
    "reference": "id of the value that it is compared with",
    "in_turn": "blocks of all variants alternated",
    "blocks": "in which it and the reference were measured",
    "rounds": "of it, over all blocks",
    "energy_j": "median joules per iteration",
    "energy_low_j": "lower end of its 95 % interval",
    "energy_high_j": "upper end",
    "ratio": "joules over those of the reference",
    "ratio_low": "lower end of its 95 % interval",
    "ratio_high": "upper end",
    "p": "of the ratio, by Holm's correction",
    "verdict": "reference, cheaper, dearer, same within threshold, cannot tell",
    "why": "what that rests on",
    "unit": "of work done",
    "joules_per_unit": "joules for one",
    "units_per_second": "how many a second",
    "score": "its name",
    "score_value": "mean over the rounds",
    "score_low": "lower end of its 95 % interval",
    "score_high": "upper end",
    "higher_is_better": "as the test declared it",
    "score_difference": "value minus that of the reference",
    "score_difference_low": "lower end of its 95 % interval",
    "score_difference_high": "upper end",
    "front": "front, dominated, cannot tell; empty: no direction",
    "dominated_by": "variants, the cheapest first",
    "provenance": "of the joules",
    "source": "of the joules",
}
