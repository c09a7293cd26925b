"""Files of others are read within bounds; ours are written whole, and only where they belong."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from inner import Inner, sentences

from pytest_joules import baseline as baselines
from pytest_joules.baseline import BaselineError
from pytest_joules.code import source_file
from pytest_joules.code.hashing import file_digest
from pytest_joules.code.project import Project
from pytest_joules.collect import dataset, popularity, requirements
from pytest_joules.companion.invocation import expanded
from pytest_joules.files import atomic, reading
from pytest_joules.predict import model_file
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.train.fitting import TrainingError
from pytest_joules.predict.trusted import load_trusted
from pytest_joules.revision.worktree import Worktree, resolve

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and links")

PASSING = "def test_a(): draw(1000)\n"


@pytest.fixture(params=["pipe", "device", "link to a device"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What has no end, or waits for ever."""
    path = tmp_path / "endless"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        return Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    return path


# Reading


def test_a_file_and_a_link_to_one(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"one\r\ntwo\nthree")
    (tmp_path / "b").symlink_to("a")
    for path in (tmp_path / "a", tmp_path / "b"):
        assert reading.read_bytes(path, 14) == b"one\r\ntwo\nthree"
        assert reading.read_text(path, 14) == "one\r\ntwo\nthree"
        assert reading.head(path, 3) == b"one"
        assert list(reading.lines(path, 14, 14)) == ["one\r", "two", "three"]
    assert len(reading.read_bytes("/proc/self/status", 10**6)) > 100  # which says that it has no bytes


