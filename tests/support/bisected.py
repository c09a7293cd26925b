"""Repositories that ``joules bisect`` is tried on."""

import contextlib
import io
import os

import pytest
from two_revisions import PLUG, git

from pytest_joules.cli import command

__all__ = ["TEST", "bisect", "git", "history", "keep", "shop"]

SHOP = "from counter import draw\ndef total():\n    edit = {edit}\n    draw({total})\ndef rate(): return {rate}\n"
TESTS = """
import shop
def test_total(): shop.total()
def test_rate(): shop.rate()
"""
TEST = "test_shop.py::test_total"


@pytest.fixture
def shop(inner, monkeypatch):
    """A repository with a package whose draws are known; ``history`` makes its commits."""
    monkeypatch.chdir(inner.path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(inner.path.parent))
    monkeypatch.setenv("PYTEST_ADDOPTS", f"--energy-powercap={inner.powercap}")
    monkeypatch.setenv("COLUMNS", "1000")
    temp = inner.path.parent / f"{inner.path.name}-temp"
    temp.mkdir()
    monkeypatch.setenv("TMPDIR", str(temp))
    monkeypatch.setattr("tempfile.tempdir", None)  # which knows the one before
    inner.temp = temp
    inner.conftest(PLUG.format(path=str(inner.tree.path("package-0"))))
    (inner.path / ".gitignore").write_text("/.powercap*\n__pycache__/\n.pytest_cache/\n")
    inner.file(test_shop=TESTS)
    git(inner.path, "init", "-qb", "main")
    return inner


def history(shop, *totals, place="shop.py"):
    """A commit for each of these draws in thousands; each edits the function. Returns their ids."""
    ids = []
    for number, total in enumerate(totals):
        (shop.path / place).write_text(SHOP.format(edit=number, total=1000 * total, rate=number))
        ids.append(keep(shop, f"edit {number}"))
    return ids


def keep(shop, subject):
    git(shop.path, "add", "-A")
    git(shop.path, "commit", "-qm", subject, "--allow-empty")
    return git(shop.path, "rev-parse", "HEAD")


def bisect(*arguments):
    """The exit code, what is said, and what is said of each step."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command.main(["bisect", *arguments])
        except SystemExit as error:
            code = error.code
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return code, out.getvalue(), err.getvalue().splitlines()
