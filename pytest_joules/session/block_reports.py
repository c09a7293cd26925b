"""The reports of a test that ran in blocks, in companions: one test's, as of a plain run."""

from __future__ import annotations

import pytest

from pytest_joules.companion.parent import reports_of
from pytest_joules.revision.pair import BothSides
from pytest_joules.rounds.phase import cause
from pytest_joules.rounds.running import ONCE
from pytest_joules.session.call_report import late_notes


def reports(config: pytest.Config, turns: BothSides) -> list[pytest.TestReport]:
    """The first block's, with the last teardown; or, where a block that does not pass fails the test, those of that block."""
    answers = turns.here
    mine = turns.broken if turns.broken is not None and not turns.broken_there else None
    last = reports_of(config, (mine or answers[-1]).reports)
    if len(answers) == 1 and mine is None:
        reports = last
    elif answers[-1].outcome == "passed":
        first = reports_of(config, answers[0].reports)
        reports = [report for report in first if report.when != "teardown"]
        reports += [report for report in last if report.when == "teardown"]
    else:
        reports = last
        section = f"passed in block 1 of its rounds, did not pass in block {len(answers)}: shared state?"
        for report in reports:
            if report.failed:
                report.sections.append(("pytest-joules", section))
    return reports + reports_of(config, turns.late)


def remarks(config: pytest.Config, turns: BothSides, revision: str) -> list[str]:
    """Notes on what did not pass after a first block that did."""
    answers = turns.here if turns.broken is None or turns.broken_there else [*turns.here, turns.broken]
    notes = [note for answer in answers for report in reports_of(config, answer.reports) for note in late_notes(report)]
    if turns.broken is not None:
        failed = [report for report in reports_of(config, turns.broken.reports) if not report.passed]
        why = f"{failed[0].when}: {cause(failed[0])}" if failed else turns.broken.outcome
        side, number = (f" at {revision}", len(turns.there)) if turns.broken_there else ("", len(turns.here))
        notes.append(f"block {number + 1}{side} did not pass ({why}): {ONCE}")
    return notes


def crashed(item: pytest.Item, text: str) -> pytest.TestReport:
    """As pytest-xdist reports a test whose worker died."""
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "???")  # type: ignore[arg-type]  # xdist's word
