"""A history on a real PostgreSQL server: made, migrated, written by many, killed in the middle, and no password anywhere."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from histories import V1, add_column, coded, fail, measured, report_of
from processes import wait_until
from servers import PASSWORD, QUOTED

from pytest_joules.cli import main
from pytest_joules.store import StoreError, Unreachable, migrations, open_for_run, open_store
from pytest_joules.store import database as databases

PASSING = "def test_a(): draw(1000)\ndef test_b(): draw(2000)\ndef test_c(): draw(3000)\n"
COUNT = "SELECT nodeid, count(*) FROM measurements JOIN tests ON tests.id = test_id GROUP BY nodeid ORDER BY nodeid"


@pytest.fixture
def database(server):
    return server.database()


@pytest.fixture
def url(server, database):
    return server.url(database)


def fill(url, *records, **report):
    opened = open_store(url)
    opened.begin(report_of(**report))
    for record in records:
        opened.add(record)
    opened.close()


def version_1(server, database):
    """The tables as version 0.1.0 of the plugin made them, in PostgreSQL's words."""
    script = V1.replace("id INTEGER NOT NULL", "id SERIAL NOT NULL").replace("session_id SERIAL", "session_id INTEGER")
    script = script.replace("'cccccccccccccccccccccccccccccccccccccccc',1,", "'cccccccccccccccccccccccccccccccccccccccc',true,")
    statements = [part for part in script.split(";\n") if part.strip() and "TRANSACTION" not in part and part.strip() != "COMMIT"]
    # SQLite writes tables by name; here the other one must be there first.
    statements.sort(key=lambda part: (not part.startswith("CREATE TABLE sessions"), "INSERT" in part, "measurements" in part))
    with server.connect(database) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("SELECT setval('measurements_id_seq', 6), setval('sessions_id_seq', 2)")


def test_what_goes_in_comes_out(url):
    record = coded("tests/t.py::test_a", {"src/a.py::f": "1", "src/a.py::g": "2"}, net_energy=0.5)
    odd = measured("t.py::x[\udc80\0" + "long" * 2000 + "]", scores={"a": float("nan")})
    fill(url, record, odd, created="2026-01-01T00:00:00+00:00")
    fill(url, coded("tests/t.py::test_a", {"src/a.py::f": "3"}, "g", joules=2.0), created="2026-01-02T00:00:00+00:00")
    opened = open_store(url, write=False)
    new, old = opened.history("tests/t.py::test_a")
    assert old["machine"] == report_of().machine and old["commit"] == {"id": "c" * 40, "dirty": True}
    assert old["energy"] == {"median": record["energy"]["median"], "ci95": record["energy"]["ci95"]}
    assert old["code"] == record["code"] and new["code"]["functions"] == {"src/a.py::f": "3"}
    assert old["net_energy"] == 0.5 and old["session"] != new["session"]
    assert len(opened.nodeids()) == 2 and opened.nodeids("x[")[0].startswith("t.py::x[\\udc80\\x00longlong")
    assert [entry["count"] for entry in opened.overview()] == [2, 1]
    sessions = opened.sessions_of(["tests/t.py::test_a", "no such"], "0a1b", "rapl")
    assert [(entry["fingerprint"], entry["created"][:10]) for entry in sessions.pop("tests/t.py::test_a")] == [
        ("f", "2026-01-01"),
        ("g", "2026-01-02"),
    ]
    assert sessions == {}
    assert opened.latest_code("0a1b", "rapl")["tests/t.py::test_a"]["code"]["fingerprint"] == "g"
    with pytest.raises(StoreError):
        opened.history("a\udc80" * 2**20, limit=-1)
    assert opened.nodeids("no such") == []  # and it goes on
    opened.close()


def test_a_history_of_version_1(server, database, url):
    version_1(server, database)
    with pytest.raises(StoreError, match="older schema"):
        open_store(url, write=False)
    fill(url, measured(joules=7.0), created="2026-01-03T00:00:00+00:00")
    opened = open_store(url)
    entries = opened.history("tests/t.py::test_a")
    assert [entry["energy"]["median"] for entry in reversed(entries[-2:])] == pytest.approx([1 + 1 / 97, 1.5 + 1.5 / 97])
    assert len(entries) == 3 and len(opened.nodeids()) == 3
    opened.close()


