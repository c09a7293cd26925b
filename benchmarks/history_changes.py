"""``joules history --changes``: how often it nominates what did not change, how often it finds what did, and what it takes.

    python benchmarks/history_changes.py [--data DIR] [--series N] [--only simulated|real|speed]

Simulated: series of 60 and 200 sessions, logarithms with a noise of 3 % and spikes of +30 % in 5 % of the sessions; independent,
or as alike as on a machine with a lag-1 correlation of .76 (an autoregression of 3 %). A step is upwards, at a session drawn from
the middle two thirds. Of the series that are looked at together (``suite``: the tests of a machine) one in ten has one, all of
those that are looked at alone. Found: a nomination upwards within one session of it.

Real (``--data``: a folder of the EnergyTrackr data set, ``commit,joules`` a line in measured order): a commit does not change.
(a) Each commit's runs, in measured order, are a series; all commits of a project are looked at together, and each alone.
(b) All runs of a project in measured order, whichever commit they were of, each over the median of its commit, cut into series of
60 and of 200: neighbours in time as the machine had them. The share of series with any nomination at 5 %, and beside it at 1 %.

Speed: a history of 1,000 tests × 200 sessions, written by the store's own writer, asked by the command in a process of its own.

Bars: nominations of independent noise at most 1 % of series, of real ones 5 %; +10 % found in 85 %; 5 s (best of three).
Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from verdicts_replay import CORRELATION, bar, missed, read

from pytest_joules.judge.change_points import Change, changes
from pytest_joules.model import MachineRecord, Record, Report, SampleRecord, empty_record
from pytest_joules.store import open_store
from pytest_joules.store.rows import row_of
from pytest_joules.store.writing import Writer

NOISE, SPIKES, SPIKE = 0.03, 0.05, math.log(1.3)
JOULES = "import sys; from pytest_joules.cli import main; sys.exit(main(sys.argv[1:]))"
Series = Sequence[np.ndarray]


def noise(rng: np.random.Generator, count: int, length: int, correlation: float) -> np.ndarray:
    """Logarithms, a row a series."""
    found = np.zeros((count, length))
    value = rng.normal(0, NOISE, count)
    for place in range(length):
        found[:, place] = value
        value = correlation * value + rng.normal(0, NOISE * math.sqrt(1 - correlation**2), count)
    return np.asarray(found + np.where(rng.random((count, length)) < SPIKES, SPIKE, 0.0))


def alone(series: Series, threshold: float = 0.05) -> list[list[Change]]:
    return [changes([one], [threshold])[0] for one in series]


def together(series: Series, threshold: float = 0.05) -> list[list[Change]]:
    return changes(series, [threshold] * len(series))


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


def line(what: str, value: float, limit: float | None, *, at_least: bool = False) -> None:
    print(
        f"  {what:66}{100 * value:6.2f} %  {bar(what, value, limit, at_least=at_least) if limit is not None else ''}", flush=True
    )


def simulated(count: int) -> None:
    for correlation in (0.0, CORRELATION):
        for length in (60, 200):
            rng = np.random.default_rng(length)
            kind = f"{length} sessions, {f'correlation {correlation}' if correlation else 'independent'}"
            still = noise(rng, count, length, correlation)
            limit = 0.01 if not correlation else None
            line(f"{kind}: nominated, suite", share([bool(found) for found in together(list(still))]), limit)
            line(f"{kind}: nominated, alone", share([bool(found) for found in alone(list(still))]), limit)
            for size in (0.05, 0.1, 0.2):
                at = rng.integers(length // 6, length - length // 6, count)
                stepped = noise(rng, count, length, correlation) + np.log1p(size) * (np.arange(length) >= at[:, None])
                changed = np.arange(count) % 10 == 0
                of_suite = [
                    entry
                    for number in range(10)
                    for entry, is_one in zip(
                        together(list(np.where(np.roll(changed, number)[:, None], stepped, still))),
                        np.roll(changed, number),
                        strict=True,
                    )
                    if is_one
                ]
                order = [place for number in range(10) for place in np.flatnonzero(np.roll(changed, number))]
                due = 0.85 if size == 0.1 and not correlation else None
                for name, found, places in (("suite", of_suite, at[order]), ("alone", alone(list(stepped)), at)):
                    hits = [
                        any(abs(one.first - place) <= 1 and one.medians[1] > one.medians[0] for one in entry)
                        for entry, place in zip(found, places, strict=True)
                    ]
                    line(f"{kind}: +{100 * size:.0f} % found, {name}", share(hits), due, at_least=True)


def real(folder: Path) -> None:
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise SystemExit(f"{folder} has no CSV files")
    for path in files:
        runs = read(path)
        commits = [np.log(joules) for joules in runs.values() if len(joules) >= 6]
        # As they were measured: `read` keeps the order within a commit, the file that of all.
        middle = {commit: float(np.median(np.log(joules))) for commit, joules in runs.items()}
        rows = [row.split(",") for row in path.read_text("utf-8").splitlines()]
        over = np.array([math.log(float(joules)) - middle[commit] for commit, joules in rows if commit in middle])
        sets = {f"{len(commits)} commits of {len(commits[0])} runs": commits}
        for length in (60, 200):
            sets[f"all runs in series of {length}"] = [over[at : at + length] for at in range(0, len(over) - length + 1, length)]
        for name, series in sets.items():
            for threshold in (0.05, 0.01):
                limit = 0.05 if threshold == 0.05 else None
                for how, looked in (("suite", together), ("alone", alone)):
                    found = share([bool(entry) for entry in looked(series, threshold)])
                    line(f"{path.stem}, {name}, {100 * threshold:.0f} %, {how}", found, limit)


def make(path: Path, tests: int, sessions: int) -> None:
    """A history in which each tenth test became 10 % dearer, when a function of its path was edited."""
    rng = np.random.default_rng(1)
    joules = np.exp(noise(rng, tests, sessions, 0.0) + rng.normal(0, 2, (tests, 1)) + rng.normal(0, 0.02, (1, sessions)))
    at = rng.integers(sessions // 6, sessions - sessions // 6, tests)
    joules *= np.where((np.arange(tests) % 10 == 0)[:, None] & (np.arange(sessions) >= at[:, None]), 1.1, 1.0)
    machine: MachineRecord = {
        "id": "0a1b2c3d4e5f",
        "cpu": "Some CPU",
        "cores": 8,
        "os": "Linux",
        "python": "3.12.1",
        "virtual": False,
        "facts": {},
    }
    first = datetime(2026, 1, 1, tzinfo=timezone.utc)
    store = open_store(path)
    for session in range(sessions):
        created = (first + timedelta(days=session)).isoformat(timespec="seconds")
        number = store.begin(Report(created, machine, {"id": f"{session + 1:040x}", "dirty": False}, {"count": None}, []))
        rows = []
        for test in range(tests):
            value = float(joules[test, session])
            edited = test % 10 == 0 and session >= at[test]
            functions = {f"src/area_{test % 30}.py::f_{place}": f"{place:016x}" for place in range(test, test + 20)}
            functions[f"src/area_{test % 30}.py::g_{test}"] = f"{test + edited:016x}"
            sample: SampleRecord = {"energy": value, "duration": value / 20, "tsc": None, "domains": {}, "block": 1}
            record: Record = {
                **empty_record(f"tests/test_area_{test % 30}.py::test_{test}"),
                "outcome": "passed",
                "source": "rapl",
                "provenance": "measured",
                "resolution": "ok",
                "rounds": 5,
                "samples": [sample] * 5,
                "energy": {"median": value, "mean": value, "stdev": 0.0, "iqr": 0.0, "ci95": [value, value], "cv": 0.0},
                "code": {"fingerprint": f"{test}-{edited}", "functions": functions, "unknown": [], "counts": {}},
            }
            rows.append((number, row_of(record, test + 1)))
        writer = Writer(store.written)
        with writer.transaction() as connection:
            writer.take(connection, rows)
    store.close()


def speed(tests: int, sessions: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.db")
        make(path, tests, sessions)
        print(f"  a history of {path.stat().st_size / 1e6:.0f} MB")
        seconds: list[float] = []
        used: list[float] = []
        command = [sys.executable, "-c", JOULES, "history", "--changes", "--json", "--store", str(path)]
        for _ in range(3):
            begun = time.perf_counter()
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds.append(time.perf_counter() - begun)
            spent = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(spent.ru_utime + spent.ru_stime - sum(used))
        found = json.loads(text)
        right = [change for change in found["changes"] if int(change["nodeid"].rpartition("_")[2]) % 10 == 0]
        named = [change for change in right if change["changed"] and "::g_" in change["changed"][0]]
        print(f"  {tests} tests × {sessions} sessions: {min(seconds):.2f} s of 5, {min(used):.2f} s of CPU time")
        print(
            f"  {len(found['changes'])} changes nominated, {len(right)} of them of the {tests // 10} tests that changed;", end=" "
        )
        print(f"the edited function named first in {len(named)}")
        if min(seconds) > 5:
            missed.append(f"{min(seconds):.2f} s against 5 s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--only", choices=("simulated", "real", "speed"))
    given = parser.parse_args()
    if given.only in (None, "speed"):
        print("speed")
        speed(1000, 200)
    if given.only in (None, "real") and given.data is not None:
        print("real energies, nothing changed: series with a nomination")
        real(given.data)
    if given.only in (None, "simulated"):
        print(f"simulated, {given.series} series each")
        simulated(given.series)
    for entry in missed:
        print(f"MISSED {entry}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
