"""The table at the end of a run: the most expensive tests, the session's totals, and what a reader must know of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pytest_joules.model import FEWER_ROUNDS, NOT_AGAIN, BudgetRecord, Record, Report
from pytest_joules.report import account, comparison, instructions, prediction, quantity, variants
from pytest_joules.report.quantity import median_of
from pytest_joules.report.table import Column, fits, table
from pytest_joules.report.text import last_part, sentence, shorten_nodeid, whole

#: Accounts that are shown.
ACCOUNTS = 3

#: Letter (for narrow terminals), word, explanation.
NOTES = (
    ("J", "over budget", "its 95 % interval lies above its energy budget"),
    ("F", "failed", "its test failed: measured until then"),
    ("E", "error", "its setup or teardown failed"),
    ("S", "stopped", "the run ended before it did"),
    ("P", "predicted", "expected to cost more, and failed for that"),
    ("R", "regressed", "costs more than {baseline}"),
    ("I", "improved", "costs less than {baseline}"),
    ("c", "cached", "measured in an earlier session; its code is the same"),
    ("e", "estimated", "a model, not a counter"),
    ("o", "attributed", "own share of a counter that others used too; ± includes what their work may have drawn"),
    ("s", "shared", "other processes used the machine meanwhile (more than 5 %), whose counters count for all"),
    ("a", "apportioned", "too short to read alone: a share of a block of rounds, by CPU time; ± includes that"),
    ("1", "one round", "no interval"),
    ("f", "few rounds", "fewer than were asked for"),
)
_ENDED = {"failed": "failed", "error": "error", "crashed": "stopped", "interrupted": "stopped"}


def lines(report: Report, width: int, rows: int | None = None, encoding: str = "utf-8") -> list[str]:
    """The report for a terminal, none of its lines wider than ``width`` columns.

    ``rows`` is how many tests the table shows at most (``None`` or 0: all), the most joules first. ``encoding`` is that of
    the terminal: characters that it lacks are replaced before the widths are counted. Empty where the report has no tests.
    """
    width = max(width, 1)
    measured = [record for record in report.tests if median_of(record["energy"]) is not None]
    measured.sort(key=lambda record: (-(median_of(record["energy"]) or 0.0), record["nodeid"]))
    shown = measured[:rows] if rows else measured
    result: list[str] = []
    if shown:
        grid, legend = _tests(shown, width, encoding, report.comparison["baseline"] if report.comparison else "before")
        result += grid
        if len(shown) < len(measured):
            result += sentence(f"… and {len(measured) - len(shown)} more, each less: --energy-top=0 shows all", width, encoding)
        result += legend
    for text in _sentences(report, measured) if not instructions.counted_only(report) else ():
        result += sentence(text, width, encoding)
    budgets = [(record, budget) for record in report.tests if (budget := record["budget"]) is not None]
    over = [(record, budget) for record, budget in budgets if budget["verdict"] == "over budget"]
    for record, budget in over[:rows] if rows else over:
        result += sentence(f"OVER BUDGET {whole(record['nodeid'])} {whole(numbers(record, budget))}", width, encoding)
    if rows and len(over) > rows:
        result += sentence(f"… and {len(over) - rows} more over their budgets: --energy-top=0 shows all", width, encoding)
    result += comparison.lines(report, width, rows, encoding)
    result += instructions.lines(report, width, rows, encoding)
    result += _undecided(budgets, width, rows, encoding)
    result += variants.lines(report, width, encoding)
    result += _accounts(measured, width, encoding)
    return result


def _accounts(measured: Sequence[Record], width: int, encoding: str) -> list[str]:
    """Where the joules of the dearest tests went."""
    known = [(record, found) for record in measured if (found := record["account"]) is not None]
    result: list[str] = []
    for record, found in known[:ACCOUNTS]:
        result += ["", *sentence(f"where {whole(record['nodeid'])} goes: {account.title(found)}", width, encoding)]
        result += account.lines(found, width, encoding=encoding)
    if len(known) > ACCOUNTS:
        more = len(known) - ACCOUNTS
        result += sentence(f"… and the accounts of {more} more: --energy-json or --energy-html has all", width, encoding)
    return result


def _tests(records: Sequence[Record], width: int, encoding: str, baseline: str) -> tuple[list[str], list[str]]:
    """The table and its legend."""
    # Said once under the table where it holds for all.
    every_estimated = all(record["provenance"] == "estimated" for record in records)
    noted = [notes(record, every_estimated) for record in records]
    occurring = [note for note in NOTES if any(note[1] in notes for notes in noted)]
    columns = [
        Column("test", [record["nodeid"] for record in records], shorten=shorten_nodeid, least=last_part),
        Column("energy", [quantity.joules(median_of(record["energy"])) for record in records], "right"),
        Column("±", [quantity.precision(record["energy"]) or "-" for record in records], "right", drop=5),
        Column("power", [quantity.watts(median_of(record["power"])) for record in records], "right", drop=2),
        Column("time", [quantity.seconds(median_of(record["duration"])) for record in records], "right", drop=3),
        Column("rounds", [str(record["rounds"]) for record in records], "right", drop=1),
    ]
    if any(record["net_energy"] is not None for record in records):  # idle power was measured: what is above it
        columns.insert(2, Column("net", [quantity.joules(record["net_energy"]) for record in records], "right", drop=6))
    words = Column("note", [", ".join(notes) for notes in noted], drop=4)
    letters = Column("note", ["".join(letter for letter, word, _ in NOTES if word in notes) for notes in noted], drop=4)
    counts = [record["instructions"] for record in records]
    if any(counts):
        shown = [quantity.instructions(counted["count"] if counted is not None else None) for counted in counts]
        columns.append(Column("instructions", shown, "right", drop=3))
    if not occurring:
        return table(columns, width, encoding), []
    spelt = fits([*columns, words], width, encoding)
    grid = table([*columns, words if spelt else letters], width, encoding)
    legend: list[str] = []
    for letter, word, explanation in occurring:
        reasons = _reasons([record for record, notes in zip(records, noted, strict=True) if word in notes], word)
        said = f"{explanation.format(baseline=baseline)}{reasons}"
        legend += sentence(f"{word if spelt else f'{letter} {word}'}: {said}", width, encoding)
    return grid, legend


def _reasons(records: Sequence[Record], word: str) -> str:
    """Why these tests have the rounds that they have, as far as that is known: ``; 2 subtests; 1 the time was up, ...``."""
    if word not in ("one round", "few rounds"):
        return ""
    found = Counter(why for record in records if (why := _few_because(record)))
    if len(found) == 1 and found.total() == len(records):
        return f": {next(iter(found))}"
    return "".join(f"; {count} {why}" for why, count in found.most_common())


def _few_because(record: Record) -> str:
    """Why a test has one round, or fewer than were asked for; empty where it has not, or nobody said."""
    for note in record["notes"]:
        if found := FEWER_ROUNDS.fullmatch(note):
            return str(found[1])
    return f"{_PASSES_ONCE}, see below" if _not_repeated(record) else ""


def notes(record: Record, every_estimated: bool) -> list[str]:
    budget, compared, foretelling = record["budget"], record["comparison"], record["prediction"]
    over = budget is not None and budget["verdict"] == "over budget"
    verdict = compared["verdict"] if compared is not None else None
    foretold = foretelling is not None and foretelling.get("failed", False)
    ended = _ENDED.get(record["outcome"] or "", "")
    occurs = {
        "over budget": over,
        "predicted": ended == "failed" and foretold,
        "regressed": verdict == "regressed",
        "improved": verdict == "improved",
        "cached": record["cached"] is not None,
        "estimated": record["provenance"] == "estimated" and not every_estimated,
        "attributed": record["provenance"] == "attributed",
        "shared": record["provenance"] == "shared",
        "apportioned": record["resolution"] == "apportioned",
        "one round": record["rounds"] == 1,
        "few rounds": record["rounds"] > 1 and bool(_few_because(record)),
    }
    # What failed for its joules has not failed otherwise.
    occurs[ended] = ended != "failed" or not (over or verdict == "regressed" or foretold)
    return [word for _, word, _ in NOTES if occurs.get(word)]


def _sentences(report: Report, measured: Sequence[Record]) -> Iterable[str]:
    if measured:
        energy = math.fsum(median_of(record["energy"]) or 0.0 for record in measured)
        times = [median_of(record["duration"]) for record in measured]
        known = [value for value in times if value is not None]
        duration = math.fsum(known) if len(known) == len(times) else None
        count = f"{len(measured)} test{'s' if len(measured) > 1 else ''}"
        yield f"one pass over {count}: {quantity.joules(energy)}" + (f" in {quantity.seconds(duration)}" if duration else "")
    reasons = Counter(_why_not(record) for record in report.tests if median_of(record["energy"]) is None)
    reasons.pop(_PASSES_ONCE, None)
    if reasons:
        yield "not measured: " + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    yield from _not_again(report.tests)
    yield from _cached(report)
    session = report.session
    predicting = session.get("predicting")
    if predicting is not None and (said := prediction.outcome(predicting.get("outcomes", {}))) is not None:
        yield said
    cost = [quantity.seconds(session.get("seconds")), quantity.joules(session.get("joules"))]
    if known_cost := [text for text in cost if text != quantity.UNAVAILABLE]:
        yield f"measuring took {' and '.join(known_cost)}"
    if session.get("idle_watts") is not None:
        yield f"idle power of this machine: {quantity.watts(session['idle_watts'])}"
    if any(record["provenance"] == "estimated" for record in measured):
        declared = [source["uncertainty"] for source in report.sources if source["provenance"] == "estimated"]
        known = [value for value in declared if value is not None]
        about = f", ±{max(known) * 100:.0f} %" if known else ""
        yield f"estimated: CPU time × a power model{about}; good for comparing on this machine, not as an absolute value"


#: Tests whose repeats did not pass that are named.
_NAMED = 5
_PASSES_ONCE = "did not pass again"


def _not_repeated(record: Record) -> str:
    return next((note for note in record["notes"] if NOT_AGAIN.fullmatch(note)), "")


def _not_again(records: Sequence[Record]) -> Iterable[str]:
    """Tests that passed as in any run, and did not when they were repeated."""
    found = [(record, note) for record in records if (note := _not_repeated(record))]
    for record, note in found[:_NAMED]:
        measured = "" if median_of(record["energy"]) is not None else "not measured: "
        yield f"{whole(record['nodeid'])}: {measured}passed, but {note}"
    if len(found) > _NAMED:
        yield f"… and {len(found) - _NAMED} more that did not pass again: the JSON report has each"


def _cached(report: Report) -> Iterable[str]:
    """What ``--energy-changed-only`` saved, and what it could not."""
    dates = sorted(record["cached"] for record in report.tests if record["cached"] is not None)
    if dates:
        ages = [quantity.age(dates[-1], report.created), quantity.age(dates[0], report.created)]
        when = " to ".join(dict.fromkeys(ages))
        yield f"cached: {len(dates)} of {len(report.tests)} tests, measured {when}; their code has not changed since"
    if report.settings.get("changed_only"):
        reasons = Counter(
            reason
            for record in report.tests
            if record["cached"] is None and record["code"] is not None
            for reason in record["code"]["unknown"]
        )
        if reasons:
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            yield f"measured every time, because not all of their code is known: {told}"


def _why_not(record: Record) -> str:
    """Why a test has no energy, in a few words."""
    if record["outcome"] not in (None, "passed", "xpassed"):
        return str(record["outcome"])
    if record["resolution"] == "below":
        return "below what the source can tell"
    if _not_repeated(record):
        return _PASSES_ONCE
    return f"{quantity.UNAVAILABLE} ({record['notes'][0].rstrip('.')})" if record["notes"] else quantity.UNAVAILABLE


def numbers(record: Record, budget: BudgetRecord) -> str:
    """A test's joules against its budget: ``3.10 J > 2.00 J``."""
    return f"{quantity.joules(median_of(record['energy']))} > {quantity.joules(budget['joules'])}"


def _undecided(budgets: Iterable[tuple[Record, BudgetRecord]], width: int, rows: int | None, encoding: str) -> list[str]:
    """The budgets that nobody can vouch for, and why."""
    undecided = [(record, budget) for record, budget in budgets if budget["verdict"] == "cannot tell" and budget["why"]]
    shown = undecided[:rows] if rows else undecided
    result: list[str] = []
    for record, budget in shown:
        limit = quantity.joules(budget["joules"])
        text = f"budget of {limit} for {whole(record['nodeid'])}: cannot tell: {budget['why']}"
        result += sentence(text, width, encoding)
    if len(shown) < len(undecided):
        result += sentence(f"… and {len(undecided) - len(shown)} more such budgets", width, encoding)
    return result
