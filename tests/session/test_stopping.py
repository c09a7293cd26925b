"""SIGTERM and SIGHUP: what was measured is kept and reported, and the exit status is theirs; tests see nothing of it."""

import os
import re
import signal

import pytest
from processes import PATIENCE
from started_runs import started, waiting

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_ends_in_order(inner, start, name):
    waiting(inner)
    process = started(start, inner, "--energy-rounds=8", marks="here")
    os.kill(process.pid, getattr(signal, name))
    os.kill(process.pid, getattr(signal, name))  # once more, as timeout(1) does
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + getattr(signal, name)
    tests = inner.tests()
    assert (tests["test_second"]["outcome"], tests["test_second"]["rounds"]) == ("interrupted", 2)
    assert [(name, outcome) for name, outcome, _ in inner.history()] == [
        ("test_a.py::test_first", "passed"),
        ("test_a.py::test_second", "interrupted"),
    ]
    assert re.search(r"test_a.py::test_second +2.00 mJ", output)
    assert f"Stopped: {name}" in output and "Traceback" not in output


def test_while_it_collects(inner, start):
    inner.file(test_a="import time\nopen('here', 'w').close()\ntime.sleep(60)\ndef test_a(): pass\n")
    process = started(start, inner, marks="here")
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("whom", ["controller", "group"])
@pytest.mark.inner_plugins("xdist")
def test_workers(inner, start, whom):
    pytest.importorskip("xdist")
    inner.file(
        test_a="""
import time
@pytest.fixture(scope="session")
def wide():
    yield
    open("down", "w").close()
def test_a(): draw(1000)
def test_b(wide):
    while not os.path.exists("reported"): time.sleep(0.01)
    open("here", "w").close()
    time.sleep(60)
"""
    )
    inner.conftest("def pytest_runtest_logfinish(nodeid):\n    if nodeid.endswith('test_a'): open('reported', 'w').close()\n")
    process = started(start, inner, "-n1", "--energy-rounds=2", marks="here")
    (os.killpg if whom == "group" else os.kill)(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert [name for name, _, _ in inner.history()] == ["test_a.py::test_a"]
    assert "test_a" in inner.tests()
    assert (inner.path / "down").exists()


@pytest.mark.inner_plugins("xdist")
def test_a_worker_ends_as_it_would(inner):
    """Its controller goes on with another one."""
    pytest.importorskip("xdist")
    inner.file(test_a="import signal\ndef test_a(): os.kill(os.getpid(), signal.SIGTERM)\n", test_b="def test_b(): draw(1000)\n")
    result = inner.run("-n1", "--energy-rounds=2", subprocess=True)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw0' crashed while running 'test_a.py::test_a'*"])


TESTS = """
import multiprocessing, signal, subprocess, sys, time

def test_it_is_the_default():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

def test_own_handler():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    assert before is signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [1]
    signal.signal(signal.SIGTERM, before)

def test_children():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child.terminate()
    assert child.wait() == -signal.SIGTERM
    forked = os.fork()
    if not forked:
        time.sleep(60)
        os._exit(0)
    os.kill(forked, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == -signal.SIGTERM
"""


def test_tests_see_nothing(inner):
    inner.file(test_a=TESTS)
    inner.run("--energy-rounds=2", subprocess=True).assert_outcomes(passed=3)
    inner.file(test_a=TESTS + "def test_end():\n    try: os.kill(os.getpid(), signal.SIGTERM)\n    except BaseException: pass\n")
    (inner.path / "test_b.py").write_text("def test_b(): pass\n")
    result = inner.run("--energy-rounds=2", subprocess=True)
    assert result.ret == 128 + signal.SIGTERM  # caught by the test, raised again before the next
    assert "test_b" not in "".join(inner.tests())


def test_who_has_a_handler_keeps_it(inner):
    inner.conftest("import signal\nsignal.signal(signal.SIGTERM, print)\n")
    inner.file(test_a="import signal\ndef test_a(): assert signal.getsignal(signal.SIGTERM) is print\n")
    inner.run("--energy-rounds=1", subprocess=True).assert_outcomes(passed=1)
