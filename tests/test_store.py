"""The history keeps what was measured: through crashes, other writers, broken files and new schemas."""

import multiprocessing
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from pytest_joules import stats, store
from pytest_joules.model import Measurement, Report, Sample, empty_record
from pytest_joules.store import StoreError, Unreachable, decoded, migrations, open_store, tables
from pytest_joules.store.address import Place


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


def test_what_goes_in_comes_out(tmp_path):
    path = tmp_path / "deep" / "history.db"
    record = measured(budget={"joules": 2.0, "verdict": "ok", "why": None}, net_energy=0.5)
    fill(path, record, empty_record("tests/t.py::test_b") | {"outcome": "skipped"})
    opened = open_store(path)
    assert opened.notices == []
    (entry,) = opened.history("tests/t.py::test_a")
    assert entry["machine"] == report_of().machine and entry["machine_id"] == "0a1b"
    assert entry["commit"] == {"id": "c" * 40, "dirty": True}
    assert entry["created"] == report_of().created and entry["settings"] == {"rounds": "auto"}
    assert entry["energy"] == {"median": record["energy"]["median"], "ci95": record["energy"]["ci95"]}
    assert entry["duration"] == {"median": record["duration"]["median"]}
    for key in ("nodeid", "outcome", "source", "provenance", "resolution", "rounds", "budget", "net_energy", "notes"):
        assert entry[key] == record[key]
    for key in ("energy", "duration", "tsc"):
        assert entry["samples"][key] == pytest.approx([sample[key] for sample in record["samples"]], rel=1e-8)
    assert entry["samples"]["domains"]["dram"] == [None] * 5
    (nothing,) = opened.history("tests/t.py::test_b")
    assert nothing["energy"] is None and nothing["duration"] is None and nothing["samples"]["energy"] == []
    assert opened.history("no such") == []
    opened.close()
    opened.close()


def test_newest_first_and_names(tmp_path):
    path = tmp_path / "history.db"
    for number in range(3):
        fill(path, measured(joules=1.0 + number), measured("tests/t.py::TEST_b"), measured("tests/t.py::test_100%_[x]"))
    opened = open_store(path)
    medians = [entry["energy"]["median"] for entry in opened.history("tests/t.py::test_a")]
    assert medians == sorted(medians, reverse=True) and len(medians) == 3
    assert len(opened.history("tests/t.py::test_a", limit=2)) == 2
    assert opened.nodeids("t.py::test_a") == ["tests/t.py::test_a"]
    assert opened.nodeids("test_b") == [] and opened.nodeids("TEST_b") == ["tests/t.py::TEST_b"]
    assert opened.nodeids("%_[") == ["tests/t.py::test_100%_[x]"] and opened.nodeids("%x") == []
    assert len(opened.nodeids()) == 3
    overview = opened.overview()
    assert {entry["nodeid"]: entry["count"] for entry in overview} == dict.fromkeys(opened.nodeids(), 3)
    assert next(e for e in overview if e["nodeid"].endswith("test_a"))["energy_median"] == medians[0]
    opened.close()


def test_nan_and_odd_characters_are_kept_out_of_the_database(tmp_path):
    record = measured("t.py::x[\udc80\0]", scores={"a": float("nan")})
    record["samples"][0]["energy"] = float("nan")
    fill(tmp_path / "history.db", record)
    opened = open_store(tmp_path / "history.db")
    (entry,) = opened.history("t.py::x[\udc80\0]")
    assert entry["samples"]["energy"][0] is None and entry["nodeid"] == "t.py::x[\\udc80\\x00]"
    opened.close()


def test_a_sample_takes_few_bytes(tmp_path):
    fill(tmp_path / "history.db", *(measured(f"tests/test_module.py::test_{n}", rounds=20) for n in range(100)))
    assert (tmp_path / "history.db").stat().st_size / 2000 <= 200


def test_a_killed_run_keeps_what_it_had_measured(tmp_path):
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_store import measured, open_store, report_of
        opened = open_store(sys.argv[1])
        opened.begin(report_of())
        for number in range(7):
            opened.add(measured(f"t.py::{{number}}"))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path / "history.db"], check=False)
    assert done.returncode == -signal.SIGKILL
    opened = open_store(tmp_path / "history.db")
    assert len(opened.nodeids()) == 7
    opened.close()


def _write_many(path, name, count):
    opened = open_store(path)
    opened.begin(report_of())
    for number in range(count):
        opened.add(measured(f"{name}::{number}", rounds=2))
    opened.close()


