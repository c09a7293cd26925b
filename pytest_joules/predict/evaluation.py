"""How good predictions have been: each that the history keeps, held against the measurement of the same run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, TypedDict

from pytest_joules.model import PredictionOutcome, ReportedPredicting
from pytest_joules.predict import ranking
from pytest_joules.predict.outcomes import balance
from pytest_joules.predict.widening import stretch, stretches_of, widening

if TYPE_CHECKING:
    from pytest_joules.store import Store
    from pytest_joules.store.entries import PastPrediction

#: What became of a prediction (:mod:`pytest_joules.predict.outcomes`).
OUTCOMES: Sequence[PredictionOutcome] = ("hit", "missed", "false flag", "right")

#: Ends of the bins that chances are counted in.
BINS = (0.0, 0.05, 0.2, 0.5, 0.8, 1.0)

#: Of the affected joules: what is run first.
FIRST = 0.3

#: Of tests that something was predicted of: not those whose code was the same.
_PREDICTED = ("changed", "new")


class Figures(TypedDict):
    """Counts of tests by outcome, and what they say; a share is ``None`` where there were none."""

    tests: int
    predicted: int
    """Of which something was expected, whose code was not the same."""
    hits: int
    missed: int
    false: int
    right: int
    unclear: int
    older: int
    """Of all, those that an older version judged: there what sessions do to unchanged code counts as change."""
    recall: float | None
    """Of the tests that became dearer, the share that was flagged."""
    precision: float | None
    """Of the flagged ones, the share that became dearer."""
    false_flags: float | None
    """Of those that did not, the share that was flagged."""
    intervals: int
    """Of the predicted tests, those whose measurement can tell whether the interval held."""
    coverage: float | None
    """How often it did: the measurement lay in the 80 % interval, what noise there is allowed for."""
    median_error: float | None
    """Median of |log10(measured / expected)|."""
    last_error: float | None
    """The same for the last measurement in the place of the expected one, on the same tests."""


class SessionFigures(Figures):
    session: int
    created: str


class Bin(TypedDict):
    """Tests of changed code whose chance of costing more than their limit lay between two ends, as far as it can be told."""

    low: float
    high: float
    tests: int
    chance: float | None
    """The mean of what was said."""
    dearer: int
    share: float | None
    """Of them, that became dearer."""


class Ranked(TypedDict):
    """What ranking finds: of the sessions in which tests of changed code had a chance each."""

    first: float
    """Share of the affected joules that is spent."""
    dearer: int
    found: float | None
    """Share of those that had become dearer, run by then."""


class Intervals(TypedDict):
    """Of the latest sessions, those of the model that was asked last."""

    model: str | None
    intervals: int
    held: int
    widened: float
    """The factor on the logarithms of the next ones."""
    said: str | None


class Evaluation(TypedDict):
    all: Figures
    unknown: float | None
    """Of the tests of changed code, the share of which nobody could say anything."""
    unknown_dearer: int
    """Of those, the tests that became dearer."""
    calibration: list[Bin]
    ranked: Ranked
    intervals: Intervals
    balance: tuple[float, float] | None
    """Joules that predicting drew and saved over the latest ten sessions."""
    models: dict[str | None, Figures]
    """By name."""
    sessions: list[SessionFigures]
    """The latest, the oldest first."""


def predictions(store: Store, told: Callable[[int, int], None] = lambda done, total: None) -> list[PastPrediction]:
    """Every prediction in the history that was held against a measurement, the oldest first: ``prediction`` as in the report,
    with ``nodeid``, ``session`` and ``created``. ``told``: of how many sessions are done.

    Raises:
        StoreError: it cannot be read.
    """
    found = [entry for entry in store.predictions(told) if entry["measured"] is not None]
    return sorted(found, key=lambda entry: (entry["created"], entry["nodeid"]))


def evaluate(found: Sequence[PastPrediction], sessions: int = 10, accounts: Sequence[ReportedPredicting] = ()) -> Evaluation:
    """Figures of all predictions, of each model's, and of the latest ``sessions``. ``accounts``: the newest first."""
    models = dict.fromkeys(entry["model"] for entry in found if entry["state"] in _PREDICTED)
    by_session: dict[int, list[PastPrediction]] = {}
    for entry in found:
        by_session.setdefault(entry["session"], []).append(entry)
    affected = [entry for entry in found if entry["state"] != "unchanged"]
    return {
        "all": figures(found),
        "unknown": _share(sum(entry["state"] == "unknown" for entry in affected), len(affected)),
        "unknown_dearer": sum(entry["state"] == "unknown" and entry["dearer"] is True for entry in affected),
        "calibration": calibration(affected),
        "ranked": _ranked(list(by_session.values())),
        "intervals": _intervals(accounts),
        "balance": balance(accounts),
        "models": {
            name: figures([entry for entry in found if entry["model"] == name and entry["state"] in _PREDICTED])
            for name in models
        },
        "sessions": [
            {"session": session, "created": entries[0]["created"], **figures(entries)}
            for session, entries in list(by_session.items())[-sessions:]
        ],
    }


