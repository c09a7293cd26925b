"""Verdicts where the truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from cases import block, in_turn, one, stored

from pytest_joules.judge.case import MOST_BLOCKS, Case
from pytest_joules.judge.verdict import judge

# ------------------------------------------------------------------ verdicts


def test_a_large_change_without_noise_and_history_fails_once_it_is_confirmed():
    first = one(stored((1.0,) * 5, (1.5,) * 5))
    assert (first.verdict, first.suspect, first.blocks) == ("cannot tell", True, 1)
    assert "second block" in first.why
    second = one(stored((1.0,) * 5, (1.5,) * 5, (1.5,) * 5))
    assert (second.verdict, second.suspect, second.blocks) == ("regressed", False, 2)
    assert second.ratio == pytest.approx(1.5)
    assert second.ci95 == pytest.approx((1.5, 1.5))
    assert "1.50×" in second.why
    assert one(stored((1.0,) * 5, (1.5,) * 5), confirm=False).verdict == "regressed"


def test_a_second_block_that_does_not_agree_confirms_nothing():
    rng = np.random.default_rng(1)
    found = one(stored(block(rng), block(rng, 1.6), block(rng, 0.98, rounds=6)))
    assert (found.verdict, found.suspect) == ("cannot tell", False)
    assert "not confirmed" in found.why


def test_a_cheaper_test_is_improved_without_a_second_block():
    rng = np.random.default_rng(2)
    found = one(stored(block(rng), block(rng, 0.6)))
    assert (found.verdict, found.suspect) == ("improved", False)
    assert found.ci95[0] < 0.6 < found.ci95[1] or found.ratio == pytest.approx(0.6, rel=0.02)


def test_nothing_changed_is_ok():
    rng = np.random.default_rng(3)
    found = one(stored(block(rng), block(rng)))
    assert (found.verdict, found.suspect) == ("ok", False)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("level", "noise", "verdict", "why"),
    [
        (1.0, 0.02, "ok", "no change can be told"),
        (1.03, 0.01, "ok", "1.03×"),
        (1.0, 0.25, "cannot tell", "too noisy to exclude "),
        (1.07, 0.04, "cannot tell", "perhaps beyond the threshold of 5 %"),
        (0.93, 0.04, "cannot tell", "perhaps beyond the threshold of 5 %"),
    ],
)
def test_ok_says_that_no_change_beyond_the_threshold_is_likely(level, noise, verdict, why, paired):
    rng = np.random.default_rng(2)
    before = np.exp(noise * rng.permutation(scipy.stats.norm.ppf((np.arange(20) + 0.5) / 20)))
    now = level * np.exp(noise * rng.permutation(scipy.stats.norm.ppf((np.arange(20) + 0.5) / 20)))
    found = one(Case("t", (tuple(before),), (tuple(now),), paired=paired))
    assert (found.verdict, why in found.why) == (verdict, True), found.why
    if verdict == "cannot tell":
        assert "--energy-rounds" in found.why
        assert ("--energy-against" in found.why) != paired


@pytest.mark.parametrize(
    ("own", "same_code", "level", "verdict"),
    [(0.3, False, 1.0, "cannot tell"), (0.05, False, 1.0, "ok"), (0.3, True, 1.0, "ok"), (0.3, False, 2.0, "regressed")],
)
def test_of_a_test_that_reading_the_meter_is_much_of_nobody_says_that_it_is_as_before(own, same_code, level, verdict):
    rng = np.random.default_rng(3)
    case = stored(block(rng, noise=1e-3), block(rng, level, noise=1e-3), block(rng, level, noise=1e-3))
    found = one(replace(case, own=own, same_code=same_code))
    assert found.verdict == verdict
    # Four calls a round: of 4 * 0.7 + 0.3 less than a tenth.
    assert ("too short: 30 % of it is the reading of the meter; @pytest.mark.energy(iterations=4)" in found.why) == (
        verdict == "cannot tell"
    )


def test_before_and_now_fit_the_ratio():
    rng = np.random.default_rng(30)
    sessions = [3.0, 3.03, 2.97, 3.0, 3.0, 3.03, 2.97]
    plain = one(stored(block(rng, 2.0), block(rng, 3.0), block(rng, 3.3)))
    levelled = one(stored(block(rng, 2.7), block(rng, 4.5), block(rng, 4.5), sessions=sessions))
    turns = one(in_turn([block(rng, 1.0), block(rng, 5.0)], [block(rng, 1.5), block(rng, 7.5)]))
    for found in (plain, levelled, turns):
        assert found.before * found.ratio == pytest.approx(found.now)
    assert plain.before == pytest.approx(2.0, rel=0.01)
    assert levelled.before == pytest.approx(3.0, rel=0.01), "the level of all sessions, which the ratio is over"
    assert levelled.now == pytest.approx(4.5, rel=0.01)
    assert turns.ratio == pytest.approx(1.5, rel=0.01)
    assert one(Case("t", (), ())).before is None


def test_a_sure_change_below_the_threshold_is_ok():
    rng = np.random.default_rng(4)
    case = in_turn([block(rng, noise=0.002)] * 2, [block(rng, 1.03, noise=0.002)] * 2)
    assert one(case).verdict == "ok"
    assert one(case, 0.01).verdict == "regressed"


def test_the_ratio_is_to_the_level_of_all_sessions_where_the_baselines_own_stood_off():
    rng = np.random.default_rng(8)
    sessions = [3.0, 3.03, 2.97, 3.0, 3.0, 3.03, 2.97]
    found = one(stored(block(rng, 2.7, noise=1e-4), block(rng, 3.0, noise=1e-4), sessions=sessions))
    assert found.ratio == pytest.approx(1.0, abs=0.01)
    assert found.verdict == "ok"


def test_blocks_that_share_one_dear_session_are_no_proof_however_many():
    """All later blocks repeat the session's offset: 2.5 standard deviations between sessions, and four times so."""
    rng = np.random.default_rng(9)
    sessions = np.exp(rng.normal(0, 0.03, 20))
    level = math.exp(2.5 * 0.03)
    found = one(stored(block(rng), *(block(rng, level) for _ in range(MOST_BLOCKS)), sessions=sessions))
    assert found.verdict != "regressed"


