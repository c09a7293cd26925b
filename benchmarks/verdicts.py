"""Whether verdicts can be trusted: false alarms and found changes, simulated and replayed from real energies.

    python benchmarks/verdicts.py [--quick | --size SHARE] [--only PART] [--data DIR] [--svg FILE] [--seed N]

Simulated: lognormal noise within a session, lognormal noise between sessions, 5 % spikes of +30 %, on the same draws five other
tools' rules, written anew here. A stored baseline has 20 earlier sessions of the same code, or none; a suspect is measured again
as in a real run, up to MOST_BLOCKS blocks, which either all share the session's offset or each draw their own; measured in turn,
both sides have the same offset in a block. Drift: the same on a machine whose rounds are alike (lag-1 correlation .76) and that
moves by steps between groups of consecutive rounds, at thresholds of 0, 1 and 5 %. Replayed: a folder of CSV files, one
``commit,joules`` a line in measured order; projects that drift are simulated in the same form.

Each figure has its bar beside it. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from verdicts_replay import DRIFTS, THRESHOLDS, bar, drift_of, drifting_project, missed, read, replay

from pytest_joules.judge.case import MOST_BLOCKS, Case, Comparison
from pytest_joules.judge.verdict import judge

SETTINGS = [(0.01, 0.01), (0.01, 0.03), (0.03, 0.01), (0.03, 0.03)]
CHANGES = [0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5]
SUITE = 200
HISTORY = 20
MODES = {
    "in turn": "measured in turn",
    "own": "stored, own offset a block",
    "shared": "stored, blocks share theirs",
    "none": "stored without history, shared",
}

# ------------------------------------------------------------------ simulation


class World:
    """Draws tests as they would be measured."""

    def __init__(self, within: float, between: float, rounds: int, mode: str, rng: np.random.Generator) -> None:
        self.within, self.between, self.rounds, self.mode, self.rng = within, between, rounds, mode, rng

    def block(self, count: int, offset: np.ndarray) -> np.ndarray:
        noise = self.rng.normal(0, self.within, (count, self.rounds))
        spikes = 1 + 0.3 * (self.rng.random((count, self.rounds)) < 0.05)
        return np.asarray(np.exp(offset[:, None] + noise) * spikes)

    def offsets(self, count: int) -> np.ndarray:
        return self.rng.normal(0, self.between, count)

    def tests(self, changes: np.ndarray) -> list[Test]:
        count = len(changes)
        before = self.block(count, self.offsets(count))
        history = np.zeros((count, 0))
        if self.mode in ("own", "shared"):
            history = np.stack([np.median(self.block(count, self.offsets(count)), axis=1) for _ in range(HISTORY)], axis=1)
        return [Test(self, str(i), changes[i], before[i], history[i]) for i in range(count)]


class Test:
    def __init__(self, world: World, name: str, change: float, before: np.ndarray, history: np.ndarray) -> None:
        self.world, self.name, self.change = world, name, change
        self.offset = float(world.offsets(1)[0])
        self.before = [] if world.mode == "in turn" else [tuple(before.tolist())]
        self.history = tuple(history.tolist())
        self.now: list[tuple[float, ...]] = []
        self.again()

    def again(self) -> None:
        """Measure one more block."""
        if isinstance(self.world, DriftingWorld) and self.world.mode == "in turn":
            before, now = self.world.pair()
            self.before.append(tuple(before.tolist()))
            self.now.append(tuple((now * (1 + self.change)).tolist()))
            return
        if self.world.mode in ("own", "in turn"):
            self.offset = float(self.world.offsets(1)[0])
        offset = np.array([self.offset])
        if self.world.mode == "in turn":
            self.before.append(tuple(self.world.block(1, offset)[0].tolist()))
        self.now.append(tuple((self.world.block(1, offset)[0] * (1 + self.change)).tolist()))

    def case(self) -> Case:
        return Case(self.name, tuple(self.before), tuple(self.now), self.history, paired=self.world.mode == "in turn")


def run(tests: Sequence[Test], **options: Any) -> list[Comparison]:  # noqa: ANN401 - judge's own
    """A run as the plugin does it: suspects are measured again until none is left or they have the most blocks."""
    while True:
        found = judge([test.case() for test in tests], **options)
        suspects = [
            test for test, comparison in zip(tests, found, strict=True) if comparison.suspect and len(test.now) < MOST_BLOCKS
        ]
        if not suspects:
            return found
        for test in suspects:
            test.again()


class DriftingWorld(World):
    """On a machine that drifts; in turn as ``--energy-against`` measures, a block's rounds in four turns a side."""

    def __init__(self, number: int, rounds: int, mode: str, rng: np.random.Generator) -> None:
        drift = DRIFTS[number]
        super().__init__(drift.own, drift.step, rounds, mode, rng)
        self.drift = drift

    def block(self, count: int, offset: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(offset[:, None] + drift_of(self.rng, count, self.rounds, self.drift)))

    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        """Four turns a side, in alternating order: this, the other, the other, this."""
        turn = self.rounds // 4
        both = drift_of(self.rng, 1, 8 * turn, self.drift)[0].reshape(8, turn)
        here = np.array([1, 0, 0, 1, 1, 0, 0, 1], dtype=bool)
        return np.exp(both[~here].ravel()), np.exp(both[here].ravel())


