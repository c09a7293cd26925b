"""The predictor on real changes: two releases of a package, predicted before anything runs, held against what was measured.

    joules collect --pairs --list=benchmarks/pairs.txt --out=DIR --keep
    python benchmarks/predictor_pairs.py --out DIR [--held DIR] [--ship FILE] [--questions FOLDER]

DIR is what ``joules collect --pairs --keep`` left: what each drawn test cost with either release, the records of what it ran, and
both trees. Each pair counts in both directions: from the record of the one release and the source of the other the model
predicts each test's cost as ``pytest --energy-predict`` does. The truth is CPU time: the median, over
the passes, of the ratio of the least of many runs.

No package is judged by a model that has seen it: with ``--held`` those in that folder are judged by a model of all others, else
each by a model of the others. *Dearer*: 20 % or more, and at least 10 % in every pass; *the same*: less than 5 % dearer. Beside
the model: what is flagged by the physical estimate alone (and, where packages are judged by the others, by a random forest), and
what has run of the dearer ones when 30 % of the affected joules are spent, in the model's order and in others.

Bars (held-out packages): 80 % intervals hold 78 to 90 %, and no package under 65 %; at least 50 % of the dearer are flagged, at
most 2 % of the same; 85 % of the dearer are in the first 30 % of the affected joules; of the dearer at most 10 % are left out by
``--energy-predict-only``, and none is called unchanged; at most 25 % are answered unknown. Exit code 1 where a bar is missed.

``--ship`` writes the numbers that come with the package. ``--questions`` keeps what is asked, so that another model can be tried
without the trees (pickles, trusted: made here).
"""

from __future__ import annotations

import argparse
import difflib
import math
import pickle
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from pytest_joules.code.graph import Graph
from pytest_joules.code.project import Project
from pytest_joules.collect.pair_reader import read
from pytest_joules.predict.change.effect import COLUMN
from pytest_joules.predict.change.model import HIGH, LOW, MIDDLE, ChangeModel
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.change.pace import pace as pace_here
from pytest_joules.predict.protocol import Question
from pytest_joules.predict.questions import questions_on_disk
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.train.change import DEARER, RELEASED, SAME, Pair, shipped_pairs, train_change, write
from pytest_joules.store import open_store

SIDES = ("older", "newer")


@dataclass(frozen=True)
class Asked:
    """A test in one direction, and what came of it."""

    package: str
    change: str
    question: Question | None
    """``None``: nothing in its path is another."""
    ratio: float
    """log10."""
    least: float
    """The least ratio of a pass."""
    joules: float
    """CPU seconds: the machine that measured has no counters."""


def asked(out: Path, key: str) -> list[Asked]:
    """Both directions of a pair."""
    found: list[Asked] = []
    pair = read(out / "records" / f"{key}.jsonl")
    for before, after in (SIDES, SIDES[::-1]):
        work = out / "work" / key
        store = open_store(work / f"{before}.db", write=False)
        try:
            identity = next(version["machine_id"] for version in store.versions()) or ""
            latest = store.latest(identity, None, [test.nodeid for test in pair.tests])
            texts = store.sources({entry for record in latest.values() for entry in record["code"]["functions"].items()})
        finally:
            store.close()
        graph = Graph(Project(work / after))
        questions = {question.facts.nodeid: question for question in questions_on_disk(latest, texts, graph)}
        for test in pair.tests:
            then, now = getattr(test, before), getattr(test, after)
            if test.nodeid not in latest or not then.cpu_seconds:
                continue
            seconds = median(then.cpu_seconds)
            question = questions.get(test.nodeid)
            if question is not None and question.before is not None:
                question = replace(question, before=replace(question.before, seconds=seconds, joules=seconds))
            ratios = [after / ago for ago, after in zip(then.cpu_seconds, now.cpu_seconds, strict=True)]
            ratio = math.log10(median(ratios))
            found.append(Asked(pair.package, f"{key} {before}", question, ratio, min(ratios), seconds))
    return found


