"""How good predictions have been: each that the history keeps, held against the measurement of the same run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, TypedDict

from pytest_joules.model import PredictionOutcome

if TYPE_CHECKING:
    from pytest_joules.store import Store
    from pytest_joules.store.entries import PastPrediction

#: What became of a prediction (:mod:`pytest_joules.predict.outcomes`).
OUTCOMES: Sequence[PredictionOutcome] = ("hit", "missed", "false flag", "right")

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
    recall: float | None
    """Of the tests that became dearer, the share that was flagged."""
    precision: float | None
    """Of the flagged ones, the share that became dearer."""
    false_flags: float | None
    """Of those that did not, the share that was flagged."""
    coverage: float | None
    """How often the measurement lay in the 80 % interval, of the predicted tests."""
    median_error: float | None
    """Median of |log10(measured / expected)|."""
    last_error: float | None
    """The same for the last measurement in the place of the expected one, on the same tests."""


class SessionFigures(Figures):
    session: int
    created: str


class Evaluation(TypedDict):
    all: Figures
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


def evaluate(found: Sequence[PastPrediction], sessions: int = 10) -> Evaluation:
    """Figures of all predictions, of each model's, and of the latest ``sessions``."""
    models = dict.fromkeys(entry["model"] for entry in found if entry["state"] in _PREDICTED)
    by_session: dict[int, list[PastPrediction]] = {}
    for entry in found:
        by_session.setdefault(entry["session"], []).append(entry)
    return {
        "all": figures(found),
        "models": {
            name: figures([entry for entry in found if entry["model"] == name and entry["state"] in _PREDICTED])
            for name in models
        },
        "sessions": [
            {"session": session, "created": entries[0]["created"], **figures(entries)}
            for session, entries in list(by_session.items())[-sessions:]
        ],
    }


def figures(found: Iterable[PastPrediction]) -> Figures:
    entries = list(found)
    count = {outcome: sum(entry["outcome"] == outcome for entry in entries) for outcome in OUTCOMES}
    said = [entry for entry in entries if entry["state"] in _PREDICTED and entry["joules"] is not None]
    inside = [
        entry["interval"][0] <= entry["measured"] <= entry["interval"][1]
        for entry in said
        if entry["interval"] and entry["measured"] is not None
    ]
    before = [entry for entry in said if entry["last"]]
    return {
        "tests": len(entries),
        "predicted": len(said),
        "hits": count["hit"],
        "missed": count["missed"],
        "false": count["false flag"],
        "right": count["right"],
        "unclear": len(entries) - sum(count.values()),
        "recall": _share(count["hit"], count["hit"] + count["missed"]),
        "precision": _share(count["hit"], count["hit"] + count["false flag"]),
        "false_flags": _share(count["false flag"], count["false flag"] + count["right"]),
        "coverage": _share(sum(inside), len(inside)),
        "median_error": _error([(entry["measured"], entry["joules"]) for entry in said]),
        "last_error": _error([(entry["measured"], entry["last"]) for entry in before]),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _error(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    """Of those above zero: logarithms have no other."""
    known = [abs(math.log10(first / second)) for first, second in pairs if first and second and first > 0 and second > 0]
    return median(known) if known else None
