"""What a run says even with ``-q``: what would have failed, what was not judged, how a comparison went. A line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_joules.model import WOULD_BE, Record, Report
from pytest_joules.report import comparison, instructions
from pytest_joules.report.terminal import numbers
from pytest_joules.report.text import whole


def lines(report: Report) -> list[str]:
    """Unwrapped sentences, the most urgent first; none where there is nothing but verdicts of ``ok`` and failed tests."""
    return [*_over_budget(report.tests), *_not_judged(report.tests), *comparison.brief(report), *instructions.brief(report)]


def _over_budget(records: Iterable[Record]) -> list[str]:
    """Tests over their budget that did not fail, by what keeps them from it."""
    groups: dict[str, list[str]] = {}
    for record in records:
        budget, energy = record["budget"], record["energy"]
        if not budget or not energy or record["outcome"] != "passed":
            continue
        why = budget["why"] or ""
        if budget["verdict"] == "over budget":
            reason = "--energy-fail-on leaves budgets out"
        elif why.startswith(WOULD_BE):
            reason = why.rpartition("; ")[2]
        else:
            continue
        groups.setdefault(reason, []).append(f"{whole(record['nodeid'])} {whole(numbers(record, budget))}")
    return [f"OVER BUDGET {comparison.some(tests)}, and nothing fails: {reason}" for reason, tests in groups.items()]


def _not_judged(records: Iterable[Record]) -> list[str]:
    """Budgets of tests that passed, of which nobody can tell whether they hold."""
    open_: list[tuple[str, str]] = []
    for record in records:
        budget = record["budget"]
        if not budget or budget["verdict"] != "cannot tell" or record["outcome"] != "passed":
            continue
        if not (budget["why"] or "").startswith(WOULD_BE):
            open_.append((record["nodeid"], budget["why"] or "no reason given"))
    return [_such_as(open_)] if open_ else []


def _such_as(tests: Sequence[tuple[str, str]]) -> str:
    nodeid, why = tests[0]
    more = f"{len(tests)} budgets, such as that of" if len(tests) > 1 else "the budget of"
    return f"not judged: {more} {whole(nodeid)}: {why}"
