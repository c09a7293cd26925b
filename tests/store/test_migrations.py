"""A file of an older schema keeps its data, whatever happens on the way."""

import multiprocessing
import os
import sqlite3
import time
from contextlib import closing

import pytest
from histories import V1, add_column, coded, fail, fill, measured, names, report_of, version_in, write_many

from pytest_joules import store
from pytest_joules.store import StoreError, migrations, open_store


def test_a_migration_keeps_the_data(tmp_path, monkeypatch):
    path = tmp_path / "history.db"
    fill(path, measured())
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, add_column])
    with pytest.raises(StoreError, match="older schema"):
        open_store(path, write=False)
    fill(path, measured())
    opened = open_store(path)
    assert len(opened.history("tests/t.py::test_a")) == 2 and opened.notices == []
    opened.close()
    assert version_in(path) == str(store.schema_version())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT label FROM sessions").fetchall() == [("from version 1",), (None,)]


def test_a_failing_migration_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "history.db"
    fill(path, measured())
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, add_column, fail])
        with pytest.raises(StoreError, match=r"left as it was \(a bug\)"):
            open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
    assert names(tmp_path) == ["history.db"]
    fill(path, measured())


def version_1(path):
    """A file as version 0.1.0 of the plugin made it: two sessions of three tests."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(V1)


def schema_of(path):
    with closing(sqlite3.connect(path)) as connection:
        shapes = {}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            foreign = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
            indices = connection.execute(f"PRAGMA index_list({table})").fetchall()
            shapes[table] = (
                sorted(column[1:] for column in columns),
                sorted(key[2:] for key in foreign),
                sorted((row[1:3], connection.execute(f"PRAGMA index_info({row[1]})").fetchall()) for row in indices),
            )
        return shapes


def test_a_file_of_version_1_keeps_its_data(tmp_path):
    path = tmp_path / "history.db"
    version_1(path)
    with pytest.raises(StoreError, match="older schema"):
        open_store(path, write=False)
    fill(path, measured(joules=7.0))
    opened = open_store(path)
    assert opened.notices == []
    assert opened.nodeids() == ["tests/t.py::test_a", "tests/t.py::test_b[ü]", "tests/t.py::test_c"]
    # What version 1 was given: 1 J and 1.5 J in rounds that rise by 1/97.
    old = [entry for entry in opened.history("tests/t.py::test_a") if entry["rounds"] == 3]
    assert [entry["created"][:10] for entry in old] == ["2026-01-02", "2026-01-01"]
    assert [entry["energy"]["median"] for entry in old] == pytest.approx([1.5 + 1 / 97 * 1.5, 1 + 1 / 97])
    assert old[1]["samples"]["energy"] == pytest.approx([1, 1 + 1 / 97, 1 + 2 / 97])
    assert old[0]["machine"] == report_of().machine and old[0]["commit"] == {"id": "c" * 40, "dirty": True}
    assert old[0]["code"] is None and old[0]["notes"] == ["a note"]
    (first, _) = reversed(opened.history("tests/t.py::test_b[ü]"))
    assert first["net_energy"] == 0.5
    assert opened.history("tests/t.py::test_c")[0]["outcome"] == "skipped"
    assert len(opened.sessions_of(["tests/t.py::test_a"], "0a1b", "rapl")["tests/t.py::test_a"]) == 3
    opened.close()
    open_store(tmp_path / "new.db").close()
    assert schema_of(path) == schema_of(tmp_path / "new.db")


def test_a_file_of_version_3_has_no_prices_of_calls(tmp_path):
    path = tmp_path / "history.db"
    fill(path, coded("tests/t.py::test_a", {"src/a.py::f": "1"}, "f"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE codes DROP COLUMN outside")
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'schema'")
        connection.commit()
    fill(path, measured())
    opened = open_store(path)
    assert opened.notices == []
    assert [entry["code"]["outside"] for entry in opened.history("tests/t.py::test_a") if entry["code"] is not None] == [{}]
    opened.close()
    open_store(tmp_path / "new.db").close()
    assert schema_of(path) == schema_of(tmp_path / "new.db")


def _open_at(path, moment):
    time.sleep(max(0.0, moment - time.time()))
    write_many(path, f"p{os.getpid()}", 5)


def test_two_runs_may_migrate_at_once(tmp_path):
    path = tmp_path / "history.db"
    version_1(path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_open_at, args=(path, time.time() + 1.5)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    opened = open_store(path)
    assert opened.notices == [] and len(opened.nodeids()) == 3 + 15
    opened.close()
    assert names(tmp_path) == ["history.db"]