def test_blocks_that_each_drew_their_own_session_are():
    """Ten per cent at 3 % between sessions: three standard deviations for one session, seven for the mean of six."""
    rng = np.random.default_rng(19)
    found = 0
    for _ in range(40):
        sessions = np.exp(rng.normal(0, 0.03, 20))
        now = (block(rng, 1.1 * math.exp(rng.normal(0, 0.03)), 0.03) for _ in range(MOST_BLOCKS))
        found += one(stored(block(rng, math.exp(rng.normal(0, 0.03)), 0.03), *now, sessions=sessions)).verdict == "regressed"
    assert found >= 24


def test_blocks_that_differ_more_today_than_sessions_ever_did_are_not_believed():
    rng = np.random.default_rng(21)
    sessions = np.exp(rng.normal(0, 0.005, 12))
    steady = one(stored(block(rng), block(rng, 1.2), block(rng, 1.2), sessions=sessions))
    wild = one(stored(block(rng), block(rng, 1.45), block(rng, 1.01), sessions=sessions))
    assert steady.verdict == "regressed"
    assert wild.verdict != "regressed"


def test_in_turn_there_is_no_floor_and_ten_per_cent_are_found():
    rng = np.random.default_rng(10)
    offsets = [1.0, 1.2]
    case = in_turn([block(rng, o, 0.03) for o in offsets], [block(rng, 1.1 * o, 0.03) for o in offsets])
    found = one(case)
    assert (found.verdict, found.floor, found.blocks) == ("regressed", None, 2)


def test_a_true_change_stays_a_suspect_until_it_is_told():
    rng = np.random.default_rng(11)
    found = one(in_turn([block(rng, noise=0.03)], [block(rng, 1.1, noise=0.03)]))
    assert found.suspect
    quiet = [one(in_turn([block(rng)], [block(rng)])) for _ in range(50)]
    assert not any(comparison.suspect for comparison in quiet)
    most = one(in_turn([block(rng, noise=0.2)] * MOST_BLOCKS, [block(rng, 1.1, noise=0.2)] * MOST_BLOCKS))
    assert not most.suspect


@pytest.mark.parametrize("ratio", [1.5, 0.6])
def test_in_turn_the_same_code_has_not_changed(ratio):
    rng = np.random.default_rng(14)
    case = in_turn([block(rng), block(rng)], [block(rng, ratio), block(rng, ratio)])
    assert one(case).verdict == ("regressed" if ratio > 1 else "improved")
    found = one(replace(case, same_code=True))
    assert found.verdict == "cannot tell" and "the same on both sides" in found.why and not found.suspect


def test_a_round_as_cheap_as_ever_speaks_against_a_regression():
    rng = np.random.default_rng(12)
    dear = block(rng, 1.6)
    assert one(stored(block(rng), dear, block(rng, 1.6))).verdict == "regressed"
    found = one(stored(block(rng), dear, (*block(rng, 1.6), 1.0)))
    assert found.verdict == "cannot tell" and "quietest round" in found.why


@pytest.mark.parametrize(("cheapest", "verdict"), [(1.01, "regressed"), (0.99, "cannot tell")])
def test_of_many_blocks_one_may_have_a_round_that_is_nearly_as_cheap(cheapest, verdict):
    """A hundred rounds have a cheaper one than twenty: only one as cheap as ever speaks against a regression."""
    rng = np.random.default_rng(35)
    before = (1.0, *block(rng, 1.03)[1:])
    blocks = [tuple(max(1.1, x) for x in block(rng, 1.25)) for _ in range(MOST_BLOCKS)]
    blocks[3] = (*blocks[3][1:], cheapest)
    before = tuple(max(1.0, x) for x in before)
    assert one(stored(before, *blocks)).verdict == verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(1.6, "cannot tell"), (1.9, "cannot tell"), (2.6, "regressed")])
def test_an_estimate_beside_others_must_be_more_than_twice(ratio, verdict):
    rng = np.random.default_rng(13)
    found = one(replace(stored(block(rng), block(rng, ratio), block(rng, ratio)), disturbed=True))
    assert found.verdict == verdict
    assert verdict == "regressed" or ("other processes" in found.why and not found.suspect)


def test_blocks_in_turn_that_disagree_widen_the_interval():
    rng = np.random.default_rng(24)
    before = [block(rng, noise=0.002) for _ in range(3)]
    calm = one(in_turn(before, [block(rng, level, 0.002) for level in (1.08, 1.081, 1.079)]))
    wild = one(in_turn(before, [block(rng, level, 0.002) for level in (1.16, 1.08, 1.01)]))
    assert calm.verdict == "regressed"
    assert wild.ci95[0] < 1.05
    assert wild.verdict != "regressed"


def test_a_run_that_moved_as_one_says_so_and_hides_nothing():
    rng = np.random.default_rng(13)
    found = judge([stored(block(rng), block(rng, 1.3), block(rng, 1.3)) for _ in range(50)])
    assert {comparison.verdict for comparison in found} == {"regressed"}
    assert all("all 50 tests moved together, 1.30×" in comparison.why for comparison in found)
