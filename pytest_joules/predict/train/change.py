"""Learning what the physical estimate of a change leaves over, from measured pairs of versions."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from pytest_joules.predict.change.effect import FEATURES
from pytest_joules.predict.change.model import ChangeModel
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.facts.of_test import facts_of
from pytest_joules.predict.protocol import Before, Question
from pytest_joules.predict.scoring.arrays import Array, floats, pack, unpack
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.scoring.trees import Trees

if TYPE_CHECKING:
    from pytest_joules.store.entries import VersionRecord

#: Fewer pairs teach no trees; fewer changes give no estimate of the error by change.
_FEWEST = 80
_FOLDS = 5
#: The most values of a column that trees tell apart (scikit-learn's ``max_bins``).
_VALUES = 255
#: log10: what two measurements of the same code differ by.
_NOISE = 0.006
#: Where the pairs that ship with the package are.
SHIPPED = "change-pairs.npz"
#: log10 of the ratio above which a change is to be found, and of that up to which a flag is a false one.
_DEARER, _SAME = math.log10(1.2), math.log10(1.05)


@dataclass(frozen=True, slots=True)
class Pair:
    """One test before and after a change."""

    features: Array
    ratio: float
    """log10 of what it cost after, in parts of what it cost before."""
    project: str
    change: str
    """Tells changes of a project apart."""
    kind: str = ""
    """What was done, where a variant was made."""
    neutral: bool = False


def train_change(pairs: Sequence[Pair], *, jobs: int = 1, seed: int = 0) -> ChangeModel:
    """The model from pairs (at least one); its ``error`` is that on changes (on projects, where there are four or more) that were
    held out. ``jobs``: folds learned at a time.

    Raises:
        ValueError: there are no pairs.
    """
    from joblib import Parallel, delayed

    if not pairs:
        raise ValueError("there are no pairs of versions to learn from")
    features = np.array([pair.features for pair in pairs])
    truth = np.array([pair.ratio for pair in pairs])
    changes = [f"{pair.project} {pair.change}" for pair in pairs]
    left = truth - features[:, 0]
    if len(pairs) < _FEWEST:
        conformal = Conformal.fit(features[:, 0], left, changes)
        return ChangeModel(None, None, conformal, {"pairs": len(pairs)})
    features = _coarse(features)
    folds = _folds(pairs, seed)
    weights = _weights(changes)
    kept = sorted(set(folds.tolist()))
    parts = Parallel(n_jobs=jobs)(delayed(_held_out)(features, left, weights, folds, fold=fold, seed=seed) for fold in kept)
    corrected, doubts = np.zeros(len(pairs)), np.zeros(len(pairs))
    for fold, (correction, doubt) in zip(kept, parts, strict=True):
        corrected[folds == fold], doubts[folds == fold] = correction, doubt
    residuals = left - corrected
    conformal = Conformal.fit(doubts, residuals, changes)
    model = ChangeModel(_corrections(features, left, weights, seed), _doubts(features, residuals, weights, seed), conformal)
    held: dict[str, object] = {"split": "project" if len({pair.project for pair in pairs}) > 3 else "change"}
    centre = features[:, 0] + corrected
    low, high = conformal.interval(doubts)
    scored = score(pairs, centre, centre + low - doubts, centre + high - doubts)
    return ChangeModel(model.correction, model.doubt, conformal, held | scored)


def score(pairs: Sequence[Pair], centre: Array, low: Array, high: Array) -> dict[str, float | None]:
    """How good predictions (log10) are: the median error, what the intervals hold, how many of the truly dearer (by 20 % or more)
    are flagged at the threshold of 5 %, and how many of those that are not dearer (by 5 % or more)."""
    truth = np.array([pair.ratio for pair in pairs])
    flagged = low > _SAME
    dearer, same = truth >= _DEARER, truth < _SAME
    return {
        "pairs": len(pairs),
        "changes": len({(pair.project, pair.change) for pair in pairs}),
        "median": float(np.median(np.abs(truth - centre))),
        "coverage": float(np.mean((low <= truth) & (truth <= high))),
        "recall": float(np.mean(flagged[dearer])) if dearer.any() else None,
        "false_flags": float(np.mean(flagged[same])) if same.any() else None,
    }


def _folds(pairs: Sequence[Pair], seed: int) -> Array:
    """A number for each pair: of its project where there are enough of them, otherwise drawn for its change."""
    projects = sorted({pair.project for pair in pairs})
    if len(projects) > 3:
        return np.array([projects.index(pair.project) for pair in pairs])
    return np.array([zlib.crc32(f"{seed} {pair.project} {pair.change}".encode()) % _FOLDS for pair in pairs])


def _weights(changes: Sequence[str]) -> Array:
    """A change counts by the root of how many tests it has."""
    sizes: dict[str, int] = {}
    for change in changes:
        sizes[change] = sizes.get(change, 0) + 1
    return np.array([1 / math.sqrt(sizes[change]) for change in changes])


def _held_out(features: Array, left: Array, weights: Array, folds: Array, *, fold: int, seed: int) -> tuple[Array, Array]:
    """Corrections and doubts of one fold, learned on the others."""
    inside, outside = folds != fold, folds == fold
    correction = _corrections(features[inside], left[inside], weights[inside], seed)
    # How far off it is where it has not learned: once more in folds.
    order = np.unique(folds[inside])
    missed = np.zeros(int(inside.sum()))
    own = folds[inside]
    for group in np.array_split(order, min(3, len(order))):
        held = np.isin(own, group)
        if held.all():
            missed = left[inside] - correction.score(features[inside])
            break
        other = _corrections(features[inside][~held], left[inside][~held], weights[inside][~held], seed)
        missed[held] = left[inside][held] - other.score(features[inside][held])
    doubt = _doubts(features[inside], missed, weights[inside], seed)
    return correction.score(features[outside]), doubt.score(features[outside])


def _coarse(features: Array) -> Array:
    """Each value of a column with very many as the nearest of some of them: what the trees tell apart in any case.

    scikit-learn takes a weighted quantile for each bin of each column of each model otherwise, which is most of the time.
    """
    result = features.copy()
    for column in result.T:
        if len(np.unique(column)) > _VALUES:
            values = np.unique(np.quantile(column, np.linspace(0, 1, _VALUES), method="nearest"))
            column[:] = values[np.searchsorted((values[:-1] + values[1:]) / 2, column)]
    return result


def _corrections(features: Array, left: Array, weights: Array, seed: int) -> Trees:
    return _grown(features, left, weights, seed, loss="absolute_error", min_samples_leaf=15)


def _doubts(features: Array, missed: Array, weights: Array, seed: int) -> Trees:
    return _grown(features, np.log10(np.abs(missed) + _NOISE), weights, seed, loss="squared_error", min_samples_leaf=20)


def _grown(features: Array, truth: Array, weights: Array, seed: int, *, loss: str, min_samples_leaf: int) -> Trees:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    model = HistGradientBoostingRegressor(
        loss=loss,
        max_iter=60,
        learning_rate=0.08,
        max_leaf_nodes=6,
        min_samples_leaf=min_samples_leaf,
        l2_regularization=5,
        random_state=seed,
    )
    # Threads that wait for each other in a loop make small trees on a busy machine twenty times slower.
    with threadpool_limits(1):
        return Trees.of_scikit_learn(model.fit(features, truth, weights))


# Pairs


def pairs_of(
    questions: Sequence[Question], ratios: Sequence[float], *, project: str, change: str, kind: str = "", neutral: bool = False
) -> list[Pair]:
    """From questions that have been measured since: ``ratios`` is what each costs in parts of what it did before."""
    return [
        Pair(effect.features, math.log10(ratio), project, change, kind, neutral)
        for effect, ratio in zip(effects(questions), ratios, strict=True)
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
        question = Question(new, Before(joules, seconds, old.sources, old.counts, then["created"]), changed)
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
