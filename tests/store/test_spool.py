"""A history on a server loses nothing and doubles nothing, whenever the server goes or the run is killed.

The server is a SQLite file here, which is there or is not; ``test_postgresql.py`` has a real one.
"""

import socket
import sqlite3
import string
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from histories import measured, report_of
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import wait_until
from sqlalchemy import URL

from pytest_joules.store import StoreError, Unreachable, address, open_for_run, open_store, opening, spool

SERVER = "postgresql+psycopg://anna:geheim@db.example:5433/energy"


class Server:
    """A file in the place of a server; ``fails`` says how the next pushes go: ``no``, ``before`` or ``after`` they are kept."""

    def __init__(self, folder, patch):
        self.folder = folder / "d" / "joules"
        self.folder.mkdir(parents=True)
        self.file = folder / "server.db"
        self.up = True
        self.fails = []
        self.meanwhile = None
        patch.setattr(spool, "open_store", self._open)
        give = spool.Spooled._give

        def given_back(server, sessions, rows):
            how = self.fails.pop(0) if self.fails else "no"
            if how != "before":
                give(server, sessions, rows)
            if (meanwhile := self.meanwhile) is not None:
                self.meanwhile = None
                meanwhile()
            if how != "no":
                raise Unreachable("the history db.example does not answer (it is gone): see whether the server runs")

        patch.setattr(spool.Spooled, "_give", staticmethod(given_back))

    def _open(self, url, **options):
        if "://" not in str(url) or url == "sqlite://":
            return opening.open_store(url, **options)
        if not self.up:
            raise Unreachable("the history db.example does not answer (refused): see whether the server runs")
        return opening.open_store(self.file, **options)

    def run(self, *nodeids, **report):
        opened = open_for_run(SERVER, lambda: self.folder)
        opened.begin(report_of(**report))
        for nodeid in nodeids:
            opened.add(measured(nodeid))
        opened.close()
        return opened.notices

    def kept(self):
        with closing(sqlite3.connect(self.file)) as connection:
            rows = connection.execute("SELECT nodeid FROM measurements JOIN tests ON tests.id = test_id").fetchall()
        return sorted(row[0] for row in rows)

    def waiting(self):
        (file,) = self.folder.glob("spool-*.db")
        opened = open_store(file, write=False)
        try:
            return opened.nodeids()
        finally:
            opened.close()


@pytest.fixture
def server(tmp_path, monkeypatch):
    return Server(tmp_path, monkeypatch)


def test_what_is_measured_arrives_with_its_session(server):
    assert server.run("t.py::a", "t.py::b", created="2026-02-03T00:00:00+00:00") == []
    assert server.kept() == ["t.py::a", "t.py::b"] and server.waiting() == []
    opened = open_store(server.file)
    (entry,) = opened.history("t.py::a")
    opened.close()
    assert entry["created"] == "2026-02-03T00:00:00+00:00" and entry["machine"] == report_of().machine
    assert entry["energy"]["median"] == measured()["energy"]["median"]


def test_a_server_that_is_down_gets_it_with_the_next_run(server):
    server.up = False
    (said,) = server.run("t.py::a", "t.py::b", created="2026-02-03T00:00:00+00:00")
    assert "2 tests kept in" in said and "spool-" in said and "next run" in said and "does not answer" in said
    (said,) = server.run("t.py::c")
    assert "3 tests kept" in said
    server.up = True
    (said,) = server.run("t.py::d", created="2026-02-01T00:00:00+00:00")
    assert "3 tests of earlier runs pushed" in said
    assert server.kept() == ["t.py::a", "t.py::b", "t.py::c", "t.py::d"] and server.waiting() == []
    opened = open_store(server.file)
    assert opened.overview()[0]["nodeid"] in ("t.py::a", "t.py::b")  # by when it was measured, not by when it came
    opened.close()
    assert server.run() == []


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_connection_that_is_lost_in_the_middle(server, how, monkeypatch):
    monkeypatch.setattr(spool, "_INTERVAL", 0.0)
    server.fails = ["no", how]
    opened = open_for_run(SERVER, lambda: server.folder)
    opened.begin(report_of())
    opened.add(measured("t.py::a"))
    opened.add(measured("t.py::b"))
    server.up = False
    opened.add(measured("t.py::c"))
    assert server.kept() == ["t.py::a"] + ["t.py::b"] * (how == "after")
    opened.close()
    assert len(opened.notices) == 1 and "2 tests kept" in opened.notices[0]
    server.up = True
    server.run()
    assert server.kept() == ["t.py::a", "t.py::b", "t.py::c"] and server.waiting() == []