def calibration(found: Sequence[PastPrediction]) -> list[Bin]:
    """What was said of chances against what came of it, in :data:`BINS`; those without tests are left out."""
    bins: list[Bin] = []
    for low, high in pairwise(BINS):
        inside = [
            entry
            for entry in found
            if entry["state"] in _PREDICTED and entry["dearer"] is not None and _within(entry["chance"], low, high)
        ]
        if inside:
            dearer = sum(bool(entry["dearer"]) for entry in inside)
            said = math.fsum(entry["chance"] or 0.0 for entry in inside) / len(inside)
            share = _share(dearer, len(inside))
            bins.append({"low": low, "high": high, "tests": len(inside), "chance": said, "dearer": dearer, "share": share})
    return bins


def _within(chance: float | None, low: float, high: float) -> bool:
    """The last bin has its end."""
    return chance is not None and (low <= chance < high or chance == high == BINS[-1])


def _ranked(sessions: Sequence[Sequence[PastPrediction]]) -> Ranked:
    # What older versions kept has no chances to rank by.
    known = [entries for entries in sessions if all(one["chance"] is not None for one in entries if one["state"] == "changed")]
    counted = [ranking.found_within(FIRST, entries) for entries in known]
    dearer = sum(many for _, many in counted)
    return {"first": FIRST, "dearer": dearer, "found": math.fsum(one for one, _ in counted) / dearer if dearer else None}


def _intervals(accounts: Sequence[ReportedPredicting]) -> Intervals:
    model = next((name for account in accounts if (name := account.get("model")) is not None), None)
    held = widening(stretches_of(accounts, model) if model is not None else ())
    return {
        "model": model,
        "intervals": held.intervals,
        "held": held.held,
        "widened": held.factor,
        "said": held.sentence(),
    }


def figures(found: Iterable[PastPrediction]) -> Figures:
    entries = list(found)
    count = {outcome: sum(entry["outcome"] == outcome for entry in entries) for outcome in OUTCOMES}
    said = [entry for entry in entries if entry["state"] in _PREDICTED and entry["joules"] is not None]
    stretches = [wide for entry in said if (wide := stretch(entry)) is not None]
    before = [entry for entry in said if entry["last"]]
    return {
        "tests": len(entries),
        "predicted": len(said),
        "hits": count["hit"],
        "missed": count["missed"],
        "false": count["false flag"],
        "right": count["right"],
        "unclear": len(entries) - sum(count.values()),
        "older": sum(entry["verdict"] is None and entry["outcome"] is not None for entry in entries),
        "recall": _share(count["hit"], count["hit"] + count["missed"]),
        "precision": _share(count["hit"], count["hit"] + count["false flag"]),
        "false_flags": _share(count["false flag"], count["false flag"] + count["right"]),
        "intervals": len(stretches),
        "coverage": _share(sum(one <= 1 for one in stretches), len(stretches)),
        "median_error": _error([(entry["measured"], entry["joules"]) for entry in said]),
        "last_error": _error([(entry["measured"], entry["last"]) for entry in before]),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _error(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    """Of those above zero: logarithms have no other."""
    known = [abs(math.log10(first / second)) for first, second in pairs if first and second and first > 0 and second > 0]
    return median(known) if known else None
