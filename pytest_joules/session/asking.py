"""Whether a predictor is asked at all, what that costs and saves, and by how much its intervals are widened."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_joules.clock import CLOCKS
from pytest_joules.model import LeftOutRecord, PredictingRecord, PredictionRecord
from pytest_joules.predict import ranking
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from pytest_joules.predict.widening import Held
    from pytest_joules.session.spending import Spent
    from pytest_joules.store.entries import LatestRecord, PastPredicting


class Asking:
    """Follows one asking. What of the history it goes by is given to it when that is read."""

    def __init__(self, config: pytest.Config, settings: Settings, *, measures: bool) -> None:
        # Who measures holds the answers against that; who only collects wants nothing else; a gate must not stand open unseen.
        self._always = measures or config.option.collectonly or "predicted" in settings.fail_on
        self.accounts: list[PastPredicting] = []
        """Of earlier sessions, the newest first."""
        self.latest: Mapping[str, LatestRecord] = {}
        self._asked = 0
        self._begun: int | None = None
        self._seconds = 0.0
        self._not_asked: str | None = None
        self._held: Held | None = None

    def refuse(self, nodeids: Sequence[str], others: int) -> str | None:
        """As :func:`pytest_joules.predict.questions.foretell` wants it."""
        from pytest_joules.predict.questions import MOST_NEW
        from pytest_joules.session.spending import MOST, not_worth

        others = min(others, MOST_NEW)
        if not self._always:
            seconds = [(self.latest[nodeid]["seconds"] or 0.0) * self.latest[nodeid]["iterations"] for nodeid in nodeids]
            self._not_asked = not_worth(self.accounts, seconds, others)
        if self._not_asked is not None:
            return f"predicting would cost more than {100 * MOST:.0f} % of running it"
        self._asked, self._begun = len(nodeids) + others, _cpu()
        return None

    def widen(self, name: str) -> float:
        """The factor on the intervals of the predictor of this name."""
        from pytest_joules.predict.widening import stretches_of, widening

        self._held = widening(stretches_of(self.accounts, name))
        return self._held.factor

    def end(self) -> None:
        """All is said."""
        if self._begun is not None:
            self._seconds = (_cpu() - self._begun) / 1e9

    def complete(self, account: PredictingRecord) -> None:
        """Note it in the account of this session."""
        account["asked"], account["asking"], account["not_asked"] = self._asked, self._seconds, self._not_asked
        account["widened"] = self._held.factor if self._held is not None else 1.0
        if self._held is not None and (said := self._held.sentence()) is not None:
            account["intervals"] = said


def _cpu() -> int:
    """CPU nanoseconds of this process, and of those that it started and waited for: a predictor may run in one."""
    children = os.times()
    return CLOCKS.cpu() + int(1e9 * (children.children_user + children.children_system))


def account_of(
    predictions: Mapping[str, PredictionRecord],
    latest: Mapping[str, LatestRecord],
    left_out: Sequence[str],
    spent: Spent,
    settings: Settings,
    *,
    measures: bool,
) -> PredictingRecord:
    """The account of a session's predicting, but for the asking. ``left_out``: node ids that are not run."""
    states = Counter(entry["state"] for entry in predictions.values())
    models = {model for entry in predictions.values() if (model := entry["model"]) not in (None, "last")}
    return {
        "model": min(models, default=None),
        "tests": len(predictions),
        "unchanged": states["unchanged"],
        "changed": states["changed"],
        "new": states["new"],
        "unknown": states["unknown"],
        "flagged": sum(entry["flagged"] for entry in predictions.values()),
        "deselected": len(left_out),
        "seconds": spent.seconds,
        "joules": spent.joules,
        "provenance": spent.provenance,
        "saved": math.fsum(
            latest[nodeid]["joules"] * (_runs(latest[nodeid], settings) if measures else 1) for nodeid in left_out
        ),
        "suite": math.fsum(latest[nodeid]["joules"] for nodeid in predictions if nodeid in latest),
        "affected": ranking.affected(predictions.values()),
        "left_out": _left_out([predictions[nodeid] for nodeid in left_out]) if settings.predict_only else None,
        "share": settings.predict_share,
    }


def _runs(record: LatestRecord, settings: Settings) -> int:
    """How often a test's body would have run."""
    return int(record["iterations"]) * (settings.warmup + (settings.rounds or int(record["rounds"])))


def _left_out(predictions: Sequence[PredictionRecord]) -> LeftOutRecord:
    changed = [entry for entry in predictions if entry["state"] != "unchanged"]
    reaching = [entry for entry in changed if ranking.reaches(entry)]
    return {
        "unchanged": len(predictions) - len(changed),
        "changed": len(changed),
        "reaching": len(reaching),
        "joules": math.fsum(entry["last"] or 0.0 for entry in reaching),
    }
