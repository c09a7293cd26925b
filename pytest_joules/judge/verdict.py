"""What a test cost before and costs now -> regressed, improved, ok or cannot tell; over a whole run at once.

docs/verdicts.md says how a verdict is reached, and what was measured of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, comb, exp, expm1, isfinite, log, log1p, prod
from typing import TYPE_CHECKING

from pytest_joules.judge.case import LEARNT_FROM, MOST_BLOCKS, WAY_OUT, Case, Comparison
from pytest_joules.model import Verdict
from pytest_joules.stats import FEWEST_SAMPLES, median

if TYPE_CHECKING:
    from pytest_joules.judge.evidence import Evidence

_TWICE = log(2)
"""Two processes on the two threads of a core: each took 1.3 to 2 times as long as alone, where it was tried."""

_TRY_BELOW = 0.25
"""A suspect's p: generous, since the first block may have had a cheap session."""

_FAR = 2.0
"""An interval that reaches this many times the threshold (of logarithms: 1.10 for 5 %) reaches far above it."""

_OWN = 0.1
"""The reading of the meter may be so much of a test of which ``ok`` is said."""

_ORDERS = 100
"""Of two sides' samples, at least: the rarest has p = 1 %."""


def judge(cases: Sequence[Case], threshold: float = 0.05, *, alpha: float = 0.01, confirm: bool = True) -> list[Comparison]:
    """Judge all tests of a run together, one comparison a case, in order.

    ``threshold``: the smallest relative change that counts. ``alpha``: the false discovery rate over the run. With ``confirm``
    a test is ``regressed`` only when two or more blocks of now point upwards; before that it is a suspect.

    Raises:
        ValueError: a threshold below 0, or an alpha not between 0 and 1.
    """
    if not (isfinite(threshold) and threshold >= 0):
        raise ValueError(f"threshold {threshold}: a relative change of 0 or more is meant")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}: between 0 and 1 is meant")
    found: dict[int, Comparison] = {}
    sound: list[Case] = []
    places: list[int] = []
    for place, case in enumerate(cases):
        whole = _cleaned(case)
        reason = case.cannot or _unfit(whole)
        if reason is not None:
            again = confirm and case.cannot is None and _may_suffice(whole) and looks_dearer(whole, threshold)
            found[place] = Comparison("cannot tell", None, None, None, reason, None, None, None, 0, len(whole.now), again)
        else:
            sound.append(whole)
            places.append(place)
    if sound:
        from pytest_joules.judge.evidence import weigh

        for place, case, evidence in zip(places, sound, weigh(sound), strict=True):
            found[place] = _conclude(case, evidence, threshold, alpha, confirm)
    return [found[place] for place in range(len(cases))]


def _cleaned(case: Case) -> Case:
    """Without empty blocks, and sessions that are no cost."""
    if case.paired:
        whole = [(a, b) for a, b in zip(case.before, case.now, strict=False) if a and b]
        before, now = tuple(a for a, _ in whole), tuple(b for _, b in whole)
    else:
        before, now = tuple(filter(None, case.before)), tuple(filter(None, case.now))
    sessions = tuple(value for value in case.sessions if _is_cost(value))
    if len(sessions) < LEARNT_FROM:
        sessions = ()  # a few may be of the very change that is judged; the baseline is what a person chose
    return replace(case, before=before, now=now, sessions=sessions)


def _is_cost(value: float) -> bool:
    return isfinite(value) and value > 0


def _unfit(case: Case) -> str | None:
    before, now = (sum(map(len, side)) for side in (case.before, case.now))
    if min(before, now) < FEWEST_SAMPLES:
        return (
            f"{before} samples before and {now} now, {FEWEST_SAMPLES} on each side are needed: "
            f"--energy-rounds={FEWEST_SAMPLES} or more, or a longer --energy-max-time"
        )
    for side, blocks in (("before", case.before), ("now", case.now)):
        for block in blocks:
            for value in block:
                if not _is_cost(value):
                    return f"a sample of {value:g} J {side}: below the counter's resolution; iterations=N makes the work longer"
    return None


