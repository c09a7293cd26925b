"""The variants of one thing, from what each cost in the blocks that all of them had in turn -> ratios, verdicts, the front.

Blocks are the samples: what disturbs a block disturbs the rounds in it alike. Of each block there is a ratio of two variants'
medians, and only its sign counts for the test (exact, of Dixon and Mood 1946): a block in which a neighbour comes can be as wrong
as it likes. The interval is that of the median ratio by order statistics. Friedman's test (1937) over the blocks comes first,
Holm's correction (1979) holds for the comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb, exp, isfinite, log, log1p
from typing import NamedTuple

from pytest_joules import stats
from pytest_joules.judge.comparing import refusal
from pytest_joules.judge.score_differences import difference
from pytest_joules.model import Front, Record, VariantRecord, VariantVerdict

#: Of all that is said of a table, as for the tests of a run (see :mod:`pytest_joules.judge.verdict`).
ALPHA = 0.01
#: Blocks from which on the median's interval assumes nothing (see :func:`pytest_joules.stats.median_interval`).
_BLOCKS = 6


@dataclass(frozen=True, slots=True)
class Group:
    """The variants that stand in one table."""

    name: str
    """The test without the parameter."""
    parameter: str
    reference: str
    records: Mapping[str, Record]
    """By variant, what was measured of it."""
    in_turn: bool = True
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why there is nothing to compare of a variant."""
    remarks: Sequence[str] = ()


def needed(variants: int) -> int:
    """Blocks below which no comparison of so many variants with one of them can be significant."""
    return _least(max(variants - 1, 1), wrong=0)


def planned(variants: int) -> int:
    """Blocks with which two the wrong way round, one by a neighbour that comes and one by chance, lose no difference."""
    return _least(max(variants - 1, 1), wrong=2)


def _least(comparisons: int, wrong: int) -> int:
    blocks = 2
    while comparisons * sign_p(blocks, wrong) > ALPHA:
        blocks += 1
    return blocks


def sign_p(blocks: int, wrong: int) -> float:
    """Two-sided p of the exact sign test, ``wrong`` of the blocks on the other side or on none."""
    below = sum(comb(blocks, k) for k in range(wrong + 1))
    return min(1.0, 2 * below / 2.0**blocks)


class Ratio(NamedTuple):
    """One variant over another; logarithms."""

    shift: float
    interval: tuple[float, float] | None
    p: float
    """Of this comparison alone."""
    blocks: int


def ratio(over: Mapping[int, float], under: Mapping[int, float]) -> Ratio | None:
    """Of the joules by block; ``None`` where they have no block in common."""
    found = [log(over[block] / under[block]) for block in sorted(over.keys() & under.keys())]
    if not found:
        return None
    against = min(sum(value >= 0 for value in found), sum(value <= 0 for value in found))
    return Ratio(stats.median(found), stats.median_interval(found), sign_p(len(found), against), len(found))


def unpaired(over: Sequence[float], under: Sequence[float]) -> Ratio | None:
    """Of samples that were not measured in turn: Hodges and Lehmann's estimate, exact rank tests."""
    if min(len(over), len(under)) < stats.FEWEST_SAMPLES:
        return None
    from pytest_joules.judge.two_samples import effects

    found = effects([[under]], [[over]], [False])
    p = min(1.0, 2 * min(float(found.p_dearer[0]), float(found.p_cheaper[0])))
    return Ratio(float(found.shift[0]), (float(found.low[0]), float(found.high[0])), p, 0)


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """p values, each corrected for the others (Holm 1979)."""
    result: dict[str, float] = {}
    highest = 0.0
    for rank, (name, p) in enumerate(sorted(values.items(), key=lambda entry: entry[1])):
        highest = max(highest, min(1.0, p * (len(values) - rank)))
        result[name] = highest
    return result


def friedman(costs: Sequence[Mapping[int, float]]) -> float | None:
    """p of Friedman's test that all cost the same in the blocks that they have in common; ``None`` for fewer than three
    variants or two blocks."""
    blocks = sorted(set.intersection(*(set(one) for one in costs))) if costs else []
    if len(costs) < 3 or len(blocks) < 2:
        return None
    if all(len({one[block] for one in costs}) == 1 for block in blocks):
        return 1.0
    from scipy.stats import friedmanchisquare

    return float(friedmanchisquare(*([one[block] for block in blocks] for one in costs)).pvalue)


def compare(group: Group, threshold: float, score: str | None = None) -> dict[str, VariantRecord]:
    """Judge the variants of a group, one record each.

    Args:
        threshold: the smallest relative change that counts
        score: the name of the score to hold beside the joules; without one the first that variants have
    """
    return _Judging(group, threshold, score).records()