def test_two_runs_may_write_at_once(tmp_path):
    path = tmp_path / "history.db"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, name, 100)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    opened = open_store(path)
    assert opened.notices == []
    assert len(opened.nodeids("a::")) == len(opened.nodeids("b::")) == 100
    opened.close()


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, None])
def test_a_corrupt_file_is_set_aside(tmp_path, content):
    folder = tmp_path / "d" / "joules"  # pytest's cache: all that lies there is ours
    folder.mkdir(parents=True)
    path = folder / "history.db"
    if content is None:
        fill(path, *(measured(f"t.py::{n}") for n in range(50)))
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read"):
        open_store(path, write=False)
    assert names(folder) == ["history.db"]
    opened = open_store(path)
    opened.begin(report_of())
    opened.add(measured())
    opened.close()
    (notice,) = opened.notices
    (aside,) = folder.glob("history.db.corrupt-*")
    assert aside.read_bytes() == content
    assert aside.name in notice and "corrupt" in notice
    again = open_store(path)
    assert again.notices == [] and again.nodeids() == ["tests/t.py::test_a"]
    again.close()


def test_damage_in_the_middle_is_found(tmp_path):
    path = tmp_path / "history.db"
    fill(path, *(measured(f"t.py::{n}") for n in range(50)))
    content = bytearray(path.read_bytes())
    content[4096 * 5 : 4096 * 12] = b"\xa5" * 4096 * 7
    path.write_bytes(content)
    opened = open_store(path)
    opened.close()
    assert "corrupt" in opened.notices[0] and len(list(tmp_path.glob("history.db.corrupt-*"))) == 1


def test_a_newer_file_is_set_aside_whole(tmp_path):
    path = tmp_path / "history.db"
    fill(path, measured())
    keeper = sqlite3.connect(path)  # keeps the log beside the file
    keeper.execute("PRAGMA journal_mode=WAL")
    keeper.execute("UPDATE meta SET value='99' WHERE key='schema'")
    keeper.commit()
    assert "history.db-wal" in names(tmp_path)
    with pytest.raises(StoreError, match=r"newer schema.*upgrade pytest-joules"):
        open_store(path, write=False)
    opened = open_store(path)
    opened.close()
    keeper.close()
    assert "newer" in opened.notices[0]
    (aside,) = (entry for entry in tmp_path.glob("history.db.newer-*") if not entry.name.endswith(("-wal", "-shm")))
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT nodeid FROM measurements JOIN tests ON tests.id = test_id").fetchall() == [
            ("tests/t.py::test_a",)
        ]
    assert version_in(aside) == "99" and version_in(path) == str(store.schema_version())


def test_what_is_not_ours_is_left_alone(tmp_path):
    other = tmp_path / "app.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    before = other.read_bytes()[100:]
    with pytest.raises(StoreError, match="no history of pytest-joules"):
        open_store(other)
    with closing(sqlite3.connect(other)) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == ["users"]
    assert other.read_bytes()[100:] == before
    prose = tmp_path / "README.md"
    prose.write_text("# Hello\n" * 200)
    with pytest.raises(StoreError, match="left as it is"):
        open_store(prose)
    assert prose.read_text() == "# Hello\n" * 200
    assert not [name for name in names(tmp_path) if "corrupt" in name]


def _add_column(connection):
    connection.execute(text("ALTER TABLE sessions ADD COLUMN label TEXT"))
    connection.execute(text("UPDATE sessions SET label = 'from version 1'"))


def _fail(connection):
    connection.execute(text("DROP TABLE measurements"))
    raise ZeroDivisionError("a bug")


def test_a_migration_keeps_the_data(tmp_path, monkeypatch):
    path = tmp_path / "history.db"
    fill(path, measured())
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, _add_column])
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
        patch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, _add_column, _fail])
        with pytest.raises(StoreError, match=r"left as it was \(a bug\)"):
            open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
    assert names(tmp_path) == ["history.db"]
    fill(path, measured())


V1 = (Path(__file__).parent / "history_v1.sql").read_text("utf-8")


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


def _open_at(path, moment):
    time.sleep(max(0.0, moment - time.time()))
    _write_many(path, f"p{os.getpid()}", 5)


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


def coded(nodeid, functions, fingerprint="f", **other):
    return measured(nodeid, code={"fingerprint": fingerprint, "functions": functions, "unknown": [], "counts": {}}, **other)


