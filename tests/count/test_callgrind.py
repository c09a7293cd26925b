"""Valgrind itself: that the requests reach it, and that counts of the same code are the same in every process."""

import os
import shutil
import subprocess
import sys

import pytest
from inner import sentences
from processes import wait_until

from pytest_joules.count import callgrind, heap
from pytest_joules.count.counter import NoCounter
from pytest_joules.count.world import World

try:
    from pytest_joules.count import _requests
except ImportError:
    _requests = None

valgrind = pytest.mark.skipif(shutil.which("valgrind") is None or _requests is None, reason="needs Valgrind and a C compiler")

#: As callgrind writes it: one function that calls another, which calls itself.
DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 4711
events: Ir
summary: 1100

ob=(1) /usr/lib/libpython.so
fl=(1) ceval.c
fn=(1) _PyEval_EvalFrameDefault
120 500
cfn=(2) list_sort'2
calls=3 40
* 300
+4 100

fn=(2)
40 150
fn=(3) list_sort
41 50
cfn=(2)
calls=1 40
* 100
"""


@pytest.fixture
def outside_valgrind():
    if _requests is None:
        pytest.skip("needs a C compiler")
    return _requests


def test_requests_do_nothing_elsewhere(outside_valgrind):
    assert not outside_valgrind.running()
    before = sys.getrefcount(None)
    for name in ("instrument", "zero", "dump", "stop"):
        assert {getattr(outside_valgrind, name)() for _ in range(1000)} == {None}
    assert abs(sys.getrefcount(None) - before) < 500, "None has lost or gained references"
    assert outside_valgrind.features()


def test_what_a_dump_says(tmp_path, outside_valgrind):
    (tmp_path / "counts.7.1").write_text(DUMP)
    requests = callgrind.Requests(tmp_path, 7)
    count = requests.read()
    assert count.instructions == 1100
    assert callgrind.account_of(count.account) == ({"_PyEval_EvalFrameDefault": 600, "list_sort": 200}, None)
    requests.forget(count)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file"),
        ("events: Ir\n", "only a part"),
        (f"summary: {2**64 - 5}\n", "lost count: the test starts a process"),
    ],
)
def test_a_dump_that_is_none(tmp_path, outside_valgrind, text, why):
    if text is not None:
        (tmp_path / "counts.7.1").write_text(text)
    with pytest.raises(NoCounter, match=why):
        callgrind.Requests(tmp_path, 7).read()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo valgrind-3.11.0", "3.11.0: it takes Valgrind 3.15"),
        ("echo nothing", "does not say its version"),
        ("exit 1", "does not say its version"),
    ],
)
def test_a_valgrind_that_cannot_be_used(tmp_path, monkeypatch, outside_valgrind, script, why):
    (tmp_path / "valgrind").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "valgrind").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(NoCounter, match=why):
        callgrind.find()


def test_no_valgrind(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoCounter, match="is not installed: install the package valgrind"):
        callgrind.find()


def test_the_world_is_the_same_for_everybody():
    class Nothing:
        def command(self, folder):
            return []

    def size(variables):
        return sum(len(f"{name}={value}") + 1 for name, value in variables.items())

    mine = World(Nothing()).variables({"PATH": "/bin", "HOME": "/root", "PYTHONHASHSEED": "7", "GLIBC_TUNABLES": "x=1"})
    theirs = World(Nothing()).variables({"HOME": "/home/somebody/else", "PATH": "/usr/local/bin:/bin", "CI": "true" * 500})
    assert size(mine) == size(theirs)
    assert len(mine) == len(theirs)
    assert list(mine) == sorted(
        mine, key=lambda name: (name.startswith("PYTEST_JOULES_PADDING"), name == "PYTEST_JOULES_PADDING", name)
    )
    assert mine["PYTHONHASHSEED"] == theirs["PYTHONHASHSEED"] == "0"
    assert "GLIBC_TUNABLES" not in mine


def test_another_layout_has_other_objects_before_all_others():
    class Nothing:
        def command(self, folder):
            return []

    held = []
    for layout in (0, 1):
        names = {}
        exec(World(Nothing(), layout).prelude, names)
        held.append(len(names["layout"]))
    assert held[0] == 0 < held[1]


def test_room_is_bounded():
    held = heap.make_room()
    assert sum(map(sys.getsizeof, held)) < 2**20


PROJECT = """
import json

def test_empty(): pass
def test_loop(): sum(i * i for i in range(2000))
def test_json(): json.loads(json.dumps({str(i): i for i in range(100)}))
"""


def test_what_the_cache_of_attributes_missed(tmp_path):
    (tmp_path / "counts").write_text(
        "summary: 900\n\nfn=(1) _PyEval_EvalFrameDefault\n1 500\ncfn=(2) _PyType_LookupRef\ncalls=9 0\n* 400\n\n"
        "fn=(2)\n1 100\ncfn=(3) find_name_in_mro\ncalls=2 0\n* 250\ncfn=(2)\ncalls=1 0\n* 70\n"
        "cfn=(4) assign_version_tag\ncalls=1 0\n* 50\n\nfn=(3)\n1 250\n\nfn=(4)\n1 50\n"
    )
    assert callgrind.account_of(tmp_path / "counts").misses == 300


@valgrind
@pytest.mark.slow
def test_counts_repeat_and_find_one_per_cent(inner, monkeypatch):
    inner.file(test_a=PROJECT)
    temporary = inner.path / ".temporary"
    temporary.mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        assert inner.run("--energy-count=callgrind", "--energy-save=main", energy=False, subprocess=True).ret == 0
    wait_until(lambda: not [*temporary.glob("pytest-joules-*")], "that nothing is left")
    monkeypatch.setenv("SOMETHING", "else" * 300)
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    inner.file(test_a=PROJECT.replace("range(2000)", "range(2040)"))
    result = inner.run("--energy-count=callgrind", "--energy-compare=main", "--energy-json=report.json", energy=False)
    found = {name: test["instructions"] for name, test in inner.tests().items()}
    assert {name: one["comparison"]["verdict"] for name, one in found.items()} == {
        "test_empty": "ok",
        "test_loop": "regressed",
        "test_json": "ok",
    }
    assert found["test_loop"]["comparison"]["ratio"] == pytest.approx(1.02, abs=0.003)
    assert abs(found["test_json"]["comparison"]["ratio"] - 1) < 0.01
    assert "1.02× in instructions since main" in "\n".join(sentences(result.outlines))


@valgrind
def test_a_request_is_heard(tmp_path):
    """A loop of a known size in C: twice the work has twice the instructions."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pytest_joules.count.callgrind import Requests\n"
        "requests = Requests(Path(sys.argv[1]), os.getpid())\n"
        "requests.switch(on=True)\n"
        "for size in (10_000, 20_000, 40_000):\n"
        "    data = b'x' * size\n"
        "    requests.begin(); data.count(b'y'); data.find(b'yy'); sum(data); requests.finish()\n"
        "    print(requests.read().instructions)\n"
    )
    command = [*callgrind.find().command(tmp_path), sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
    one, two, four = map(int, done.stdout.split())
    assert (four - two) / (two - one) == pytest.approx(2, rel=0.02)
