"""What a run found that somebody must look at: tests over their budget, dearer or cheaper than before, and of whom nothing can be
told. The same list for a page, for a pull request and for a CI system."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pytest_joules.model import BudgetRecord, ComparisonRecord, CountBudgetRecord, CountComparisonRecord, Record, Report
from pytest_joules.report import quantity
from pytest_joules.report.comparison import dotted
from pytest_joules.report.quantity import median_of
from pytest_joules.report.text import escaped

Kind = Literal["over budget", "regressed", "predicted", "improved"]

#: What is dearer than it may be or was, the worst kind first.
DEARER: tuple[Kind, ...] = ("over budget", "regressed", "predicted")

#: All words of verdicts, those first that somebody must look at.
ORDER = (*DEARER, "improved", "cannot tell", "same instructions", "ok")

_FIGURES = re.compile(r"<?[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Finding:
    """One test, in one measure."""

    nodeid: str
    kind: Kind
    unit: Literal["J", "instr"]
    before: float | None
    """In that unit; of a test over its budget, the budget."""
    now: float | None
    """In that unit; of a prediction, what is expected."""
    interval: tuple[float, float] | None
    """95 % interval of the ratio (80 % of a prediction's)."""
    changed: Sequence[str]
    """Places (``path::qualname``) that are changed and can be the cause, the likeliest first."""
    where: Sequence[str]
    """What has more to do, in words."""
    fails: bool
    """It failed its test."""
    asked: float | None = None
    """The ratio that was judged, where that is not ``now`` over ``before``."""

    @property
    def ratio(self) -> float | None:
        if self.asked is not None:
            return self.asked
        return self.now / self.before if self.now is not None and self.before else None

    def shown(self, value: float | None) -> str:
        return quantity.joules(value) if self.unit == "J" else quantity.instructions(value)

    @property
    def said(self) -> str:
        """Its kind, and where that is dearer and fails no test, that too."""
        return self.kind if self.fails or self.kind not in DEARER else f"{self.kind}, fails nobody"

    @property
    def before_said(self) -> str:
        return self.shown(self.before) + (" (budget)" if self.kind == "over budget" else "")

    @property
    def interval_said(self) -> str:
        """Empty where there is none."""
        return f"{quantity.ratio(self.interval[0])} to {quantity.ratio(self.interval[1])}" if self.interval is not None else ""

    def sentence(self) -> str:
        """Both numbers, and what changed; without the test's name."""
        unit = "" if self.unit == "J" else " in instructions"
        limit = "its budget of " if self.kind == "over budget" else ""
        said = f"{self.kind}{unit}: {self.shown(self.now)}, {limit or 'before '}{self.shown(self.before)}"
        said += f" ({self.interval_said} times)" if self.interval is not None else ""
        places = [dotted(place) for place in self.changed[:3]] or list(self.where[:3])
        return escaped(said + (f"; changed in its path: {', '.join(places)}" if places else ""))


class Place(NamedTuple):
    """Where a finding is shown."""

    path: str
    """From the root of the repository, with slashes."""
    line: int
    """From 1."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """Tests of which nothing can be told, for one reason."""

    why: str
    nodeids: Sequence[str]


def findings(report: Report) -> list[Finding]:
    """What was found, the worst first: by kind, then by ratio."""
    found = [finding for record in report.tests for finding in of_test(record)]
    return sorted(found, key=lambda one: (ORDER.index(one.kind), -abs((one.ratio or 1.0) - 1), one.nodeid))


def of_test(record: Record) -> Iterator[Finding]:
    nodeid, failed = record["nodeid"], record["outcome"] == "failed"
    now = median_of(record["energy"])
    if (budget := record["budget"]) is not None and budget["verdict"] == "over budget":
        yield Finding(nodeid, "over budget", "J", budget["joules"], now, None, (), (), failed)
    compared = record["comparison"]
    if compared is not None and (kind := _kind(compared["verdict"])) is not None:
        interval = (compared["ci95"][0], compared["ci95"][1]) if compared["ci95"] else None
        changed = compared["changed"]
        yield Finding(
            nodeid, kind, "J", compared["before"], compared["now"], interval, changed, (), failed, asked=compared["ratio"]
        )
    foretold = record["prediction"]
    if foretold is not None and foretold["flagged"] and foretold["failed"]:
        last, expected = foretold["last"], foretold["interval"]
        ends = (expected[0] / last, expected[1] / last) if expected and last else None
        yield Finding(nodeid, "predicted", "J", last, foretold["joules"], ends, (), foretold["because"], failed)
    counted = record["instructions"]
    if counted is None:
        return
    if (limit := counted["budget"]) is not None and limit["verdict"] == "over budget":
        yield Finding(nodeid, "over budget", "instr", limit["instructions"], counted["count"], None, (), (), failed)
    counts = counted["comparison"]
    if counts is not None and (kind := _kind(counts["verdict"])) is not None:
        before, after = counts["before"], counts["now"]
        changed, where = counts["changed"], counts["where"]
        yield Finding(nodeid, kind, "instr", before, after, None, changed, where, failed, asked=counts["ratio"])


def _kind(verdict: str) -> Kind | None:
    return "regressed" if verdict == "regressed" else "improved" if verdict == "improved" else None


def undecided(report: Report) -> list[Undecided]:
    """Those of which nothing can be told; reasons that differ in their figures alone are one. What concerns most first."""
    groups: dict[str, tuple[str, list[str]]] = {}
    for record in report.tests:
        for why in reasons(record):
            groups.setdefault(_FIGURES.sub("0", why), (why, []))[1].append(record["nodeid"])
    return sorted((Undecided(why, nodeids) for why, nodeids in groups.values()), key=lambda one: (-len(one.nodeids), one.why))


def reasons(record: Record) -> Iterator[str]:
    counted = record["instructions"]
    said: list[BudgetRecord | ComparisonRecord | CountBudgetRecord | CountComparisonRecord | None]
    said = [record["budget"], record["comparison"]]
    said += [counted["budget"], counted["comparison"]] if counted is not None else []
    for one in said:
        if one is not None and one["verdict"] == "cannot tell":
            yield (one["why"] or "no reason given").rstrip(".")


def verdicts(report: Report) -> dict[str, int]:
    """How many tests have which verdict: what is dearer first, then the others; those without any are left out."""
    dearest: Counter[str] = Counter()
    for record in report.tests:
        if found := set(all_verdicts(record)):
            dearest[min(found, key=ORDER.index)] += 1
    return {word: dearest[word] for word in ORDER if dearest[word]}


def all_verdicts(record: Record) -> Iterator[str]:
    """Of a test's budgets and comparisons."""
    counted, foretold = record["instructions"], record["prediction"]
    parts = [record["budget"], record["comparison"]]
    for part in (*parts, *((counted["budget"], counted["comparison"]) if counted is not None else ())):
        if part is not None:
            yield str(part["verdict"])
    if foretold is not None and foretold["flagged"] and foretold["failed"]:
        yield "predicted"


def count_of(test: Record) -> int | None:
    """Its instructions; ``None`` where they were not counted."""
    return test["instructions"]["count"] if test["instructions"] is not None else None


def dearest_first(tests: Iterable[Record]) -> list[Record]:
    """By joules, then by instructions, then by name."""

    def key(test: Record) -> tuple[float, int, str]:
        return -(median_of(test["energy"]) or 0.0), -(count_of(test) or 0), test["nodeid"]

    return sorted(tests, key=key)