def test_more_than_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    for bound, says in ((10, "it has more than 10 bytes"), (0, "it has more than 0 bytes")):
        with pytest.raises(OSError, match=says):
            reading.read_bytes(path, bound)
    with pytest.raises(OSError, match="a line of more than 10 bytes"):
        list(reading.lines(path, 100, 10))
    with pytest.raises(OSError, match="it has more than 100 bytes"):  # one that grows while it is read
        reading.read_bytes("/proc/self/status", 100)
    with path.open("r+b") as file:
        file.truncate(10 * 2**30)
    monkeypatch.setattr(reading._System, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(OSError, match="it has more than 64 MiB"):
        reading.read_bytes(path, 64 * 2**20)


def test_what_is_no_file_is_neither_opened_nor_waited_for(endless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading._System, "open", lambda *_: pytest.fail("opened"))
    says = "it is a named pipe, not a file|it is a device, not a file"
    for read in (reading.head, reading.read_bytes, reading.read_text, reading.sha256):
        with pytest.raises(OSError, match=says):
            read(endless, 100)
    with pytest.raises(IsADirectoryError):
        reading.read_bytes(tmp_path, 100)
    with pytest.raises(ModelError, match=says):
        model_file.load(endless)
    with pytest.raises(ModelError, match=says):
        load_trusted(endless, "0" * 64)
    with pytest.raises(BaselineError, match=says):
        baselines.load(endless)
    with pytest.raises(ValueError, match=says):
        popularity.read(endless)
    assert source_file.read(endless) is None
    assert file_digest(endless) == "?"
    assert expanded([f"@{endless}"], tmp_path) == []


def test_a_trusted_model_is_read_when_its_hash_is_right_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "own.joblib"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)
    monkeypatch.setattr(reading, "read_bytes", lambda *_: pytest.fail("kept"))
    with pytest.raises(ModelError, match="was not read: its SHA-256 is"):
        load_trusted(path, "0" * 64)
    monkeypatch.setattr(reading._System, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(ModelError, match="runs code when it is read"):
        load_trusted(path, None)


def test_a_project_with_endless_files(endless: Path, tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    for name in ("data.txt", "pyproject.toml", "setup.py", "PKG-INFO", "requirements-test.txt"):
        (root / name).symlink_to(endless)
    project = Project(root)
    assert project.data_digest("data.txt") == "?"
    assert project.data_files()
    assert project.file("setup.py") is None
    assert requirements.metadata(root) == (None, None, [])
    assert list(requirements._lines(root, root / "requirements-test.txt", ())) == []


def test_a_source_file_that_nobody_wrote(tmp_path: Path):
    path = tmp_path / "large.py"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    assert source_file.read(path) is None
    first = file_digest(path)
    os.utime(path, (1, 1))
    assert first != file_digest(path) != "?"
    path.write_text("(" * 10_000)  # more than the parser's stack
    assert source_file.read(path) is None


def test_a_data_set_that_names_more_functions_than_there_are(tmp_path: Path):
    (tmp_path / "records").mkdir()
    path = tmp_path / "records" / "one.jsonl"
    test = '{"kind": "test", "outcome": "passed", "counts": {"0": [1]}, "nodeid": "t.py::t", "functions": [[0, 9999999999999]]}'
    path.write_text('{"kind": "function", "id": 0, "place": "a.py::f", "hash": "1", "source": null}\n' + test)
    with pytest.raises(TrainingError, match=r"names functions \(\[0, 9999999999999\]\) that are not there"):
        list(dataset.rows(tmp_path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TrainingError, match="it is a named pipe, not a file"):
        list(dataset.rows(tmp_path))


# Writing: what was left behind


def test_what_dead_processes_left_is_removed_and_what_is_written_now_is_not(tmp_path: Path):
    """A lock says whether it is: the number in the name may be that of any process of another container."""
    source_file = """
        import os, sys, time
        from pathlib import Path
        from pytest_joules.files import atomic
        with atomic._beside(Path(sys.argv[1]), 0o600) as (path, _):
            print(path.name, flush=True)
            sys.stdin.read()
            os._exit(0)
    """
    command = [sys.executable, "-c", textwrap.dedent(source_file), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = process.stdout.readline().strip()
        # Of a process that lives: this one's number.
        (tmp_path / f".joules-{os.getpid()}-0123abcd.tmp").write_text("half")
        (tmp_path / ".joules-1-mine.tmp").write_text("somebody's")
        (tmp_path / ".joules-1-0123abcd.tmp").mkdir()
        atomic.atomically(tmp_path / "r.json", lambda file: file.write("whole") and None)
        assert {path.name for path in tmp_path.iterdir()} == {"r.json", written, ".joules-1-mine.tmp", ".joules-1-0123abcd.tmp"}
        process.communicate()
    assert (tmp_path / written).exists()  # it died
    atomic.check(tmp_path / "r.json", "--energy-json")
    assert not (tmp_path / written).exists()
    assert (tmp_path / "r.json").read_text() == "whole"


@pytest.mark.parametrize("what", ["r.json", "r.csv", "baseline"])
def test_a_run_that_was_killed_while_it_wrote(inner: Inner, what: str):
    inner.file(test_a=PASSING)
    inner.conftest(
        "import os, signal\n"
        "def dying(function):\n"
        "    def wrapped(a, b, **more):\n"
        f"        if os.environ.get('DIE') and str(b).endswith({'main.json' if what == 'baseline' else what!r}):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return function(a, b, **more)\n"
        "    return wrapped\n"
        "os.replace = dying(os.replace)\n"
        "os.rename = dying(os.rename)\n"
        "import pathlib\n"
        "if hasattr(pathlib, '_NormalAccessor'):  # before Python 3.11\n"
        "    pathlib._NormalAccessor.replace = staticmethod(os.replace)\n"
    )
    asked = {"r.json": "--energy-json=out/r.json", "r.csv": "--energy-csv=out/r.csv", "baseline": "--energy-save=main"}[what]
    command = [sys.executable, "-m", "pytest", "-q", "--energy", f"--energy-powercap={inner.powercap}", asked]
    killed = subprocess.run(command, cwd=inner.path, env={**os.environ, "DIE": "1"}, check=False, capture_output=True)
    assert killed.returncode == -9
    folder = next((inner.path / ".joules").iterdir()) if what == "baseline" else inner.path / "out"
    assert [path.suffix for path in folder.iterdir()] == [".tmp"]
    assert inner.run(asked).ret == 0
    assert [path.name for path in folder.iterdir()] == ["main.json" if what == "baseline" else what]


# Writing: where


@pytest.mark.parametrize("link", ["file", "dangling", "machine", "folder"])
def test_a_baseline_behind_a_link_out_of_the_project_is_not_written(inner: Inner, tmp_path_factory, link: str):
    inner.file(test_a=PASSING)
    assert inner.run("--energy-save=main").ret == 0
    (path,) = (inner.path / ".joules").glob("*/main.json")
    away = tmp_path_factory.mktemp("away")
    whole = path.read_bytes()
    target = away / "main.json"
    if link == "dangling":
        path.unlink()
        path.symlink_to(target)
    elif link == "file":
        path.unlink()
        target.write_text("not yours")
        path.symlink_to(target)
    else:
        moved = path.parent if link == "machine" else path.parent.parent
        moved.rename(away / "moved")
        moved.symlink_to(away / "moved")
    before = {place: place.read_bytes() for place in away.rglob("*") if place.is_file()}
    (inner.path / "report.json").unlink()
    inner.refused("--energy-save=main", says=["--energy-save", "a link that leads out of the project"])
    if link in ("machine", "folder"):
        assert list(before.values()) == [whole]
        result = inner.run("--energy-compare=main", "--energy-update")
        said = " ".join(sentences(result.outlines))
        assert "1 within" in said or ("leads out of the project" in said and result.ret == 1)
    assert {place: place.read_bytes() for place in away.rglob("*") if place.is_file()} == before


def test_a_link_inside_of_the_project_is_followed(inner: Inner):
    inner.file(test_a=PASSING)
    (inner.path / "kept").mkdir()
    (inner.path / ".joules").symlink_to("kept")
    assert inner.run("--energy-save=main").ret == 0
    assert len(list((inner.path / "kept").glob("*/main.json"))) == 1


def test_joules_import_does_not_follow_a_link_out(inner: Inner, tmp_path_factory):
    inner.file(test_a=PASSING)
    assert inner.run("--energy-save=main").ret == 0
    away = tmp_path_factory.mktemp("away")
    joules = [sys.executable, "-m", "pytest_joules.cli"]
    subprocess.run([*joules, "export", str(away / "all.json")], cwd=inner.path, check=True, capture_output=True)
    (path,) = (inner.path / ".joules").glob("*/main.json")
    path.unlink()
    path.symlink_to(away / "target")
    for more in ((), ("--dir", str(inner.path / ".joules"))):
        command = [*joules, "import", str(away / "all.json"), "--force", *more]
        done = subprocess.run(command, cwd=inner.path, check=False, capture_output=True, text=True)
        assert done.returncode == 2 and "a link that leads out of the project" in done.stderr, done.stderr
    assert not (away / "target").exists()


@pytest.mark.parametrize("option", ["json", "csv", "store"])
@pytest.mark.parametrize("how", ["ini", "addopts", "link"])
def test_what_an_ini_file_names_lies_in_the_project(inner: Inner, tmp_path_factory, option: str, how: str):
    away = tmp_path_factory.mktemp("away") / "out"
    inner.file(test_a=PASSING)
    (inner.path / "out").symlink_to(away)
    if how == "addopts":
        text = (inner.path / "pytest.ini").read_text()
        (inner.path / "pytest.ini").write_text(text.replace("addopts =", f"addopts = --energy-{option}={away}"))
    else:
        inner.ini(f"energy_{option} = {'out' if how == 'link' else away}")
    run = ["--energy", f"--energy-powercap={inner.powercap}"]
    result = inner.run(*run, energy=False)
    origin = f"--energy-{option} in addopts" if how == "addopts" else f"ini energy_{option}"
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"{origin}: {inner.path / 'out' if how == 'link' else away} " in result.stderr.str()
    assert not away.exists()
    assert inner.run(*run, f"--energy-{option}={away}", energy=False).ret == 0
    assert away.exists()


def test_a_person_may_also_name_it_in_the_environment(inner: Inner, tmp_path_factory, monkeypatch: pytest.MonkeyPatch):
    away = tmp_path_factory.mktemp("a way") / "out.csv"
    inner.file(test_a=PASSING)
    monkeypatch.setenv("PYTEST_ADDOPTS", f"'--energy-csv={away}'")
    assert inner.run().ret == 0 and away.exists()
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    for arguments in (("-o", f"energy_csv={away}"), ("--energy-csv", str(away))):
        away.unlink()
        assert inner.run(*arguments).ret == 0 and away.exists()


def test_a_history_url_of_an_ini_file(inner: Inner, tmp_path_factory):
    away = tmp_path_factory.mktemp("away") / "h.db"
    inner.file(test_a=PASSING)
    for url in (f"sqlite:///{away}", f"sqlite+pysqlite:///{away}?timeout=1", f"sqlite:///file:{away}?uri=true"):
        inner.ini(f"energy_store = {url}")
        inner.refused(says=["ini energy_store", f"{away} lies outside of the project"])
    inner.ini("energy_store = sqlite:///kept.db")
    assert inner.run().ret == 0 and (inner.path / "kept.db").exists()


def test_the_history_in_the_cache_is_no_link_out(inner: Inner, tmp_path_factory):
    away = tmp_path_factory.mktemp("away") / "h.db"
    inner.file(test_a=PASSING)
    (inner.path / ".pytest_cache" / "d" / "joules").mkdir(parents=True)
    (inner.path / ".pytest_cache" / "d" / "joules" / "history.db").symlink_to(away)
    result = inner.run()
    assert result.ret == 0 and not away.exists()
    assert "history is not kept: pytest's cache cannot be used: " in " ".join(sentences(result.outlines))


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("what", ["folder", "file", "dangling"])
def test_what_git_ignores_is_taken_below_the_worktree_only(tmp_path: Path, what: str):
    """The other revision has a link where this tree has a folder, or a file."""
    root, away = tmp_path / "root", tmp_path / "away"
    (root / "pkg").mkdir(parents=True)
    away.mkdir()
    git(root, "init", "-q")
    (root / ".gitignore").write_text("_version.py\n")
    if what == "folder":
        (root / "pkg").rmdir()
        (root / "pkg").symlink_to(away)
    else:
        (root / "pkg" / "_version.py").symlink_to(away / "_version.py")
    if what == "file":
        (away / "_version.py").write_text("not yours")
    git(root, "add", "-A", "-f")
    git(root, "commit", "-qm", "links")
    git(root, "rm", "-q", "pkg" if what == "folder" else "pkg/_version.py")
    (root / "pkg").mkdir(exist_ok=True)
    (root / "pkg" / "__init__.py").write_text("")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "no links")
    (root / "pkg" / "_version.py").write_text("version = 1")
    (root / "_version.py").symlink_to("/dev/zero")
    before = {path: path.read_text() for path in away.iterdir()}
    worktree = Worktree(root.resolve(), resolve(root, "HEAD~1"))
    try:
        assert {path: path.read_text() for path in away.iterdir()} == before
        assert worktree.notes == []
        assert not (worktree.path / "_version.py").exists()
    finally:
        worktree.remove()
    worktree = Worktree(root.resolve(), resolve(root, "HEAD"))
    try:
        assert (worktree.path / "pkg" / "_version.py").read_text() == "version = 1"
    finally:
        worktree.remove()


# A cache that cannot be had


@pytest.mark.parametrize("options", [(), ("--energy-changed-only",), ("--energy-predict",), ("--energy-compare=main",)])
@pytest.mark.parametrize("why", ["cannot be written", "is switched off"])
def test_without_a_cache_every_run_goes_on(inner: Inner, options: tuple[str, ...], why: str):
    inner.file(test_a=PASSING)
    assert inner.run("--energy-save=main").ret == 0
    off = ["-p", "no:cacheprovider"] if "off" in why else []
    if not off:
        (inner.path / "file").write_text("")  # a path below a file: permissions do not stop root
        inner.ini("cache_dir = file/cache")
    result = inner.run(*options, *off)
    assert result.ret == 0
    said = " ".join(sentences(result.outlines))
    assert f"history is not kept: pytest's cache {'' if off else 'directory '}{why}" in said
    assert "name a place with --energy-store=FILE" in said
    if "--energy-changed-only" in options:
        assert f"every test was measured: there is no history: pytest's cache {'' if off else 'directory '}{why}" in said


# Cells


def test_a_cell_is_no_formula_and_no_command(inner: Inner):
    inner.conftest(
        "import pytest\n"
        "class Line(pytest.Item):\n"
        "    def runtest(self): pass\n"
        "class Lines(pytest.File):\n"
        "    def collect(self):\n"
        "        for name in ('esc\\x1b[31mred', 'two\\nlines', 'carriage\\rreturn', 'tab\\there'):\n"
        "            yield Line.from_parent(self, name=name)\n"
        "def pytest_collect_file(parent, file_path):\n"
        "    if file_path.suffix == '.lines': return Lines.from_parent(parent, path=file_path)\n"
    )
    folders = ("=1+cmd", "+plus", "-minus", "@at", "=sum(1,2)", "plain")
    for number, folder in enumerate(folders):
        (inner.path / folder).mkdir()
        (inner.path / folder / f"test_{number}.py").write_text("def test_in(): sum(range(1000))\n")
    (inner.path / "a.lines").write_text("")
    result = inner.run("--energy-csv=r.csv", "--energy-source=estimate", ".")
    assert result.ret == 0 and "\x1b" not in result.stdout.str()
    with (inner.path / "r.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    names = {row[0] for row in rows}
    assert names == {
        *(f"'{folder}/test_{number}.py::test_in" for number, folder in enumerate(folders[:-1])),
        *("plain/test_5.py::test_in", "a.lines::esc\\x1b[31mred", "a.lines::two\\nlines"),
        *("a.lines::carriage\\rreturn", "a.lines::tab\\there"),
    }
    for row in rows:
        assert float(row[head.index("energy_j")]) > 0 and float(row[head.index("duration_s")]) > 0
        assert all(cell.isprintable() for cell in row)
    assert all(line.count(b"\r") <= 1 for line in (inner.path / "r.csv").read_bytes().splitlines(keepends=True))
