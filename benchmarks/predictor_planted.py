"""The predictor on planted changes: are tests flagged before they run, and only those that become dearer?

    python benchmarks/predictor_planted.py --out DIR [--only NAME ...] [--changes N] [--python FILE]   plants, measures, scores
    python benchmarks/predictor_planted.py --out DIR --score [--pairs FILE]                            scores what is in DIR

Packages: those of PACKAGES below, from their source distributions, in scratch copies. All tests are measured once with ``pytest
--energy``, which leaves what each executed and how often. Then functions are drawn from those that tests execute, and rewritten
by ``pytest_joules.explore``: as many in ways that make them dearer (a loop, a pass or a call added, a call repeated, a value
recomputed, a constant made anew) as in ways that are neutral (names, helpers, conditions, comprehensions). From the record of
the last measurement and the two sources, the model predicts each test's cost. The truth is the CPU time of the test's body,
timed in turn with the unchanged copy (the least of many runs); the time that the prediction starts from is by the same clock.

No package is judged by a model that has seen it: the model is that of the released versions that ship, without the package's
own. A test is flagged when the lower end of its 80 % interval is above +5 %. Beside it on the same changes: all affected tests
flagged, by size of the diff, and at random, the last two flagging as many as the model.

Bars: of tests that truly cost 20 % more at least 80 % are flagged, of those of neutral refactorings at most 1 %. Raw trials stay
in ``--out`` (one pickle for each package and seed, trusted: made here), so that another model can be scored without measuring
again; ``--pairs`` writes the numbers that ship with the package.
"""

from __future__ import annotations

import argparse
import difflib
import gzip
import math
import pickle
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from overhead import fetch
from startup import PROJECT, environment

from pytest_joules.explore.drawing import Explorer
from pytest_joules.explore.laboratory import Laboratory, Sources, Trial
from pytest_joules.explore.rewriting import Variant
from pytest_joules.predict.change.model import HIGH, LOW, MIDDLE, PLACES, ChangeModel
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.change.pace import pace as pace_here
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.train.change import RELEASED, Pair, shipped_pairs, train_change, write
from pytest_joules.store.entries import LatestRecord

#: Name and version of the source distribution, and the tests to run.
PACKAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "toolz": ("toolz", "1.2.0", ("toolz",)),
    "boltons": ("boltons", "26.2.0", ("tests",)),
    "tabulate": ("tabulate", "0.10.0", ("test",)),
    "sqlparse": ("sqlparse", "0.6.1", ("tests",)),
    "jinja2": ("jinja2", "3.1.6", ("tests",)),
    "mistune": ("mistune", "3.4.0", ("tests",)),
    "cachetools": ("cachetools", "8.0.1", ("tests",)),
    "networkx": (
        "networkx",
        "3.6.1",
        tuple(f"networkx/algorithms/{name}" for name in ("shortest_paths", "components", "traversal", "tests/test_dag.py")),
    ),
    "more-itertools": ("more_itertools", "11.2.1", ("tests/test_recipes.py",)),
}
NEEDED = ("markupsafe", "trio", "wcwidth", "hypothesis")
Records: TypeAlias = Mapping[str, LatestRecord]

THRESHOLD = math.log10(1.05)
DEARER = math.log10(1.2)


@dataclass(frozen=True)
class Row:
    """One test under one change."""

    package: str
    trial: Trial
    change: str
    nodeid: str
    features: Array
    known: bool
    truth: float
    """log10 of what it costs now, in parts of what it cost."""
    size: int
    """Lines of the diff."""

    @property
    def neutral(self) -> bool:
        return self.trial.variant.neutral

    def pair(self) -> Pair:
        return Pair(self.features, self.truth, self.package, self.change, self.trial.variant.kind, self.neutral)