class _Judging:
    def __init__(self, group: Group, threshold: float, score: str | None) -> None:
        self._group = group
        self._threshold = threshold
        self._missing = dict(group.missing)
        self._remarks = list(group.remarks)
        for name, record in group.records.items():
            if name not in self._missing and (why := self._unfit(record)) is not None:
                self._missing[name] = why
        self._sound = {name: record for name, record in group.records.items() if name not in self._missing}
        self._costs = {name: _by_block(record) for name, record in self._sound.items()}
        self._friedman = friedman(list(self._costs.values())) if group.in_turn else None
        self._ratios = {name: found for name in self._sound if name != group.reference and (found := self._ratio(name))}
        self._adjusted = holm({name: found.p for name, found in self._ratios.items()})
        self._score = score if score is not None else _first_score(self._sound.values())
        self._scores = {
            name: scored for name, record in self._sound.items() if (scored := record["score_details"].get(self._score or ""))
        }
        self._better = self._direction()

    def _unfit(self, record: Record) -> str | None:
        reference = self._group.records.get(self._group.reference, record)
        if not self._group.in_turn:
            return refusal(reference, record, random=False) if record["source"] is not None else _unmeasured(record)
        if record["source"] is None or record["energy"] is None:
            return _unmeasured(record)
        if record["resolution"] == "below" or any(not _is_cost(sample["energy"]) for sample in record["samples"]):
            return "below the counter's resolution: give the test @pytest.mark.energy(iterations=N)"
        if record["iterations"] != reference["iterations"]:
            return f"{record['iterations']} iterations a round, the reference has {reference['iterations']}: give both the same"
        return None

    def _ratio(self, name: str, under: str | None = None) -> Ratio | None:
        under = under or self._group.reference
        if under not in self._sound:
            return None
        if self._group.in_turn:
            return ratio(self._costs[name], self._costs[under])
        both = [[value for one in self._sound[each]["samples"] if _is_cost(value := one["energy"])] for each in (name, under)]
        return unpaired([value for value in both[0] if value is not None], [value for value in both[1] if value is not None])

    def records(self) -> dict[str, VariantRecord]:
        names = [*self._group.records, *(name for name in self._missing if name not in self._group.records)]
        front = self._front()
        made = {name: self._record(name, *front.get(name, (None, []))) for name in names}
        for record in made.values():
            record["remarks"] = list(dict.fromkeys(self._remarks))
        return made

    def _record(self, name: str, front: Front | None, dominated_by: list[str]) -> VariantRecord:
        found = self._ratios.get(name)
        verdict, why = self._verdict(name, found)
        unit, per_unit, speed = _work(self._sound[name]) if name in self._sound else (None, None, None)
        moved = self._score_difference(name, self._group.reference, 0.95) if name != self._group.reference else None
        return {
            "parameter": self._group.parameter,
            "variant": name,
            "reference": self._group.reference,
            "group": self._group.name,
            "in_turn": self._group.in_turn,
            "blocks": found.blocks if found is not None else len(self._costs.get(name, ())) if self._group.in_turn else 0,
            "needed": needed(len(self._group.records)),
            "friedman": self._friedman,
            "ratio": exp(found.shift) if found is not None else None,
            "ci95": [exp(end) for end in found.interval] if found is not None and found.interval is not None else None,
            "p": self._adjusted.get(name),
            "verdict": verdict,
            "why": why,
            "score": self._score if name in self._scores else None,
            "score_difference": moved[0] if moved is not None else None,
            "score_ci95": list(moved[1]) if moved is not None and moved[1] is not None else None,
            "front": front,
            "dominated_by": dominated_by,
            "unit": unit,
            "joules_per_unit": per_unit,
            "units_per_second": speed,
            "remarks": [],
        }

    def _verdict(self, name: str, found: Ratio | None) -> tuple[VariantVerdict, str | None]:
        reference = self._group.reference
        if name in self._missing:
            return "cannot tell", self._missing[name]
        if name == reference:
            return "reference", None
        if found is None:
            why = self._missing.get(reference)
            return "cannot tell", f"nothing to compare with: {reference}: {why}" if why else (
                f"nothing to compare with: {reference} was not measured" if reference not in self._sound else _FEW
            )
        within = log1p(self._threshold)
        low, high = found.interval or (-math.inf, math.inf)
        enough = not self._group.in_turn or found.blocks >= _BLOCKS
        if enough and -within <= low and high <= within:
            return "same within threshold", f"its interval lies within {100 * self._threshold:.3g} % of {reference}"
        p = self._adjusted[name]
        said = _in_words(p)
        if self._group.in_turn and found.blocks < (least := needed(len(self._group.records))):
            return "cannot tell", f"{found.blocks} blocks: {least} are needed among {len(self._group.records)} variants: {_MORE}"
        if p > ALPHA:
            return "cannot tell", f"{said} among {len(self._group.records)} variants: more rounds, or a quieter machine"
        if self._friedman is not None and self._friedman > ALPHA:
            return "cannot tell", f"{said}, but all together do not differ: Friedman's {_in_words(self._friedman)}"
        return "dearer" if found.shift > 0 else "cheaper", said

    # Energy against score

    def _direction(self) -> bool | None:
        """Whether a higher score is the better one; ``None`` where that is not known, and then a remark says why."""
        if not self._scores:
            return None
        said = {score["higher_is_better"] for score in self._scores.values()} - {None}
        if len(said) == 1:
            return said.pop()
        why = "has no direction" if not said else "is better when higher for one variant, when lower for another"
        self._remarks.append(
            f"the score {self._score} {why}: no front; write energy.score({self._score}=..., higher_is_better=True) or False"
        )
        return None

    def _score_difference(self, name: str, under: str, level: float) -> tuple[float, tuple[float, float] | None] | None:
        if name not in self._scores or under not in self._scores:
            return None
        return difference(self._scores[name], self._scores[under], level)

    def _front(self) -> dict[str, tuple[Front | None, list[str]]]:
        """Whether each variant is dominated: only by one that is cheaper and better, both significantly."""
        if self._better is None:
            return {}
        pairs = list(combinations([name for name in self._sound if name in self._scores], 2))
        ratios = {pair: found for pair in pairs if (found := self._ratio(*pair)) is not None}
        adjusted = holm({"\0".join(pair): found.p for pair, found in ratios.items()})
        level = 1 - 0.05 / max(len(pairs), 1)
        cheaper: dict[tuple[str, str], int] = {}
        better: dict[tuple[str, str], int] = {}
        for one, other in pairs:
            found = ratios.get((one, other))
            sure = found is not None and adjusted["\0".join((one, other))] <= ALPHA and (self._friedman or 0.0) <= ALPHA
            sign = (1 if found.shift < 0 else -1) if found is not None and sure else 0
            moved = self._score_difference(one, other, level)
            gain = _sign(moved[1]) if moved is not None and moved[1] is not None else 0
            gain = gain if self._better else -gain
            cheaper[one, other], cheaper[other, one] = sign, -sign
            better[one, other], better[other, one] = gain, -gain
        result: dict[str, tuple[Front | None, list[str]]] = {}
        for name in self._scores:
            others = [other for other in self._scores if other != name]
            by = [other for other in others if cheaper[other, name] > 0 and better[other, name] > 0]
            by.sort(key=lambda other: (self._sound[other]["energy"] or {"median": math.inf})["median"])
            clear = all(cheaper[other, name] < 0 or better[other, name] < 0 for other in others)
            result[name] = ("dominated" if by else "front" if clear else "cannot tell"), by
        return result


