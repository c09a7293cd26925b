"""The statistics: what is drawn, what is counted out by hand, and what an interval promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from cases import in_turn, one

from pytest_joules.judge import session_noise, two_samples
from pytest_joules.judge.verdict import judge

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
