"""Histories that are damaged, cut, or made to harm, and the commands that read them.

    python benchmarks/damaged_history.py [--mutants=500] [--minutes=20] [--seed=1] [--first=0] [--only=NUMBER] [--keep=DIR]

A small project is measured, predicted and saved as a baseline; then its history is changed, mutant by mutant, and three of the
product's commands are run on each (``pytest --energy`` in its kinds, ``joules history``, ``evaluate``, ``train``, ``predict``).
What a mutant is follows from the seed and its number alone: ``--only`` makes one again, ``--keep`` leaves those that fail in DIR.

Bars: no traceback, no exit code 3, none slower than 20 s, none above 500 MB. Exit code 1 where a bar is missed, or where the time
was too short for all mutants. Linux and macOS: each command is a fork of one process that has all imports behind it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SECONDS, MEGABYTES = 20.0, 500.0
HISTORY = Path(".pytest_cache", "d", "joules", "history.db")
COAL = "def burn(n):\n    return sum(i * i for i in range(n))\n\n\ndef heap(n):\n    return [burn(5) for _ in range(n)]\n"
TESTS = """
import pytest
from coal import burn, heap

def test_regions(energy):
    with energy.measure("load"):
        burn(3000)
    energy.work(tokens=128)
    energy.score(right=0.5)

@pytest.mark.parametrize("n", range(100, MOST))
def test_burn(n):
    assert burn(n)

@pytest.mark.energy_budget(joules=100)
def test_heap():
    assert heap(30)
