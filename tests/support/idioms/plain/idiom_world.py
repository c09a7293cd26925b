"""Tests that change, or look at, the world around them."""

import builtins
import gc
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from unittest import mock

import pytest


def test_environment(monkeypatch, request):
    assert "JOULES_IDIOM" not in os.environ
    monkeypatch.setenv("JOULES_IDIOM", "1")
    assert os.environ["PYTEST_CURRENT_TEST"] == f"{request.node.nodeid} (call)"


@pytest.fixture
def current(request):
    assert os.environ["PYTEST_CURRENT_TEST"].endswith("(setup)")
    yield
    assert os.environ["PYTEST_CURRENT_TEST"].endswith("(teardown)")


def test_current_phase(current):
    assert os.environ["PYTEST_CURRENT_TEST"].endswith("test_current_phase (call)")


def test_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert (tmp_path / "here").is_dir()


def test_working_directory_left_changed(tmp_path, request):
    before = Path.cwd()
    request.addfinalizer(lambda: os.chdir(before))
    os.chdir(tmp_path)


def test_path(monkeypatch):
    monkeypatch.syspath_prepend("somewhere")
    assert sys.path[0].endswith("somewhere")


def test_missing_modules(monkeypatch):
    for name in ("numpy", "scipy", "sqlalchemy", "psutil", "resource", "gc", "statistics"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError):
        import numpy  # noqa: F401 - the import is the test


def refuse(*args, **kwargs):
    raise OSError("patched by the test")


def test_no_imports(monkeypatch):
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_no_files(monkeypatch):
    monkeypatch.setattr(builtins, "open", refuse)
    for name in ("open", "read", "pread", "listdir", "scandir", "stat", "waitid", "times", "getpid", "cpu_count", "close"):
        monkeypatch.setattr(os, name, refuse)


@mock.patch("os.path.exists", side_effect=refuse)
@mock.patch("pathlib.Path.exists", side_effect=refuse)
@mock.patch("gc.collect", side_effect=refuse)
@mock.patch("gc.get_stats", side_effect=refuse)
def test_mocks(*mocks):
    assert not any(each.called for each in mocks)


def test_clocks(monkeypatch):
    for name in ("time", "perf_counter", "monotonic", "process_time", "thread_time"):
        monkeypatch.setattr(time, name, lambda: 0)
        monkeypatch.setattr(time, f"{name}_ns", lambda: 0)
    monkeypatch.setattr(time, "sleep", refuse)
    monkeypatch.setattr(time, "clock_gettime_ns", refuse)
    assert time.time() == 0


def test_clock_runs_backwards():
    with mock.patch("time.time", side_effect=[2.0, 1.0]):
        assert time.time() > time.time()


def test_no_threads_of_others():
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_fork():
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_child():
    assert subprocess.run([sys.executable, "-S", "-c", "pass"], check=False).returncode == 0


def test_no_children():
    if hasattr(os, "waitid"):
        with pytest.raises(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)


class Thing:
    pass


def test_freed_at_once():
    thing = Thing()
    reference = weakref.ref(thing)
    del thing
    assert reference() is None


def test_freed_by_the_collector():
    thing = Thing()
    thing.itself = thing
    reference = weakref.ref(thing)
    del thing
    gc.collect()
    assert reference() is None


def test_collector_is_on():
    assert gc.isenabled()


def test_collector_off(request):
    gc.disable()
    request.addfinalizer(gc.enable)
    thing = Thing()
    thing.itself = thing
    reference = weakref.ref(thing)
    del thing
    assert reference() is not None


def test_objects():
    before = sum(isinstance(each, Thing) for each in gc.get_objects())
    kept = [Thing() for _ in range(10)]
    assert sum(isinstance(each, Thing) for each in gc.get_objects()) - before == len(kept)


def test_random_is_not_ours():
    random.seed(1)
    state = random.getstate()
    assert random.getstate() == state


def test_trace():
    assert sys.getprofile() is None


def test_recursion_limit(request):
    before = sys.getrecursionlimit()
    request.addfinalizer(lambda: sys.setrecursionlimit(before))
    sys.setrecursionlimit(5000)
    assert sys.getrecursionlimit() == 5000


def test_umask(request):
    before = os.umask(0o77)
    request.addfinalizer(lambda: os.umask(before))


def test_signal():
    import signal

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
