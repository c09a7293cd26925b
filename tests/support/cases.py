"""Measurements before and now, of which a test knows the truth, and what is judged of them."""

from __future__ import annotations

import numpy as np
from hypothesis import settings

from pytest_joules.judge.case import Case, Comparison
from pytest_joules.judge.verdict import judge

RUNG = settings(derandomize=True, deadline=None, max_examples=60)


def block(rng, level=1.0, noise=0.01, rounds=20):
    return tuple((level * np.exp(rng.normal(0, noise, rounds))).tolist())


def stored(before, *now, sessions=()):
    return Case("t", (before,), now, sessions=tuple(sessions))


def in_turn(before, now):
    return Case("t", tuple(before), tuple(now), paired=True)


def one(case, threshold=0.05, **options) -> Comparison:
    return judge([case], threshold, **options)[0]