"""
PYTEST = (
    "pytest",
    "-q",
    "-p",
    "no:randomly",
    "--energy",
    "--energy-source=estimate",
    "--energy-rounds=3",
    "--energy-json=e.json",
)
#: What reads a history.
COMMANDS: tuple[tuple[str, ...], ...] = (
    PYTEST,
    (*PYTEST, "--energy-changed-only", "--energy-csv=e.csv", "--junitxml=j.xml"),
    (*PYTEST, "--energy-changed-only", "--energy-compare=main"),
    (*PYTEST, "--energy-compare=main"),
    (*PYTEST, "--energy-save=other"),
    (*PYTEST, "--energy-predict"),
    ("pytest", "-q", "-p", "no:randomly", "--energy-predict", "--energy-predict-only"),
    ("joules", "history"),
    ("joules", "history", "--json"),
    ("joules", "history", "test_regions"),
    ("joules", "history", "test_burn[100]", "--json"),
    ("joules", "history", "--prune"),
    ("joules", "evaluate"),
    ("joules", "evaluate", "--json"),
    ("joules", "predict"),
    ("joules", "train", "--model=last"),
)

DEEP = "[" * 100_000
HOSTILE: tuple[object, ...] = (
    *(None, "", "x", "{", "[]", "{}", "null", "[1]", '{"a": 1}', "0", 0, 1, -1, 2**63 - 1, -(2**63), 0.0, -1.0, 5e-324, 1e308),
    *(
        float("inf"),
        float("-inf"),
        b"",
        b"\xff\xff",
        b"\x00" * 100,
        "\x00",
        "\ufffd",
        "NaN",
        "1-9999999999",
        "0-3",
        "9 1-2 2",
        "1 " * 3000,
    ),
    *(
        "1-999999 " * 50,
        "9" * 5000,
        DEEP,
        '{"energy":' + DEEP,
        "é\u202e\x1b[31m",
        "../" * 40 + "dev/zero",
        "/dev/zero",
        "=1+1",
        "a" * 200_000,
    ),
    *('{"energy":[1e999],"duration":[1],"tsc":[1],"domains":{}}', '{"energy":[],"duration":[],"tsc":[],"domains":{}}'),
    *(
        '{"energy":[5e-324],"duration":[5e-324],"tsc":[1],"domains":{"":[0]}}',
        '{"energy":[1,2],"duration":[1],"tsc":[],"domains":{}}',
    ),
    *(
        "9999-99-99T99:99:99",
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59+00:00",
        "measured",
        "unavailable",
        "passed",
        "3",
        "99",
    ),
)
LEAVES: tuple[object, ...] = (
    *(None, True, "", "x", [], {}, [[]], {"a": {}}, -1, 0, 1e308, 5e-324, float("nan"), float("inf"), 10**400, "9" * 400),
    *("\x00\ud800", "../../x", "/dev/zero"),
)


def cell(base: sqlite3.Connection, draw: random.Random) -> None:
    """A cell of any table holds something else."""
    table, column = _column(base, draw)
    rows = [row[0] for row in base.execute(f"SELECT rowid FROM {table}")]
    some = rows if draw.random() < 0.2 else draw.sample(rows, min(len(rows), draw.randint(1, 3)))
    value = draw.choice(HOSTILE)
    for row in some:
        with contextlib.suppress(sqlite3.Error, OverflowError):  # a row's number must be one, some columns must hold something
            base.execute(f"UPDATE OR REPLACE {table} SET {column} = ? WHERE rowid = ?", (value, row))


def leaf(base: sqlite3.Connection, draw: random.Random) -> None:
    """A value in a cell of JSON is another one, or gone."""
    places = [
        (table, column)
        for table, column in _columns(base)
        if column in ("samples", "facts", "machine", "settings", "sources", "files", "predicting", "unknown")
    ]
    table, column = draw.choice(places)
    found = base.execute(
        f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY rowid DESC LIMIT 12"
    ).fetchall()
    if not found:
        return
    row, text = draw.choice(found)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return  # an earlier change of this mutant has made it no JSON
    at: Any = value
    while isinstance(at, (dict, list)) and at:
        key = draw.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if not isinstance(at[key], (dict, list)) or not at[key] or draw.random() < 0.3:
            if draw.random() < 0.2:
                del at[key]
            else:
                at[key] = draw.choice(LEAVES)
            break
        at = at[key]
    base.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (json.dumps(value), row))


def ranges(base: sqlite3.Connection, draw: random.Random) -> None:
    """What tests execute is of another size."""
    hostile = (
        *("1-9999999999", "1-999999999999999999", "0", "-5", "5-1", "1-", "-", "1--3", "a-b", "1e3", "٣-٥", "1 1 1 1", "", " "),
        *(" ".join(f"1-{number}" for number in range(2, 400)), "1-16 " * 20_000, "1-2147483647"),
    )
    column, value = draw.choice(
        [
            ("functions", draw.choice(hostile)),
            ("counts", draw.choice((";" * 10**6, "1;" * 10**5, "9" * 10**5, "x;y", "-1", "1.5"))),
        ]
    )
    base.execute(
        f"UPDATE codes SET {column} = ? WHERE id IN (SELECT id FROM codes ORDER BY random() LIMIT ?)", (value, draw.randint(1, 9))
    )


def missing(base: sqlite3.Connection, draw: random.Random) -> None:
    """Rows that others refer to are gone."""
    table = draw.choice(("sessions", "tests", "functions", "codes", "meta", "measurements"))
    base.execute(f"DELETE FROM {table} WHERE rowid % ? = 0", (draw.choice((1, 2, 3)),))


def tables(base: sqlite3.Connection, draw: random.Random) -> None:
    """The schema is not ours any more."""
    table, column = _column(base, draw)
    base.execute(
        draw.choice(
            (
                f"DROP TABLE {table}",
                f"ALTER TABLE {table} RENAME TO other",
                f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
                "UPDATE meta SET value = '1' WHERE key = 'schema'",
                "UPDATE meta SET value = '2' WHERE key = 'schema'",
                "UPDATE meta SET value = '4' WHERE key = 'schema'",
                "UPDATE meta SET value = '-1' WHERE key = 'schema'",
                "UPDATE meta SET value = '٣' WHERE key = 'schema'",
                "UPDATE meta SET value = '" + "9" * 5000 + "' WHERE key = 'schema'",
                f"CREATE TRIGGER no BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END",
                "PRAGMA application_id = 7",
                "PRAGMA user_version = 7",
                "PRAGMA journal_mode = DELETE",
            )
        )
    )


def many(base: sqlite3.Connection, draw: random.Random) -> None:
    """A great number of rows, all of them odd."""
    base.execute("PRAGMA foreign_keys = OFF")
    one = base.execute("SELECT max(session_id), max(test_id), max(code_id) FROM measurements").fetchone()
    rows = [(one[0], 100 + number, one[1], one[2], draw.choice(HOSTILE[:20])) for number in range(20_000)]
    base.executemany(
        "INSERT OR IGNORE INTO measurements (session_id, number, test_id, code_id, outcome, source, provenance, rounds, "
        "iterations, energy_median, samples, facts) VALUES (?, ?, ?, ?, 'passed', 'estimate', 'estimated', 3, 1, 1.0, ?, '{}')",
        [row for row in rows if row[4] is not None],
    )


def _columns(base: sqlite3.Connection) -> list[tuple[str, str]]:
    names = [row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return [(table, row[1]) for table in names for row in base.execute(f"PRAGMA table_info({table})")]


def _column(base: sqlite3.Connection, draw: random.Random) -> tuple[str, str]:
    places = _columns(base)
    table = draw.choice(("measurements", "measurements", "sessions", "codes", *{place[0] for place in places}))
    return draw.choice([place for place in places if place[0] == table])


def flipped(content: bytes, draw: random.Random) -> bytes:
    """Some bytes are others."""
    changed = bytearray(content)
    first = draw.choice((0, 0, len(content) // 2))
    for _ in range(draw.choice((1, 4, 64, 1000))):
        changed[draw.randrange(first, len(changed))] = draw.randrange(256)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.choice((0, 1, 16, 99, 100, 4096, draw.randrange(len(content))))]


def pages(content: bytes, draw: random.Random) -> bytes:
    """Pages are gone, or one is where another was."""
    parts = [content[place : place + 4096] for place in range(0, len(content), 4096)]
    for _ in range(draw.randint(1, 4)):
        parts[draw.randrange(len(parts))] = draw.choice((bytes(4096), draw.choice(parts), b"\xa5" * 4096))
    return b"".join(parts)


def other(content: bytes, draw: random.Random) -> bytes:
    """No history at all."""
    return draw.choice(
        (b"# a text\n" * 50, bytes(8192), content[:100] + bytes(4000), b"SQLite format 3\0", os.urandom(0) + b"\x1f\x8b" * 3000)
    )


ROWS: tuple[Callable[[sqlite3.Connection, random.Random], None], ...] = (
    cell,
    cell,
    cell,
    cell,
    leaf,
    leaf,
    leaf,
    ranges,
    missing,
    tables,
    many,
)
BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, flipped, pages, cut, other)


def mutate(history: Path, draw: random.Random) -> str:
    """Damage a history; how."""
    if draw.random() < 0.25:
        damage = draw.choice(BYTES)
        history.write_bytes(damage(history.read_bytes(), draw))
        return damage.__name__
    ways = [draw.choice(ROWS) for _ in range(draw.choice((1, 1, 2, 4)))]
    with contextlib.closing(sqlite3.connect(history, isolation_level=None)) as base:
        for way in ways:
            with contextlib.suppress(sqlite3.Error, ValueError, IndexError):  # an earlier one has left no such table or JSON
                way(base, draw)
    return "+".join(way.__name__ for way in ways)


def forked(folder: Path, command: Sequence[str], said: Path, most: float = SECONDS + 1) -> tuple[int, float, float, str]:
    """Exit code (negative: a signal), seconds, megabytes and what was said by a command of this process's child."""
    begun = time.monotonic()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(_run(folder, command, said))
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        seconds = time.monotonic() - begun
        if done:
            break
        if seconds > most:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    memory = usage.ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    return os.waitstatus_to_exitcode(status), seconds, memory, said.read_text("utf-8", "replace")


