"""What came of counting instructions, for a terminal: the dearest tests, those that changed, the counts of verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pytest_joules.model import CountComparisonRecord, CountRecord, Record, Report
from pytest_joules.report import quantity
from pytest_joules.report.quantity import median_of
from pytest_joules.report.table import Column, table
from pytest_joules.report.text import last_part, sentence, shorten_nodeid, whole

#: Places and reasons that are named at most.
_PLACES, _FEW = 3, 8


class _Test(NamedTuple):
    nodeid: str
    counted: CountRecord
    measured: bool
    """It has joules too."""


def counted_only(report: Report) -> bool:
    """Whether the run has counted and measured nothing: of joules there is nothing to say."""
    return not report.sources and bool(report.settings.get("count"))


def lines(report: Report, width: int, rows: int | None = None, encoding: str = "utf-8") -> list[str]:
    """The instructions of a run, no line wider than ``width``; empty where none were counted.

    ``rows``: of the table, and of regressed tests, at most (``None`` or 0: all).
    """
    tests = _tests(report)
    if not tests:
        return []
    tests.sort(key=lambda test: (-test.counted["count"], test.nodeid))
    # Others stand in the table of joules.
    alone = [test for test in tests if not test.measured]
    shown = alone[:rows] if rows else alone
    result = (
        table(
            [
                Column("test", [test.nodeid for test in shown], shorten=shorten_nodeid, least=last_part),
                Column("instructions", [quantity.instructions(test.counted["count"]) for test in shown], "right"),
                Column("±", [_spread(test.counted) for test in shown], "right", drop=2),
                Column("note", [", ".join(test.counted["doubts"]) for test in shown], drop=1),
            ],
            width,
            encoding,
        )
        if shown
        else []
    )
    said: list[str] = []
    if len(shown) < len(alone):
        said.append(f"… and {len(alone) - len(shown)} more, each less: --energy-top=0 shows all")
    said += _sentences(report, tests, rows)
    return result + [line for text in said for line in sentence(text, width, encoding)]


def brief(report: Report) -> list[str]:
    """The same where tables are hidden: of whom nothing can be told, and the counts of verdicts."""
    tests = _tests(report)
    return [*_undecided(tests), *_outcome(report, tests)]


def headline(comparison: CountComparisonRecord) -> str:
    """A regression in one line: ``regressed 1.12× in instructions since main; shop.cart.total; dict_get +2.40 Minstr``."""
    since = f"{comparison['verdict']} {quantity.ratio(comparison['ratio'])}× in instructions since {comparison['baseline']}"
    return "; ".join((since, *comparison["where"][:_PLACES]))


def _tests(report: Report) -> list[_Test]:
    return [
        _Test(whole(record["nodeid"]), found, median_of(record["energy"]) is not None)
        for record in report.tests
        if (found := record["instructions"]) is not None
    ]


def _spread(counted: CountRecord) -> str:
    spread = counted["spread"]
    if spread is None:
        return "-"
    return "0" if spread == 0 else "<0.01 %" if spread < 1e-4 else f"{100 * spread:.2g} %"


def _sentences(report: Report, tests: Sequence[_Test], rows: int | None) -> Iterator[str]:
    total = quantity.instructions(sum(test.counted["count"] for test in tests))
    yield f"one pass over {len(tests)} test{'s' if len(tests) > 1 else ''}: {total}, counted by {tests[0].counted['counter']}"
    missing = Counter(note for record in report.tests if (note := _why_not(record)))
    if missing:
        yield "not counted: " + ", ".join(f"{count} {why}" for why, count in missing.most_common(_FEW))
    for test in tests:
        budget = test.counted["budget"]
        if budget is not None and budget["verdict"] != "ok":
            word = "OVER BUDGET" if budget["verdict"] == "over budget" else "budget: cannot tell of"
            yield f"{word} {test.nodeid} {budget['why']}"
    compared = [(test, found) for test in tests if (found := test.counted["comparison"]) is not None]
    regressed = sorted(
        (pair for pair in compared if pair[1]["verdict"] == "regressed"), key=lambda pair: -(pair[1]["ratio"] or 0)
    )
    for test, comparison in regressed[:rows] if rows else regressed:
        yield f"REGRESSED {test.nodeid} {_since(comparison)}"
    if rows and len(regressed) > rows:
        yield f"… and {len(regressed) - rows} more regressed, each by less: --energy-top=0 shows all"
    improved = sorted((pair for pair in compared if pair[1]["verdict"] == "improved"), key=lambda pair: pair[1]["ratio"] or 0)
    for test, comparison in improved[:_FEW]:
        yield f"IMPROVED {test.nodeid} {_since(comparison)}"
    if len(improved) > _FEW:
        yield f"… and {len(improved) - _FEW} more improved, each by less"
    yield from _undecided(tests)
    yield from _outcome(report, tests)


def _since(comparison: CountComparisonRecord) -> str:
    moved = f"{quantity.instructions(comparison['before'])} -> {quantity.instructions(comparison['now'])}"
    since = f"{quantity.ratio(comparison['ratio'])}× in instructions since {comparison['baseline']} ({moved})"
    return "; ".join((since, *comparison["where"][:_PLACES]))


def _why_not(record: Record) -> str:
    if record["instructions"] is not None:
        return ""
    return next((note.removeprefix("not counted: ") for note in record["notes"] if note.startswith("not counted: ")), "")


def _undecided(tests: Sequence[_Test]) -> Iterator[str]:
    """A sentence for each reason."""
    groups: dict[str, list[str]] = {}
    for test in tests:
        found = test.counted["comparison"]
        if found is not None and found["verdict"] in ("cannot tell", "same instructions"):
            groups.setdefault(f"{found['verdict']}\0{_reason(found)}", []).append(test.nodeid)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    for key, nodeids in ordered[:_FEW]:
        verdict, why = key.split("\0")
        which = f"{len(nodeids)} tests, such as {nodeids[0]}" if len(nodeids) > 1 else nodeids[0]
        yield f"{verdict if verdict != 'cannot tell' else 'cannot tell of'} {which}: {why}"
    if len(ordered) > _FEW:
        yield f"… and of {sum(len(nodeids) for _, nodeids in ordered[_FEW:])} more, for other reasons: the JSON has them all"


def _reason(comparison: CountComparisonRecord) -> str:
    """Without what is of this test alone, so that one reason is said once."""
    first, _, rest = comparison["why"].partition(", which are ")
    return rest or first


def _outcome(report: Report, tests: Sequence[_Test]) -> Iterator[str]:
    facts = report.comparison
    if facts is None:
        return
    counts = Counter(found["verdict"] for test in tests if (found := test.counted["comparison"]) is not None)
    words = ("ok", "same instructions", "improved", "regressed", "cannot tell")
    told = ", ".join(f"{counts[word]} {word}" for word in words if counts[word])  # type: ignore[index]  # each is a verdict
    yield f"instructions compared with {facts['baseline']}: {told or 'nothing was compared'}"
