"""Measurements and the histories that hold them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from pytest_joules import stats
from pytest_joules.model import Measurement, Report, Sample
from pytest_joules.store import open_store


def report_of(**other):
    machine = {"id": "0a1b", "cpu": "Some CPU", "cores": 8, "os": "Linux", "python": "3.12.1", "virtual": False}
    values = {
        "created": "2026-01-01T00:00:00+00:00",
        "machine": machine,
        "commit": {"id": "c" * 40, "dirty": True},
        "settings": {"rounds": "auto"},
        "sources": [],
    }
    return Report(**(values | other))


def measured(nodeid="tests/t.py::test_a", joules=1.0, rounds=5, **other):
    values = [joules * (1 + step / 97) for step in range(rounds)]
    samples = [Sample(value, value / 20, value * 1e8, {"package-0": value, "dram": None}) for value in values]
    energy = stats.summarise(values)
    measurement = Measurement(
        nodeid, "rapl", "measured", "ok", rounds, 1, samples, energy, energy, energy, energy, {}, notes=["a note"]
    )
    return measurement.as_record() | {"outcome": "passed"} | other


def fill(path, *records):
    opened = open_store(path)
    opened.begin(report_of())
    for record in records:
        opened.add(record)
    opened.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def version_in(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT value FROM meta WHERE key='schema'").fetchone()[0]


def write_many(path, name, count):
    opened = open_store(path)
    opened.begin(report_of())
    for number in range(count):
        opened.add(measured(f"{name}::{number}", rounds=2))
    opened.close()


def add_column(connection):
    connection.execute(text("ALTER TABLE sessions ADD COLUMN label TEXT"))
    connection.execute(text("UPDATE sessions SET label = 'from version 1'"))


def fail(connection):
    connection.execute(text("DROP TABLE measurements"))
    raise ZeroDivisionError("a bug")


V1 = (Path(__file__).parent / "history_v1.sql").read_text("utf-8")


def coded(nodeid, functions, fingerprint="f", **other):
    code = {"fingerprint": fingerprint, "functions": functions, "unknown": [], "counts": {}, "outside": {}}
    return measured(nodeid, code=code, **other)