def _run(folder: Path, command: Sequence[str], said: Path) -> int:
    os.chdir(folder)
    out = os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
    program, *arguments = command
    sys.path.insert(0, str(folder))
    try:
        if program == "pytest":
            import pytest

            return int(pytest.main(arguments))
        from pytest_joules.cli import main

        return main(arguments)
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def made(folder: Path, said: Path) -> None:
    """The project with its history, a baseline and a model."""
    folder.mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_coal.py").write_text(TESTS.replace("MOST", "124"))  # a model needs 20 tests
    (folder / "coal.py").write_text(COAL)
    for number, command in enumerate(
        (
            (*PYTEST, "--energy-save=main"),
            PYTEST,
            ("joules", "train", "--model=last"),
            (*PYTEST, "--energy-predict"),
        )
    ):
        if number == 3:
            (folder / "coal.py").write_text(COAL.replace("range(n))", "range(2 * n))"))
        code, _, _, text = forked(folder, command, said, 600)
        if code:
            raise SystemExit(f"{' '.join(command)}: exit {code}\n{text[-2000:]}")
    (folder / "coal.py").write_text(COAL)
    (folder / "test_coal.py").write_text(TESTS.replace("MOST", "103"))


def wrong(code: int, seconds: float, memory: float, text: str) -> str:
    """What is wrong with how a command went; empty: nothing."""
    if seconds > SECONDS:
        return "a hang"
    if code < 0:
        return f"signal {-code}"
    if "INTERNALERROR" in text or "Traceback" in text:
        return "a traceback"
    if code == 3 or code > 5:
        return f"exit {code}"
    return f"{memory:.0f} MB" if memory > MEGABYTES else ""


