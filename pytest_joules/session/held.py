"""After tests ran: what was measured, held against the last measurements as ``--energy-compare`` holds it against a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_joules.judge.comparing import Comparing, OtherSide, OtherTest, joules_of
from pytest_joules.model import ComparisonRecord, PredictionRecord, Record, Report
from pytest_joules.predict.outcomes import hold
from pytest_joules.predict.widening import stretch

if TYPE_CHECKING:
    from pytest_joules.store import Spooled, Store
    from pytest_joules.store.entries import LatestCode, SessionEntry


#: Of a session, that its account keeps: predictions of one edit are right or wrong together, and none is to drown the others.
_MOST_STRETCHES = 20


def hold_all(report: Report, passed: Mapping[str, bool], store: Store | Spooled, threshold: float) -> dict[str, PredictionRecord]:
    """By node id, the predictions of the report's tests with what came of them, as the report has them from now on.

    ``passed``: whether each test's own code did, of those that something was predicted of.

    Raises:
        StoreError: the history cannot be read.
    """
    predicted = [record for record in report.tests if record["prediction"] is not None and record["nodeid"] in passed]
    if report.machine["id"] is None:
        return {}
    kept: dict[str, PredictionRecord] = {}
    comparisons = _compared(predicted, store, report.machine["id"], threshold)
    for record in predicted:
        nodeid, prediction = record["nodeid"], record["prediction"]
        if prediction is not None and (comparison := comparisons.get(nodeid)) is not None:
            kept[nodeid] = record["prediction"] = hold(prediction, record, comparison, passed=passed[nodeid])
    return kept


def stretches(predictions: Iterable[PredictionRecord], widened: float) -> list[float]:
    """By how much the intervals as the predictor gave them, before they were ``widened``, had to be wider."""
    found = sorted(wide * widened for prediction in predictions if (wide := stretch(prediction)) is not None)
    many = min(len(found), _MOST_STRETCHES)
    # Of more, those in the middle of as many equal parts.
    return [float(f"{found[(2 * place + 1) * len(found) // (2 * many)]:.4g}") for place in range(many)]


def _compared(
    records: Iterable[Record], store: Store | Spooled, machine_id: str, threshold: float
) -> dict[str, ComparisonRecord]:
    """By node id, the comparison of each measured test with the measurement that it was predicted from.

    All tests are judged together, those of unchanged code too: how much they scatter is noise. Nothing is measured again.

    Raises:
        StoreError: the history cannot be read.
    """
    by_source: dict[str, list[Record]] = {}
    for record in records:
        if record["source"] is not None and record["samples"] and record["cached"] is None:
            by_source.setdefault(record["source"], []).append(record)
    found: dict[str, ComparisonRecord] = {}
    for source, measured in by_source.items():
        nodeids = [record["nodeid"] for record in measured]
        latest = store.latest_code(machine_id, source, nodeids)
        sessions = store.sessions_of(nodeids, machine_id, source)
        tests = {nodeid: _before(record, sessions.get(nodeid, ())) for nodeid, record in latest.items()}
        comparing = Comparing(OtherSide("history", tests), threshold)
        for record in measured:
            prediction, before = record["prediction"], latest.get(record["nodeid"])
            # Another run may have measured it meanwhile.
            if prediction is not None and before is not None and before["created"] == prediction["since"]:
                comparing.add(record, random=any(note.startswith("random examples") for note in record["notes"]))
        comparing.settle(None, confirm=False)
        found |= comparing.comparisons
    return found


def _before(record: LatestCode, sessions: Sequence[SessionEntry]) -> OtherTest:
    code = record["code"]
    fingerprint = code["fingerprint"] if code is not None else None
    own = record["energy"]["median"] if record["energy"] is not None else math.nan
    same = [entry for entry in sessions if fingerprint is not None and entry["fingerprint"] == fingerprint]
    others = [
        entry["median"]
        for entry in same
        if entry["created"] != record["created"] or not math.isclose(entry["median"], own, rel_tol=1e-5)
    ]
    return OtherTest((tuple(joules_of(record)),), record, fingerprint=fingerprint, sessions=others)