def gathered(out: Path, kept: Path | None) -> list[Asked]:
    """All pairs of a folder, those before 0.1 ms per test and all."""
    found: list[Asked] = []
    keys = sorted(file.stem for file in (out / "records").glob("*.jsonl"))
    missing = []
    for key in keys:
        file = kept / f"{key}.pickle" if kept is not None else None
        if file is not None and file.exists():
            found += pickle.loads(file.read_bytes())
        elif all((out / "work" / key / side).is_dir() for side in SIDES):
            missing.append(key)
        else:
            print(f"{key}: its trees are gone: collect it with --keep")
    with ProcessPoolExecutor(2) as pool:
        for key, entries in zip(missing, pool.map(asked, [out] * len(missing), missing), strict=True):
            found += entries
            if kept is not None:
                kept.mkdir(parents=True, exist_ok=True)
                (kept / f"{key}.pickle").write_bytes(pickle.dumps(entries))
    return found


def by_change(entries: Sequence[Asked]) -> Iterator[list[Asked]]:
    groups: dict[str, list[Asked]] = {}
    for entry in entries:
        groups.setdefault(entry.change, []).append(entry)
    yield from groups.values()


def rows(entries: Sequence[Asked], pace: float) -> tuple[list[Asked], list[Pair], list[bool]]:
    """The affected tests, each as a pair for training, and of which something could be said."""
    kept: list[Asked] = []
    pairs: list[Pair] = []
    known: list[bool] = []
    for group in by_change([entry for entry in entries if entry.question is not None]):
        found = effects([entry.question for entry in group if entry.question is not None], pace)
        for entry, effect in zip(group, found, strict=True):
            kept.append(entry)
            pairs.append(Pair(effect.features, entry.ratio, entry.package, entry.change, RELEASED))
            known.append(effect.known)
    return kept, pairs, known


def judged(train: Sequence[Pair], pairs: Sequence[Pair]) -> Array:
    """log10 of ratios, by a model of ``train``; ``pairs`` of a package in ``train`` by one without it."""
    features = np.array([pair.features for pair in pairs])
    result = np.zeros((len(pairs), HIGH + LOW + 1))
    packages = {pair.project for pair in train}
    of_all = train_change(train).ratios(features)
    for package in sorted({pair.project for pair in pairs}):
        own = np.array([pair.project == package for pair in pairs])
        model = of_all[own]
        if package in packages:
            model = train_change([pair for pair in train if pair.project != package]).ratios(features[own])
        result[own] = model
    return result


def first(entries: Sequence[Asked], order: Sequence[float], dearer: Sequence[bool], share: float = 0.3) -> float:
    """How many of the dearer ones have run when so much of the joules is spent, the largest ``order`` first; of the test that
    runs then, the part that has."""
    left, found = share * sum(entry.joules for entry in entries), 0.0
    for number in sorted(range(len(entries)), key=lambda number: -order[number]):
        found += min(max(left / entries[number].joules, 0.0), 1.0) * dearer[number]
        left -= entries[number].joules
    return found


def diff(question: Question) -> float:
    """Lines of what changed in its path that are added or gone."""
    assert question.before is not None
    total = 0
    for key in question.changed:
        old, new = question.before.sources.get(key, "").splitlines(), question.facts.sources.get(key, "").splitlines()
        total += sum(line[0] in "+-" and line[:3] not in ("+++", "---") for line in difflib.unified_diff(old, new, n=0))
    return float(total)


def share_changed(question: Question) -> float:
    assert question.before is not None
    return len(question.changed) / max(len(question.before.sources), 1)


def told(word: str, value: float | None, bar: str, met: bool) -> bool:
    print(f"  {word:<68} {'-' if value is None else f'{value:6.1%}'}  {bar}{'' if met else '  MISSED'}")
    return met


