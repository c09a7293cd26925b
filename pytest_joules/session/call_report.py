"""What a test's reports carry of its joules, and how a passed one becomes that of a failure: over its budget, regressed, or
expected to cost more. The only place that does."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Collection, Mapping

import pytest

from pytest_joules.judge.budget import judge_budget
from pytest_joules.model import (
    LATE_NOTE,
    BudgetVerdict,
    ComparisonRecord,
    CountBudgetRecord,
    CountRecord,
    Measurement,
    PredictionRecord,
    Record,
)
from pytest_joules.report import prediction as prediction_text
from pytest_joules.report.comparison import changed, headline, moved, ratio
from pytest_joules.report.instructions import headline as count_headline
from pytest_joules.report.quantity import instructions, joules
from pytest_joules.report.quantity import ratio as ratio_text
from pytest_joules.report.text import display_width
from pytest_joules.settings.budgets import CountBudget
from pytest_joules.settings.markers import ItemSettings
from pytest_joules.settings.options import Settings

#: What a test is called whose joules made it fail, by what they breach.
WORDS = {"budget": "OVER BUDGET", "regression": "REGRESSED", "predicted": "PREDICTED"}


#: With ``--energy-fail-on=predicted``: predictions by node id.
FAILING = pytest.StashKey[Mapping[str, PredictionRecord]]()


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


def hold_to_budget(
    measurement: Measurement,
    record: Record,
    report: pytest.TestReport,
    own: ItemSettings,
    *,
    random: bool,
    settings: Settings,
) -> None:
    """Judge the test's budget; over it, the report becomes that of a failure."""
    if own.budget is not None and report.passed:
        verdict = judge_budget(measurement, own.budget, trust_estimates=settings.trust_estimates, random=random)
        record["budget"] = verdict.as_record()
        if verdict.verdict == "over budget" and "budget" in settings.fail_on:
            numbers, _, because = (verdict.why or "").partition(": ")
            section = ("energy budget", verdict.details)
            fail(report, "budget", text=verdict.why or "", numbers=numbers, because=because, section=section)
    elif own.budget is not None:
        record["budget"] = {"joules": own.budget.joules, "verdict": "cannot tell", "why": "the test did not pass"}


def fail_regressed(report: pytest.TestReport, comparison: ComparisonRecord) -> None:
    """Make a passed call report that of a regression."""
    low, high = comparison["ci95"] or (math.nan, math.nan)
    sessions, blocks = comparison["sessions"], comparison["blocks"]
    level = f"level of it and {sessions} earlier sessions of the same code" if sessions else "median"
    lines = [
        f"before    {joules(comparison['before'])}  ({comparison['baseline']}: {level})",
        f"now       {joules(comparison['now'])}  (of {blocks} blocks of rounds)",
        f"ratio     {comparison['ratio']:.3g}×  (95 % interval {low:.3g} to {high:.3g})",
        f"why       {comparison['why']}",
        *(f"changed   {place}" for place in comparison["changed"]),
    ]
    fail(
        report,
        "regression",
        text=headline(comparison),
        numbers=f"{ratio(comparison)}, {moved(comparison)}",
        because="; ".join(changed(comparison)) or "regressed",
        section=("energy comparison", "\n".join(lines)),
    )


def hold_to_count_budget(counted: CountRecord, budget: CountBudget) -> CountBudgetRecord:
    """The verdict on the budget that a test has for its instructions."""
    over = counted["count"] > budget.instructions
    verdict: BudgetVerdict = "over budget" if over else "ok"
    if counted["doubts"] and not over:
        verdict = "cannot tell"
    why = f"{instructions(counted['count'])} {'>' if over else 'of'} {instructions(budget.instructions)}"
    if verdict == "cannot tell":
        why = f"{why}, which are not all of its work: {'; '.join(counted['doubts'])}"
    return {"instructions": budget.instructions, "verdict": verdict, "why": why}