def test_a_failing_migration_changes_nothing(server, database, url, monkeypatch):
    version_1(server, database)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, add_column, fail])
        with pytest.raises(StoreError, match=r"left as it was \(a bug\)"):
            open_store(url)
    assert server.ask(database, "SELECT value FROM meta") == [("1",)]
    assert server.ask(database, "SELECT count(nodeid) FROM measurements") == [(6,)]
    open_store(url).close()
    assert server.ask(database, "SELECT value FROM meta") == [(str(migrations.schema_version()),)]


def test_a_migration_waits_for_the_one_that_is_under_way(server, database, url, monkeypatch):
    version_1(server, database)
    real, entered = migrations.MIGRATIONS[0], []

    def slow(connection):
        entered.append(time.monotonic())
        time.sleep(0.5)
        real(connection)

    monkeypatch.setattr(migrations, "MIGRATIONS", [slow, *migrations.MIGRATIONS[1:]])
    with ThreadPoolExecutor() as pool:
        for opened in [pool.submit(open_store, url) for _ in range(3)]:
            opened.result(60).close()
    assert len(entered) == 1
    assert server.ask(database, "SELECT count(*) FROM measurements") == [(6,)]


def _write(url, folder, moment, count):
    time.sleep(max(0.0, moment - time.time()))
    opened = open_for_run(url, lambda: Path(folder))
    opened.begin(report_of())
    for number in range(count):
        # The same tests and functions, in another order.
        turn = number if os.getpid() % 2 else count - number
        functions = {f"a.py::{place}": str(turn % 7) for place in range(turn % 11)}
        opened.add(coded(f"t.py::{turn % 30}", functions, str(turn % 5), rounds=2))
    opened.close()
    # One that finds what another one is about to push does it too, and says so.
    if [notice for notice in opened.notices if "pushed" not in notice]:
        raise AssertionError(opened.notices)


@pytest.mark.parametrize(("begun", "one_spool"), [("empty", True), ("version 1", False)])
def test_several_runs_at_once(server, database, tmp_path, begun, one_spool):
    url = server.url(database)
    if begun != "empty":
        version_1(server, database)
    context = multiprocessing.get_context("spawn")
    moment = time.time() + 1.5
    folders = [tmp_path / ("spool" if one_spool else f"spool{number}") for number in range(3)]
    writers = [context.Process(target=_write, args=(url, str(folder), moment, 120)) for folder in folders]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert server.ask(database, "SELECT count(*) FROM measurements WHERE rounds = 2 AND code_id IS NOT NULL") == [(360,)]
    assert server.ask(database, "SELECT count(*), count(DISTINCT number) FROM functions") == [(70, 70)]
    opened = open_store(url)
    for entry in opened.history("t.py::8"):
        functions = entry["code"]["functions"]
        assert len(set(functions.values())) == 1 and functions.keys() == {f"a.py::{place}" for place in range(len(functions))}
    opened.close()


# What a run says and does


def test_a_run_and_the_history_command(inner, server, database, url, capsys):
    inner.file(test_x=PASSING)
    result = inner.run(f"--energy-store={url}")
    result.assert_outcomes(passed=3)
    assert "history:" not in result.stdout.str()
    assert server.ask(database, COUNT) == [(f"test_x.py::test_{name}", 1) for name in "abc"]
    assert not (inner.path / ".pytest_cache/d/joules/history.db").exists()
    assert main(["history", f"--store={url}"]) == 0
    assert "test_b" in capsys.readouterr().out
    assert main(["history", "test_b", f"--store={url}"]) == 0
    assert "2 mJ" in capsys.readouterr().out.replace(".00", "")
    assert main(["history", f"--store={server.url('nowhere')}"]) == 1
    said = capsys.readouterr().err
    assert said.count("joules: ") == 1 and "does not exist" in said and PASSWORD not in said and QUOTED not in said


@pytest.mark.inner_plugins("xdist")
def test_only_xdists_controller_writes(inner, server, database, url):
    inner.file(test_x=PASSING)
    result = inner.run(f"--energy-store={url}", "-n2", subprocess=True)
    result.assert_outcomes(passed=3)
    assert server.ask(database, COUNT) == [(f"test_x.py::test_{name}", 1) for name in "abc"]
    assert server.ask(database, "SELECT count(*) FROM sessions") == [(1,)]


#: As after a test run inside of a test: SQLAlchemy does not know the exceptions of the driver that was there first.
TWICE = """
import sys
import psycopg
for name in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
    del sys.modules[name]
"""


