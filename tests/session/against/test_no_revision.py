"""What can go wrong with the revision, and what is left behind."""

import os
import signal
import sys
from pathlib import Path

import pytest
from processes import PATIENCE, ended, wait_for, wait_until
from two_revisions import against, commit, dearer, git, left_behind

# What can go wrong with the revision


def test_unknown_revision(shop):
    git(shop.path, "tag", "v1.0")
    git(shop.path, "branch", "feature/speed")
    shop.refused("--energy-against=v1.1", says=["--energy-against: 'v1.1' is not a revision", "is it v1.0?"])
    shop.refused("--energy-against=speed", says=["is it feature/speed?"])
    shop.refused("--energy-against=0123456", says=["write a branch, a tag or a commit"])


def test_not_a_repository(inner, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(inner.path.parent))
    inner.file(test_a="def test_it(): draw(1)\n")
    inner.refused("--energy-against=main", says=["is not in a git repository", "--energy-compare"])


def test_without_git(inner, monkeypatch):
    monkeypatch.setenv("PATH", str(inner.path))
    inner.file(test_a="def test_it(): draw(1)\n")
    inner.refused("--energy-against=main", says=["git is not there: install it"])


def test_no_commit_yet(inner, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(inner.path.parent))
    git(inner.path, "init", "-qb", "main")
    inner.file(test_a="def test_it(): draw(1)\n")
    inner.refused("--energy-against=main", says=["'main': the repository has no commit yet"])


def test_hooks_of_git_do_not_mislead(shop, monkeypatch):
    """Run from a git hook, whose variables name another index; the user's checkout hook is not run."""
    hook = shop.path / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {shop.temp / 'hooked'}\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(shop.temp / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(shop.temp / "index"))
    against(shop).assert_outcomes(passed=2)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert not (shop.temp / "hooked").exists()
    assert left_behind(shop) == []


def test_shallow_clone_says_what_to_fetch(shop, monkeypatch):
    """And what it says works."""
    git(shop.path, "checkout", "-qb", "work")
    dearer(shop)
    commit(shop)
    git(shop.path, "tag", "v2")
    dearer(shop, total=1_600_000)
    commit(shop)
    clone = shop.temp / "clone"
    git(shop.temp, "clone", "-q", "--depth=1", "--branch=work", f"file://{shop.path}", str(clone))
    os.chdir(clone)
    for ref, command in (
        ("origin/main", "git fetch --depth=1 origin main:refs/remotes/origin/main"),
        ("HEAD~2", "git fetch --deepen=2"),
        ("v2", "git fetch --depth=1 origin tag v2"),
        (git(shop.path, "rev-parse", "main"), f"git fetch --depth=1 origin {git(shop.path, 'rev-parse', 'main')}"),
    ):
        result = against(shop, ref=ref)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        errors = [line for line in result.errlines if line.startswith("ERROR")]
        assert len(errors) == 1
        assert f"{ref!r} is not in this shallow clone: {command}" in errors[0]
        fresh = shop.temp / f"clone-{len(ref)}"
        git(shop.temp, "clone", "-q", "--depth=1", "--branch=work", f"file://{shop.path}", str(fresh))
        git(shop.path, "config", "uploadpack.allowAnySHA1InWant", "true")
        git(fresh, *command.split()[1:])
        assert git(fresh, "rev-parse", "--verify", f"{ref}^{{commit}}")
    git(clone, "fetch", "-q", "--depth=1", "origin", "main:refs/remotes/origin/main")
    against(shop, ref="origin/main", energy=True).assert_outcomes(passed=1, failed=1)


def test_the_revision_cannot_be_run(shop):
    good = (shop.path / "conftest.py").read_text()
    (shop.path / "conftest.py").write_text("raise ValueError('no such thing')\n")
    commit(shop)
    (shop.path / "conftest.py").write_text(good)
    result = against(shop, ref="HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no such thing" in result.stderr.str()
    assert "ERROR: --energy-against: HEAD (" in result.stderr.str()
    assert left_behind(shop) == []


def test_a_file_that_cannot_be_collected_there(shop):
    shop.file(test_other="import nothing_such\ndef test_it(): draw(1000)\n")
    commit(shop)
    shop.file(test_other="def test_it(): draw(1000)\n")
    against(shop, ref="HEAD").assert_outcomes(passed=3)
    comparison = shop.tests()["test_it"]["comparison"]
    assert comparison["verdict"] == "cannot tell"
    assert "cannot be collected at HEAD" in comparison["why"]
    assert "nothing_such" in comparison["why"]
    assert shop.tests()["test_total"]["comparison"]["verdict"] == "ok"


def test_no_such_folder_there(shop):
    sub = shop.path / "sub"
    sub.mkdir()
    for name in ("pytest.ini", "conftest.py", "counter.py", "shop.py", "test_shop.py"):
        (shop.path / name).rename(sub / name)
    os.chdir(sub)
    result = against(shop)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "there is no folder sub" in result.stderr.str()
    assert left_behind(shop) == []


@pytest.mark.inner_plugins("xdist")
def test_workers(shop):
    pytest.importorskip("xdist")
    result = against(shop, "-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--energy-against measures in two processes of its own, in turn: leave -n out" in result.stderr.str()
    against(shop, "-n0").assert_outcomes(passed=2)


# What it leaves behind


SLOW = """
import time
def test_it():
    with open(os.environ["RUNNING"] + ("-here" if os.path.exists("marker") else "-there"), "w") as file:
        file.write(str(os.getpid()))
    time.sleep(0 if os.path.exists("marker") else 120)
"""


@pytest.mark.parametrize("how", ["parent", "group", "SIGKILL", "SIGTERM"])
def test_stopped(shop, start, how, monkeypatch):
    """While the other revision runs a test: neither a process nor a worktree stays; after a kill, the next run removes it."""
    shop.file(test_shop=SLOW)
    (shop.path / ".gitignore").write_text((shop.path / ".gitignore").read_text() + "marker\n")
    commit(shop)
    (shop.path / "marker").touch()
    monkeypatch.setenv("RUNNING", str(shop.temp / "running"))
    command = ["-m", "pytest", "--energy", f"--energy-powercap={shop.powercap}", "--energy-against=HEAD"]
    parent = start(*command, cwd=shop.path)
    pids = [wait_for(Path(f"{shop.temp / 'running'}-{side}"), parent) for side in ("here", "there")]
    assert left_behind(shop)
    if how == "group":
        os.killpg(parent.pid, signal.SIGINT)
    else:
        parent.send_signal(signal.SIGINT if how == "parent" else getattr(signal, how))
    said, _ = parent.communicate(timeout=PATIENCE)
    if how != "SIGKILL":
        assert parent.returncode == (pytest.ExitCode.INTERRUPTED if how in ("parent", "group") else 128 + signal.SIGTERM), said
        assert all(ended(pid) for pid in pids)
    else:
        if sys.platform == "linux":
            wait_until(lambda: all(ended(pid) for pid in pids))
        assert left_behind(shop)
        shop.file(test_shop="def test_it(): draw(1000)\n")
        commit(shop)
        other = shop.temp / "mine"
        git(shop.path, "worktree", "add", "-q", "--detach", str(other))
        other.rename(shop.temp / "away")  # on a disk that is not mounted now, say
        against(shop, ref="HEAD").assert_outcomes(passed=1)
        # A worktree that is somebody else's stays known.
        (shop.temp / "away").rename(other)
        assert "mine" in git(shop.path, "worktree", "list")
        git(shop.path, "worktree", "remove", "--force", str(other))
    assert left_behind(shop) == []