def looks_dearer(case: Case, threshold: float) -> bool:
    """Whether the median of all ratios between samples of the two sides is above 1 by half the threshold; without numpy."""
    before = [joules for block in case.before for joules in block if joules > 0]
    ratios = [joules / other for block in case.now for joules in block for other in before]
    return bool(ratios) and median(ratios) > 1 + threshold / 2


def _may_suffice(case: Case) -> bool:
    """Whether blocks as those that there are can be enough samples, where these are too few."""
    blocks = len(case.now)
    if not 0 < blocks < MOST_BLOCKS:
        return False
    grown = MOST_BLOCKS / blocks
    before, now = (sum(map(len, side)) for side in (case.before, case.now))
    if case.paired:
        orders = prod(comb(len(a) + len(b), len(a)) for a, b in zip(case.before, case.now, strict=True)) ** grown
        return min(before, now) * grown >= FEWEST_SAMPLES and orders >= _ORDERS
    return min(before, now * grown) >= FEWEST_SAMPLES


def _conclude(case: Case, seen: Evidence, threshold: float, alpha: float, confirm: bool) -> Comparison:
    """The verdict of one test; upwards and downwards are mirror images but for the confirmation."""
    dearer = seen.shift >= 0
    sign = 1 if dearer else -1
    bound = seen.low if dearer else -seen.high
    p, adjusted, p_rank = seen.dearer if dearer else seen.cheaper
    least = max(log1p(threshold), seen.held)
    blocks = len(case.now)
    significant = adjusted <= alpha and p_rank <= alpha
    agreed = all(sign * block > 0 for block in seen.blocks[1:])
    # ok says that no change beyond the threshold is likely: not where one is likelier than not, or far greater ones are possible.
    reach = max(seen.high, -seen.low)
    unlikely = abs(seen.shift) <= least and reach <= _FAR * least and bound <= log1p(threshold) and not _too_short(case)
    numbers = f"{_times(seen.shift)} (95 % interval {_bare(seen.low)} to {_bare(seen.high)}), {_in_words(p)}"
    suspect = False
    verdict: Verdict = "ok" if unlikely else "cannot tell"
    if p_rank > alpha or bound <= least or (case.paired and not significant):
        why = f"{numbers}: {_short_of(threshold, significant=p <= alpha)}"
        if not unlikely:
            sure = bound > log1p(threshold) and max(p, p_rank) <= alpha
            why = f"{numbers}: {_open(case, seen, threshold, bound if sure else None, wide=bound <= 0)}"
    elif not agreed:
        back = next(block for block in seen.blocks[1:] if sign * block <= 0)
        why = f"{numbers}, but {_times(back)} when measured again: not confirmed; {_quieter(case)}"
    elif case.paired and case.same_code:
        verdict, why = (
            "cannot tell",
            f"{numbers}, but all code that it executes is the same on both sides: noise, or what it reads",
        )
    elif case.disturbed and bound <= _TWICE:
        verdict, why = (
            "cannot tell",
            f"{numbers}: other processes used the machine, which can double an estimate: {WAY_OUT}",
        )
    elif not significant or bound <= seen.floor:
        reason = f"sessions of the same code may differ so much ({_floor_in_words(seen, case)})"
        verdict, why = "cannot tell", f"{numbers}: {_among(seen) if p <= alpha and bound > seen.floor else reason}"
    elif not dearer:
        verdict, why = "improved", numbers
    elif not case.paired and (quietest := _quietest(case)) <= 1 + threshold / 2:
        verdict = "cannot tell"
        why = f"{numbers}, but its quietest round costs {quietest:.2f}× what it did: disturbed; {WAY_OUT}"
    elif confirm and blocks < 2:
        verdict, suspect = "cannot tell", True
        why = f"{numbers}, not measured again yet: a second block must confirm it"
    else:
        verdict = "regressed"
        why = numbers if blocks < 2 else f"{numbers}, in all of {blocks} blocks"
    hopeless = (case.paired and case.same_code) or (case.disturbed and seen.shift <= _TWICE)
    if confirm and verdict != "regressed" and dearer and agreed and blocks < MOST_BLOCKS:
        suspect = suspect or (not hopeless and _may_become(seen, max(log1p(threshold), seen.held_at_most)))
    if verdict != "ok" and seen.common is not None:
        why += f"; {seen.common}"
    return Comparison(
        verdict,
        exp(seen.shift),
        (exp(seen.low), exp(seen.high)),
        p,
        why,
        seen.level,
        seen.level * exp(seen.shift),
        None if case.paired else expm1(seen.floor),
        len(case.sessions) if seen.learnt else 0,
        blocks,
        suspect,
        expm1(seen.carried) if seen.carried > log1p(threshold) else None,
    )


