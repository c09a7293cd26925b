"""A history outlives crashes, other writers and broken files, and says what it cannot do."""

import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import histories
import pytest
from histories import fill, measured, names, report_of, version_in, write_many

from pytest_joules import store
from pytest_joules.store import StoreError, Unreachable, open_store
from pytest_joules.store.address import Address


def test_a_killed_run_keeps_what_it_had_measured(tmp_path):
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(histories.__file__).parent)!r})
        from histories import measured, open_store, report_of
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


def test_two_runs_may_write_at_once(tmp_path):
    path = tmp_path / "history.db"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(path, name, 100)) for name in "ab"]
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
    pages = opened.asked._connection.exec_driver_sql("PRAGMA page_count").scalar()
    opened.asked._connection.rollback()
    opened.asked._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    opened.asked._connection.rollback()
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
    with pytest.raises(StoreError, match=re.escape(says)) as caught, Address("postgresql://ci@db/joules").errors():
        raise error("gone")
    assert type(caught.value) is kind
