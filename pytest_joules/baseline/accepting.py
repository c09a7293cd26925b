"""``--energy-update``: a session's values are accepted into the baseline that it was compared with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_joules.baseline.contents import Baseline, BaselineError, BaselineTest, can_be_kept, other_models, test_of
from pytest_joules.baseline.from_json import load
from pytest_joules.baseline.saving import Functions, put
from pytest_joules.count.identity import differences as other_conditions
from pytest_joules.machine import differences
from pytest_joules.model import Record, Report, Verdict
from pytest_joules.report import quantity
from pytest_joules.settings.values import THRESHOLD
from pytest_joules.stats import FEWEST_SAMPLES

if TYPE_CHECKING:
    from pytest_joules.code.inventory import Inventory

#: In which what moved is said.
_ORDER = ("loosened", "tightened", "replaced", "new")


def update(path: Path, report: Report, functions: Functions, texts: Inventory | None = None) -> list[str]:
    """Accept the session's values of the tests that it measured, write them into the baseline at ``path``, say what moved.

    Values within the session's threshold stay as they were, so that a series of small steps cannot creep past it. Tests that did
    not run, did not pass, were measured beside other processes or below the resolution, or of which the comparison cannot tell
    keep their old values.

    Raises:
        BaselineError: the machine is another one, or the file cannot be read or written.
    """
    baseline = load(path)
    different = differences(baseline.machine, report.machine) or other_models(baseline.sources, report.sources)
    if different:
        raise BaselineError(
            f"baseline {baseline.name} was not updated: {'; '.join(different)}. Save one of its own for this with --energy-save."
        )
    threshold = report.settings.get("threshold", THRESHOLD)
    moves, kept = _moves(report, baseline.tests, functions, threshold)
    counts = _counts(report, baseline, functions)
    if moves or counts:
        moved = {move.nodeid: _dated(move.now, report, baseline) for move in moves}
        for nodeid, test in counts.items():
            # Its joules are their own matter.
            moved[nodeid] = replace(moved.get(nodeid) or baseline.tests.get(nodeid, test), instructions=test.instructions)
        # Tests that keep their values keep the code that these are of.
        others = baseline.texts if baseline.tests.keys() - moved.keys() else {}
        put(
            replace(
                baseline,
                tests={**baseline.tests, **moved},
                texts={**(texts or {}), **others},
                counting=report.session.get("counting", baseline.counting),
            ),
            path.parents[2],
        )
    moves.sort(key=lambda move: (_ORDER.index(move.kind), -abs(math.log(move.ratio)) if move.ratio else 0.0, move.nodeid))
    said = {
        "unchanged": f"within {100 * threshold:.3g} %, which keep their values",
        "undecided": "of which nothing could be told, which keep their values",
        "cached": "that were not measured in this run, which is without their values",
        "left": "that did not pass, were measured beside others, below the resolution or not at all",
    }
    said_of_counts = [f"counted    {nodeid}  {_counted(baseline.tests.get(nodeid), test)}" for nodeid, test in counts.items()]
    lines = [f"{move.kind:<9}  {move.nodeid}  {move.text}" for move in moves]
    return lines + said_of_counts + [f"{word:<9}  {kept[word]} {text}" for word, text in said.items() if kept[word]]


def _counts(report: Report, baseline: Baseline, functions: Functions) -> dict[str, BaselineTest]:
    """The tests whose instructions the baseline takes over: those that are new to it, and those that have moved.

    Raises:
        BaselineError: they were counted under other conditions than those of the baseline.
    """
    counting = report.session.get("counting")
    if counting is None:
        return {}
    if baseline.counting is not None and (differs := other_conditions(baseline.counting, counting)):
        raise BaselineError(
            f"baseline {baseline.name} was not updated: {'; '.join(differs)}. Save one of its own for this with --energy-save."
        )
    found: dict[str, BaselineTest] = {}
    for record in report.tests:
        counted = record["instructions"]
        if counted is None or not can_be_kept(record):
            continue
        compared = counted["comparison"]
        before = baseline.tests.get(record["nodeid"])
        new = before is None or before.instructions is None
        if new or (compared is not None and compared["verdict"] in ("regressed", "improved")):
            found[record["nodeid"]] = test_of(record, functions.get(record["nodeid"]))
    return found


def _counted(before: BaselineTest | None, now: BaselineTest) -> str:
    then, count = (test.instructions if test is not None else None for test in (before, now))
    shown = quantity.instructions(count["count"] if count is not None else None)
    return shown if then is None else f"{quantity.instructions(then['count'])} -> {shown}"


def _moves(
    report: Report, before: Mapping[str, BaselineTest], functions: Functions, threshold: float
) -> tuple[list[_Move], Counter[str]]:
    """What the baseline takes over, and how many tests it does not, by why."""
    moves: list[_Move] = []
    kept: Counter[str] = Counter()
    for record in report.tests:
        nodeid, comparison = record["nodeid"], record["comparison"]
        if record["energy"] is None and record["instructions"] is not None:
            continue  # counted, and not measured
        now = _acceptable(record, functions)
        if now is None:
            if record["cached"] is not None:
                kept["cached"] += 1
            elif record["outcome"] not in (None, "skipped", "xfailed", "xpassed"):
                kept["left"] += 1
            continue
        verdict = comparison["verdict"] if comparison else None
        move = _move(nodeid, before.get(nodeid), now, threshold, verdict)
        if move is None:
            kept["unchanged"] += 1
        elif verdict == "cannot tell" and move.ratio is not None:
            kept["undecided"] += 1
        else:
            moves.append(move)
    return moves, kept


def _acceptable(record: Record, functions: Functions) -> BaselineTest | None:
    """A test's value, where this session measured one that can be held against others."""
    if record["cached"] is not None or not can_be_kept(record):
        return None
    test = test_of(record, functions.get(record["nodeid"]))
    return None if test.energy is None or test.record["resolution"] == "below" or test.beside_others else test


