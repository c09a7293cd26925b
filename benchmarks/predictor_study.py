"""What can be said of a test's cost by its code: the study's table on a data set, and the predictor's bars.

    python benchmarks/predictor_study.py DATASET [--only BAR ...] [--jobs N] [--folds N]
    python benchmarks/predictor_study.py DATASET --only table --layers 2 --tokens 64 --epochs 3   # of the language model

DATASET is a folder that ``joules collect`` made. Held-out only: no project (``profiled``, ``static``, ``table``) and no function
with its parametrisations and copies (``function``) is on both sides; tests with the same code, counts and parameters count once.

Bars, R² and Spearman of log10 joules:

``profiled``  unseen project, one profiled past run: R² .87 (call counts alone are printed beside it)
``static``    unseen project, its code and 20 measured tests: R² .45, Spearman .70
``function``  unseen function of a known project: R² .72, Spearman .86
``coverage``  80 % intervals on unseen projects: 76 to 84 %
``table``     the study's three models (linear, bag of words, language model with low-rank adapters) and more, by three
              representations, by three targets, all on the same folds by project: at most 60 CPU minutes and 2.5 GB. The language
              model reads text: source as it is written, a syntax tree as the kinds of its nodes, counted operations with their
              counts; one training for each representation and fold learns all three targets. It needs the extra ``lora``.
``training``  a language model of 6 layers and 128 tokens: 4,000 tests, 3 epochs in at most 12 CPU minutes and 2.5 GB (one epoch
              is trained, and counted three times)

Exit code 1 where one is missed, or a cell of the table is empty.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil

from pytest_joules.collect import dataset
from pytest_joules.language_model import base, extra, learning
from pytest_joules.language_model.settings import Settings
from pytest_joules.predict.choices import TARGETS
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.train import level, parallel, splits
from pytest_joules.predict.train.fitting import Table
from pytest_joules.predict.train.level import Errors, Row

MOST_MINUTES, MOST_TRAINING, MOST_BYTES = 60.0, 12.0, 2.5e9

#: What that study printed, as far as this project knows it.
PUBLISHED = """\
The study that this table is made after (4,400 unit tests in Rust) printed for its best model, a bag of words on source, a mean
squared error of .0344. No other figure of it is known to this project. It cannot be compared with the lines above:
- splits: there, tests of all projects are on both sides; here, no project is. The line "split by test" shows what that does here.
- target: a squared error is as large as the costs are wide. Its tests are compiled Rust, measured by counters; these are in
  Python, and their spread and noise are others. Only a share of the variance (R²) would carry over; of it that is not known."""


def cross_validated(
    rows: Sequence[Row],
    target: str,
    kinds: Sequence[str],
    representations: Sequence[str],
    groups: np.ndarray,
    *,
    ran: bool,
    folds: int = 10,
) -> dict[str, Errors]:
    """Errors of each kind of model on folds that it was not trained on."""
    found, truth, fold = predicted(rows, target, kinds, representations, groups, ran=ran, folds=folds)
    return {kind: level.errors_of(said, truth, fold, groups) for kind, said in found.items()}


def predicted(
    rows: Sequence[Row],
    target: str,
    kinds: Sequence[str],
    representations: Sequence[str],
    groups: np.ndarray,
    *,
    ran: bool,
    folds: int,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """What each kind says of tests that it was not trained on, by kind; the truth; the fold of each test."""
    truth = np.array([row.log10[target] for row in rows])
    fold = splits.folds(groups, folds)
    table = Table.of(level.features(rows, representations, ran=ran))
    return level.held_out(dict.fromkeys(kinds, table), truth, fold), truth, fold


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
    def __init__(self, rows: Sequence[Row], settings: Settings, folds: int, jobs: int) -> None:
        self.rows, self.settings, self.folds, self.jobs = rows, settings, folds, jobs
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
        begun = _cpu()
        rows = level.without_twins(self.rows)
        groups = by_project(rows)
        split = f"   (log10, {self.folds} folds by project)"
        print(f"{'target':9}{'representation':16}{'model':10}{'MSE':>8}{'R²':>8}{'Spearman':>10}{split}")
        for representation in ("source", "ast", "bytecode"):
            ran = representation == "bytecode"
            kinds = ("constant", "linear", "bow", "boosted", *(("additive",) if ran else ()))
            cells: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
            for target in TARGETS:
                found, truth, _ = predicted(rows, target, kinds, [representation], groups, ran=ran, folds=self.folds)
                cells |= {(target, kind): (said, truth) for kind, said in found.items()}
            try:
                cells |= self._language(rows, representation, ran=ran)
            except ModelError as error:
                print(f"{representation}: {error}")
            for target in TARGETS:
                for kind in ("constant", "linear", "bow", "lora", "boosted", *(("additive",) if ran else ())):
                    if kind != "constant" or representation == "source":
                        self._cell((target, representation, kind), cells.get((target, kind)))
        found, truth, _ = predicted(rows, "joules", ["bow"], ["source"], np.arange(len(rows)), ran=False, folds=self.folds)
        self._cell(("joules", "source", "bow"), (found["bow"], truth), "   split by test")
        print(PUBLISHED)
        minutes, memory = (_cpu() - begun) / 60, _Watched.most
        met = minutes <= MOST_MINUTES and memory <= MOST_BYTES
        self.missed += not met
        print(
            f"{minutes:.1f} CPU minutes, {memory / 1e9:.2f} GB at most  bar {MOST_MINUTES:g}, 2.5: {'met' if met else 'MISSED'}"
        )

    def _language(
        self, rows: Sequence[Row], representation: str, *, ran: bool
    ) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
        begun = _cpu()
        tests = learning.TestTexts.of(rows, TARGETS, representation, self.settings, ran=ran, folds=self.folds)
        where = learning.Where(threads=extra.threads_of(self.jobs))
        course = learning.Course(tests, base.find(), self.settings, where, lambda share, what: None)
        said = course.held_out()
        print(f"(language model, {representation}: {(_cpu() - begun) / 60:.1f} CPU minutes)", file=sys.stderr, flush=True)
        return {(name, "lora"): (said[:, at], tests.truth[:, at]) for at, name in enumerate(tests.targets)}

    def training(self) -> None:
        order = np.random.default_rng(0).permutation(len(self.rows))[:4000]
        settings = Settings(layers=6, tokens=128, epochs=1)
        tests = learning.TestTexts.of([self.rows[at] for at in order], TARGETS, "source", settings)
        where = learning.Where(threads=extra.threads_of(self.jobs))
        begun = _cpu()
        learning.Course(tests, base.find(), settings, where, lambda share, what: None).trained(0, np.ones(len(tests.rows), bool))
        minutes, memory = 3 * (_cpu() - begun) / 60 * 4000 / len(tests.rows), _Watched.most
        met = minutes <= MOST_TRAINING and memory <= MOST_BYTES
        self.missed += not met
        what = f"{len(tests.rows)} tests, 6 layers, 128 tokens, as 4,000 x 3 epochs"
        print(
            f"{what}: {minutes:.1f} CPU minutes, {memory / 1e9:.2f} GB  bar {MOST_TRAINING:g}, 2.5: {'met' if met else 'MISSED'}"
        )

    def _cell(self, name: tuple[str, str, str], cell: tuple[np.ndarray, np.ndarray] | None, note: str = "") -> None:
        begin = f"{name[0]:9}{name[1]:16}{name[2]:10}"
        if cell is None:
            self.missed += 1
            print(f"{begin}{'-':>8}{'-':>8}{'-':>10}", flush=True)
            return
        said, truth = cell
        errors = level.errors_of(said, truth)
        rank = "-" if errors.spearman is None else f"{errors.spearman:.3f}"
        mse = float(((said - truth) ** 2).mean())
        print(f"{begin}{mse:8.4f}{errors.r2 or 0.0:8.3f}{rank:>10}{note}", flush=True)


def _cpu() -> float:
    """CPU seconds of this process and of all that it started."""
    own = os.times()
    alive = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return own.user + own.system + own.children_user + own.children_system + sum(one.user + one.system for one in alive)


class _Watched:
    """The most memory that this process and all that it started had at one time, looked at every second."""

    most = 0.0

    @classmethod
    def run(cls) -> None:
        while True:
            total = 0
            for one in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += one.memory_info().rss
            cls.most = max(cls.most, float(total))
            time.sleep(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--only", nargs="+", choices=("profiled", "static", "function", "table", "training"))
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--folds", type=int, default=learning.FOLDS, help="of the table (default %(default)s)")
    for name, default in (("layers", 2), ("tokens", 64), ("epochs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default, help="of the language model (default %(default)s)")
    given = parser.parse_args()
    rows = [row for row in dataset.rows(given.dataset) if row.log10.keys() >= set(TARGETS)]
    if not rows:
        sys.exit(f"{given.dataset}: no records of tests that passed")
    packages = Counter(row.project for row in rows)
    unlike = level.without_twins(rows)
    print(f"{len(rows)} tests of {len(packages)} packages, {len(unlike)} without twins\n")
    settings = Settings(layers=given.layers, tokens=given.tokens, epochs=given.epochs)
    bars = Bars(rows, settings, given.folds, given.jobs)
    threading.Thread(target=_Watched.run, daemon=True).start()
    parts: dict[str, Callable[[], None]] = {
        "profiled": bars.profiled,
        "static": bars.static,
        "function": bars.function,
        "table": bars.table,
        "training": bars.training,
    }
    with parallel.running("loky", given.jobs):
        for name in given.only or parts:
            parts[name]()
            print()
    return int(bars.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