@pytest.mark.parametrize("driver", ["", TWICE], ids=["", "driver imported twice"])
def test_the_server_dies_in_the_middle_of_a_run(inner, server, database, url, driver):
    inner.conftest(driver + "import pytest_joules.store.spool as spool\nspool._INTERVAL = 0.0\n")  # pushed after each test
    postmaster = (server.data / "postmaster.pid").read_text().split()[0]
    kill = f"""
def test_b():
    draw(2000)
    if not os.path.exists("killed"):
        open("killed", "w").close()
        import signal, time
        os.kill({postmaster}, signal.SIGQUIT)
        while os.path.exists({str(server.data / "postmaster.pid")!r}):
            time.sleep(0.01)
"""
    inner.file(test_x=f"def test_a(): draw(1000)\n{kill}\ndef test_c(): draw(3000)\n")
    result = inner.run(f"--energy-store={url}", subprocess=True)
    result.assert_outcomes(passed=3)
    said = " ".join(line.strip() for line in result.outlines)
    assert said.count("does not answer") == 1 and "2 tests kept in" in said and "until the next run" in said
    assert len(inner.report()["tests"]) == 3
    (spool,) = (inner.path / ".pytest_cache/d/joules").glob("spool-*.db")
    assert inner.history(str(spool.relative_to(inner.path))) == [
        ("test_x.py::test_b", "passed", pytest.approx(2e-3)),
        ("test_x.py::test_c", "passed", pytest.approx(3e-3)),
    ]
    server.start()
    assert server.ask(database, COUNT) == [("test_x.py::test_a", 1)]
    inner.conftest()
    result = inner.run(f"--energy-store={url}", "-k", "test_a")
    assert "2 tests of earlier runs pushed" in result.stdout.str()
    assert server.ask(database, COUNT) == [("test_x.py::test_a", 2), ("test_x.py::test_b", 1), ("test_x.py::test_c", 1)]
    assert inner.history(str(spool.relative_to(inner.path))) == []


def test_a_killed_run_is_pushed_by_the_next(inner, server, database, url):
    inner.file(
        test_x="def test_a(): draw(1000)\ndef test_b():\n    if not draw(9) and 'DIE' in os.environ: os.kill(os.getpid(), 9)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIE", "1")
        assert inner.run(f"--energy-store={url}", subprocess=True).ret == -signal.SIGKILL
    assert server.ask(database, COUNT) == []
    assert "1 test of earlier runs pushed" in inner.run(f"--energy-store={url}").stdout.str()
    assert server.ask(database, COUNT) == [("test_x.py::test_a", 2), ("test_x.py::test_b", 1)]


def everything(folder):
    return b"".join(path.read_bytes() + os.fsencode(path) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("quiet", "driver"), [((), ""), (("-q",), ""), ((), TWICE)])
def test_a_server_that_is_down_from_the_start(inner, quiet, driver):
    pytest.importorskip("psycopg")
    inner.conftest(driver)
    inner.file(test_x=PASSING)
    gone = "postgresql+psycopg://anna:s3cret@127.0.0.1:1/energy?sslpassword=s3cret2"
    result = inner.run(f"--energy-store={gone}", "--energy-csv=report.csv", *quiet, subprocess=bool(driver))
    result.assert_outcomes(passed=3) if not quiet else None
    assert result.ret == 0
    said = " ".join(line.strip() for line in result.outlines)
    assert said.count("does not answer") == 1 and "3 tests kept in" in said
    assert "s3cret" not in result.stdout.str() + result.stderr.str()
    (inner.path / "pytest.ini").unlink()
    assert b"s3cret" not in everything(inner.path / ".pytest_cache") + (inner.path / "report.json").read_bytes()


def test_wrong_places_are_usage_errors(inner, server, database):
    inner.file(test_x=PASSING)
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    newer = server.database()
    open_store(server.url(newer)).close()
    with server.connect(newer) as connection:
        connection.execute("UPDATE meta SET value = '99'")
    for place, words in (
        (server.url(database, password="wr0ng%2Fone"), ["password authentication failed", "PGPASSWORD"]),
        (server.url("nowhere"), ["does not exist", "make the database"]),
        (server.url(database), ["no history of pytest-joules"]),
        (server.url(newer), ["newer schema", "upgrade"]),
        (server.url(database) + "?sslkey=wr0ng/one&nosuch=1", ["nosuch"]),
    ):
        inner.refused(f"--energy-store={place}", says=["--energy-store", *words])
        said = inner.run(f"--energy-store={place}")
        for secret in ("wr0ng", PASSWORD, QUOTED):
            assert secret not in said.stdout.str() + said.stderr.str()
    assert server.ask(database, "SELECT count(*) FROM users") == [(0,)]