def measure(name: str, given: argparse.Namespace, python: str) -> None:
    """Plant changes in a package until there are enough of both sorts, and keep the trials."""
    project, version, tests = PACKAGES[name]
    folder = fetch(project, version, given.suites.resolve())
    file = given.out / f"{name}.{given.seed}.trials"
    begun = time.monotonic()
    with Laboratory(folder, tests=tests, python=python) as lab:
        lab.record()
        print(f"{name}: {len(lab.records)} tests measured, {time.monotonic() - begun:.0f} s", flush=True)
        records: dict[str, LatestRecord] = {nodeid: {**record, "files": {}} for nodeid, record in lab.records.items()}
        trials: list[Trial] = []
        found: Counter[bool] = Counter()
        explorer = Explorer(lab, given.seed)

        def enough() -> bool:
            late = time.monotonic() - begun > given.limit
            return late or bool(min(found[True], found[False]) >= given.changes)

        for _, batch in explorer.batches(until=enough):
            for trial in batch:
                trials.append(trial)
                found[trial.variant.neutral] += 1
                ratios = " ".join(f"{after / before:.2f}" for before, after in trial.seconds.values())
                print(f"  {trial.variant.kind:24}{trial.place[-50:]:52}{trial.variant.amount:6}  {ratios}", flush=True)
            _keep(file, records, lab.sources, trials)
        _keep(file, records, lab.sources, trials)
    print(f"{name}: {found[False]} dearer and {found[True]} neutral changes, {time.monotonic() - begun:.0f} s", flush=True)


def _keep(file: Path, records: Records, sources: Sources, trials: Sequence[Trial]) -> None:
    with gzip.open(file, "wb") as opened:
        # Plain values, so that they can be read when the classes have moved.
        pickle.dump((dict(records), dict(sources), [asdict(trial) for trial in trials]), opened)


def load(out: Path, pace: float) -> list[Row]:
    """All rows, with the features as they are computed now."""
    rows: list[Row] = []
    for file in sorted(out.glob("*.trials")):
        with gzip.open(file, "rb") as opened:
            records, sources, plain = pickle.load(opened)
        trials = [Trial(**entry | {"variant": Variant(**entry["variant"])}) for entry in plain]
        for number, trial in enumerate(trials):
            questions = [trial.question(records[nodeid], sources) for nodeid in trial.seconds]
            size = _diff(trial, sources, records)
            for (nodeid, (before, after)), effect in zip(trial.seconds.items(), effects(questions, pace), strict=True):
                change = f"{file.stem} {number} {trial.place} {trial.variant.kind}"
                truth = math.log10(after / before)
                rows.append(Row(file.name.partition(".")[0], trial, change, nodeid, effect.features, effect.known, truth, size))
    return rows


def _diff(trial: Trial, sources: Sources, records: Records) -> int:
    test = next(iter(trial.seconds))
    code = records[test]["code"]["functions"]
    lines = 0
    for key, text in trial.now.items():
        before = sources.get((key, code.get(key, "")), "")
        diff = difflib.ndiff(before.splitlines(), (text or "").splitlines())
        lines += sum(line.startswith(("+", "-")) for line in diff)
    return lines


def held_out(rows: Sequence[Row]) -> Array:
    """What is expected of every row (log10, equally likely places), by the model of the released versions that ship, without
    those of its own package."""
    released = [pair for pair in shipped_pairs() if pair.kind == RELEASED]
    packages = np.array([row.package for row in rows])
    result = np.zeros((len(rows), PLACES))
    for package in sorted(set(packages)):
        inside = packages == package
        model = train_change([pair for pair in released if pair.project != package])
        result[inside] = model.ratios(np.array([row.features for row, mine in zip(rows, inside, strict=True) if mine]))
    return result


