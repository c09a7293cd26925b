"""Whatever a history holds, a run measures, a command answers, and one line says what was left out."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from pytest_joules.cli import main
from pytest_joules.store import StoreError, checked, open_store, pruning

TESTS = "def test_a(energy):\n    with energy.measure('part'): draw(1000)\n    draw(1000)\ndef test_b(): draw(3000)\n"


def _measured(inner):
    inner.file(test_x=TESTS)
    inner.run("--energy-save=main").assert_outcomes(passed=2)


@pytest.fixture
def measured(inner, begin):
    """A project whose tests have been measured, and its history."""
    begin(inner, _measured)
    return inner, inner.path / ".pytest_cache" / "d" / "joules" / "history.db"


def change(history, *statements):
    with closing(sqlite3.connect(history, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def said(result):
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in text and "INTERNALERROR" not in text
    return " ".join(text.split())


NEWEST = "WHERE id = (SELECT max(id) FROM measurements)"
DAMAGES = [
    f"UPDATE measurements SET samples = '{{' {NEWEST}",
    f"UPDATE measurements SET samples = X'ffff' {NEWEST}",
    f"UPDATE measurements SET samples = CAST(X'7bff' AS TEXT) {NEWEST}",
    f"""UPDATE measurements SET samples = '{{"energy":[5e-324],"duration":[1],"tsc":[1],"domains":{{}}}}' {NEWEST}""",
    f"""UPDATE measurements SET samples = '{{"energy":[NaN],"duration":[1],"tsc":[1],"domains":{{}}}}' {NEWEST}""",
    f"""UPDATE measurements SET samples = '{{"energy":[-1],"duration":[1],"tsc":[1],"domains":{{}}}}' {NEWEST}""",
    f"UPDATE measurements SET facts = '{{' {NEWEST}",
    f"UPDATE measurements SET facts = '[]' {NEWEST}",
    f"""UPDATE measurements SET facts = '{{"notes": 5}}' {NEWEST}""",
    f"""UPDATE measurements SET facts = '{{"regions": {{"x": 5}}}}' {NEWEST}""",
    f"UPDATE measurements SET rounds = 'many' {NEWEST}",
    f"UPDATE measurements SET energy_median = 1e308, energy_low = 'x' {NEWEST}",
    f"UPDATE measurements SET code_id = 7 {NEWEST}",
    "UPDATE codes SET functions = '1-9999999999'",
    "UPDATE codes SET functions = '1-999999999999999999 x'",
    "UPDATE codes SET unknown = 'x', counts = 'y'",
    "UPDATE codes SET outside = '1 len 3'",
    "UPDATE functions SET place = X'00'",
    "DELETE FROM functions",
    "DELETE FROM codes",
    "UPDATE tests SET nodeid = X'ff'",
    "UPDATE tests SET nodeid = 'another'",
    "UPDATE sessions SET created = 'yesterday'",
    "UPDATE sessions SET files = '[' || substr(hex(zeroblob(100000)), 1, 100000)",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_row_costs_that_row(measured, damage, capsys):
    inner, history = measured
    change(history, damage)
    for options in (["--energy-changed-only", "--energy-compare=main"], ["--energy-save=other"]):
        inner.run(*options).assert_outcomes(passed=2)
        change(history, damage)
    for command in (
        ["history"],
        ["history", "--json"],
        ["history", "test_a"],
        ["evaluate"],
        ["train", "--model=last"],
        ["predict"],
    ):
        assert main([*command, "--cache-dir", str(inner.path / ".pytest_cache")]) in (0, 1)
    capsys.readouterr()


def test_what_was_left_out_is_said_in_one_line(measured, capsys):
    inner, history = measured
    change(history, f"UPDATE measurements SET samples = '{{' {NEWEST}")
    text = said(inner.run("--energy-changed-only"))
    assert text.count("left out 1 damaged row of the history") == 1 and "measurement 2" in text and "--prune" in text
    # That test is measured again; the other one stands.
    assert [test["cached"] is None for test in inner.report()["tests"]] == [False, True]
    capsys.readouterr()
    change(history, f"UPDATE measurements SET samples = '{{' {NEWEST}")
    assert main(["history", "test_b", "--json", "--store", str(history)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [] and "left out 2 damaged rows" in captured.err
    assert main(["history", "--prune", "--store", str(history)]) == 0
    assert "2 damaged rows" in capsys.readouterr().out
    assert main(["history", "test_a", "--json", "--store", str(history)]) == 0
    assert capsys.readouterr().err == ""


def test_ranges_take_no_more_than_there_is():
    assert checked.numbers("1-3 7", 9) == [1, 2, 3, 7]
    for text in ("1-9999999999", "10", "0", "3-1", "1-", "-1", "x", "1-2-3", "٣", None, b"1", 1, "1 " * checked.MOST_CODE):
        with pytest.raises(checked.Bad):
            checked.numbers(text, 9)
    with pytest.raises(checked.Bad, match="functions"):
        checked.numbers("1-150000 1-150000", 10**6)


# Files that are not ours


def digest(folder):
    """All files with their content."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def _rollback(path):
    change(path, "CREATE TABLE visits (page TEXT)", "INSERT INTO visits VALUES ('garden')")