def test_what_a_test_executes_is_kept(tmp_path):
    path = tmp_path / "history.db"
    shared = {f"src/shop.py::f{number}": f"h{number}" for number in range(200)}
    first = {**shared, "tests/t.py::a": "1"}
    odd = {"fingerprint": None, "functions": {"x\udc80.py::<lambda>\0": "9"}, "unknown": ["a thread"]}
    fill(path, coded("a", first), coded("b", shared, "g"), measured("c", code=odd), measured("d"))
    changed = {**first, "src/shop.py::f7": "new"}
    fill(path, coded("a", changed, "f2"), coded("b", shared, "g"))
    opened = open_store(path)
    assert [entry["code"]["functions"] for entry in opened.history("a")] == [changed, first]
    assert [entry["code"]["fingerprint"] for entry in opened.history("a")] == ["f2", "f"]
    assert [entry["code"]["functions"] for entry in opened.history("b")] == [shared, shared]
    assert opened.history("c")[0]["code"] == {
        "fingerprint": None,
        "functions": {"x\\udc80.py::<lambda>\\x00": "9"},
        "unknown": ["a thread"],
        "counts": {},
    }
    assert opened.history("d")[0]["code"] is None
    latest = opened.latest_code("0a1b", "rapl")
    assert latest["a"]["code"]["functions"] == changed and set(latest) == {"a", "b", "c"}
    opened.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM functions").fetchone() == (203,)
        assert connection.execute("SELECT count(*) FROM codes").fetchone() == (4,)
        assert connection.execute("SELECT max(length(functions)) FROM codes").fetchone()[0] < 20


def test_how_often_it_ran_and_its_source_are_kept(tmp_path):
    path = tmp_path / "history.db"
    functions = {"a.py::f": "h1", "a.py::g": "h2", "a.py::<module> N": "h3", "<python>": "3"}
    counts = {"a.py::g": [2, 2, 20], "a.py::f": [1]}
    code = {"fingerprint": "x", "functions": functions, "unknown": [], "counts": counts}
    # What an older session did not count is counted now, though the code is the same.
    fill(path, measured("a", code={**code, "counts": {}}))
    opened = open_store(path)
    opened.begin(report_of(created="2026-02-01T00:00:00+00:00"))
    opened.add(measured("a", code=code))
    assert opened.without_source() == {(key, functions[key]) for key in functions if "::" in key}
    opened.add_sources({("a.py::f", "h1"): "def f(): pass\n", ("a.py::<module> N", "h3"): "N = 1\n", ("b.py::no", "h"): "?"})
    assert opened.without_source() == {("a.py::g", "h2")}
    opened.add_files({"a.py": "d"})
    opened.add_predicting({"joules": 1.0})
    opened.close()
    opened = open_store(path, write=False)
    assert [entry["code"]["counts"] for entry in opened.history("a")] == [counts, {}]
    assert opened.sources([("a.py::f", "h1"), ("a.py::f", "other"), ("a.py::g", "h2")]) == {("a.py::f", "h1"): "def f(): pass\n"}
    latest = opened.latest("0a1b", "rapl")["a"]
    assert (
        latest["code"]["counts"] == counts
        and latest["files"] == {"a.py": "d"}
        and latest["created"] == "2026-02-01T00:00:00+00:00"
    )
    both = opened.versions()
    assert [entry["code"]["counts"] for entry in both] == [{}, counts]
    samples = opened.history("a")[0]["samples"]
    assert both[1]["joules"] == pytest.approx(statistics.median(samples["energy"]))
    assert both[1]["tsc"] == pytest.approx(statistics.median(samples["tsc"]))
    assert opened.predictings(10) == [{"joules": 1.0, "created": "2026-02-01T00:00:00+00:00"}]
    opened.close()


def test_a_failed_write_leaves_no_half_of_it_to_others(tmp_path):
    """The second test's functions are the first's, whose transaction was undone."""
    path = tmp_path / "history.db"
    opened = open_store(path)
    opened.begin(report_of())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON measurements BEGIN SELECT RAISE(ABORT, 'no'); END")
    functions = {f"a.py::{number}": "h" for number in range(5)}
    with pytest.raises(StoreError, match=r"\(no\)"):
        opened.add(coded("a", functions))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER no")
    opened.add(coded("a", functions))
    assert opened.history("a")[0]["code"]["functions"] == functions
    opened.close()


