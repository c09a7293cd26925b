"""What a verdict must not depend on: units, order, sides."""

from __future__ import annotations

import pytest
from cases import RUNG, in_turn, one, stored
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.judge.case import Case, Comparison
from pytest_joules.stats import FEWEST_SAMPLES

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