def report(rows: Sequence[Row]) -> bool:
    """Print what was found; whether the bars are met."""
    ratios = held_out(rows)
    low, centre, high = (ratios[:, place] for place in (LOW, MIDDLE, HIGH))
    known = np.array([row.known for row in rows]) & ChangeModel.says(np.array([row.features for row in rows]), ratios)
    flagged = (low > THRESHOLD) & known
    truth = np.array([row.truth for row in rows])
    neutral = np.array([row.neutral for row in rows])
    dearer = ~neutral & (truth >= DEARER)
    changes = np.array([f"{row.package} {row.change}" for row in rows])
    cover = np.mean(((low <= truth) & (truth <= high))[known])
    counts = [len(set(changes[some])) for some in (~neutral, neutral)]
    packages = len({row.package for row in rows})
    print(f"\n{counts[0]} dearer and {counts[1]} neutral changes in {packages} packages, {len(rows)} tests under them")
    print(f"median error {10 ** np.median(np.abs(truth - centre)) - 1:.1%}, 80 % intervals hold {cover:.1%}")
    print(f"\n{'':34}{'recall of +20 %':>16}{'by change':>12}{'flags on neutral':>18}{'truly < +5 %':>14}{'all < +5 %':>12}")
    sizes = np.array([row.size for row in rows], float)
    draw = np.random.default_rng(1)

    def top(score: Array) -> Array:
        chosen = np.zeros(len(rows), bool)
        chosen[np.argsort(-(score + draw.random(len(rows)) * 1e-6), kind="stable")[: flagged.sum()]] = True
        return chosen

    physical = np.array([row.features[0] for row in rows])
    methods = {
        "the model": flagged,
        "the physical estimate alone > +10 %": physical > math.log10(1.1),
        "all affected tests": np.ones(len(rows), bool),
        "by size of the diff, as many": top(sizes),
        "at random, as many": top(np.zeros(len(rows))),
    }
    for title, chosen in methods.items():
        by_change = [chosen[dearer & (changes == change)].any() for change in sorted(set(changes[dearer]))]
        print(
            f"{title:40}{np.mean(chosen[dearer]):10.3f}{np.mean(by_change):12.3f}{np.mean(chosen[neutral]):18.3f}"
            f"{np.mean(chosen[neutral & (truth < THRESHOLD)]):14.3f}{np.mean(chosen[truth < THRESHOLD]):12.3f}"
        )
    for title, of in (("kind", lambda row: row.trial.variant.kind), ("package", lambda row: row.package)):
        _table(title, rows, of, (flagged, truth, centre))
    recall, false = float(np.mean(flagged[dearer])), float(np.mean(flagged[neutral]))
    met = recall >= 0.8 and false <= 0.01 and min(counts) >= 100 and packages >= 5
    bars = "recall at least .80, false flags at most .01, 100 changes of each sort in 5 packages"
    print(f"\nbars ({bars}): {'met' if met else 'MISSED'}")
    return met


def _table(title: str, rows: Sequence[Row], of: Callable[[Row], str], found: tuple[Array, Array, Array]) -> None:
    flagged, truth, centre = found
    print(f"\n{title:26}{'changes':>8}{'tests':>7}{'+20 %':>7}{'recall':>8}{'< +5 %':>8}{'flagged':>9}{'median error':>14}")
    for name in sorted({of(row) for row in rows}, key=lambda name: (next(row for row in rows if of(row) == name).neutral, name)):
        some = np.array([of(row) == name for row in rows])
        dear, same = some & (truth >= DEARER), some & (truth < THRESHOLD)
        count = len({(row.package, row.change) for row in rows if of(row) == name})
        recall = f"{np.mean(flagged[dear]):.2f}" if dear.any() else "-"
        false = f"{np.mean(flagged[same]):.3f}" if same.any() else "-"
        error = 10 ** np.median(np.abs(truth - centre)[some]) - 1
        print(f"{name:26}{count:8}{some.sum():7}{dear.sum():7}{recall:>8}{same.sum():8}{false:>9}{error:13.1%}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="where trials are kept")
    parser.add_argument("--only", nargs="+", default=tuple(PACKAGES), choices=tuple(PACKAGES), metavar="NAME")
    parser.add_argument("--changes", type=int, default=30, metavar="N", help="of each sort in each package (default 30)")
    parser.add_argument("--limit", type=float, default=900, metavar="SECONDS", help="for each package (default 900)")
    parser.add_argument(
        "--python", metavar="FILE", help="the Python of an environment that has this project and what suites need"
    )
    parser.add_argument("--score", action="store_true", help="measure nothing")
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="write them and the released ones as numbers (.npz)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=float, default=pace_here(), help="of the machine that measured (default: this one's)")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if not given.score:
        with tempfile.TemporaryDirectory() as folder:
            python = given.python or str(environment(Path(folder) / "environment", str(PROJECT), *NEEDED))
            for name in given.only:
                measure(name, given, python)
    random.seed(given.seed)
    rows = load(given.out, given.pace)
    if given.pairs:
        released = [pair for pair in shipped_pairs() if pair.kind == RELEASED]
        arrays: dict[str, Any] = dict(write([*released, *(row.pair() for row in rows if row.known)]))
        np.savez_compressed(given.pairs, **arrays)
        print(f"{given.pairs}: {sum(row.known for row in rows)} pairs, {given.pairs.stat().st_size / 1024:.0f} KiB")
    return 0 if report(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