def test_earlier_sessions_of_a_test(tmp_path):
    path = tmp_path / "history.db"
    other = report_of().machine | {"id": "ffff"}
    for day, records, report in (
        (3, [coded("a", {}, "f3", joules=3.0), measured("b"), coded("c", {}, outcome="failed")], {}),
        (1, [coded("a", {}, "f1", joules=1.0), measured("b", provenance="shared"), measured("c", energy=None)], {}),
        (2, [measured("a", joules=2.0, provenance="estimated"), measured("b", source="estimate")], {}),
        (4, [coded("a", {}, "f4", joules=4.0)], {"machine": other}),
    ):
        opened = open_store(path)
        opened.begin(report_of(created=f"2026-01-0{day}T00:00:00+00:00", **report))
        for record in records:
            opened.add(record)
        opened.close()
    opened = open_store(path)
    opened.begin(report_of(created="2026-01-05T00:00:00+00:00"))
    opened.add(coded("a", {}, "now"))
    found = opened.sessions_of(["a", "b", "c", "no such"], "0a1b", "rapl")
    assert set(found) == {"a", "b"} and len(found["b"]) == 1
    assert [entry["fingerprint"] for entry in found["a"]] == ["f1", None, "f3"]
    assert [entry["median"] for entry in found["a"]] == pytest.approx([1 + 2 / 97, 2 + 4 / 97, 3 + 6 / 97])
    assert [entry["created"][8:10] for entry in found["a"]] == ["01", "02", "03"]
    few = opened.sessions_of(["a"], "0a1b", "rapl", limit=1)
    assert [entry["fingerprint"] for entry in few["a"]] == ["f3"]
    earlier = opened.sessions_of(["a"], "0a1b", "rapl", before="2026-01-03T00:00:00+00:00")
    assert [entry["fingerprint"] for entry in earlier["a"]] == ["f1", None]
    assert opened.sessions_of([], "0a1b", "rapl") == {}
    assert opened.sessions_of(["a"], "0a1b", "rapl+nvml") == {}
    latest = opened.latest_code("0a1b", "rapl")
    assert set(latest) == {"a"} and latest["a"]["code"]["fingerprint"] == "f3"
    assert latest["a"]["created"] == "2026-01-03T00:00:00+00:00"
    many = opened.sessions_of([f"t{number}" for number in range(5000)] + ["a"], "0a1b", "rapl")
    assert set(many) == {"a"}
    opened.close()


def test_the_newest_record_comes_back_as_it_was(tmp_path):
    record = coded("a", {"p.py::f": "1"}, regions={"load": {"energy": None, "duration": stats.summarise([2.0])}}, net_energy=0.5)
    record["energy"]["ci95"] = [0.1, 9.0]  # wider than the samples say
    fill(tmp_path / "history.db", record)
    opened = open_store(tmp_path / "history.db")
    found = opened.latest_code("0a1b", "rapl")["a"]
    opened.close()
    assert found.pop("created") == report_of().created
    assert found.keys() == record.keys()
    for key in ("nodeid", "outcome", "source", "provenance", "rounds", "code", "regions", "net_energy", "notes", "cached"):
        assert found[key] == record[key]
    assert found["energy"].pop("ci95") == record["energy"].pop("ci95")
    assert found["energy"] == pytest.approx(record["energy"])
    assert found["duration"]["mean"] == pytest.approx(stats.summarise([s["duration"] for s in record["samples"]])["mean"])
    assert [sample["energy"] for sample in found["samples"]] == pytest.approx([s["energy"] for s in record["samples"]])
    assert found["samples"][0]["domains"] == {"package-0": 1.0, "dram": None}
    assert found["power"]["median"] == pytest.approx(20)


def test_cached_joules_are_not_kept_again(tmp_path):
    fill(tmp_path / "history.db", measured("a"), measured("b", cached="2026-01-01"))
    opened = open_store(tmp_path / "history.db")
    assert opened.nodeids() == ["a"]
    opened.close()


@given(st.sets(st.integers(1, 300)))
@settings(derandomize=True)
def test_ranges_there_and_back(numbers):
    text = tables.ranges(numbers)
    assert decoded.numbers(text, 300) == sorted(numbers)
    assert len(text.split()) <= len(numbers)


@given(st.lists(st.lists(st.text(max_size=3), max_size=4), max_size=8))
@settings(derandomize=True)
def test_other_texts_have_another_number(lists):
    distinct = set(map(tuple, lists))
    assert len({tables.number_of(*parts) for parts in distinct}) == len(distinct)


def test_a_locked_file_is_an_error_and_the_store_goes_on(tmp_path):
    path = tmp_path / "history.db"
    opened = open_store(path, timeout=0.1)
    opened.begin(report_of())
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"locked.*another process"):
        opened.add(measured("t.py::lost"))
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"locked.*another process"):
        open_store(path, timeout=0.1)
    assert time.monotonic() - started < 5
    locker.execute("ROLLBACK")
    locker.close()
    opened.add(measured("t.py::kept"))
    assert opened.nodeids() == ["t.py::kept"]
    opened.close()


