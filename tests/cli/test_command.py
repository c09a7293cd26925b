"""The ``joules`` command: finds the history, prints it within the terminal, teaches, and never ends in a traceback."""

import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from _pytest._io.wcwidth import wcswidth

import pytest_joules
import pytest_joules.cli
from pytest_joules import stats
from pytest_joules.cli import main
from pytest_joules.model import Report, empty_record
from pytest_joules.store import open_store

ROOT = Path(pytest_joules.__file__).parents[1]


def fill(path, *medians, nodeid="tests/test_a.py::test_one", commit="abcdef0123456789", **other):
    opened = open_store(path)
    for day, median in enumerate(medians, 1):
        machine = {"id": "m", "cpu": "c", "cores": 2, "os": "Linux", "python": "3.12", "virtual": False}
        opened.begin(Report(f"2026-01-{day:02}T10:20:30+00:00", machine, {"id": commit, "dirty": day == 1}, {}, []))
        record = empty_record(nodeid)
        record.update(outcome="passed", source="rapl", provenance="measured", resolution="ok", rounds=6)
        if median is not None:
            record["energy"] = stats.summarise([median * (1 + step / 100) for step in (-2, -1, 0, 0, 1, 2)])
        record.update(other)
        opened.add(record)
    opened.close()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    return tmp_path


@pytest.fixture
def history(project):
    return project / ".pytest_cache" / "d" / "joules" / "history.db"


def test_history_of_one_test(project, history, capsys):
    fill(history, 1.5, 0.0025, None)
    assert main(["history", "tests/test_a.py::test_one"]) == 0
    title, header, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "tests/test_a.py::test_one"
    assert header.split() == ["date", "commit", "energy", "±", "source", "provenance", "rounds"]
    assert [row.split()[1] for row in rows] == ["10:20"] * 3
    assert [row[:10] for row in rows] == ["2026-01-03", "2026-01-02", "2026-01-01"]
    assert "unavailable" in rows[0] and " 0 J" not in rows[0]
    assert "2.50 mJ" in rows[1] and "±2.0 %" in rows[1]
    assert "1.50 J" in rows[2] and "abcdef0123+" in rows[2]
    assert main(["history", "test_one", "--limit", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_history_of_all_tests(project, history, capsys):
    fill(history, 1.5, 1.6)
    fill(history, 2.5, nodeid="tests/test_b.py::test_two")
    assert main(["history"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[0].split() == ["tests/test_a.py::test_one", "2×", "2026-01-02", "10:20", "1.60", "J", "measured"]
    assert rows[1].split() == ["tests/test_b.py::test_two", "1×", "2026-01-01", "10:20", "2.50", "J", "measured"]


def test_part_of_a_name(project, history, capsys):
    for name in ("test_one", "test_one_more", "test_two"):
        fill(history, 1.0, nodeid=f"t.py::{name}")
    assert main(["history", "t.py::test_one"]) == 0, "an exact name wins"
    assert capsys.readouterr().out.startswith("t.py::test_one\n")
    assert main(["history", "two"]) == 0
    assert capsys.readouterr().out.startswith("t.py::test_two\n")
    assert main(["history", "one"]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["t.py::test_one", "t.py::test_one_more"]
    assert "2 tests" in shown.err
    assert main(["history", "none such"]) == 1
    assert "nothing was measured of none such" in capsys.readouterr().err


def test_json(project, history, capsys):
    fill(history, 1.5, 2.5)
    assert main(["history", "test_one", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["energy"]["median"] for entry in entries] == [2.5, 1.5]
    assert main(["history", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["count"] == 2


def test_other_places(project, tmp_path, capsys):
    fill(tmp_path / "cache" / "d" / "joules" / "history.db", 1.0)
    fill(tmp_path / "team.db", 2.0)
    assert main(["history", "--cache-dir", str(tmp_path / "cache")]) == 0
    assert "1.00 J" in capsys.readouterr().out
    for place in (str(tmp_path / "team.db"), f"sqlite:///{tmp_path}/team.db"):
        assert main(["history", "--store", place]) == 0
        assert "2.00 J" in capsys.readouterr().out


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_tables_fit(project, history, capsys, monkeypatch, width):
    fill(history, 1.5, 2.5, nodeid="tests/deep/folder/test_漢字の名前.py::TestSomething::test_name_that_takes_room[😀-\x1b[31m]")
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["history", "room"]) == 0
    lines += capsys.readouterr().out.splitlines()[1:]
    assert all(0 <= wcswidth(line) <= width for line in lines)


def test_nothing_found_teaches(project, history, capsys):
    assert main(["history"]) == 1
    assert "pytest --energy" in capsys.readouterr().err
    assert main(["history", "--cache-dir", "nowhere"]) == 1
    assert "there is no history" in capsys.readouterr().err
    assert not (Path.cwd() / "nowhere").exists()
    history.parent.mkdir(parents=True)
    history.write_bytes(b"rubbish" * 1000)
    assert main(["history"]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert [path.name for path in history.parent.iterdir()] == ["history.db"]
    history.unlink()
    open_store(history).close()
    assert main(["history"]) == 1
    assert "no measurements yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["histroy"],
        ["history", "--limit", "0"],
        ["history", "--limit", "two"],
        ["history", "--cache-dir", "a", "--store", "b"],
        ["doctor", "--unknown"],
    ],
)
def test_misuse_is_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("usage: joules")


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"pytest-joules {pytest_joules.__version__}\n"


def test_doctor_is_asked_and_printed(monkeypatch, capsys):
    asked = []
    doctor = types.ModuleType("pytest_joules.cli.doctor")
    doctor.examine = lambda *arguments: asked.append(arguments) or {"rapl": {"available": False, "why": "no counter µ"}}
    doctor.render = lambda findings, width: f"rapl: {findings['rapl']['why']}"
    monkeypatch.setitem(sys.modules, "pytest_joules.cli.doctor", doctor)
    monkeypatch.setattr(pytest_joules.cli, "doctor", doctor, raising=False)
    assert main(["doctor", "--powercap", "somewhere"]) == 0
    assert capsys.readouterr().out == "rapl: no counter µ\n"
    assert asked == [(Path("somewhere"), None, None)]
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rapl"]["available"] is False
    assert asked[1] == (Path("/sys/class/powercap"), None, None)


def test_a_terminal_without_the_characters(project, history, monkeypatch):
    fill(history, 2e-6)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["history", "test_one"]) == 0
    out.flush()
    assert b"2.00 uJ" in out.buffer.getvalue() and b"+-2.0 %" in out.buffer.getvalue()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    store = open_store(tmp_path / "history.db")
    store.begin(Report("2026-01-01T00:00:00+00:00", {"id": None}, None, {}, []))
    for number in range(2000):
        store.add(empty_record(f"tests/test_module.py::test_with_a_rather_long_name_{number:04}"))
    store.close()
    command = f"{sys.executable} -m pytest_joules.cli history --store history.db | head -n 1"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, check=False, text=True)
    assert done.stderr == "" and done.stdout.startswith("test")