def _quietest(case: Case) -> float:
    """The cheapest sample now over the cheapest before: what disturbs a machine for moments makes no round cheaper.

    Of more samples the cheapest is cheaper: it is that of the middle block (the lower of two), unless any is as cheap as it was.
    """
    before, now = min(map(min, case.before)), sorted(map(min, case.now))
    return (now[0] if now[0] <= before else now[(len(now) - 1) // 2]) / before


def _may_become(seen: Evidence, least: float) -> bool:
    """Whether more blocks could still make a regression of it: worth a try while it is not plain noise."""
    if seen.dearer[0] > _TRY_BELOW:
        return False
    return seen.shift + 1.64 * seen.reach > max(least, seen.floor_at_most) + seen.half_at_most


def _short_of(threshold: float, *, significant: bool) -> str:
    return f"not surely beyond the threshold of {100 * threshold:.3g} %" if significant else "no change can be told"


def _among(seen: Evidence) -> str:
    return f"not significant among {seen.tests} tests; more rounds (--energy-rounds), or this test alone"


def _open(case: Case, seen: Evidence, threshold: float, sure: float | None, *, wide: bool) -> str:
    """Why it cannot be said that nothing beyond the threshold has changed, and what helps.

    ``sure``: the bound, where the test alone is surely beyond the threshold.
    """
    if short := _too_short(case):
        return short
    if sure is not None:
        if sure <= seen.held:
            return f"less than this run's noise carries ({100 * expm1(seen.held):.2g} %); {_quieter(case)}"
        return _among(seen)
    if wide:
        return f"too noisy to exclude {_times(max(seen.low, seen.high, key=abs))}; {_quieter(case)}"
    return f"perhaps beyond the threshold of {100 * threshold:.3g} %, not surely; {_quieter(case)}"


def _too_short(case: Case) -> str:
    """Why a change may be hidden, where code has changed."""
    if case.own <= _OWN or case.same_code:
        return ""
    needed = ceil(case.iterations * case.own * (1 / _OWN - 1) / (1 - min(case.own, 0.99)))
    return (
        f"too short: {100 * min(case.own, 1):.0f} % of it is the reading of the meter; "
        f"@pytest.mark.energy(iterations={needed}) or more"
    )


def _quieter(case: Case) -> str:
    more = "more rounds (--energy-rounds) or a quieter machine"
    return more if case.paired else f"{more}, or --energy-against, which measures both sides in turn"


def _floor_in_words(seen: Evidence, case: Case) -> str:
    percent = f"noise floor {100 * expm1(seen.floor):.2g} %"
    if seen.learnt:
        return f"{percent}, learnt from {len(case.sessions)} earlier ones; --energy-against tells smaller changes apart"
    return f"fewer than {LEARNT_FROM} earlier ones: {percent}, assumed; --energy-against tells smaller changes apart"


def _bare(shift: float) -> str:
    """A logarithm as a ratio with three significant digits, at least two places: ``1.34``, ``0.072``, ``12.3``."""
    ratio = exp(shift)
    return f"{ratio:.2f}" if 0.095 <= ratio < 9.995 else f"{ratio:.3g}"


def _times(shift: float) -> str:
    return _bare(shift) + "×"


def _in_words(p: float) -> str:
    """``p = 0.02``, ``p = 3e-6``, ``p < 1e-15``."""
    if p >= 0.0095:
        return f"p = {p:.2g}"
    if p <= 1e-15:
        return "p < 1e-15"
    mantissa, _, exponent = f"{p:.0e}".partition("e")
    return f"p = {mantissa}e{int(exponent)}"