def test_a_full_disk_is_an_error(tmp_path):
    path = tmp_path / "history.db"
    opened = open_store(path)
    opened.begin(report_of())
    opened.add(measured("t.py::kept"))
    pages = opened._connection.exec_driver_sql("PRAGMA page_count").scalar()
    opened._connection.rollback()
    opened._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    opened._connection.rollback()
    with pytest.raises(StoreError, match=r"full.*make room"):
        opened.add(measured("t.py::big", rounds=2000))
    assert opened.nodeids() == ["t.py::kept"]
    opened.close()


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file" / "history.db", tmp_path, "/proc/history.db"):
        with pytest.raises(StoreError, match="history"):
            open_store(place)
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_can_be_read(tmp_path):
    fill(tmp_path / "history.db", measured())
    tmp_path.chmod(0o555)
    try:
        opened = open_store(tmp_path / "history.db", write=False)
        assert opened.nodeids() == ["tests/t.py::test_a"]
        opened.close()
        with pytest.raises(StoreError):
            open_store(tmp_path / "history.db").begin(report_of())
    finally:
        tmp_path.chmod(0o755)


def test_reading_makes_nothing(tmp_path):
    with pytest.raises(StoreError, match="no history"):
        open_store(tmp_path / "history.db", write=False)
    (tmp_path / "history.db").touch()
    with pytest.raises(StoreError, match="no measurements yet"):
        open_store(tmp_path / "history.db", write=False)
    assert names(tmp_path) == ["history.db"] and not (tmp_path / "history.db").stat().st_size
    (tmp_path / "history.db").unlink()
    fill(tmp_path / "history.db", measured())
    opened = open_store(tmp_path / "history.db", write=False)
    with pytest.raises(StoreError, match="writable"):
        opened.begin(report_of())
    opened.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nosuchdatabase://user:geheim@host/x?password=geheim", "driver"),
        ("://", "not understood"),
        ("sqlite+nodriver:///x.db", "driver"),
    ],
)
def test_bad_urls_teach_and_never_show_a_password(url, says):
    with pytest.raises(StoreError, match=says) as caught:
        open_store(url)
    assert "geheim" not in str(caught.value)


def test_urls_and_names_with_odd_characters(tmp_path):
    for name in ("a b?c#d%41.db", "ü.db"):
        fill(f"sqlite:///{tmp_path}/plain.db", measured())
        fill(tmp_path / name, measured())
        assert (tmp_path / name).stat().st_size
        opened = open_store(tmp_path / name, write=False)
        assert opened.nodeids() == ["tests/t.py::test_a"]
        opened.close()
    memory = open_store("sqlite://")
    memory.begin(report_of(commit=None))
    memory.add(measured())
    assert memory.history("tests/t.py::test_a")[0]["commit"] is None
    memory.close()


def test_only_one_file_knows_sqlite():
    """A server is only a URL: no PRAGMA and no raw SQL outside the one file, and types every database has."""
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    for table in tables.tables().metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
    sources = {path.name: path.read_text("utf-8") for path in Path(store.__file__).parent.glob("*.py")}
    del sources["sqlite.py"]
    assert not [name for name, source in sources.items() if "PRAGMA" in source]
    # The one place that sends text: it was compiled for the database in use.
    assert [name for name, source in sources.items() if "exec_driver_sql(" in source] == ["history.py"]
    assert sources["history.py"].count("exec_driver_sql(") == 1


def test_importing_the_module_does_not_import_sqlalchemy():
    code = "import sys, pytest_joules.store; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_add_needs_a_session(tmp_path):
    opened = open_store(tmp_path / "history.db")
    with pytest.raises(RuntimeError, match="begin"):
        opened.add(measured())
    opened.close()


@pytest.mark.parametrize(
    ("kinds", "kind", "says"),
    [
        (("Error", "DatabaseError", "OperationalError"), Unreachable, "does not answer (gone)"),
        (("Error", "DatabaseError", "ProgrammingError"), StoreError, "failed (gone)"),
        (("Mistake",), StoreError, "failed (Mistake: gone): please report this"),
    ],
)
def test_what_sqlalchemy_does_not_wrap_is_told_all_the_same(kinds, kind, says):
    """Errors of a driver that was imported twice, and whatever else: nothing that keeping does ends a run."""
    error: type[Exception] = Exception
    for name in kinds:
        error = type(name, (error,), {})
    with pytest.raises(StoreError, match=re.escape(says)) as caught, Place("postgresql://ci@db/joules").errors():
        raise error("gone")
    assert type(caught.value) is kind