_FEW = f"fewer than {stats.FEWEST_SAMPLES} samples: --energy-rounds={stats.FEWEST_SAMPLES} or more"
_MORE = "a longer --energy-max-time, or more --energy-rounds"


def _by_block(record: Record) -> dict[int, float]:
    """The median joules of each block."""
    blocks: dict[int, list[float]] = {}
    for sample in record["samples"]:
        if sample["energy"] is not None:
            blocks.setdefault(sample["block"], []).append(sample["energy"])
    return {block: stats.median(values) for block, values in blocks.items()}


def _is_cost(value: float | None) -> bool:
    return value is not None and isfinite(value) and value > 0


def _unmeasured(record: Record) -> str:
    if record["outcome"] not in (None, "passed", "xpassed"):
        return str(record["outcome"])
    return f"not measured: {record['notes'][0]}" if record["notes"] else "not measured"


def _first_score(records: Iterable[Record]) -> str | None:
    return next((name for record in records for name in record["score_details"]), None)


def _work(record: Record) -> tuple[str | None, float | None, float | None]:
    """The first unit of work, joules for one, and how many a second."""
    for unit, work in record["work"].items():
        seconds, amount = record["duration"], work["amount"]
        speed = amount / seconds["median"] if seconds is not None and amount is not None and seconds["median"] > 0 else None
        return unit, work["joules_per_unit"], speed
    return None, None, None


def _sign(interval: tuple[float, float]) -> int:
    return 1 if interval[0] > 0 else -1 if interval[1] < 0 else 0


def _in_words(p: float) -> str:
    return f"p = {p:.1g}" if p >= 0.0001 else "p < 0.0001"
