"""A history of 1 GB, and a run of one test beside it: what each question that is asked of a history costs.

    python benchmarks/large_history.py [--sessions=50] [--tests=20000] [--folder=DIR]

Writes 50 sessions of 20,000 tests with 5 rounds each, what they execute (10 to 60 of 3,000 functions, 10 of which change from
each session to the next), how often it ran, and the project's files, beside a project of one test; then runs the product's
commands there, and in the same project with an empty history. It keeps 40 sessions, so that the runs have to compact it. It needs
1.5 GB in DIR (default: a temporary folder, removed afterwards; a DIR that has such a history already is used as it is).

Bars: ``pytest --energy`` at most 1.5 s slower than with an empty history, ``--energy-compare`` and ``--energy-changed-only`` at
most 2 s; ``joules history`` (of all, of one test) at most 2 s in all, ``joules evaluate`` 3 s; at most 150 MB each. Times are the
best of three after one that warms the disk's cache. Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from report_and_store import measurement

from pytest_joules import machine
from pytest_joules.model import OTHER, Report
from pytest_joules.store import Store, open_store
from pytest_joules.store.rows import row_of
from pytest_joules.store.tables import number_of
from pytest_joules.store.writing import Writer

FUNCTIONS = 3000
ROUNDS = 5
HISTORY = Path(".pytest_cache", "d", "joules", "history.db")
JOULES = "import sys; from pytest_joules.cli import main; sys.exit(main(sys.argv[1:]))"
TEST = "def burn(n):\n    return sum(i * i for i in range(n))\n\n\ndef test_one():\n    assert burn(300)\n"


def make(folder: Path, sessions: int, tests: int) -> None:
    """The history, as so many sessions would have left it: older than what is measured here."""
    here = machine.fingerprint()
    draw = random.Random(1)
    names = [f"src/package/area_{place % 30}/module_{place % 300}.py::Class.method_{place}" for place in range(FUNCTIONS)]
    text = "    value = self.look_up(key)\n    if value is None:\n        return self.default\n" * 6
    versions = [0] * FUNCTIONS
    # Tests of one area have most of their functions in common.
    starts = [draw.randrange(0, FUNCTIONS - 60, 30) for _ in range(tests)]
    executed = [range(start, start + draw.randint(10, 60)) for start in starts]
    kinds = [measurement(number, ROUNDS, draw).as_record() for number in range(tests)]
    for record in kinds:
        record.update({"outcome": "passed", "source": "estimate", "provenance": "estimated"})
    files = {f"src/package/area_{place % 30}/module_{place}.py": f"{place:016x}" for place in range(1000)}
    first = datetime.now(timezone.utc) - timedelta(days=sessions + 2)
    rows: list[Any] = []
    edited = set(range(FUNCTIONS))
    (folder / HISTORY).parent.mkdir(parents=True, exist_ok=True)
    store = open_store(folder / HISTORY)
    for session in range(sessions):
        for number, record in enumerate(kinds):
            if edited.intersection(executed[number]):
                functions = {names[place]: f"{number_of(place, versions[place]):016x}" for place in executed[number]}
                functions |= {record["nodeid"]: "0" * 16, "<options>": "1" * 16, "<python>": "2" * 16}
                counts = {place: [draw.randint(1, 9), *(draw.randint(1, 99) for _ in range(4))] for place in functions}
                record["code"] = {
                    "fingerprint": f"{number_of(*functions.values()):016x}",
                    "functions": functions,
                    "unknown": [],
                    "counts": counts | {OTHER: [draw.randint(1, 10**6)]},
                }
                row = row_of(record, number + 1)
                record["code"] = None
                rows[number : number + 1] = [row]
        created = (first + timedelta(days=session)).isoformat(timespec="seconds")
        _write(store, Report(created, here, {"id": f"{session:040x}", "dirty": False}, {"predict": None}, []), rows, files)
        hashes = {place: f"{number_of(place, versions[place]):016x}" for place in edited}
        store.add_sources({(names[place], found): f"def method_{place}(self):\n{text}" for place, found in hashes.items()})
        edited = set(draw.sample(range(FUNCTIONS), 10))
        for place in edited:
            versions[place] += 1
    store.close()


def _write(store: Store, report: Report, rows: Sequence[Any], files: dict[str, str]) -> None:
    session = store.begin(report)
    writer = Writer(store.written)
    with writer.transaction() as connection:
        writer.take(connection, [(session, row) for row in rows])
    store.add_files(files)


def run(folder: Path, *arguments: str) -> tuple[float, float, float]:
    """Seconds, seconds of CPU time and megabytes: the best of three."""
    found = []
    for _ in range(4):
        begun = time.perf_counter()
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=folder, stdout=said, stderr=subprocess.STDOUT, env=_environment()
            )
            # Its own memory, whatever else this process has waited for.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - begun
            said.seek(0)
            text = said.read()
        if process.returncode not in (0, 1) or "Traceback" in text:
            raise SystemExit(f"{' '.join(arguments)}: exit {process.returncode}\n{text[-2000:]}")
        found.append((seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
    return min(found[1:])


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def project(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test_one.py").write_text(TEST, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nenergy_history_sessions = 40\n", "utf-8")


PYTEST = ("-m", "pytest", "-q", "-p", "pytest_joules.plugin", "--energy", "--energy-source=estimate", "--energy-rounds=5")

#: What is run, the most seconds more than with an empty history, or (last) in all.
QUESTIONS: tuple[tuple[str, tuple[str, ...], float, bool], ...] = (
    ("pytest --energy", PYTEST, 1.5, True),
    ("pytest --energy-compare", (*PYTEST, "--energy-compare=main"), 2.0, True),
    ("pytest --energy-changed-only", (*PYTEST, "--energy-changed-only"), 2.0, True),
    ("joules history", ("-c", JOULES, "history"), 2.0, False),
    ("joules history TEST", ("-c", JOULES, "history", "test_one"), 2.0, False),
    ("joules evaluate", ("-c", JOULES, "evaluate"), 3.0, False),
)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--tests", type=int, default=20000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    missed = 0
    with _folder(given.folder) as folder:
        large, empty = folder / "large", folder / "empty"
        shutil.rmtree(empty, ignore_errors=True)
        for place in (large, empty):
            project(place)
        begun = time.perf_counter()
        if not (large / HISTORY).exists():
            # Not here: what this process has taken once counts as the memory of all that it starts.
            making = get_context("spawn").Process(target=make, args=(large, given.sessions, given.tests))
            making.start()
            making.join()
            if making.exitcode:
                raise SystemExit("the history could not be made")
        size = (large / HISTORY).stat().st_size
        print(f"{size / 1e9:.2f} GB of history, made in {time.perf_counter() - begun:.0f} s", flush=True)
        for place in (large, empty):
            run(place, *PYTEST, "--energy-save=main")
        for name, arguments, most, more in QUESTIONS:
            seconds, cpu, memory = run(large, *arguments)
            before = run(empty, *arguments)[0]
            over = seconds - before if more else seconds
            wrong = over > most or memory > 150
            missed += wrong
            print(
                f"{name:28} {seconds:6.2f} s, {cpu:.2f} s of CPU (empty {before:.2f} s), {memory:4.0f} MB; "
                f"at most {most:g} s{' more' if more else ''}{'  MISSED' if wrong else ''}",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