def _import_all() -> None:
    """Once, for all children."""
    import scipy.stats
    import sqlalchemy.dialects.sqlite

    import pytest_joules.cli.command
    import pytest_joules.predict.train.learning
    import pytest_joules.report.csv_file
    import pytest_joules.report.terminal
    import pytest_joules.session.baselines
    import pytest_joules.session.judging
    import pytest_joules.session.predicting
    import pytest_joules.session.reporting
    import pytest_joules.session.start
    import pytest_joules.sources.estimate
    import pytest_joules.store.pruning

    assert scipy.stats and sqlalchemy.dialects and pytest_joules


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mutants", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first (default 0)")
    parser.add_argument("--only", type=int)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    _import_all()
    failed: list[str] = []
    kinds: Counter[str] = Counter()
    slowest, largest, ran = 0.0, 0.0, 0
    end = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as name:
        said = Path(name, "said")
        made(Path(name, "whole"), said)
        for number in [given.only] if given.only is not None else range(given.first, given.mutants):
            if time.monotonic() > end:
                break
            draw = random.Random(f"{given.seed}-{number}")
            folder = Path(name, "mutant")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(Path(name, "whole"), folder)
            how = mutate(folder / HISTORY, draw)
            kinds[how.partition("+")[0]] += 1
            kept = (folder / HISTORY).read_bytes()
            ran += 1
            for command in draw.sample(COMMANDS, 3):
                code, seconds, memory, text = forked(folder, command, said)
                slowest, largest = max(slowest, seconds), max(largest, memory)
                if what := wrong(code, seconds, memory, text):
                    failed.append(f"--seed={given.seed} --only={number} ({how}): {' '.join(command)}: {what}")
                    print(failed[-1], *text.splitlines()[-6:], sep="\n    ", flush=True)
                    if given.keep is not None:
                        given.keep.mkdir(parents=True, exist_ok=True)
                        (given.keep / f"{given.seed}-{number}.db").write_bytes(kept)
                elif given.only is not None:
                    print(f"{' '.join(command)}: exit {code}\n{text}")
    asked = 1 if given.only is not None else given.mutants - given.first
    print(f"{ran} of {asked} mutants ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})")
    print(f"{len(failed)} failures; the slowest command {slowest:.1f} s, the largest {largest:.0f} MB")
    return 1 if failed or ran < asked else 0


if __name__ == "__main__":
    sys.exit(main())