def orders(group: Sequence[Asked], pairs: Sequence[Pair], likely: Sequence[float], draw: random.Random) -> dict[str, list[float]]:
    """By what the tests of a change may be put in order."""
    questions = [entry.question for entry in group if entry.question is not None]
    return {
        "the model (chance for each joule)": [chance / entry.joules for chance, entry in zip(likely, group, strict=True)],
        "chance alone": list(likely),
        "exposure": [float(pair.features[COLUMN["exposure"]]) for pair in pairs],
        "physical estimate": [float(pair.features[COLUMN["physical"]]) for pair in pairs],
        "size of the diff": [diff(question) for question in questions],
        "share of changed functions": [share_changed(question) for question in questions],
        "the cheapest first": [-entry.joules for entry in group],
        "at random": [draw.random() for _ in group],
    }


class Judged(NamedTuple):
    """Affected tests with what was expected of them."""

    entries: Sequence[Asked]
    pairs: Sequence[Pair]
    ratios: Array
    said: Array
    """Something was answered."""

    @property
    def truth(self) -> Array:
        return np.array([entry.ratio for entry in self.entries])

    @property
    def dearer(self) -> Array:
        return np.asarray((self.truth >= DEARER) & np.array([entry.least > 1.1 for entry in self.entries]))

    @property
    def inside(self) -> Array:
        return (self.ratios[:, LOW] <= self.truth) & (self.truth <= self.ratios[:, HIGH])


def forest(found: Judged) -> float:
    """What a random forest would flag of the dearer where it flags 2 % of the same: on what the model looks at and on what a
    diff shows, trained on the other packages."""
    from sklearn.ensemble import RandomForestClassifier

    questions = [entry.question for entry in found.entries if entry.question is not None]
    more = [[len(one.changed), diff(one), share_changed(one)] for one in questions]
    features = np.hstack([np.array([pair.features for pair in found.pairs]), np.array(more)])
    dearer, same, packages = found.dearer, found.truth < SAME, np.array([pair.project for pair in found.pairs])
    score = np.zeros(len(packages))
    for package in sorted(set(packages)):
        own = packages == package
        learner = RandomForestClassifier(300, min_samples_leaf=5, class_weight="balanced", random_state=0)
        learner.fit(features[(dearer | same) & ~own], dearer[(dearer | same) & ~own])
        score[own] = learner.predict_proba(features[own])[:, 1]
    return float(np.mean(score[dearer] > np.quantile(score[same], 0.98)))


def table(found: Judged) -> dict[str, float]:
    """Print the packages; what the intervals hold in each."""
    print("package                 tests  dearer  flagged  same  flagged  unknown  in 80 %  median error")
    covers = {}
    flagged, same = found.said & (found.ratios[:, LOW] > SAME), found.truth < SAME
    for package in sorted({pair.project for pair in found.pairs}):
        own = np.array([pair.project == package for pair in found.pairs])
        covers[package] = float(np.mean(found.inside[own & found.said])) if (own & found.said).any() else 1.0
        error = float(np.median(np.abs(found.truth - found.ratios[:, MIDDLE])[own]))
        counts = (own, own & found.dearer, own & found.dearer & flagged, own & same, own & same & flagged, own & ~found.said)
        columns = "".join(f"{int(some.sum()):>{width}}" for some, width in zip(counts, (7, 8, 9, 6, 9, 9), strict=True))
        print(f"{package:<22}{columns}{covers[package]:>9.0%}{10**error - 1:>14.1%}")
    return covers


