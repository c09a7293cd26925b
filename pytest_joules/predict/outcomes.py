"""After tests ran: which predictions came true, and whether predicting has paid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pytest_joules.model import PredictionOutcome, PredictionRecord, Record, ReportedPredicting

#: Sessions that the balance is drawn over.
SESSIONS = 10

#: By whether a test was flagged and whether it was dearer.
_WORDS: Mapping[tuple[bool, bool], PredictionOutcome] = {
    (True, True): "hit",
    (True, False): "false flag",
    (False, True): "missed",
    (False, False): "right",
}


def hold(prediction: PredictionRecord, record: Record, *, passed: bool) -> PredictionRecord:
    """A prediction with what came of it: ``measured``, ``dearer``, ``outcome``.

    Truly dearer is a test whose whole 95 % interval lies above ``limit``, which the prediction was held against: its last
    measurement and the threshold, or its budget. With the limit inside the interval nobody can tell, and neither without an
    interval, where others used the machine, or where the test did not pass (``passed``: its own code did).
    """
    energy, limit = record["energy"], prediction["limit"]
    interval = energy["ci95"] if energy is not None else None
    sound = passed and record["provenance"] in ("measured", "estimated") and record["cached"] is None
    dearer: bool | None = None
    if sound and limit is not None and interval is not None and record["resolution"] != "below":
        low, high = interval
        dearer = True if low > limit else False if high <= limit else None
    known = prediction["state"] != "unknown" and dearer is not None
    return prediction | {
        "measured": energy["median"] if sound and energy is not None else None,
        "dearer": dearer,
        "outcome": _WORDS[prediction["flagged"], bool(dearer)] if known else "unknown",
    }


def counts(predictions: Iterable[PredictionRecord | None]) -> dict[str, int]:
    """How many predictions came to each outcome."""
    return dict(Counter[str](entry["outcome"] for entry in predictions if entry is not None and entry["outcome"] is not None))


def balance(accounts: Sequence[ReportedPredicting]) -> tuple[float, float] | None:
    """Joules that predicting drew and saved over the latest sessions (an account each, the newest first); ``None`` where it is
    not known what it drew."""
    latest = [(joules, account) for account in accounts[:SESSIONS] if (joules := account.get("joules")) is not None]
    if not latest:
        return None
    return math.fsum(joules for joules, _ in latest), math.fsum(account.get("saved") or 0.0 for _, account in latest)
