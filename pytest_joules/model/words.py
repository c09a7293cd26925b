"""The words that records say in one way only."""

from __future__ import annotations

from typing import Literal

Provenance = Literal["measured", "shared", "attributed", "estimated", "unavailable"]
Resolution = Literal["ok", "apportioned", "below"]
Verdict = Literal["ok", "regressed", "improved", "cannot tell"]
BudgetVerdict = Literal["ok", "over budget", "cannot tell"]
#: Of instructions: where time or joules may have changed without them, none more is not "ok".
CountVerdict = Literal["ok", "same instructions", "regressed", "improved", "cannot tell"]
#: What a prediction knows of a test's code.
State = Literal["unchanged", "changed", "new", "unknown"]
#: What became of a prediction.
PredictionOutcome = Literal["hit", "false flag", "missed", "right", "unknown"]
