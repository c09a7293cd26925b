"""Learning how far the physical estimate of a change is off, from measured pairs of versions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from pytest_joules.predict.change.effect import FEATURES
from pytest_joules.predict.change.model import GROUPS, HIGH, LOW, MIDDLE, PLACES, ChangeModel, centres, groups, sizes, spreads
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.change.pace import pace
from pytest_joules.predict.facts.of_test import facts_of
from pytest_joules.predict.protocol import Before, Question
from pytest_joules.predict.scoring.arrays import Array, floats, pack, unpack

if TYPE_CHECKING:
    from pytest_joules.store.entries import VersionRecord

#: Fewer projects (changes, where there is one project) give a group no quantiles of its own.
_FEWEST = 9
_FOLDS = 5
#: log10: what two measurements of the same code differ by, at least.
_NOISE = 0.004
#: The ``kind`` of pairs that are released versions.
RELEASED = "released"
#: Of the project itself, how many other projects its pairs count as much as.
_OWN = 5.0
#: Where the pairs that ship with the package are.
SHIPPED = "change-pairs.npz"
#: log10 of the ratio above which a change is to be found, and of that up to which a flag is a false one.
DEARER, SAME = math.log10(1.2), math.log10(1.05)


@dataclass(frozen=True, slots=True)
class Pair:
    """One test before and after a change."""

    features: Array
    ratio: float
    """log10 of what it cost after, in parts of what it cost before."""
    project: str
    """``""``: the one that is learned for."""
    change: str
    """Tells changes of a project apart."""
    kind: str = ""
    """What was done, where a variant was made; :data:`RELEASED` of two released versions."""
    neutral: bool = False


def train_change(pairs: Sequence[Pair]) -> ChangeModel:
    """The model from pairs (at least one); its ``error`` is that on projects (on changes, where there are fewer than four) that
    were held out.

    Raises:
        ValueError: there are no pairs.
    """
    if not pairs:
        raise ValueError("there are no pairs of versions to learn from")
    folds, features = _folds(pairs), np.array([pair.features for pair in pairs])
    ratios = np.zeros((len(pairs), PLACES))
    for fold in sorted(set(folds.tolist())):
        inside = [pair for pair, number in zip(pairs, folds, strict=True) if number != fold] or pairs
        ratios[folds == fold] = _fitted(inside).ratios(features[folds == fold])
    model = _fitted(pairs)
    held: dict[str, object] = {"split": "project" if len({pair.project for pair in pairs}) > 3 else "change"}
    return ChangeModel(model.scales, model.quantiles, held | score(pairs, ratios))


def _fitted(pairs: Sequence[Pair]) -> ChangeModel:
    features = np.array([pair.features for pair in pairs])
    truth, weights = np.array([pair.ratio for pair in pairs]), _weights(pairs)
    scales = _usual(features, truth, weights)
    errors = (truth - centres(features)) / (sizes(features) @ scales + spreads(features))
    group = groups(features)
    by_project = len({pair.project for pair in pairs}) > 3
    names = [pair.project if by_project else pair.change for pair in pairs]
    whole = _quantiles(errors, weights, names)
    found = []
    for number in range(len(GROUPS) + 1):
        own = group == number
        some = [name for name, inside in zip(names, own, strict=True) if inside]
        found.append(_quantiles(errors[own], weights[own], some) if len(set(some)) >= _FEWEST else whole)
    return ChangeModel(scales, np.array(found))


def _usual(features: Array, truth: Array, weights: Array) -> Array:
    """What each part of the error is usually worth: the most likely ones if errors fall off exponentially on both sides
    (Laplace), looked for one after the other."""
    parts, least, missed = sizes(features), spreads(features), np.abs(truth - centres(features))
    scales = np.full(parts.shape[1], 0.02)
    scales[0] = _NOISE

    def unlikely(scales: Array) -> float:
        size = parts @ scales + least
        return float(np.sum(weights * (np.log(size) + missed / size)))

    best = unlikely(scales)
    for factor in (4.0, 2.0, 1.4, 1.15, 1.05):
        for _ in range(4):
            before = best
            for number in range(len(scales)):
                for value in (scales[number] / factor, scales[number] * factor, 0.0 if number else _NOISE):
                    trial = scales.copy()
                    trial[number] = max(value, _NOISE if number == 0 else 0.0)
                    if (found := unlikely(trial)) < best:
                        best, scales = found, trial
            # What was taken away may be worth something after all.
            for number in map(int, np.flatnonzero(scales == 0)):
                trial = scales.copy()
                trial[number] = 0.005 * factor
                if (found := unlikely(trial)) < best:
                    best, scales = found, trial
            if best > before - 1e-6:
                break
    return scales


def _quantiles(errors: Array, weights: Array, names: Sequence[str]) -> Array:
    """:data:`PLACES` equally likely places. What is asked about is of a project that was not seen: it counts as one more, with
    errors as large as any."""
    extra = 1 / (len(set(names)) + 1)
    order = np.argsort(errors, kind="stable")
    sorted_errors, share = errors[order], weights[order] / weights.sum() * (1 - extra)
    reached = np.cumsum(share)
    found = []
    for place in range(1, PLACES + 1):
        level = place / (PLACES + 1)
        # The one more is above for the upper half, below for the lower one.
        wanted = level if level > 0.5 else level - extra
        found.append(sorted_errors[min(int(np.searchsorted(reached, max(wanted, 0.0))), len(errors) - 1)])
    return np.maximum.accumulate(np.array(found))


def score(pairs: Sequence[Pair], ratios: Array) -> dict[str, float | None]:
    """How good predictions (log10, :data:`PLACES` a row) are: the median error, what the intervals hold, how many of the truly
    dearer (by 20 % or more) are flagged at the threshold of 5 %, how many of those that are not dearer (by 5 % or more), and how
    many are answered ``unknown``."""
    truth = np.array([pair.ratio for pair in pairs])
    low, high = ratios[:, LOW], ratios[:, HIGH]
    said = ChangeModel.says(np.array([pair.features for pair in pairs]), ratios)
    flagged = said & (low > SAME)
    dearer, same = truth >= DEARER, truth < SAME
    inside = ((low <= truth) & (truth <= high))[said]
    return {
        "pairs": len(pairs),
        "changes": len({(pair.project, pair.change) for pair in pairs}),
        "median": float(np.median(np.abs(truth - ratios[:, MIDDLE]))),
        "coverage": float(np.mean(inside)) if len(inside) else None,
        "recall": float(np.mean(flagged[dearer])) if dearer.any() else None,
        "false_flags": float(np.mean(flagged[same])) if same.any() else None,
        "unknown": float(1 - np.mean(said)),
    }


def _folds(pairs: Sequence[Pair]) -> Array:
    """A number for each pair: of its project where there are enough of them, otherwise one of a few for its change."""
    projects = sorted({pair.project for pair in pairs})
    if len(projects) > 3:
        return np.array([projects.index(pair.project) for pair in pairs])
    changes = sorted({(pair.project, pair.change) for pair in pairs})
    return np.array([changes.index((pair.project, pair.change)) % _FOLDS for pair in pairs])


def _weights(pairs: Sequence[Pair]) -> Array:
    """Every project counts the same, the own one as several; a change by the root of how many tests it has."""
    tests = Counter((pair.project, pair.change) for pair in pairs)
    rows = np.array([1 / math.sqrt(tests[pair.project, pair.change]) for pair in pairs])
    totals: dict[str, float] = {}
    for pair, row in zip(pairs, rows, strict=True):
        totals[pair.project] = totals.get(pair.project, 0.0) + float(row)
    return np.array(
        [row / math.sqrt(totals[pair.project]) * (1.0 if pair.project else _OWN) for pair, row in zip(pairs, rows, strict=True)]
    )


# Pairs


def pairs_of(
    questions: Sequence[Question], ratios: Sequence[float], *, project: str, change: str, kind: str = "", neutral: bool = False
) -> list[Pair]:
    """From questions that have been measured since: ``ratios`` is what each costs in parts of what it did before."""
    return [
        Pair(effect.features, math.log10(ratio), project, change, kind, neutral)
        for effect, ratio in zip(effects(questions, pace()), ratios, strict=True)
        if effect.known and ratio > 0
    ]


def history_pairs(versions: Sequence[VersionRecord], sources: Mapping[tuple[str, str], str]) -> list[Pair]:
    """What a project's own history teaches: tests that were measured before and after functions in their path changed.

    ``versions`` are of one machine and source, the oldest first; ``sources`` by place and hash.
    """
    before: dict[str, VersionRecord] = {}
    result: list[Pair] = []
    for version in versions:
        then = before.get(version["nodeid"])
        before[version["nodeid"]] = version
        if then is None:
            continue
        joules, seconds, joules_now = then["joules"] or 0.0, then["seconds"], version["joules"] or 0.0
        if joules <= 0 or joules_now <= 0 or not seconds:
            continue
        changed = _changed(then["code"].get("functions") or {}, version["code"].get("functions") or {})
        if not any("::" in key for key in changed):
            continue
        old, new = facts_of(version["nodeid"], then["code"], sources), facts_of(version["nodeid"], version["code"], sources)
        question = Question(new, Before.of(old, joules, seconds, then["created"]), changed)
        result += pairs_of([question], [joules_now / joules], project="", change=f"{then['session']} {version['session']}")
    return result


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(key for key, hashed in before.items() if now.get(key) != hashed)


def write(pairs: Iterable[Pair]) -> dict[str, Array]:
    """Pairs as arrays, for a file."""
    pairs = list(pairs)
    texts = {name: sorted({getattr(pair, name) for pair in pairs}) for name in ("project", "change", "kind")}
    places = {name: {text: number for number, text in enumerate(values)} for name, values in texts.items()}
    return {
        "columns": pack(FEATURES),
        "features": np.array([pair.features for pair in pairs], dtype=np.float32),
        "ratio": np.array([pair.ratio for pair in pairs], dtype=np.float32),
        "neutral": np.array([pair.neutral for pair in pairs], dtype=np.uint8),
        **{f"{name}s": pack(values) for name, values in texts.items()},
        **{name: np.array([places[name][getattr(pair, name)] for pair in pairs], dtype=np.int32) for name in texts},
    }


def read(arrays: Mapping[str, Array]) -> list[Pair]:
    """What :func:`write` made; nothing where it was made for other features.

    Raises:
        Bad: it is something else.
    """
    if tuple(unpack(arrays, "columns")) != FEATURES:
        return []
    ratios = floats(arrays, "ratio", 1)
    features, neutral = floats(arrays, "features", 2, len(ratios)), floats(arrays, "neutral", 1, len(ratios))
    names = {name: unpack(arrays, f"{name}s") for name in ("project", "change", "kind")}
    numbers = {name: floats(arrays, name, 1, len(ratios)).astype(int) for name in names}
    return [
        Pair(
            features[row],
            float(ratios[row]),
            names["project"][numbers["project"][row]],
            names["change"][numbers["change"][row]],
            names["kind"][numbers["kind"][row]],
            bool(neutral[row]),
        )
        for row in range(len(ratios))
    ]


def shipped_pairs() -> list[Pair]:
    """Those measured on public packages that come with pytest-joules; ``pytest_joules/data/README.md`` says which."""
    file = resources.files("pytest_joules.data").joinpath(SHIPPED)
    if not file.is_file():
        return []
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        return read(dict(arrays))