def test_the_password_from_the_environment(inner, server, database, monkeypatch):
    inner.file(test_x=PASSING)
    bare = f"postgresql+psycopg://anna@127.0.0.1:{server.port}/{database}"
    inner.refused(f"--energy-store={bare}", says=["no password", "PGPASSWORD"])
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    inner.run(f"--energy-store={bare}").assert_outcomes(passed=3)
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(server.port))
    monkeypatch.setenv("PGUSER", "anna")
    inner.run(f"--energy-store=postgresql+psycopg:///{database}").assert_outcomes(passed=3)
    assert server.ask(database, COUNT) == [(f"test_x.py::test_{name}", 2) for name in "abc"]


def test_pruned_by_hand(server, database, url, capsys):
    for day, name in enumerate("abcdd"):
        record = coded(f"t.py::{name}", {"p.py::f": str(day)}, str(day))
        fill(url, record, coded("t.py::all", {"p.py::f": str(day)}, str(day)), created=f"2026-01-0{day + 1}T00:00:00+00:00")
    with server.connect(database) as connection:
        connection.execute("UPDATE sessions SET created = 'never' WHERE created LIKE '2026-01-01%'")
        connection.execute("UPDATE codes SET functions = '1-9999999999' WHERE fingerprint = '1'")
    assert main(["history", "--prune=1", "--store", url]) == 0
    # Of session 1 nothing dates; what test b executed is not known any more, so nobody asks for it.
    assert server.ask(database, COUNT) == [("t.py::all", 1), ("t.py::c", 1), ("t.py::d", 1)]
    assert server.ask(database, "SELECT count(*) FROM sessions") == [(2,)]
    assert [row[0] for row in server.ask(database, "SELECT fingerprint FROM codes ORDER BY 1")] == ["2", "4"]
    assert "removed: " in capsys.readouterr().out
    opened = open_store(url)
    assert sorted(opened.latest("0a1b", "rapl")) == ["t.py::all", "t.py::c", "t.py::d"]
    opened.close()
    assert opened.notices == []


def test_what_may_be_asked_of_us_is_said_in_the_environment(inner, server, database, monkeypatch):
    """The server asks by SCRAM: who demands md5 is not let in."""
    inner.file(test_x=PASSING)
    monkeypatch.setenv("PGREQUIREAUTH", "md5")
    inner.refused(f"--energy-store={server.url(database)}", says=["--energy-store", "PGREQUIREAUTH"])
    monkeypatch.setenv("PGREQUIREAUTH", "scram-sha-256")
    inner.run(f"--energy-store={server.url(database)}").assert_outcomes(passed=3)


def test_a_database_that_cannot_hold_a_name_holds_the_others(inner, server):
    """LATIN1 knows no Greek: that one test waits, and is told of."""
    database = server.database(encoding="LATIN1")
    inner.file(test_x="@pytest.mark.parametrize('x', ['a', 'b'])\ndef test_a(x): draw(1000)\ndef test_π(): draw(2000)\n")
    result = inner.run(f"--energy-store={server.url(database)}")
    result.assert_outcomes(passed=3)
    assert "1 test kept in" in " ".join(line.strip() for line in result.outlines)
    assert server.ask(database, COUNT) == [("test_x.py::test_a[a]", 1), ("test_x.py::test_a[b]", 1)]


def test_a_server_that_stands_still_holds_up_no_run(server, database, url, tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", 0.5)
    opened = open_for_run(url, lambda: tmp_path, timeout=2.0)
    opened.begin(report_of())
    opened.add(measured("t.py::a"))
    (process,) = server.ask("postgres", f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}'")
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    stopped = [postmaster, process[0]]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable):
            opened.sessions_of(["t.py::a"], "0a1b", "rapl")
        opened.close()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    (said,) = opened.notices
    assert "1 test kept" in said
    again = open_for_run(url, lambda: tmp_path)
    again.begin(report_of())
    again.close()
    wait_until(lambda: server.ask(database, COUNT) == [("t.py::a", 1)])
