"""What a run has made is known by its lock: whoever holds it lives, wherever that is; nothing of others is touched."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from processes import wait_for
from two_revisions import git

from pytest_joules.files import locks, scratch
from pytest_joules.revision.worktree import _prune

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork and flock")

#: Makes a folder with something in it, and says where.
MAKER = """
import os, subprocess, sys, time
from pytest_joules.files import scratch
path = scratch.folder("test")
(path / "full").mkdir()
{more}
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    return tmp_path / "temp"


def made_by_another(start, temp, more="", wrapper=()):
    running = temp.parent / "running"
    command = ["-c", MAKER.format(more=more), str(running)]
    if wrapper:
        command = ["-c", f"import os; os.execvp('unshare', {[*wrapper, sys.executable, *command]!r})"]
    process = start(*command)
    wait_for(running, process)
    (path,) = temp.iterdir()
    return process, path


def end(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def swept(path):
    """Nobody holds the folder any more, as soon as all who had it have come to let go of it."""
    deadline = time.monotonic() + 60
    while path.exists() and time.monotonic() < deadline:
        scratch.sweep()
        time.sleep(0.05)
    assert not path.exists()


def test_stays_as_long_as_its_maker_lives(start, temp):
    process, path = made_by_another(start, temp)
    scratch.sweep()
    assert (path / "full").is_dir()
    end(process)
    scratch.sweep()
    assert not path.exists()


def test_in_another_container(start, temp):
    """Process ids mean nothing there."""
    namespaces = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if sys.platform != "linux" or subprocess.run([*namespaces, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces here")
    process, path = made_by_another(start, temp, wrapper=namespaces)
    scratch.sweep()
    assert (path / "full").is_dir()
    process.kill()
    process.wait()
    swept(path)  # the namespace's processes are being ended


def test_what_a_test_forks_does_not_hold_it(start, temp):
    process, path = made_by_another(start, temp, "if not os.fork():\n    scratch.remove(path)\n    time.sleep(600)")
    (path / "full").stat()  # nor remove it
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    swept(path)


def test_a_program_that_works_in_it_holds_it(start, temp):
    more = (
        "child = subprocess.Popen(['sleep', '600'], pass_fds=scratch.shared_with_children(path), start_new_session=True)\n"
        "(path / 'full' / 'pid').write_text(str(child.pid))"
    )
    process, path = made_by_another(start, temp, more)
    child = int((path / "full" / "pid").read_text())
    try:
        end(process)
        scratch.sweep()
        assert path.exists()
    finally:
        os.kill(child, signal.SIGKILL)
    swept(path)


def test_whatever_state_it_is_left_in(temp):
    """Killed after any step of making or removing it."""
    empty, unlocked, strange, full = (temp / f"pytest-joules-test-{name * 8}" for name in "abcd")
    for path in (empty, unlocked, strange, full):
        path.mkdir()
    (unlocked / ".lock").touch()
    (unlocked / "inner" / "deep").mkdir(parents=True)
    (unlocked / "inner" / "deep" / "file").touch()
    (unlocked / "inner").chmod(0)
    (strange / ".lock").mkdir()
    (full / "file").touch()  # somebody's, who knows: no lock
    other = temp / "pytest-joules-mine"
    other.mkdir()
    scratch.sweep()
    assert {path.name for path in temp.iterdir()} == {strange.name, full.name, other.name}
    for path in (strange, strange / ".lock", full):
        os.utime(path, (0, 0))
    scratch.sweep()
    assert {path.name for path in temp.iterdir()} == {other.name}
    made = scratch.folder("test")
    scratch.sweep()
    assert made.exists()
    scratch.remove(made)
    assert not made.exists()


def test_without_locks(temp, monkeypatch):
    """On some network file systems nothing can be locked: then what is a week old was left."""

    def refuse(descriptor):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks, "_lock", refuse)
    path = scratch.folder("test")
    scratch.sweep()
    assert path.exists()
    os.utime(path / ".lock", (0, 0))
    scratch.sweep()
    assert not path.exists()


WORKTREE = """
import os, sys, time
from pathlib import Path
from pytest_joules.revision.worktree import Worktree, resolve
root = Path(sys.argv[2])
tree = Worktree(root, resolve(root, "HEAD"))
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
time.sleep(600)
"""


def test_a_worktree_in_a_folder_that_others_do_not_see(start, temp, tmp_path, monkeypatch):
    """Two containers with one repository, each with its own folder for temporary files."""
    root, running = tmp_path / "project", tmp_path / "running"
    root.mkdir()
    (root / "file").touch()
    git(root, "init", "-q")
    git(root, "add", "file")
    git(root, "commit", "-qm", "one")
    process = start("-c", WORKTREE, str(running), str(root))
    wait_for(running, process)
    (folder,) = temp.iterdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    hidden = temp.rename(tmp_path / "hidden")
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))

    def known():
        return [path.name for path in (root / ".git").glob("worktrees/*")] + [p.name for p in (root / ".git").glob("pytest-*")]

    _prune(root / ".git")
    assert known() == ["project", f"{folder.name}.lock"]
    end(process)
    half = root / ".git" / "worktrees" / "project1"  # git was killed before it had noted where
    half.mkdir()
    os.utime(half, (time.time() + 5, time.time() - 5))
    os.utime(root / ".git" / f"{folder.name}.lock", (0, 0))
    _prune(root / ".git")
    assert known() == []
    hidden.rename(temp)
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    scratch.sweep()
    assert list(temp.iterdir()) == []