def drifting(size: float, seed: int) -> None:
    """False alarms on machines that drift, measured again and confirmed as in a real run."""
    lone, suites = int(2000 * size), max(5, int(50 * size))
    heads = "".join(f"{f'at {100 * t:g} %':>12}" for t in THRESHOLDS)
    print(f"Drift: false alarms, % of {lone} tests alone, of the tests of {suites} suites of {SUITE}; 20 rounds (bar <= 1)\n")
    for number, drift in enumerate(DRIFTS):
        if str(drift) in map(str, DRIFTS[:number]):
            continue  # differs in the runs of a commit only
        print(f"{drift!s:60}{heads}")
        for mode, title in MODES.items():
            cells = []
            for threshold in THRESHOLDS:
                rng = np.random.default_rng([seed, 7, number, list(MODES).index(mode)])
                world = DriftingWorld(number, 20, mode, rng)
                one = sum(alarms(run([test], threshold=threshold)) for test in world.tests(np.zeros(lone))) / lone
                many = sum(alarms(run(world.tests(np.zeros(SUITE)), threshold=threshold)) for _ in range(suites))
                where = f"{title}, {drift}, threshold {100 * threshold:g} %"
                marks = bar(f"alone, {where}", one, 0.01) + bar(f"suite, {where}", many / suites / SUITE, 0.01)
                cells.append(f"{100 * one:.2f} {100 * many / suites / SUITE:.2f}{'!' if 'MISSED' in marks else ''}")
            print(f"  {title:58}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    print()


def alarms(found: Sequence[Comparison]) -> int:
    return sum(comparison.verdict == "regressed" for comparison in found)


# ------------------------------------------------------------------ what others do


def others(before: np.ndarray, now: np.ndarray, history: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Who raises an alarm (dearer), a row a test; each tool's rule at its defaults, as its documentation gives it."""
    ratio = now.mean(axis=1) / before.mean(axis=1)
    medians = np.median(now, axis=1) / np.median(before, axis=1)
    t = scipy.stats.ttest_ind(now, before, axis=1)
    ranks = scipy.stats.mannwhitneyu(now, before, axis=1, alternative="two-sided", method="asymptotic").pvalue
    upwards = scipy.stats.mannwhitneyu(now, before, axis=1, alternative="greater", method="asymptotic").pvalue
    resampled = []
    for _ in range(400):
        pick = rng.integers(0, now.shape[1], (2, now.shape[1]))
        resampled.append(now[:, pick[0]].mean(axis=1) / before[:, pick[1]].mean(axis=1))
    lower = np.quantile(resampled, 0.025, axis=0)
    floor = 2.33 * math.sqrt(2) * np.log(history).std(axis=1, ddof=1)
    return {
        "pytest-benchmark mean:5%": ratio > 1.05,
        "pyperf t test": (t.pvalue < 0.05) & (t.statistic > 0),
        "criterion bootstrap": lower > 1.01,
        "asv Mann-Whitney and 1.1x": (ranks < 0.002) & (medians > 1.1),
        "Mann-Whitney, learnt floor": (upwards < 0.01) & (np.log(medians) > np.maximum(floor, math.log(1.05))),
    }


def simulate(size: float, seed: int) -> None:
    lone, suites = int(10_000 * size), max(20, int(400 * size))
    print(f"Simulated: false alarms, {lone} tests alone and {suites} suites of {SUITE} a figure (any alarm)\n")
    head = "".join(f"{f'{100 * w:.0f} %/{100 * b:.0f} %':>11}" for w, b in SETTINGS)
    for rounds in (10, 20):
        print(f"{rounds} rounds; noise within / between{'':9}{head}")
        table: dict[str, list[str]] = {}
        for within, between in SETTINGS:
            rng = np.random.default_rng([seed, rounds, int(within * 100), int(between * 100)])
            world = World(within, between, rounds, "own", rng)
            before, now, *past = (world.block(lone, world.offsets(lone)) for _ in range(2 + HISTORY))
            history = np.stack([np.median(block, axis=1) for block in past], axis=1)
            for name, said in others(before, now, history, rng).items():
                whole = len(said) // SUITE * SUITE
                table.setdefault(name, []).append(
                    f"{100 * said.mean():5.2f} {100 * said[:whole].reshape(-1, SUITE).any(axis=1).mean():4.0f}"
                )
            for mode, title in MODES.items():
                world = World(within, between, rounds, mode, rng)
                one = sum(alarms(run([test])) for test in world.tests(np.zeros(lone))) / lone
                any_alarm = sum(alarms(run(world.tests(np.zeros(SUITE)))) > 0 for _ in range(suites)) / suites
                where = f"{title}, {rounds} rounds, {within:g}/{between:g}"
                marks = bar(f"alone, {where}", one, 0.001) + bar(f"suite, {where}", any_alarm, 0.02)
                table.setdefault(title, []).append(f"{100 * one:5.2f} {100 * any_alarm:4.1f}{'!' if 'MISSED' in marks else ''}")
        for name, cells in table.items():
            print(f"{name:36}" + "".join(f"{cell:>11}" for cell in cells))
        print()
    print("Each: % of tests alone (bar <= 0.1), % of suites with any alarm (bar <= 2); ! missed.\n")


def curve(size: float, seed: int, svg: Path | None) -> None:
    """Shares found, at 3 % noise within and between, 20 rounds."""
    lone, suites = int(1000 * size), max(20, int(100 * size))
    print(f"Found at 3 % / 3 %, 20 rounds: % of {lone} alone, % of {suites} as one of a suite of {SUITE}\n")
    print(f"{'':26}" + "".join(f"{f'+{100 * c:g} %':>9}" for c in CHANGES).replace(" %", "%"))
    lines: dict[str, list[float]] = {}
    for mode, title in MODES.items():
        rng = np.random.default_rng([seed, 3, list(MODES).index(mode)])
        world = World(0.03, 0.03, 20, mode, rng)
        cells = []
        for change in CHANGES:
            alone = sum(alarms(run([test])) for test in world.tests(np.full(lone, change))) / lone
            among = 0
            for _ in range(suites):
                tests = world.tests(np.array([change] + [0.0] * (SUITE - 1)))
                among += run(tests)[0].verdict == "regressed"
            lines.setdefault(title, []).append(alone)
            cells.append(f"{100 * alone:4.0f}{100 * among / suites:4.0f}")
            if change == 0.1 and mode in ("in turn", "own"):
                least = 0.99 if mode == "in turn" else 0.8
                bar(f"+10 %, {title}, alone", alone, least, at_least=True)
                bar(f"+10 %, {title}, in a suite", among / suites, least, at_least=True)
        print(f"{mode:26}" + "".join(f"{cell:>9}" for cell in cells))
    rng = np.random.default_rng([seed, 4])
    for change in CHANGES:
        world = World(0.03, 0.03, 20, "own", rng)
        before, now, *past = (world.block(lone, world.offsets(lone)) for _ in range(2 + HISTORY))
        for name, said in others(before, now * (1 + change), np.median(past, axis=2).T, rng).items():
            lines.setdefault(name, []).append(float(said.mean()))
    for name in list(lines)[len(MODES) :]:
        print(f"{name[:26]:26}" + "".join(f"{100 * share:9.0f}" for share in lines[name]))
    print("\nBars at +10 %: in turn >= 99, stored (own offset a block) >= 80.")
    print("\n".join(f"  {mode}: {title}" for mode, title in MODES.items()) + "\n")
    if svg:
        svg.write_text(drawn(lines), encoding="utf-8")
        print(f"drawn: {svg}\n")


def drawn(lines: dict[str, list[float]]) -> str:
    """The curve as SVG; the change on a logarithmic scale."""

    def x(change: float) -> float:
        return 60 + 440 * math.log(change / CHANGES[0]) / math.log(CHANGES[-1] / CHANGES[0])

    def y(share: float) -> float:
        return 330 - 300 * share

    colours = ["#0a6", "#06c", "#63c", "#c60", "#bbb", "#aaa", "#999", "#888", "#777"]
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 380" font-family="sans-serif" font-size="12">',
        '<rect width="800" height="380" fill="white"/>',
        '<text x="60" y="18">Share of regressions found: 3 % noise within and between sessions, 20 rounds, alone</text>',
    ]
    for change in CHANGES:
        parts.append(f'<line x1="{x(change):.0f}" x2="{x(change):.0f}" y1="30" y2="330" stroke="#eee"/>')
        parts.append(f'<text x="{x(change):.0f}" y="348" text-anchor="middle">+{100 * change:g} %</text>')
    for share in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(f'<line x1="60" x2="500" y1="{y(share):.0f}" y2="{y(share):.0f}" stroke="#eee"/>')
        parts.append(f'<text x="52" y="{y(share) + 4:.0f}" text-anchor="end">{share:g}</text>')
    for number, (name, shares) in enumerate(lines.items()):
        colour = colours[number]
        dash = "" if number < len(MODES) else f' stroke-dasharray="{3 + 2 * (number - len(MODES))} 3"'
        points = " ".join(f"{x(change):.1f},{y(share):.1f}" for change, share in zip(CHANGES, shares, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        height = 44 + 20 * number
        parts.append(f'<line x1="515" x2="540" y1="{height - 4}" y2="{height - 4}" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="546" y="{height}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_const", const=0.1, default=1.0, dest="size", help="a tenth of the draws")
    parser.add_argument("--size", type=float, default=1.0, metavar="SHARE", help="share of the draws")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of commit,joules CSV files in measured order")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the curve of found changes")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--only", choices=("simulation", "curve", "drift", "replay"), help="one part")
    options = parser.parse_args()
    try:
        projects = {path.stem: read(path) for path in sorted(options.data.glob("*.csv"))} if options.data else {}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if options.data and not projects:
        parser.error(f"no CSV file in {options.data}")
    begun = time.perf_counter()
    if options.only in (None, "simulation"):
        simulate(options.size, options.seed)
    if options.only in (None, "curve"):
        curve(options.size, options.seed, options.svg)
    if options.only in (None, "drift"):
        drifting(options.size, options.seed)
    if options.only in (None, "replay"):
        for number, drift in enumerate(DRIFTS):
            rng = np.random.default_rng([options.seed, 76, number])
            runs = drifting_project(rng, max(300, int(1000 * options.size)), drift)
            replay(f"simulated: {drift.runs} runs, {drift}", runs, changes=False)
        for name, project in projects.items():
            replay(name, project)
        if not projects:
            print("replay of real energies skipped: no --data DIR\n")
    print(f"{time.perf_counter() - begun:.0f} s; " + ("all bars held" if not missed else f"{len(missed)} missed:"))
    for line in missed:
        print(f"  {line}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
