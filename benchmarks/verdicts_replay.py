"""The replay of ``verdicts.py``: energies in measured order, real ones and simulated ones that drift; and the bars."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from pytest_joules.judge.case import Case, Comparison
from pytest_joules.judge.verdict import judge

THRESHOLDS = (0.0, 0.01, 0.05)
CORRELATION = 0.76

missed: list[str] = []


def bar(what: str, value: float, limit: float, *, at_least: bool = False) -> str:
    """The bar's words; a miss is remembered."""
    held = value >= limit if at_least else value <= limit
    if not held:
        missed.append(f"{what}: {100 * value:.2f} % against {100 * limit:g} %")
    return f"{'>=' if at_least else '<='} {100 * limit:g} %{'' if held else '  MISSED'}"


# ------------------------------------------------------------------ machines that drift


@dataclass(frozen=True)
class Drift:
    """Standard deviations, relative."""

    runs: int
    """Of a commit; half of them a side."""
    own: float
    """What each run has of its own."""
    slow: float
    """An autoregression of .76 from run to run."""
    step: float = 0.0
    """Between groups of consecutive runs."""
    group: int = 15
    """Runs a group; groups begin anywhere, or where a side does."""
    aligned: bool = False
    trend: float = 0.0
    """Of a slope over all runs."""

    def __str__(self) -> str:
        parts = [f"own {100 * self.own:g} %, .76 of {100 * self.slow:g} %"]
        if self.step:
            parts.append(f"steps {100 * self.step:g} % of {self.group}{' at the sides' if self.aligned else ''}")
        if self.trend:
            parts.append(f"trends {100 * self.trend:g} %")
        return ", ".join(parts)


DRIFTS = [
    Drift(15, 0.0, 0.03),
    Drift(30, 0.0, 0.03),
    Drift(30, 0.0, 0.03, trend=0.04),
    Drift(30, 0.002, 0.01, step=0.01, group=10),
    Drift(30, 0.002, 0.0, step=0.01),
    Drift(30, 0.005, 0.01, step=0.01, aligned=True),
    Drift(30, 0.005, 0.02, step=0.02),
    Drift(15, 0.005, 0.02, step=0.015, group=7),
]


def drift_of(rng: np.random.Generator, count: int, length: int, drift: Drift) -> np.ndarray:
    """Logarithms of what a drifting machine makes of ``length`` consecutive runs, a row a test."""
    value = rng.normal(0, drift.slow, count)
    series = rng.normal(0, drift.own, (count, length))
    for place in range(length):
        series[:, place] += value
        value = CORRELATION * value + rng.normal(0, drift.slow * math.sqrt(1 - CORRELATION**2), count)
    begun = np.zeros(count, dtype=int) if drift.aligned else rng.integers(0, drift.group, count)
    groups = (begun[:, None] + np.arange(length)) // drift.group
    steps = rng.normal(0, drift.step, (count, int(groups.max()) + 1))
    slopes = rng.normal(0, drift.trend, (count, 1)) * np.arange(length) / length
    return np.asarray(series + np.take_along_axis(steps, groups, axis=1) + slopes)


def drifting_project(rng: np.random.Generator, commits: int, drift: Drift) -> dict[str, list[float]]:
    """Joules by commit, in measured order."""
    return {str(commit): row.tolist() for commit, row in enumerate(100 * np.exp(drift_of(rng, commits, drift.runs, drift)))}


# ------------------------------------------------------------------ replay


