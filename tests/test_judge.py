"""Verdicts where the truth is known: what is drawn, what is counted out by hand, and what must not depend on units or order."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_joules.judge import evidence, session_noise, two_samples
from pytest_joules.judge.case import LEARNT_FROM, MOST_BLOCKS, Case, Comparison
from pytest_joules.judge.judgement import judge
from pytest_joules.stats import FEWEST_SAMPLES

RUNG = settings(derandomize=True, deadline=None, max_examples=60)


def block(rng, level=1.0, noise=0.01, rounds=20):
    return tuple((level * np.exp(rng.normal(0, noise, rounds))).tolist())


def stored(before, *now, sessions=()):
    return Case("t", (before,), now, sessions=tuple(sessions))


def in_turn(before, now):
    return Case("t", tuple(before), tuple(now), paired=True)


def one(case, threshold=0.05, **options) -> Comparison:
    return judge([case], threshold, **options)[0]


# ------------------------------------------------------------------ the statistics


@pytest.mark.parametrize("strata", [((1, 1),), ((2, 3),), ((4, 4),), ((5, 3),), ((2, 3), (3, 2)), ((2, 2), (1, 3), (2, 1))])
def test_the_null_distribution_is_what_counting_all_orders_gives(strata):
    total = np.ones(1)
    for n, m in strata:
        counts = np.zeros(n * m + 1)
        for chosen in itertools.combinations(range(n + m), m):
            others = set(range(n + m)) - set(chosen)
            counts[sum(a < b for a in others for b in chosen)] += 1
        total = np.convolve(total, counts / counts.sum())
    assert two_samples.null(strata) == pytest.approx(np.cumsum(total), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (7, 20), (20, 20), (20, 80)])
def test_p_is_scipys_exact_one(n, m):
    rng = np.random.default_rng(n * m)
    before, now = rng.normal(0, 1, n), rng.normal(0.5, 1, m)
    found = two_samples.effects([[np.exp(before)]], [[np.exp(now)]], [False])
    for ours, side in ((found.p_dearer, "greater"), (found.p_cheaper, "less")):
        assert ours[0] == pytest.approx(scipy.stats.mannwhitneyu(now, before, alternative=side, method="exact").pvalue)


def test_the_normal_limit_takes_over_where_counting_ends():
    n, m = 64, 64
    counted = two_samples.null(((n, m),))
    limit = two_samples.null(((n, m + 1),))
    for share in (0.001, 0.01, 0.5):
        a, b = (int(np.searchsorted(below, share)) for below in (counted, limit))
        assert b == pytest.approx(a * (m + 1) / m, rel=0.02)


def test_ties_never_make_p_too_small():
    """Of whole numbers, drawn alike on both sides, p is at most 1 % in at most 1 % of the draws."""
    rng = np.random.default_rng(11)
    drawn = rng.integers(1, 4, (4000, 2, 10)).astype(float)
    found = two_samples.effects([[a] for a in drawn[:, 0]], [[b] for b in drawn[:, 1]], [False] * len(drawn))
    assert (found.p_dearer <= 0.01).mean() <= 0.01
    alike = two_samples.effects([[[2.0] * 8]], [[[2.0] * 8]], [False])
    assert (alike.p_dearer[0], alike.p_cheaper[0], alike.shift[0]) == (pytest.approx(1), pytest.approx(1), 0)


@pytest.mark.parametrize("rounds", [5, 10, 20])
@pytest.mark.parametrize("spiky", [False, True])
def test_the_interval_covers_the_true_ratio_as_often_as_it_promises(rounds, spiky):
    rng = np.random.default_rng(rounds + spiky)
    truth, number = math.log(1.2), 2000
    logs = rng.normal(0, 0.03, (number, 2, rounds))
    if spiky:
        logs += np.log(1.3) * (rng.random(logs.shape) < 0.05)
    before, now = np.exp(logs[:, 0]), np.exp(logs[:, 1] + truth)
    found = two_samples.effects([[a] for a in before], [[b] for b in now], [False] * number)
    covered = ((found.low <= truth) & (truth <= found.high)).mean()
    # 3 binomial standard errors below 95 %; an interval that is everything would show here too.
    assert 0.935 <= covered <= 0.99
    assert np.median(found.shift) == pytest.approx(truth, abs=0.003)


def test_the_hodges_lehmann_ratio_by_hand():
    found = two_samples.effects([[[1.0, 2.0, 4.0]]], [[[2.0, 4.0, 64.0]]], [False])
    # log2 of the nine ratios: 1 0 -1 2 1 0 6 5 4
    assert found.shift[0] == pytest.approx(math.log(2))


def test_benjamini_and_hochberg_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.5])
    # sorted .005 .01 .03 .04 .5, times 5/1 5/2 5/3 5/4 1: .025 .025 .05 .05 .5
    assert two_samples.benjamini_hochberg(p) == pytest.approx([0.025, 0.05, 0.05, 0.025, 0.5])


@pytest.mark.parametrize("r", [0.0, 0.4, 0.76])
def test_the_correlation_of_a_run_is_found_though_its_blocks_are_short(r):
    rng = np.random.default_rng(5)
    series = rng.normal(0, 1, (800, 2, 12))
    for place in range(1, 12):
        series[:, :, place] = r * series[:, :, place - 1] + math.sqrt(1 - r * r) * series[:, :, place]
    values = np.exp(0.02 * series)
    found = two_samples.effects([[a] for a in values[:, 0]], [[b] for b in values[:, 1]], [False] * 800)
    assert np.median(found.correlation) == pytest.approx(r, abs=0.08)


def test_correlated_rounds_raise_no_more_alarms_than_the_level():
    """AR(1) .76, as the worst of the real projects: Mann-Whitney alone fails more than ten times too often."""
    rng = np.random.default_rng(76)
    series = rng.normal(0, 1, (400, 20))
    for place in range(1, 20):
        series[:, place] = 0.76 * series[:, place - 1] + math.sqrt(1 - 0.76**2) * series[:, place]
    cases = [
        in_turn([tuple(a)], [tuple(b)]) for a, b in zip(np.exp(0.03 * series[:, :10]), np.exp(0.03 * series[:, 10:]), strict=True)
    ]
    plain = [scipy.stats.mannwhitneyu(case.now[0], case.before[0], alternative="greater").pvalue <= 0.01 for case in cases]
    assert np.mean(plain) > 0.05
    alone = [one(case, 0.0, confirm=False).verdict == "regressed" for case in cases]
    assert np.mean(alone) <= 0.015
    together = judge(cases, 0.0, confirm=False)
    assert not any(comparison.verdict == "regressed" for comparison in together)


def test_widening_is_the_variance_of_an_autoregressions_mean():
    r, n, number = 0.6, 10, 40_000
    rng = np.random.default_rng(6)
    series = rng.normal(0, 1, (number, n))
    for place in range(1, n):
        series[:, place] = r * series[:, place - 1] + math.sqrt(1 - r * r) * series[:, place]
    said = series.var(axis=1, ddof=1).mean() / n
    true = series.mean(axis=1).var()
    assert two_samples.widening(np.array([r]), np.array([float(n)]))[0] ** 2 == pytest.approx(true / said, rel=0.05)


@pytest.mark.parametrize("prior", [4.0, 20.0])
def test_moderation_finds_the_prior_that_the_variances_were_drawn_from(prior):
    rng = np.random.default_rng(4)
    true = 0.02**2 * prior / rng.chisquare(prior, 4000)
    freedom = np.full(4000, 6.0)
    variance, moderated = session_noise.moderated(true * rng.chisquare(6, 4000) / 6, freedom)
    assert moderated[0] - 6 == pytest.approx(prior, rel=0.25)
    # Six degrees of freedom alone miss by more.
    assert np.median(np.abs(np.log(variance / true))) < 0.85 * np.median(np.abs(np.log(rng.chisquare(6, 4000) / 6)))


def test_moderation_leaves_few_tests_to_themselves():
    variance, freedom = session_noise.moderated(np.array([1.0, 4.0]), np.array([5.0, 5.0]))
    assert variance.tolist() == [1.0, 4.0]
    assert freedom.tolist() == [5.0, 5.0]


def test_what_fresh_processes_draw_anew_is_told_from_what_they_share():
    rng = np.random.default_rng(20)
    variance = np.full(60, 0.03**2)
    anew = [rng.normal(0, 0.03, 4) for _ in range(60)]
    shared = [rng.normal(0, 0.03) + rng.normal(0, 0.002, 4) for _ in range(60)]
    half = [rng.normal(0, 0.03 * math.sqrt(0.5), 4) for _ in range(60)]
    assert session_noise.share_of_processes(anew, variance)[0] > 0.8
    assert session_noise.share_of_processes(shared, variance)[0] < 0.02
    share, at_most = session_noise.share_of_processes(half, variance)
    assert 0.4 < share < at_most < 0.8
    assert session_noise.share_of_processes([], np.zeros(0)) == (0.0, 1.0)


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


def test_a_sure_change_below_the_threshold_is_ok():
    rng = np.random.default_rng(4)
    case = in_turn([block(rng, noise=0.002)] * 2, [block(rng, 1.03, noise=0.002)] * 2)
    assert one(case).verdict == "ok"
    assert one(case, 0.01).verdict == "regressed"


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
    code = "import sys, pytest_joules.judge.judgement; sys.exit(any(name in sys.modules for name in ('numpy', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------ what a verdict must not depend on

samples = st.lists(st.floats(0.5, 2.0).map(lambda value: round(value, 3)), min_size=FEWEST_SAMPLES, max_size=9).map(tuple)


def alike(one_: Comparison, other: Comparison) -> None:
    assert (one_.verdict, one_.suspect) == (other.verdict, other.suspect)
    assert one_.ratio == pytest.approx(other.ratio)
    assert one_.ci95 == pytest.approx(other.ci95)
    assert one_.p == pytest.approx(other.p)


@RUNG
@given(samples, samples, st.integers(-40, 40), st.booleans())
def test_the_unit_does_not_matter(before, now, exponent, paired):
    # Ties must stay ties, so a power of two.
    scaled = [tuple(value * 2.0**exponent for value in side) for side in (before, now)]
    alike(one(Case("t", (before,), (now,), paired=paired)), one(Case("t", (scaled[0],), (scaled[1],), paired=paired)))


@RUNG
@given(samples, samples, st.booleans())
def test_swapped_sides_mirror_the_ratio(before, now, paired):
    there = one(Case("t", (before,), (now,), paired=paired), confirm=False)
    back = one(Case("t", (now,), (before,), paired=paired), confirm=False)
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.ci95[0] * back.ci95[1] == pytest.approx(1)
    if there.ratio not in (pytest.approx(1), back.ratio):
        mirrored = {"regressed": "improved", "improved": "regressed"}
        assert back.verdict == mirrored.get(there.verdict, there.verdict)
        assert there.p == pytest.approx(back.p)


@RUNG
@given(st.lists(st.tuples(samples, samples, st.integers(-3, 3)), min_size=2, max_size=4))
def test_in_turn_what_a_session_does_to_both_sides_cancels(blocks):
    plain = in_turn([a for a, _, _ in blocks], [b for _, b, _ in blocks])
    moved = in_turn([tuple(x * 2.0**k for x in a) for a, _, k in blocks], [tuple(x * 2.0**k for x in b) for _, b, k in blocks])
    alike(one(plain), one(moved))


@RUNG
@given(samples, samples, st.floats(0.01, 1.0))
def test_dearer_is_never_less_suspicious(before, now, more):
    cheap, dear = (one(stored(before, tuple(value * factor for value in now)), 0.0) for factor in (1.0, 1.0 + more))
    assert dear.ratio > cheap.ratio
    if cheap.ratio > 1:
        assert dear.p <= cheap.p * (1 + 1e-9)


@RUNG
@given(
    st.tuples(samples, samples, samples), st.lists(st.floats(0.9, 1.1), max_size=8).map(tuple), st.booleans(), st.floats(0, 0.5)
)
def test_whatever_comes_in_the_verdict_keeps_its_promises(drawn, sessions, paired, threshold):
    before, first, second = drawn
    case = Case("t", (before, before) if paired else (before,), (first, second), () if paired else sessions, paired=paired)
    found = one(case, threshold)
    low, high = found.ci95
    assert 0 < low <= found.ratio <= high
    assert 0 < found.p <= 1
    if found.verdict == "regressed":
        assert low > 1 + max(threshold, found.floor or 0) - 1e-12
        assert found.p <= 0.01
    if found.verdict == "improved":
        assert 1 / high > 1 + max(threshold, found.floor or 0) - 1e-12
    if found.verdict == "cannot tell":
        assert "--energy" in found.why or found.suspect
    assert found.why
    assert "\n" not in found.why


def test_the_assumed_floor_is_what_the_words_say():
    quantile = scipy.stats.norm.isf(evidence.BEYOND_FLOOR)
    assert math.expm1(quantile * evidence.ASSUMED * math.sqrt(2)) == pytest.approx(0.15, abs=0.01)