def _meta(path):
    change(
        path,
        "CREATE TABLE meta (key TEXT, value TEXT)",
        "INSERT INTO meta VALUES ('schema', 'of ours')",
        "CREATE TABLE sessions (a)",
    )


def _numbered(path):
    change(path, "PRAGMA application_id = 252006674")


def _log(path):
    """Left by a process that was killed: all of it is in the log still."""
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode=WAL'); "
        "c.execute('CREATE TABLE visits (page TEXT)'); c.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
    assert path.with_name(f"{path.name}-wal").stat().st_size


def _text(path):
    path.write_text("# Places\n" * 100)


@pytest.mark.parametrize("make", [_rollback, _meta, _numbered, _log, _text])
def test_what_is_not_ours_is_as_it_was(inner, tmp_path, make, capsys):
    folder = tmp_path / "others"
    folder.mkdir()
    path = folder / "places.sqlite"
    make(path)
    before = digest(folder)
    inner.file(test_x="def test_a(): draw(1000)\n")
    inner.refused(f"--energy-store={path}", says=["--energy-store", "places.sqlite", "left as it is", "name another"])
    inner.run("--energy-predict", f"--energy-store={path}", energy=False)
    for command in (["history"], ["history", "--prune"], ["evaluate"]):
        assert main([*command, "--store", str(path)]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert digest(folder) == before


def test_what_is_no_file_is_no_history(inner, tmp_path):
    inner.file(test_x="def test_a(): draw(1000)\n")
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    places = [(tmp_path, "folder"), (link, "link")]
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
        places += [(pipe, "pipe"), ("/dev/zero", "device")]
    for place, kind in places:
        inner.refused(f"--energy-store={place}", says=["--energy-store", kind])
        with pytest.raises(StoreError):
            open_store(place, write=False)
    assert not (tmp_path / "nowhere").exists()


def test_the_ini_file_names_no_place_outside_of_the_project(inner, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    inner.file(test_x="def test_a(): draw(1000)\n")
    (inner.path / "link.db").symlink_to(outside / "h.db")
    (outside / "h.db").touch()
    for place in (outside / "new.db", f"sqlite:///{outside}/new.db", "link.db"):
        inner.ini(f"energy_store = {place}")
        inner.refused(says=["energy_store", " of the project"])
    assert digest(outside) == {"h.db": hashlib.sha256(b"").hexdigest()}
    inner.ini("energy_store = below/h.db")
    inner.run().assert_outcomes(passed=1)
    inner.run(f"--energy-store={outside / 'new.db'}").assert_outcomes(passed=1)
    assert count(outside / "new.db", "measurements") == 1


def test_a_history_that_names_pipes_and_devices(measured):
    inner, history = measured
    change(history, "UPDATE functions SET place = replace(place, 'test_x.py', '/dev/zero')")
    change(history, """UPDATE sessions SET files = '{"/dev/zero": "0", "../../../../../../../../dev/zero": "1"}'""")
    inner.run("--energy-changed-only").assert_outcomes(passed=2)
    assert main(["predict", "--cache-dir", str(inner.path / ".pytest_cache")]) in (0, 1)


def test_an_empty_file_becomes_a_history(tmp_path):
    path = tmp_path / "history.db"
    path.touch()
    open_store(path).close()
    opened = open_store(path, write=False)
    assert opened.nodeids() == []
    opened.close()


def test_our_own_file_is_recognised_whatever_state_it_is_in(measured, tmp_path):
    """By another process than the one that wrote it, which notes what it has recognised."""
    _, history = measured
    code = (
        "import sys; from pytest_joules.store import open_store; o = open_store(sys.argv[1]); print(len(o.nodeids())); o.close()"
    )
    older = tmp_path / "older.db"
    with closing(sqlite3.connect(history)) as connection, closing(sqlite3.connect(older)) as copy:
        connection.backup(copy)
        copy.execute("PRAGMA application_id = 0")
    for path in (history, older):
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        assert done.stdout == "2\n"


# What is kept


def sessions(history):
    with closing(sqlite3.connect(history)) as connection:
        return connection.execute(
            "SELECT session_id, nodeid FROM measurements JOIN tests ON tests.id = test_id ORDER BY 1, 2"
        ).fetchall()


def count(history, table):
    with closing(sqlite3.connect(history)) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_old_sessions_go_and_the_newest_of_each_test_stays(inner, capsys, monkeypatch):
    inner.ini("energy_history_sessions = 2")
    monkeypatch.setattr(pruning, "_LEAST", 60.0)  # seconds to compact: until it is done, however busy this machine is
    inner.file(test_x="def test_a(): draw(1000)\ndef test_b(): draw(2000)\n")
    history = inner.path / ".pytest_cache" / "d" / "joules" / "history.db"
    inner.run()
    inner.run()
    for _ in range(3):
        inner.run("test_x.py::test_a")
    # Test b was last measured in session 2, which is one too many but for that.
    a, b = "test_x.py::test_a", "test_x.py::test_b"
    assert sessions(history) == [(2, b), (4, a), (5, a)] and count(history, "sessions") == 3
    said(inner.run("--energy-changed-only"))
    assert [test["cached"] is not None for test in inner.report()["tests"]] == [True, True]
    inner.run()
    inner.run()
    assert {session for session, _ in sessions(history)} == {7, 8}
    assert count(history, "codes") == 2
    capsys.readouterr()
    assert main(["history", "--prune=1", "--json", "--store", str(history)]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"] == 2
    assert sessions(history) == [(8, a), (8, b)]


def test_zero_keeps_all(inner):
    inner.ini("energy_history_sessions = 0")
    inner.file(test_x="def test_a(): draw(1000)\n")
    for _ in range(3):
        inner.run()
    assert len(sessions(inner.path / ".pytest_cache" / "d" / "joules" / "history.db")) == 3


def test_versions_of_code_that_no_session_has_go(inner):
    inner.ini("energy_history_sessions = 1")
    inner.conftest("import pytest_joules.store.pruning\npytest_joules.store.pruning._LEAST = 60.0\n")
    history = inner.path / ".pytest_cache" / "d" / "joules" / "history.db"
    for number in range(3):
        inner.file(test_x=f"def test_a():\n    draw(1000)\n    assert {number} >= 0\n")
        inner.run(subprocess=True)
    assert count(history, "codes") == 1
    places = "SELECT count(*) FROM functions WHERE place LIKE '%::test_a'"
    with closing(sqlite3.connect(history)) as connection:
        assert connection.execute(places).fetchone() == (3,)
    assert main(["history", "--prune", "--store", str(history)]) == 0
    with closing(sqlite3.connect(history)) as connection:
        assert connection.execute(places).fetchone() == (1,)