def read(path: Path) -> dict[str, list[float]]:
    """Joules by commit in measured order, commits by first appearance.

    Raises:
        ValueError: a line that is not ``commit,joules``.
    """
    runs: dict[str, list[float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                commit, joules = row
                value = float(joules)
            except ValueError:
                raise ValueError(f"{path}:{number}: {','.join(row)!r} is not commit,joules") from None
            if math.isfinite(value) and value > 0:
                runs.setdefault(commit, []).append(value)
    return runs


def halves(runs: dict[str, list[float]], *, paired: bool) -> list[Case]:
    cases = []
    for commit, joules in runs.items():
        middle = len(joules) // 2
        if middle >= 5:
            cases.append(Case(commit, (tuple(joules[:middle]),), (tuple(joules[middle:]),), paired=paired))
    return cases


def neighbours(runs: dict[str, list[float]]) -> Iterator[tuple[Case, str | None]]:
    """Adjacent commits, 10 runs a side; the verdict due where their pooled runs differ by 5 % or more."""
    for (_, first), (commit, second) in itertools.pairwise(runs.items()):
        ratio = float(np.median(second)) / float(np.median(first))
        if min(len(first), len(second)) >= 5:
            due = "regressed" if ratio >= 1.05 else "improved" if ratio <= 1 / 1.05 else None
            yield Case(commit, (tuple(first[:10]),), (tuple(second[:10]),), paired=True), due


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else math.nan


def _likeness(runs: dict[str, list[float]]) -> float:
    """Lag-1 correlation of the residuals of all commits."""
    products = squares = 0.0
    for joules in runs.values():
        residual = np.log(joules) - np.log(joules).mean()
        products += float((residual[1:] * residual[:-1]).sum())
        squares += float((residual**2).sum())
    return products / squares if squares else 0.0


def replay(name: str, runs: dict[str, list[float]], *, changes: bool = True) -> None:
    """False alarms (second half dearer, nominal 1 %, unconfirmed) of a project and, where it has any, its changes found."""
    in_turn = halves(runs, paired=True)
    if not in_turn:
        print(f"{name}: no commit with 10 runs or more\n")
        return

    def dearer(found: Sequence[Comparison]) -> float:
        return share([comparison.verdict == "regressed" for comparison in found])

    def line(what: str, value: float, limit: float, *, at_least: bool = False) -> None:
        print(f"  {what:58}{100 * value:6.2f} %  {bar(f'{name}, {what}', value, limit, at_least=at_least)}")

    def alone(cases: Sequence[Case], threshold: float) -> list[Comparison]:
        return [judge([case], threshold, **nominal)[0] for case in cases]

    nominal: dict[str, Any] = {"alpha": 0.01, "confirm": False}
    print(f"{name}: {len(in_turn)} commits, halves in measured order, lag-1 correlation {_likeness(runs):.2f}")
    naive = [scipy.stats.mannwhitneyu(case.now[0], case.before[0], alternative="greater").pvalue <= 0.01 for case in in_turn]
    print(f"  {'Mann-Whitney alone at 1 %, for comparison':58}{100 * share(naive):6.2f} %")
    stored = halves(runs, paired=False)
    for threshold in THRESHOLDS:
        at = f"threshold {100 * threshold:g} %"
        line(f"{at}, in turn, each commit judged alone", dearer(alone(in_turn, threshold)), 0.01)
        together = judge(in_turn, threshold, **nominal)
        line(f"{at}, in turn, one run of all", dearer(together), 0.01)
        above = [
            c.p is not None and c.p <= 0.01 and c.ci95 is not None and c.ci95[0] > 1 + max(threshold, c.held or 0)
            for c in together
        ]
        line(f"{at}, in turn, one run, before Benjamini-Hochberg", share(above), 0.01)
        line(f"{at}, stored, each commit judged alone", dearer(alone(stored, threshold)), 0.01)
        line(f"{at}, stored, one run of all", dearer(judge(stored, threshold, **nominal)), 0.01)
    pairs = list(neighbours(runs)) if changes else []
    changed_pairs = [(case, due) for case, due in pairs if due]
    if changed_pairs:
        print(f"  {len(changed_pairs)} of {len(pairs)} adjacent commits differ by 5 % or more; 10 runs a side")
        for threshold in THRESHOLDS:
            at = f"found, threshold {100 * threshold:g} %"
            found = alone([case for case, _ in changed_pairs], threshold)
            hits = share([comparison.verdict == due for comparison, (_, due) in zip(found, changed_pairs, strict=True)])
            everyone = judge([case for case, _ in pairs], threshold, **nominal)
            among = share([comparison.verdict == due for comparison, (_, due) in zip(everyone, pairs, strict=True) if due])
            if threshold < 0.05:
                line(f"{at}, alone", hits, 0.9, at_least=True)
                line(f"{at}, one run of all adjacent commits", among, 0.9, at_least=True)
            else:
                print(f"  {f'{at}, hardly below the changes, alone':58}{100 * hits:6.2f} %")
                print(f"  {f'{at}, one run of all adjacent commits':58}{100 * among:6.2f} %")
    print()