def test_a_server_that_comes_back_has_all_at_the_end(server, monkeypatch):
    monkeypatch.setattr(spool, "_INTERVAL", 0.0)
    server.fails = ["before"]
    assert server.run("t.py::a", "t.py::b") == []
    assert server.kept() == ["t.py::a", "t.py::b"]


def test_killed_between_the_server_and_the_spool(server, monkeypatch):
    class KilledError(BaseException):
        pass

    def killed(self, ids):
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(spool.Spooled, "_forget", killed)
        server.run("t.py::a", "t.py::b")
    assert server.kept() == server.waiting() == ["t.py::a", "t.py::b"]
    server.run("t.py::c")
    assert server.kept() == ["t.py::a", "t.py::b", "t.py::c"] and server.waiting() == []


def test_another_run_empties_the_spool_and_fills_it_again_meanwhile(server):
    """SQLite gives the numbers of deleted rows to new ones."""

    def others():
        server.run("t.py::b")
        server.up = False
        server.run("t.py::c", "t.py::d")
        server.up = True

    server.meanwhile = others
    server.run("t.py::a")
    server.run()
    assert server.kept() == ["t.py::a", "t.py::b", "t.py::c", "t.py::d"] and server.waiting() == []


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from(["no", "before", "after"]), max_size=4), st.integers(0, 5)),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_fails_each_is_there_once(runs):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "_INTERVAL", 0.0)
        patch.setattr(spool, "_BATCH", 2)
        server = Server(Path(folder), patch)
        names = []
        for number, (up, fails, count) in enumerate(runs):
            server.up, server.fails = up, list(fails)
            names += (new := [f"t.py::{number}-{address}" for address in range(count)])
            server.run(*new)
        server.up, server.fails = True, []
        server.run()
        assert server.kept() == sorted(names)
        assert server.waiting() == []


def test_what_the_server_refuses_does_not_hold_up_the_rest(server):
    server.run("t.py::a")
    with closing(sqlite3.connect(server.file)) as connection:
        connection.execute(
            "CREATE TRIGGER picky BEFORE INSERT ON tests WHEN NEW.nodeid LIKE '%bad%' BEGIN SELECT RAISE(ABORT, 'not this'); END"
        )
    (said,) = server.run("t.py::b", "t.py::bad", "t.py::c")
    assert "1 test kept" in said and "not this" in said
    assert server.kept() == ["t.py::a", "t.py::b", "t.py::c"] and server.waiting() == ["t.py::bad"]
    with closing(sqlite3.connect(server.file)) as connection:
        connection.execute("DROP TRIGGER picky")
    server.run()
    assert server.kept() == ["t.py::a", "t.py::b", "t.py::bad", "t.py::c"]


def test_without_a_cache_there_is_only_the_server(server):
    (server.folder / "file").write_text("")
    for folder in (None, server.folder / "file"):
        opened = open_for_run(SERVER, lambda folder=folder: folder)
        opened.begin(report_of())
        opened.add(measured("t.py::a"))
        opened.close()
        assert opened.notices == []
        server.up = False
        opened = open_for_run(SERVER, lambda folder=folder: folder)
        opened.begin(report_of())
        opened.add(measured("t.py::b"))
        opened.close()
        assert len(opened.notices) == 1 and "1 test lost" in opened.notices[0]
        server.up = True
    assert server.kept() == ["t.py::a", "t.py::a"]


def test_a_broken_spool_is_set_aside(server):
    server.up = False
    server.run("t.py::a")
    (file,) = server.folder.glob("spool-*.db")
    file.write_bytes(b"no database" * 100)
    server.up = True
    (said,) = server.run("t.py::b")
    assert "corrupt" in said and server.kept() == ["t.py::b"]
    assert list(server.folder.glob("spool-*.corrupt-*"))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE measurements SET samples = '{' WHERE number = 1",
        "UPDATE measurements SET energy_median = 'x' WHERE number = 1",
        "UPDATE measurements SET session_id = 77 WHERE number = 1",
        "UPDATE tests SET nodeid = X'ff' WHERE nodeid = 't.py::a'",
    ],
)
def test_a_damaged_row_in_the_spool_holds_up_no_other(server, damage):
    server.up = False
    server.run("t.py::a", "t.py::b")
    (file,) = server.folder.glob("spool-*.db")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(damage)
        connection.commit()
    server.up = True
    said = server.run("t.py::c")
    assert server.kept() == ["t.py::b", "t.py::c"]
    assert sum("left out 1 damaged row" in line for line in said) == 1
    assert server.run("t.py::d") == []


