"""What cannot be judged has its reason and remedy."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from cases import block, in_turn, one, stored

from pytest_joules.judge.case import Case
from pytest_joules.judge.verdict import judge

# ------------------------------------------------------------------ what cannot be judged


@pytest.mark.parametrize(
    ("case", "reason", "remedy"),
    [
        (Case("t", ((1.0,) * 4,), ((1.0,) * 20,)), "4 samples before and 20 now", "--energy-rounds=5"),
        (Case("t", (), ((1.0,) * 20,)), "0 samples before", "--energy-rounds=5"),
        (Case("t", ((),), ((),), paired=True), "0 samples before and 0 now", "--energy-rounds=5"),
        (Case("t", ((1.0,) * 9,), ((1.0,) * 8 + (0.0,),)), "a sample of 0 J now", "iterations=N"),
        (Case("t", ((1.0,) * 9,), ((1.0,) * 8 + (math.nan,),)), "a sample of nan J now", "iterations=N"),
        (Case("t", ((1.0,) * 8 + (-1.0,),), ((1.0,) * 9,)), "a sample of -1 J before", "iterations=N"),
        (Case("t", ((1.0,) * 8 + (math.inf,),), ((1.0,) * 9,)), "a sample of inf J before", "iterations=N"),
        (Case("t", ((1.0,) * 9,), ((2.0,) * 9,), cannot="shared: use a quiet machine"), "shared", "quiet machine"),
        (Case("t", ((1.0, 3.0) * 3,), ((3.0, 1.0) * 3,)), "too noisy", "--energy-rounds"),
    ],
)
def test_cannot_tell_always_has_its_reason_and_remedy(case, reason, remedy):
    found = one(case)
    assert (found.verdict, found.suspect) == ("cannot tell", False)
    assert reason in found.why
    assert remedy in found.why


@pytest.mark.parametrize(
    ("case", "suspect"),
    [
        (Case("t", ((1.0,) * 9,), ((2.0,) * 3,)), True),
        (Case("t", ((1.0,) * 9,), ((1.0,) * 3,)), False),  # it does not look dearer
        (Case("t", ((1.0,) * 9,), ((2.0,) * 3,), cannot="below the counter's resolution"), False),
        (Case("t", ((1.0,) * 4,), ((2.0,) * 3,)), False),  # nothing makes the baseline longer
        (Case("t", ((1.0,) * 2,), ((2.0,) * 2,), paired=True), True),
        (Case("t", ((1.0,),), ((2.0,),), paired=True), False),  # six pairs of single rounds: 1/64 at best
    ],
)
def test_too_few_samples_of_what_looks_dearer_are_a_reason_to_measure_again(case, suspect):
    found = one(case)
    assert (found.verdict, found.suspect) == ("cannot tell", suspect)
    assert not one(case, confirm=False).suspect


def test_what_cannot_be_judged_counts_for_nobody_else():
    rng = np.random.default_rng(15)
    good = in_turn([block(rng)] * 2, [block(rng, 1.2)] * 2)
    bad = Case("bad", ((1.0,),), ((1.0,),))
    found = judge([bad, good, bad])
    assert [comparison.verdict for comparison in found] == ["cannot tell", "regressed", "cannot tell"]
    assert found[1] == one(good)
    assert judge([]) == []


def test_strange_sessions_are_left_out():
    rng = np.random.default_rng(16)
    before, now = block(rng), block(rng)
    with_strange = stored(before, now, sessions=[1.0, 0.0, 1.01, math.nan, 0.99, 1.0, 1.005])
    assert one(with_strange) == one(stored(before, now, sessions=[1.0, 1.01, 0.99, 1.0, 1.005]))
    assert one(with_strange).sessions == 5


@pytest.mark.parametrize(("threshold", "alpha"), [(-0.1, 0.01), (math.nan, 0.01), (0.05, 0.0), (0.05, 1.0)])
def test_senseless_limits_are_refused(threshold, alpha):
    with pytest.raises(ValueError, match=r"is meant"):
        judge([], threshold, alpha=alpha)


def test_a_record_is_plain_json():
    rng = np.random.default_rng(17)
    for case in (stored(block(rng), block(rng, 1.5)), Case("t", (), ()), in_turn([block(rng)], [block(rng)])):
        record = one(case).as_record("main", ["a.py::f"])
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert (record["baseline"], record["changed"]) == ("main", ["a.py::f"])


def test_nothing_heavy_is_imported_before_somebody_judges():
    code = "import sys, pytest_joules.judge.verdict; sys.exit(any(name in sys.modules for name in ('numpy', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