def _dated(test: BaselineTest, report: Report, baseline: Baseline) -> BaselineTest:
    """When and of which revision it is, where the baseline's own date and revision do not say it."""
    commit, known = (entry["id"] if entry else None for entry in (report.commit, baseline.commit))
    return replace(
        test,
        created=report.created if report.created != baseline.created else None,
        commit=commit if commit != known else None,
    )


@dataclass(frozen=True, slots=True)
class _Move:
    kind: Literal["loosened", "tightened", "replaced", "new"]
    nodeid: str
    now: BaselineTest
    text: str
    ratio: float | None = None


def _move(nodeid: str, before: BaselineTest | None, now: BaselineTest, threshold: float, verdict: Verdict | None) -> _Move | None:
    value = now.energy["median"] if now.energy else None
    shown = quantity.joules(value)
    if before is None or before.energy is None:
        return _Move("new", nodeid, now, shown)
    then = before.energy["median"]
    mended = _flaws(before) and not _flaws(now)
    if not value or not then or mended or _unit(before) != _unit(now):
        return _Move("replaced", nodeid, now, f"{quantity.joules(then)} ({_how(before)}) -> {shown} ({_how(now)})")
    ratio = value / then
    if verdict == "ok" or (abs(ratio - 1) <= threshold and verdict not in ("regressed", "improved")):
        return None
    text = f"{quantity.joules(then)} -> {shown} ({quantity.change(ratio)})"
    return _Move("loosened" if ratio > 1 else "tightened", nodeid, now, text, ratio)


def _unit(test: BaselineTest) -> tuple[str | None, int]:
    return test.record["source"], test.record["iterations"]


def _how(test: BaselineTest) -> str:
    source, iterations = _unit(test)
    return ", ".join([str(source), *([f"{iterations} iterations"] if iterations > 1 else []), *_flaws(test)])


def _flaws(test: BaselineTest) -> list[str]:
    """Why nothing can be held against this value."""
    few = [f"{len(test.samples)} samples"] if len(test.samples) < FEWEST_SAMPLES else []
    return few + (["beside others"] if test.beside_others else [])
