"""Instructions now against those of a baseline -> regressed, improved, ok or cannot tell.

Counts of the same code in the same world repeat to some millionths, so there is no statistics here: a test's own counts say how
far they can be trusted, and a second process says whether the first was right. docs/count.md says what was measured of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_joules.count.record import SCATTERED, SLACK
from pytest_joules.model import CountComparisonRecord, CountRecord, CountVerdict
from pytest_joules.report import quantity

#: Rounds whose ratios to those before differ by so much carry no smaller change than so many times that.
_TIMES = 1.5
#: What is not all of a test's work must change by so much before anything is said of it, relative.
_DWARFS = 0.25
#: What paths of another length were seen to make of tests that walk through folders (2.0 %), and half as much again.
_PATHS = 0.03


def compare(
    before: CountRecord | None,
    now: CountRecord,
    *,
    baseline: str,
    threshold: float,
    differs: Sequence[str] = (),
    elsewhere: bool = False,
) -> CountComparisonRecord:
    """The verdict on one test.

    Args:
        before: as the baseline has it; ``None``: it has not
        baseline: its name
        threshold: relative
        differs: what else decides counts and is not the same on both sides
        elsewhere: the project's folder had a path of another length then
    """
    was, is_ = before["count"] if before is not None else None, now["count"]
    pairs = [*zip(before["counts"], now["counts"], strict=False)] if before is not None else []
    # Round by round: what a process makes of its first rounds, it makes of them each time.
    ratios = [count / then for then, count in pairs if then]
    own, then = _own(now, before), _own(before, now) if before is not None else 0
    ratio = own / then if ratios and then else None
    alike = abs(own - then) <= SLACK
    noise = max(ratios) - min(ratios) if ratios and not alike else 0.0
    doubts = [*dict.fromkeys((*now["doubts"], *(before["doubts"] if before is not None else ())))]
    scatters = noise > SCATTERED
    if scatters and before is not None:
        # Chance decides each round.
        noise = max(noise, now["spread"] or 0.0, before["spread"] or 0.0)
    held = max(threshold, _TIMES * noise, _DWARFS if doubts else 0.0)
    verdict, why = _verdict(ratio, alike, held, [*doubts, *(["its counts scatter"] if scatters else [])], differs)
    if elsewhere and verdict in ("regressed", "improved") and ratio is not None and _within(ratio, _PATHS):
        verdict, why = "cannot tell", f"{why}: so much can be the length of the folder's path, which was another one"
    return {
        "baseline": baseline,
        "ratio": ratio,
        "before": was,
        "now": is_,
        "verdict": verdict,
        "why": why,
        "held": held,
        "processes": 1,
        "changed": [],
        "where": [],
    }


def _within(ratio: float, share: float) -> bool:
    return 1 / (1 + share) <= ratio <= 1 + share


def _own(counted: CountRecord, other: CountRecord | None) -> int:
    """Its instructions, where that is known of both without those that are chance: which names share a place in the
    interpreter's cache of attributes depends on where they are in memory."""
    known = other is not None and other["misses"] is not None
    return counted["count"] - (counted["misses"] or 0 if known else 0)


def _verdict(
    ratio: float | None, alike: bool, held: float, doubts: Sequence[str], differs: Sequence[str]
) -> tuple[CountVerdict, str]:
    """``alike``: they differ by so little that it means nothing."""
    if differs:
        return "cannot tell", f"counted under other conditions: {'; '.join(differs)}: save a baseline with these"
    if ratio is None:
        return "cannot tell", "no instructions were counted then: save a baseline with --energy-count"
    said = f"{quantity.change(ratio)} instructions"
    if not alike and not _within(ratio, held):
        return "regressed" if ratio > 1 else "improved", f"{said}, beyond {100 * held:.2g} %"
    return ("cannot tell", f"{said}, which are not all of its work: {'; '.join(doubts)}") if doubts else ("ok", said)


def otherwise(comparison: CountComparisonRecord, again: int) -> CountComparisonRecord:
    """Of a test that looked dearer in one process and not in a second one."""
    counts = f"{quantity.instructions(comparison['now'])} in one process, {quantity.instructions(again)} in another"
    return {**not_confirmed(comparison, counts), "processes": 2}


def not_confirmed(comparison: CountComparisonRecord, why: str) -> CountComparisonRecord:
    """Of a test that looked dearer, of which nothing more is known."""
    return {**comparison, "verdict": "cannot tell", "why": f"{comparison['why']}; {why}"}


def beside(comparison: CountComparisonRecord, verdict: str) -> CountComparisonRecord:
    """Where joules were judged too: what they say is not taken back by a count that has no part in it."""
    if comparison["verdict"] == "ok" and verdict in ("regressed", "improved"):
        why = f"{comparison['why']}: what {verdict} in joules is no work of the CPU's own (caches, files, locks, waiting)"
        return {**comparison, "verdict": "same instructions", "why": why}
    return comparison


def gone_up(before: Mapping[str, int], now: Mapping[str, int], most: int = 3) -> list[str]:
    """Functions of the C level that have more instructions than before, in words, the most first."""
    more = sorted(((now[name] - before.get(name, 0), name) for name in now), reverse=True)
    floor = sum(now.values()) * 0.01
    return [f"{name} +{quantity.instructions(count)}" for count, name in more[:most] if count > floor]
