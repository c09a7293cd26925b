"""A repository whose revisions draw what is known, each from the same counters."""

import os
import subprocess

import pytest

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example.org"), ("DATE", "2024-01-01T00:00:00Z"))
}


def git(folder, *arguments):
    env = {**os.environ, **IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *arguments], cwd=folder, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(inner, message="a change"):
    git(inner.path, "add", "-A")
    git(inner.path, "commit", "-qm", message)


SHOP = "from counter import draw\ndef total(): draw({total})\ndef rate(): draw({rate})\n"
TESTS = """
import shop
def test_total(): shop.total()
def test_rate(): shop.rate()
"""


#: The counter, read at every body's borders: no ticks to wait for, which takes most of the time of a run with counters that tick.
PLUG = """
from pytest_joules.sources.base import Domain, Source

class Plug(Source):
    name, rank = "plug", 200
    def open(self):
        self.domains, self.tick, self.why = (Domain("plug", counts=True),), 0.0, "moved by the tests"
    def read(self):
        with open({path!r}) as file:
            return (int(file.read()),)
    def joules(self, before, after, seconds):
        return ((after[0] - before[0]) / 1e6,)

def pytest_joules_sources(config):
    return [Plug()]
"""


@pytest.fixture
def shop(inner, monkeypatch):
    """A repository whose ``main`` has a package that draws 1 J and 2 J."""
    inner.plug = PLUG.format(path=str(inner.tree.path("package-0")))
    inner.conftest(inner.plug)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(inner.path.parent))
    temp = inner.path.parent / f"{inner.path.name}-temp"
    temp.mkdir()
    monkeypatch.setenv("TMPDIR", str(temp))
    monkeypatch.setattr("tempfile.tempdir", None)  # which knows the one before
    inner.temp = temp
    # The two sides are processes of their own in any case.
    inner.subprocess = False
    (inner.path / ".gitignore").write_text(
        "/.powercap*\n__pycache__/\n.pytest_cache/\n/report.json\n/runpytest-*\n/stdout\n/stderr\n"
    )
    (inner.path / "shop.py").write_text(SHOP.format(total=1_000_000, rate=2_000_000))
    inner.file(test_shop=TESTS)
    git(inner.path, "init", "-qb", "main")
    commit(inner, "the first")
    return inner


def dearer(inner, total=1_300_000, rate=2_000_000):
    (inner.path / "shop.py").write_text(SHOP.format(total=total, rate=rate))


def against(inner, *args, ref="main", **kwargs):
    # A number of rounds that does not depend on how quick this machine is.
    return inner.run(f"--energy-against={ref}", "-o", "energy_rounds=20", *args, subprocess=inner.subprocess, **kwargs)


def left_behind(inner):
    """What is there that was not before: worktrees, temporary folders."""
    listed = git(inner.path, "worktree", "list", "--porcelain").split("\n\n")
    return listed[1:] + [path.name for path in inner.temp.iterdir() if path.name.startswith("pytest-joules-")]
