"""``joules bisect`` with real runs of pytest, over counters whose truth is known."""

import os
import signal
import subprocess
import sys

import pytest
from bisected import TEST, bisect, git, history, keep
from processes import PATIENCE, wait_until
from two_revisions import left_behind

QUICK = ("--rounds=8", "--by=joules")


def state(shop):
    """What is the user's."""
    refs = git(shop.path, "for-each-ref"), git(shop.path, "rev-parse", "HEAD", "--abbrev-ref", "HEAD")
    return git(shop.path, "status", "--porcelain"), refs, (shop.path / ".git" / "index").read_bytes()


def test_the_commit_and_its_function(shop):
    ids = history(shop, 1000)
    (shop.path / "README").write_text("of no test")
    same = keep(shop, "edit of no test")
    ids += [same, *history(shop, 1300)]
    (shop.path / "shop.py").write_text("what is not committed")
    before = state(shop)
    code, out, steps = bisect(TEST, ids[0], *QUICK)
    assert code == 1, (out, steps)
    assert f"made dearer by {ids[2][:7]} 2024-01-01 A: edit 0" in out
    assert f"1.30× (95 % interval 1.30 to 1.30) against {same[:7]}, the commit before it" in out
    assert "changed: shop.py::total" in out
    assert "2 comparisons among 2 commits; 1 commit not run" in out
    assert state(shop) == before
    assert left_behind(shop) == []


def test_by_instructions(shop, monkeypatch):
    monkeypatch.setenv("PYTEST_PLUGINS", "own_counters,pytest_joules.plugin,simulated_count")
    (shop.path / "test_shop.py").write_text("import shop\ndef test_total(): shop.total()\n")
    ids = []
    for number, thousands in enumerate([100, 100, 103]):
        text = f"from simulated_count import work\ndef total():\n    edit = {number}\n    work({thousands}000)\n"
        (shop.path / "shop.py").write_text(text)
        ids.append(keep(shop, f"edit {number}"))
    code, out, steps = bisect(TEST, ids[0])
    assert code == 1, (out, steps)
    assert f"made dearer by {ids[2][:7]}" in out
    assert "1.03× against" in out
    assert left_behind(shop) == []


def test_an_editable_installation_does_not_leak(shop, monkeypatch):
    """Layout ``src``, installed from the user's tree, where the code is as at the first commit."""
    site, start = shop.temp / "env" / "site-packages", shop.temp / "start"
    site.mkdir(parents=True)
    start.mkdir()
    start.joinpath("sitecustomize.py").write_text(f"import site\nsite.addsitedir({str(site)!r})\n")
    site.joinpath("shop.pth").write_text(f"{shop.path / 'src'}\n")
    monkeypatch.setenv("PYTHONPATH", str(start), prepend=os.pathsep)
    folder = shop.path / "src" / "shop"
    folder.mkdir(parents=True)
    tests = shop.path / "tests"
    tests.mkdir()
    (shop.path / "test_shop.py").rename(tests / "test_shop.py")
    ids = history(shop, 1000, 1300, place="src/shop/__init__.py")
    git(shop.path, "checkout", "-q", ids[0])
    # In a process of its own, which has the folder on its path.
    done = subprocess.run(
        [sys.executable, "-m", "pytest_joules.cli", "bisect", f"tests/{TEST}", ids[0], ids[1], *QUICK],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1.30×" in done.stdout


def test_a_leak_is_told(shop, monkeypatch):
    """A finder that puts the user's tree before everything else, as some editable installations do."""
    start = shop.temp / "start"
    start.mkdir()
    start.joinpath("sitecustomize.py").write_text(
        "import sys, importlib.util\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'shop':\n"
        f"            return importlib.util.spec_from_file_location(name, {str(shop.path / 'shop.py')!r})\n"
        "sys.meta_path.insert(0, Finder)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(start), prepend=os.pathsep)
    ids = history(shop, 1000, 1300)
    code, out, steps = bisect(TEST, ids[0], *QUICK)
    assert (code, out) == (2, "")
    assert "imported shop from" in steps[-1]
    assert "so it is not the commit's code" in steps[-1]


def test_a_test_that_is_not_there(shop):
    ids = history(shop, 1000, 1300)
    for nodeid in ("test_shop.py::test_nothing", "test_nothing.py"):
        code, out, steps = bisect(nodeid, ids[0], *QUICK)
        assert (code, out) == (2, "")
        assert f"at {ids[1][:7]} the test does not exist there" in steps[-1]
    assert "names 2 tests" in bisect("test_shop.py", ids[0], *QUICK)[2][-1]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(shop, number, status):
    """Nothing is left behind, and what it started has ended."""
    (shop.path / "test_shop.py").write_text("import time\ndef test_total(): time.sleep(60)\n")
    ids = [keep(shop, "one"), keep(shop, "two")]
    command = [sys.executable, "-m", "pytest_joules.cli", "bisect", TEST, ids[0], *QUICK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(left_behind(shop)) > 4)  # both worktrees
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, out + err
    assert "Traceback" not in err
    assert left_behind(shop) == []