def test_asking_needs_the_server(server):
    server.run("t.py::a")
    opened = open_for_run(SERVER, lambda: server.folder)
    opened.begin(report_of())
    assert list(opened.sessions_of(["t.py::a"], "0a1b", "rapl")) == ["t.py::a"]
    assert opened.latest("0a1b", "rapl") == {}
    opened.close()
    server.up = False
    opened = open_for_run(SERVER, lambda: server.folder)
    with pytest.raises(StoreError, match="does not answer"):
        opened.sessions_of(["t.py::a"], "0a1b", "rapl")
    opened.close()


# Secrets


@given(st.text(string.printable, min_size=3), st.sampled_from(["password", "sslpassword"]))
@settings(derandomize=True)
def test_a_password_is_nowhere(password, name):
    secret = f"ge{password}im"
    url = URL.create("postgresql+psycopg", "anna", secret, "db.example", 5433, "energy", {name: secret})
    there = address.Address(url.render_as_string(hide_password=False))
    without = address.Address(SERVER)
    assert there.shown == without.shown
    assert there.key() == without.key(), "a new password must not orphan what waits"
    assert secret not in there.scrub(f'could not connect with "{secret}" (password={secret})')


def _ask_for_the_password(server, heard):
    """A server that wants it in clear (PostgreSQL's protocol: no encryption, then AuthenticationCleartextPassword)."""
    while True:
        try:
            line, _ = server.accept()
        except OSError:
            return
        with line:
            line.settimeout(10)
            message = line.recv(4096)
            while len(message) == 8:  # SSLRequest, GSSENCRequest
                line.sendall(b"N")
                message = line.recv(4096)
            line.sendall(b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big"))
            heard.append(message + line.recv(4096))


@pytest.mark.parametrize("query", ["", "?require_auth=password"])
def test_a_server_of_the_projects_choice_is_not_sent_the_password(inner, monkeypatch, query):
    pytest.importorskip("psycopg")
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_ask_for_the_password, args=(server, heard), daemon=True).start()
        monkeypatch.setenv("PGPASSWORD", "of-my-own")
        inner.file(test_x="def test_a(): draw(1000)\n")
        url = f"postgresql+psycopg://anna@127.0.0.1:{server.getsockname()[1]}/energy{query}"
        inner.ini(f"energy_store = {url}")
        inner.refused(says=["--energy-store", "cleartext password", "PGREQUIREAUTH"])
        wait_until(lambda: heard, "asking")
        assert not any(b"of-my-own" in message for message in heard)
        # Who trusts it says so, where the project cannot.
        monkeypatch.setenv("PGREQUIREAUTH", "password")
        inner.run()
        wait_until(lambda: any(b"of-my-own" in message for message in heard), "sending it")


def test_one_spool_for_each_database(monkeypatch):
    urls = [SERVER, SERVER.replace("5433", "5434"), SERVER.replace("/energy", "/other"), SERVER.replace("db.", "db2.")]
    keys = [address.Address(url).key() for url in urls]
    assert len(set(keys)) == 4
    bare = address.Address("postgresql+psycopg://")
    monkeypatch.setenv("PGHOST", "a")
    first = bare.key()
    monkeypatch.setenv("PGHOST", "b")
    assert bare.key() != first


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://anna:geh@eim@db/x", "postgresql+psycopg:/anna:geheim@db/x", "postgresql+psycopg://a:geheim@h:x/d"],
)
def test_a_url_that_is_not_understood_shows_nothing(url):
    with pytest.raises(StoreError, match="URL") as caught:
        open_store(url)
    assert "eim" not in str(caught.value)


@pytest.mark.parametrize("pushed", ["nothing", "all", "the server is gone"])
def test_what_came_of_predictions_reaches_the_server(server, monkeypatch, pushed):
    """It is known late: by then a measurement is on the server, or waits."""
    if pushed == "all":
        monkeypatch.setattr(spool, "_INTERVAL", 0.0)
    server.up = pushed != "the server is gone"
    opened = open_for_run(SERVER, lambda: server.folder)
    opened.begin(report_of())
    said = {"model": "m", "state": "changed", "interval": [1.0, 2.0], "flagged": True, "why": "", "outcome": "unknown"}
    for name in ("a", "b"):
        opened.add(measured(f"test_{name}.py::test", prediction={**said}))
    opened.add_predictions({"test_a.py::test": {**said, "outcome": "hit"}, "test_gone.py::test": said})
    opened.close()
    server.up = True
    server.run("test_c.py::test")
    with closing(open_store(server.file, write=False)) as store:
        found = {entry["nodeid"]: entry["outcome"] for entry in store.predictions()}
    assert found == {"test_a.py::test": "hit", "test_b.py::test": "unknown"}