def bars(found: Judged, covers: Mapping[str, float], unchanged: int) -> bool:
    """Print them; whether all are met."""
    truth, dearer, said, ratios = found.truth, found.dearer, found.said, found.ratios
    likely = np.where(said, np.mean(ratios > SAME, axis=1), 2.0)
    flagged, same = said & (ratios[:, LOW] > SAME), truth < SAME
    hits: dict[str, float] = {}
    draw = random.Random(0)
    index = {id(entry): number for number, entry in enumerate(found.entries)}
    for group in by_change(found.entries):
        places = [index[id(entry)] for entry in group]
        keys = orders(group, [found.pairs[n] for n in places], [float(likely[n]) for n in places], draw)
        for name, order in keys.items():
            hits[name] = hits.get(name, 0.0) + first(group, order, [bool(dearer[n]) for n in places])
    left = dearer & said & ~flagged & (likely < 0.05)
    total, cover, best = max(int(dearer.sum()), 1), float(np.mean(found.inside[said])), next(iter(hits))
    good = [
        told("80 % intervals hold", cover, "78 to 90 %", 0.78 <= cover <= 0.90),
        told("in the worst package", min(covers.values()), ">= 65 %", min(covers.values()) >= 0.65),
        told(
            "flagged of the dearer", float((flagged & dearer).sum() / total), ">= 50 %", (flagged & dearer).sum() >= 0.5 * total
        ),
        told("flagged of the same", float(flagged[same].mean()), "<= 2 %", flagged[same].mean() <= 0.02),
        told("left out by --energy-predict-only", float(left.sum() / total), "<= 10 %", left.sum() <= 0.1 * total),
        told("dearer called unchanged", unchanged / total, "none", unchanged == 0),
        told("answered unknown", float(1 - said.mean()), "<= 25 %", said.mean() >= 0.75),
        told(f"dearer in the first 30 % of the joules: {best}", hits[best] / total, ">= 85 %", hits[best] >= 0.85 * total),
    ]
    for name in [*hits][1:]:
        told(f"  {name}", hits[name] / total, "", met=True)
    alone = np.array([pair.features[COLUMN["physical"]] for pair in found.pairs]) > math.log10(1.1)
    told("  flagged of the dearer by the physical estimate > +10 % alone", float((alone & dearer).sum() / total), "", met=True)
    told("  flagged of the same by it", float(alone[same].mean()), "", met=True)
    if len(covers) > 20:
        told("  flagged of the dearer by a forest, at 2 % of the same", forest(found), "", met=True)
    return all(good)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--held", type=Path)
    parser.add_argument("--ship", type=Path)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--pace", type=float, default=pace_here(), help="of the machine that measured (default: this one's)")
    given = parser.parse_args()
    known = given.questions
    _, train, train_known = rows(gathered(given.out, known and known / "train"), given.pace)
    usable = [pair for pair, said in zip(train, train_known, strict=True) if said]
    entries = gathered(given.held, known and known / "held") if given.held else gathered(given.out, known and known / "train")
    kept, pairs, known_ones = rows(entries, given.pace)
    ratios, features = judged(usable, pairs), np.array([pair.features for pair in pairs])
    found = Judged(kept, pairs, ratios, np.array(known_ones) & ChangeModel.says(features, ratios))
    changes, packages = ({getattr(pair, name) for pair in usable} for name in ("change", "project"))
    print(f"trained on {len(usable)} tests of {len(changes) // 2} pairs in {len(packages)} packages")
    changes, packages = ({getattr(pair, name) for pair in pairs} for name in ("change", "project"))
    print(f"judged: {len(pairs)} affected tests of {len(changes) // 2} pairs in {len(packages)} packages, both ways:")
    print(f"  {found.dearer.sum()} dearer, {(found.truth < SAME).sum()} the same; controls: {len(entries) - len(kept)}")
    unchanged = sum(entry.question is None and entry.ratio >= DEARER and entry.least > 1.1 for entry in entries)
    met = bars(found, table(found), unchanged)
    if given.ship is not None:
        planted = [pair for pair in shipped_pairs() if pair.kind != RELEASED]
        arrays: dict[str, Any] = dict(write([*usable, *planted]))
        np.savez_compressed(given.ship, **arrays)
        print(f"written: {given.ship}, {len(usable)} of released versions and {len(planted)} planted")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
