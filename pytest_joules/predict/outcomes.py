"""After tests ran: which predictions came true, and whether predicting has paid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pytest_joules.model import ComparisonRecord, PredictionOutcome, PredictionRecord, Record, ReportedPredicting

#: Sessions that the balance is drawn over.
SESSIONS = 10

#: By whether a test was flagged and whether it was dearer.
_WORDS: Mapping[tuple[bool, bool], PredictionOutcome] = {
    (True, True): "hit",
    (True, False): "false flag",
    (False, True): "missed",
    (False, False): "right",
}

#: Standard normal quantiles: of 95 % two-sided, and of what an unchanged test's noise floor is passed by (judge/evidence.py).
_95, _FLOOR = 1.96, 3.195


def hold(
    prediction: PredictionRecord, record: Record, comparison: ComparisonRecord | None = None, *, passed: bool
) -> PredictionRecord:
    """A prediction with what came of it: ``measured``, ``verdict``, ``noise``, ``dearer``, ``outcome``.

    ``comparison``: of the measurement with the one that was predicted from. Truly dearer is a test whose verdict is
    ``regressed``, and not dearer where it is ``ok`` or ``improved``: what sessions do to the joules of unchanged code is no
    change. Where the limit is the test's budget, it is dearer if the whole 95 % interval of the measurement lies above that, and
    not if all of it lies below. Otherwise nobody can tell, nor where others used the machine, or where the test did not pass
    (``passed``: its own code did).
    """
    energy, limit = record["energy"], prediction["limit"]
    interval = energy["ci95"] if energy is not None else None
    sound = passed and record["provenance"] in ("measured", "estimated") and record["cached"] is None
    told = comparison if sound else None
    dearer: bool | None = None
    if prediction["limited_by"] == "budget":
        if sound and limit is not None and interval is not None and record["resolution"] != "below":
            low, high = interval
            dearer = True if low > limit else False if high <= limit else None
    elif told is not None and told["verdict"] != "cannot tell":
        dearer = told["verdict"] == "regressed"
    known = prediction["state"] != "unknown" and dearer is not None
    return prediction | {
        "measured": energy["median"] if sound and energy is not None else None,
        "verdict": told["verdict"] if told is not None else "cannot tell",
        "noise": _noise(told) if told is not None else None,
        "dearer": dearer,
        "outcome": _WORDS[prediction["flagged"], bool(dearer)] if known else "unknown",
    }


def _noise(comparison: ComparisonRecord) -> float | None:
    """Standard deviation of the logarithm of its ratio: of rounds by the interval, and of sessions by the noise floor."""
    if comparison["ci95"] is None or comparison["ci95"][0] <= 0:
        return None
    half = math.log(comparison["ci95"][1] / comparison["ci95"][0]) / 2
    if comparison["floor"] is None:
        return half / _95
    floor = math.log1p(comparison["floor"])
    if comparison["sessions"]:
        return (floor + half) / _FLOOR  # a learnt floor is what both come to, less the interval
    return math.hypot(half / _95, floor / _FLOOR)


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
