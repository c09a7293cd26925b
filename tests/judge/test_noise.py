"""What a machine and a run scatter by themselves is no change of a test."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from cases import block, in_turn, one, stored

from pytest_joules.judge import evidence
from pytest_joules.judge.case import LEARNT_FROM, MOST_BLOCKS, Case
from pytest_joules.judge.verdict import judge

# ------------------------------------------------------------------ what the run's noise carries


def stepping(rng, count, step, noise=0.002):
    """Unchanged tests of a machine that stands elsewhere, by steps of that standard deviation, after each 15 rounds."""
    return [
        in_turn([block(rng, math.exp(rng.normal(0, step)), noise, 15)], [block(rng, math.exp(rng.normal(0, step)), noise, 15)])
        for _ in range(count)
    ]


@pytest.mark.parametrize("threshold", [0.0, 0.01])
def test_a_threshold_below_the_machines_steps_is_held_above_them(threshold):
    rng = np.random.default_rng(31)
    cases = stepping(rng, 300, 0.01)
    alone = [one(case, threshold, confirm=False) for case in cases]
    assert sum(found.verdict == "regressed" for found in alone) <= 3
    assert all(found.held == pytest.approx(0.035) for found in alone)
    # Only the hold does it: as independent samples they all differ.
    assert sum(found.p <= 0.01 and found.ci95[0] > 1.01 for found in alone) > 30
    noisy = next(found for found in alone if found.ci95[0] > 1 + threshold + 0.002)
    assert noisy.verdict == "cannot tell" and "less than this run's noise carries (3.5 %)" in noisy.why
    together = judge(cases, threshold, confirm=False)
    assert sum(found.verdict == "regressed" for found in together) <= 3
    # What is beyond is found as before.
    assert one(in_turn([block(rng)], [block(rng, 1.06)]), threshold, confirm=False).verdict == "regressed"


def test_a_run_that_stands_still_carries_a_smaller_threshold():
    rng = np.random.default_rng(32)
    still = stepping(rng, 200, 0.0)
    changed = in_turn([block(rng, noise=0.002)], [block(rng, 1.02, 0.002)])
    alone, among = one(changed, 0.01, confirm=False), judge([*still, changed], 0.01, confirm=False)
    assert (alone.verdict, alone.held) == ("cannot tell", pytest.approx(0.035))
    assert (among[-1].verdict, among[-1].held) == ("regressed", None)
    assert [found.verdict for found in among[:200]] == ["ok"] * 200
    assert judge(still, 0.0)[0].held == pytest.approx(0.01), "but no run carries everything"
    # All moved as one: the machine may have.
    moved = judge([in_turn(case.before, [tuple(1.02 * x for x in case.now[0])]) for case in still], 0.01, confirm=False)
    assert not any(found.verdict == "regressed" for found in moved)


def test_blocks_in_turn_average_what_drifts_between_their_sides():
    rng = np.random.default_rng(33)
    pairs = [(block(rng, noise=0.002), block(rng, 1.03, 0.002)) for _ in range(MOST_BLOCKS)]
    first, all_of_them = (one(in_turn(*zip(*pairs[:count], strict=True)), 0.01) for count in (1, MOST_BLOCKS))
    assert (first.verdict, first.suspect) == ("cannot tell", True), "further blocks may tell"
    assert all_of_them.verdict == "regressed"


def test_the_default_threshold_is_not_held():
    rng = np.random.default_rng(34)
    assert one(stored(block(rng), block(rng))).held is None


def test_below_the_assumed_floor_it_cannot_tell_and_says_what_to_do():
    rng = np.random.default_rng(5)
    found = one(stored(block(rng), block(rng, 1.1), block(rng, 1.1)))
    assert found.verdict == "cannot tell"
    assert found.floor == pytest.approx(0.15, abs=0.01)
    assert found.sessions == 0
    assert "fewer than 5 earlier ones" in found.why
    assert "--energy-against" in found.why


def test_a_learnt_floor_tells_what_an_assumed_one_cannot():
    rng = np.random.default_rng(6)
    sessions = np.exp(rng.normal(0, 0.005, 12))
    found = one(stored(block(rng), block(rng, 1.12), block(rng, 1.12), sessions=sessions))
    assert (found.verdict, found.sessions) == ("regressed", 12)
    assert found.floor < 0.05
    few = one(stored(block(rng), block(rng, 1.12), block(rng, 1.12), sessions=sessions[: LEARNT_FROM - 1]))
    assert (few.verdict, few.sessions) == ("cannot tell", 0)


def test_a_test_whose_sessions_differ_much_is_given_room():
    rng = np.random.default_rng(7)
    sessions = np.exp(rng.normal(0, 0.08, 15))
    found = one(stored(block(rng), block(rng, 1.15), block(rng, 1.15), sessions=sessions))
    assert found.verdict != "regressed"
    assert found.floor > 0.15


@pytest.mark.parametrize("paired", [True, False])
def test_among_many_tests_the_same_evidence_weighs_less(paired):
    rng = np.random.default_rng(12)

    def case(level):
        sessions = () if paired else tuple(np.exp(rng.normal(0, 0.002, 20)))
        return Case("t", (block(rng, 1, 0.06, 10),), (block(rng, level, 0.06, 10),), sessions, paired=paired)

    suspicious = case(1.16 if paired else 1.12)
    others = [case(1) for _ in range(400)]
    alone = one(suspicious, 0.0, confirm=False)
    assert alone.verdict == "regressed"
    found = judge([suspicious, *others], 0.0, confirm=False)
    assert found[0].verdict == "cannot tell", "it may well have changed"
    assert "among 401 tests" in found[0].why and "--energy-rounds" in found[0].why


def test_a_session_that_is_noisier_than_its_history_is_allowed_for():
    """Histories of 1 %, a session of 3 %: each judged alone, some unchanged tests would be regressions."""
    rng = np.random.default_rng(22)
    cases = []
    for _ in range(200):
        now = math.exp(rng.normal(0, 0.03))
        cases.append(
            stored(block(rng, noise=0.003), *(block(rng, now, 0.003) for _ in range(2)), sessions=np.exp(rng.normal(0, 0.01, 12)))
        )
    alone = sum(one(case).verdict == "regressed" for case in cases)
    together = sum(comparison.verdict == "regressed" for comparison in judge(cases))
    assert alone >= 5
    assert together <= 1


def test_where_every_test_changed_the_run_is_not_taken_for_noise():
    rng = np.random.default_rng(23)
    cases = [in_turn([block(rng)] * 2, [block(rng, 1.2 + 0.02 * number)] * 2) for number in range(40)]
    assert all(comparison.verdict == "regressed" for comparison in judge(cases))


def test_tests_of_unchanged_code_show_what_a_run_scatters():
    """Bursts of others' work hold whole blocks of a test, now and when it is measured again: rounds alone do not show them."""
    rng = np.random.default_rng(11)
    cases = []
    for _ in range(200):
        burst = 1.7 if rng.random() < 0.15 else 1.0
        cases.append(replace(stored(block(rng), *(block(rng, burst * level) for level in (1, 1.02, 0.99))), same_code=True))
    changed = stored(block(rng), *(block(rng, 1.6) for _ in range(3)))
    sure = stored(block(rng), *(block(rng, 12.0) for _ in range(3)))
    results = judge([*cases, changed, sure])
    assert not any(result.verdict == "regressed" for result in results[:200])
    assert results[200].verdict != "regressed"
    assert results[201].verdict == "regressed"
    # Where the same tests stand still, the same change is told.
    still = [replace(stored(block(rng), block(rng), block(rng)), same_code=True) for _ in range(200)]
    assert judge([*still, changed])[200].verdict == "regressed"


def test_unchanged_suites_raise_no_alarm():
    rng = np.random.default_rng(14)
    alarms = 0
    for _ in range(20):
        cases = []
        for number in range(200):
            sessions = np.exp(rng.normal(0, 0.03, 12))
            offset = math.exp(rng.normal(0, 0.03))
            now = (block(rng, offset, 0.03, 10), block(rng, offset, 0.03, 10))
            cases.append(Case(str(number), (block(rng, math.exp(rng.normal(0, 0.03)), 0.03, 10),), now, tuple(sessions)))
        alarms += any(comparison.verdict == "regressed" for comparison in judge(cases))
    assert alarms <= 2  # 2 % of 20 suites are none; one in 5,000 runs of this test would see three


def test_the_assumed_floor_is_what_the_words_say():
    quantile = scipy.stats.norm.isf(evidence.BEYOND_FLOOR)
    assert math.expm1(quantile * evidence.ASSUMED * math.sqrt(2)) == pytest.approx(0.15, abs=0.01)
