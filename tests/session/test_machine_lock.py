"""Another run that holds the machine's lock is named, and not waited for for ever; what is no file is not opened."""

import fcntl
import os

import pytest

pytest.importorskip("xdist")
pytestmark = [pytest.mark.inner_plugins("xdist"), pytest.mark.skipif(os.name != "posix", reason="needs flock")]

#: Patience in hundredths of what it is; and how often it came to its end.
SHORT = """
import pytest_joules.session.workers as turns
turns.NAMED, turns.LEFT = 0.1, 0.6
give_up = turns.Turns._give_up
was_given_up = turns.Turns._given_up
def noted(self):
    if not was_given_up(self):
        open("waits", "a").write("x")
    give_up(self)
turns.Turns._give_up = noted
"""


@pytest.fixture
def temp(inner, monkeypatch):
    path = inner.path / ".temp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def run(inner, *args):
    inner.file(test_a='@pytest.mark.parametrize("n", range(4))\ndef test_it(n): draw(1000)\n')
    result = inner.run("-n2", "--energy-rounds=2", *args, subprocess=True)
    result.assert_outcomes(passed=4)
    tests = inner.tests()
    assert [round(1e6 * test["energy"]["median"]) for test in tests.values()] == [1000] * 4
    return result, {test["provenance"] for test in tests.values()}


def test_a_stranger(inner, temp):
    inner.conftest(SHORT)
    lock = temp / "pytest-joules.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result, provenances = run(inner)
    assert provenances == {"shared"}
    assert (inner.path / "waits").read_text() == "x"  # once for the run, not for each test and worker
    said = " ".join(result.stderr.str().split())
    assert f"energy: waiting for {lock}, which process {os.getpid()} of " in said
    assert "(" in said and "this run goes on beside it" in said
    assert f"waitingfor{lock},which" in "".join(result.stdout.str().split())  # in the report, too
    # Nobody is there now.
    assert run(inner)[1] == {"measured"}
    assert [path.name for path in temp.iterdir() if not path.name.startswith("pytest-of-")] == []


@pytest.mark.parametrize("kind", ["FIFO", "link", "folder"])
def test_no_file(inner, temp, kind):
    lock, other = temp / "pytest-joules.lock", inner.path / "other"
    if kind == "FIFO":
        os.mkfifo(lock)
    elif kind == "link":
        lock.symlink_to(other)
    else:
        lock.mkdir()
    result, provenances = run(inner)
    assert provenances == {"measured"}
    assert f"{lock}cannotbelocked(itisa{kind},notafile)" in "".join(result.stdout.str().split())
    assert os.path.lexists(lock) and not other.exists()
