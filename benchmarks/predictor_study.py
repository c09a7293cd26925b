"""What can be said of a test's cost by its code: the study's table on a data set, and the predictor's bars.

    python benchmarks/predictor_study.py DATASET [--only BAR ...] [--jobs N]

DATASET is a folder that ``joules collect`` made. Held-out only: no project (``profiled``, ``static``, ``table``) and no function
with its parametrisations and copies (``function``) is on both sides; tests with the same code, counts and parameters count once.

Bars, R² and Spearman of log10 joules:

``profiled``  unseen project, one profiled past run: R² .87 (call counts alone are printed beside it)
``static``    unseen project, its code and 20 measured tests: R² .45, Spearman .70
``function``  unseen function of a known project: R² .72, Spearman .86
``coverage``  80 % intervals on unseen projects: 76 to 84 %
``table``     three models by three representations by three targets, split by project

Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pytest_joules.collect import dataset
from pytest_joules.predict.choices import TARGETS
from pytest_joules.predict.train import level, parallel, splits
from pytest_joules.predict.train.fitting import Table
from pytest_joules.predict.train.level import Errors, Row


def cross_validated(
    rows: Sequence[Row], target: str, kinds: Sequence[str], representations: Sequence[str], groups: np.ndarray, *, ran: bool
) -> dict[str, Errors]:
    """Errors of each kind of model on folds that it was not trained on."""
    truth = np.array([row.log10[target] for row in rows])
    fold = splits.folds(groups, 10)
    table = Table.of(level.features(rows, representations, ran=ran))
    found = level.held_out(dict.fromkeys(kinds, table), truth, fold)
    return {kind: level.errors_of(predicted, truth, fold, groups) for kind, predicted in found.items()}


def by_project(rows: Sequence[Row]) -> np.ndarray:
    return np.asarray(splits.by_project([row.project for row in rows]))


def calls_alone(rows: Sequence[Row]) -> Errors:
    """A straight line on the logarithm of how many calls one profiled run made."""
    groups = by_project(rows)
    truth = np.array([row.log10["joules"] for row in rows])
    calls = np.log10([1 + sum(counts[0] for counts in row.facts.counts.values()) for row in rows])
    fold = splits.folds(groups, 10)
    predicted = np.empty(len(rows))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        slope, offset = np.polyfit(calls[~out], truth[~out], 1)
        predicted[out] = slope * calls[out] + offset
    return level.errors_of(predicted, truth, fold, groups)


class Bars:
    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.missed = 0

    def line(self, what: str, errors: Errors, **least: float) -> None:
        found = {"R²": errors.r2, "Spearman": errors.spearman, "80 % intervals hold": errors.coverage}
        shown = "  ".join(f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in found.items())
        verdict = ""
        if least:
            met = all((getattr(errors, name) or 0.0) >= bar for name, bar in least.items())
            self.missed += not met
            verdict = f"  bar {', '.join(f'{bar:g}' for bar in least.values())}: {'met' if met else 'MISSED'}"
        print(f"{what:58}{shown}  |error| {errors.median_error:.3f}{verdict}", flush=True)

    def profiled(self) -> None:
        trained = level.train_level(self.rows, "joules", ran=True, kinds=("linear", "boosted", "additive"))
        for kind, errors in trained.errors.items():
            bar = {"r2": 0.87} if kind == trained.model.regressor.kind else {}
            self.line(f"unseen project, one profiled run: {kind}", errors, **bar)
        self.line("unseen project, calls of one profiled run alone", calls_alone(self.rows))
        self._coverage("one profiled run", trained.errors[trained.model.regressor.kind])

    def static(self) -> None:
        trained = level.train_level(self.rows, "joules", ran=False, kinds=("linear", "boosted", "additive"))
        for kind, errors in trained.errors.items():
            adapted = kind.endswith(f"+{level.MEASURED}")
            self.line(f"unseen project, static: {kind}", errors, **({"r2": 0.45, "spearman": 0.70} if adapted else {}))
            if adapted:
                self._coverage("static, 20 measured", errors)

    def function(self) -> None:
        rows = level.without_twins(self.rows)
        groups = np.asarray(splits.by_function([row.facts for row in rows], [row.project for row in rows]))
        # Its project is known: its name is a feature.
        bars = {"r2": 0.72, "spearman": 0.86}
        for kind, representations, bar in (("bow", ("source",), {}), ("boosted", ("ast", "bytecode"), bars)):
            errors = cross_validated(rows, "joules", [kind], representations, groups, ran=False)[kind]
            self.line(f"unseen function, known project, static: {kind}", errors, **bar)

    def _coverage(self, what: str, errors: Errors) -> None:
        met = errors.coverage is not None and 0.76 <= errors.coverage <= 0.84
        self.missed += not met
        shown = "-" if errors.coverage is None else f"{100 * errors.coverage:.1f} %"
        print(f"{f'80 % intervals, unseen project, {what}':58}hold {shown}  bar 76 to 84 %: {'met' if met else 'MISSED'}")

    def table(self) -> None:
        rows = level.without_twins(self.rows)
        groups = by_project(rows)
        print(f"{'target':9}{'representation':16}{'model':10}{'MSE':>8}{'R²':>8}{'Spearman':>10}   (log10, split by project)")
        for target in TARGETS:
            for representation in ("source", "ast", "bytecode"):
                ran = representation == "bytecode"
                kinds = ("constant", "linear", "bow", "boosted", *(("additive",) if ran else ()))
                found = cross_validated(rows, target, kinds, [representation], groups, ran=ran)
                for kind, errors in found.items():
                    if kind == "constant" and representation != "source":
                        continue
                    variance = float(np.var([row.log10[target] for row in rows]))
                    mse = (1 - (errors.r2 or 0.0)) * variance
                    rank = "-" if errors.spearman is None else f"{errors.spearman:.3f}"
                    print(f"{target:9}{representation:16}{kind:10}{mse:8.4f}{errors.r2 or 0.0:8.3f}{rank:>10}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--only", nargs="+", choices=("profiled", "static", "function", "table"))
    parser.add_argument("--jobs", type=int, default=-1)
    given = parser.parse_args()
    rows = [row for row in dataset.rows(given.dataset) if row.log10.keys() >= set(TARGETS)]
    if not rows:
        sys.exit(f"{given.dataset}: no records of tests that passed")
    packages = Counter(row.project for row in rows)
    unlike = level.without_twins(rows)
    print(f"{len(rows)} tests of {len(packages)} packages, {len(unlike)} without twins\n")
    bars = Bars(rows)
    parts: dict[str, Callable[[], None]] = {
        "profiled": bars.profiled,
        "static": bars.static,
        "function": bars.function,
        "table": bars.table,
    }
    with parallel.running("loky", given.jobs):
        for name in given.only or parts:
            parts[name]()
            print()
    return int(bars.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
