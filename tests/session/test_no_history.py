"""A history that cannot be kept is said, and costs no test its result."""

import os
import sqlite3
from contextlib import closing

import pytest
from one_test import PASSING

# The history

NOT_KEPT = "history is not kept: "


def test_the_cache_cannot_be_written(inner):
    # A path below a file: permissions do not stop root.
    (inner.path / "file").write_text("")
    inner.ini("cache_dir = file/cache")
    inner.file(test_a=PASSING)
    result = inner.run()
    result.assert_outcomes(passed=1, warnings=result.parseoutcomes().get("warnings", 0))
    assert f"{NOT_KEPT}pytest's cache directory cannot be written" in " ".join(result.outlines)
    assert inner.median("test_a") == pytest.approx(1e-3)


def test_the_cache_is_switched_off(inner):
    inner.file(test_a=PASSING)
    result = inner.run("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert f"{NOT_KEPT}pytest's cache is switched off" in " ".join(result.outlines)
    assert "--energy-store" in result.stdout.str()
    assert inner.median("test_a") == pytest.approx(1e-3)


@pytest.mark.parametrize("kind", ["corrupt", "newer"])
def test_a_history_that_cannot_be_used_is_set_aside(inner, kind):
    history = inner.path / ".pytest_cache/d/joules/history.db"
    history.parent.mkdir(parents=True)
    if kind == "corrupt":
        history.write_bytes(b"not a database at all\n" * 100)
    else:
        with closing(sqlite3.connect(history)) as connection, connection:
            connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
            connection.execute("INSERT INTO meta VALUES ('schema', '999')")
    inner.file(test_a=PASSING)
    result = inner.run()
    result.assert_outcomes(passed=1)
    said = "is corrupt" if kind == "corrupt" else "is of a newer schema"
    assert said in " ".join(line.strip() for line in result.outlines)
    assert inner.history() == [("test_a.py::test_a", "passed", pytest.approx(1e-3))]
    (aside,) = history.parent.glob(f"history.db.{kind}-*")
    if kind == "corrupt":
        assert aside.read_bytes() == b"not a database at all\n" * 100
    else:
        with closing(sqlite3.connect(aside)) as connection:
            assert connection.execute("SELECT value FROM meta").fetchall() == [("999",)]
    # Said even where the table is not wanted.
    history.write_bytes(b"not a database at all\n" * 100)
    assert "is corrupt" in inner.run("-q").stdout.str()


@pytest.mark.parametrize("url", ["kept/history.db", "sqlite:///kept.db"])
def test_a_place_for_the_history(inner, url):
    inner.file(test_a=PASSING)
    inner.run(f"--energy-store={url}").assert_outcomes(passed=1)
    assert len(inner.history(url.removeprefix("sqlite:///"))) == 1
    assert not (inner.path / ".pytest_cache/d/joules").exists()


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql"])
def test_a_database_without_its_driver(inner, scheme, monkeypatch):
    for name in ("psycopg", "psycopg2"):
        monkeypatch.setitem(__import__("sys").modules, name, None)  # as if not installed
    inner.file(test_a=PASSING)
    url = f"{scheme}://anna:s3cret@db.example/energy?password=s3cret"
    inner.refused(f"--energy-store={url}", says=["--energy-store", "pip install 'psycopg[binary]'", "db.example"])
    result = inner.run(f"--energy-store={url}")
    assert "s3cret" not in result.stdout.str() + result.stderr.str()


FAILING_STORE = """
import pytest, sqlite3
from pytest_joules import store

_add = store.Store.add

def _fail(self, record):
    if "test_b" in record["nodeid"]:
        raise store.StoreError("the history failed (database or disk is full): make room on that disk")
    _add(self, record)

def pytest_sessionstart():
    store.Store.add = _fail

def pytest_sessionfinish():
    store.Store.add = _add
"""


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_full_disk_loses_no_result(inner, quiet):
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - one word for it
        pytest.skip("no /dev/full on this system")
    inner.conftest(FAILING_STORE)
    inner.file(test_a="def test_a(): draw(1000)\ndef test_b(): draw(2000)\ndef test_c(): assert not draw(3000)\n")
    result = inner.run(
        "--energy",
        f"--energy-powercap={inner.powercap}",
        "--energy-json=/dev/full",
        "--energy-csv=/dev/../dev/full",
        *quiet,
        energy=False,
    )
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = " ".join(line.strip() for line in result.outlines)
    assert "--energy-json: cannot write the report to /dev/full: No space left on device" in said
    assert "--energy-csv: cannot write the report to " in said
    assert "history: 1 of 3 tests could not be kept: the history failed (database or disk is full)" in said
    assert [name for name, _, _ in inner.history()] == ["test_a.py::test_a", "test_a.py::test_c"]