def fail_counted(report: pytest.TestReport, counted: CountRecord, fail_on: Collection[str]) -> None:
    """Make the passed call report of a test that has too many instructions that of a failure."""
    budget, comparison = counted["budget"], counted["comparison"]
    if budget is not None and budget["verdict"] == "over budget" and "budget" in fail_on:
        numbers = budget["why"] or ""
        lines = [
            f"counted   {instructions(counted['count'])}  ({counted['counter']})",
            f"budget    {instructions(budget['instructions'])}",
        ]
        section = ("energy budget", "\n".join(lines))
        fail(report, "budget", text=f"over its budget: {numbers}", numbers=numbers, because="instructions", section=section)
    elif comparison is not None and comparison["verdict"] == "regressed" and "regression" in fail_on:
        text = count_headline(comparison)
        lines = [
            f"before    {instructions(comparison['before'])}  ({comparison['baseline']})",
            f"now       {instructions(comparison['now'])}  ({counted['counter']}, in {comparison['processes']} processes)",
            f"ratio     {ratio_text(comparison['ratio'])}×  (judged from {100 * comparison['held']:.3g} % on)",
            *(f"where     {place}" for place in comparison["where"]),
        ]
        numbers = f"{ratio_text(comparison['ratio'])}× in instructions since {comparison['baseline']}"
        because = "; ".join(comparison["where"]) or "regressed"
        fail(report, "regression", text=text, numbers=numbers, because=because, section=("instructions", "\n".join(lines)))


def fail_if_predicted(item: pytest.Item, report: pytest.TestReport) -> None:
    """Make the passed call report of a flagged test that of a failure, where that was asked for."""
    prediction = item.config.stash.get(FAILING, {}).get(report.nodeid)
    if prediction is None or not prediction["flagged"] or not report.passed or hasattr(report, "wasxfail"):
        return
    numbers = f"{joules(prediction['joules'])} > {joules(prediction['limit'])}"
    said = prediction_text.headline(prediction)
    section = ("energy prediction", prediction_text.details(prediction))
    fail(report, "predicted", text=said, numbers=numbers, because=said, section=section)


def send(item: pytest.Item, report: pytest.TestReport, record: Record) -> None:
    """Let a record go with its test's call report."""
    report.joules = record  # type: ignore[attr-defined]  # a report takes attributes and xdist carries them
    properties = properties_of(record)
    item.user_properties.extend(properties)
    report.user_properties.extend(properties)


def properties_of(record: Record) -> list[tuple[str, object]]:
    """The JUnit properties of a test."""
    energy = record["energy"]
    return [
        ("energy_joules", energy["median"] if energy else "unavailable"),
        ("energy_source", record["source"] or "unavailable"),
        ("energy_provenance", record["provenance"]),
        ("energy_rounds", record["rounds"]),
    ]


def count_properties(counted: CountRecord | None) -> list[tuple[str, object]]:
    """The JUnit properties of a test whose instructions were counted."""
    return [("energy_instructions", counted["count"])] if counted is not None else []


def late_notes(report: pytest.TestReport) -> list[str]:
    """What was to be said of a test only after its call report had gone."""
    return [str(text) for name, text in report.user_properties if name == LATE_NOTE] if report.when == "teardown" else []


_RANK = {None: 0, "passed": 1, "xpassed": 2, "xfailed": 2, "skipped": 2, "failed": 3, "error": 4, "crashed": 5}


def outcome_of(report: pytest.TestReport, before: str | None) -> str | None:
    """A test's outcome in one word, as its phases' reports come in."""
    if report.when == "call" or (report.when == "setup" and report.skipped):
        now = ("xfailed" if report.skipped else "xpassed") if hasattr(report, "wasxfail") else report.outcome
    elif report.when in ("setup", "teardown"):
        now = "error" if report.failed else None  # type: ignore[assignment]  # a passed setup says nothing yet
    else:
        now = "crashed"  # type: ignore[assignment]  # xdist: the worker died
    return before if _RANK.get(now, 0) < _RANK.get(before, 0) else now or before
