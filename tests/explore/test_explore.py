"""Exploring a project: in a copy, in the time that it may take, with nothing left over, and with pairs that tell dearer variants
from neutral ones."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
import time
from contextlib import suppress

import numpy as np
import pytest
from processes import PATIENCE, wait_until

from pytest_joules.explore.dearer import DEARER
from pytest_joules.explore.drawing import Explorer
from pytest_joules.explore.explored import Explored, ExploringError, digests_of
from pytest_joules.explore.exploring import explore, pairs_of_trial
from pytest_joules.explore.laboratory import Attempt, Laboratory
from pytest_joules.explore.neutral import NEUTRAL
from pytest_joules.explore.rewriting import variants
from pytest_joules.files import scratch
from pytest_joules.predict.change.effect import FEATURES
from pytest_joules.predict.train import change
from pytest_joules.predict.train.change import Pair

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")

SHOP = """
def total(prices):
    result = 0
    for price in prices:
        if price % 2:
            result += price * 2
        else:
            result += price
    return result

def largest(prices):
    best = None
    count = len(prices) * 2
    limit = count + 1
    for price in prices:
        if best is None or price > best:
            best = price
    if count > limit:
        return None
    else:
        return best
"""
#: One that is not explored to its end while a test looks on.
LARGE = "".join(
    SHOP.replace("def total", f"def total{number}").replace("def largest", f"def largest{number}") for number in range(30)
)
TESTS = """
import shop

def test_total():
    assert shop.total(range(3000)) == 6748500

def test_largest():
    assert shop.largest(list(range(5000))) == 4999

def test_both():
    assert shop.total([1, 2] * 400) and shop.largest([3, 1] * 1000) == 3

def test_fails():
    assert False

done = []

def test_only_once():
    assert not done
    done.append(shop.total([1] * 100))
"""


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "shop"
    root.mkdir()
    (root / "shop.py").write_text(SHOP)
    (root / "test_shop.py").write_text(TESTS)
    (root / "venv").mkdir()
    (root / "venv" / "huge.py").write_text("not copied")
    return root


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """What is left over would be here."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert not [entry.name for entry in folder.iterdir() if scratch.is_one(entry.name)]


@pytest.fixture
def file(tmp_path):
    """Where what was explored is kept."""
    return tmp_path / "cache" / "d" / "joules" / "explored.npz"


def state(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_variants_are_timed_and_the_project_is_as_it_was(project):
    before = state(project)
    with Laboratory(project) as lab:
        assert not (lab.base / "venv").exists()
        lab.record()
        assert set(lab.records) == {f"test_shop.py::test_{name}" for name in ("total", "largest", "both", "only_once")} or set(
            lab.records
        ) == {f"test_shop.py::test_{name}" for name in ("total", "largest", "both")}
        assert lab.records["test_shop.py::test_total"]["code"]["counts"]["shop.py::total"][0] == 1
        loop = next(variants(SHOP, "total", [DEARER[0]], amounts=(9000,)))
        both = next(variants(loop.source, "largest", [entry for entry in NEUTRAL if entry[0] == "helper extracted"]))
        batch = [
            Attempt("shop.py", "shop.py::total", loop, ["test_shop.py::test_total"]),
            Attempt("shop.py", "shop.py::largest", both, ["test_shop.py::test_largest"]),
        ]
        trials = lab.attempt(batch)
        assert [trial.place for trial in trials] == ["shop.py::total", "shop.py::largest"]
        assert trials[0].changed == {"test_shop.py::test_total": ("shop.py::total",)}
        slow, same = (next(iter(trial.seconds.values())) for trial in trials)
        # 9,000 turns are no matter of noise beside 3,000.
        assert slow[1] / slow[0] > 1.5
        assert 0.5 < same[1] / same[0] < 1.5
        assert (lab.other / "shop.py").read_text() == SHOP
        (pair,) = pairs_of_trial(trials[0], lab, "shop")
        assert pair.features[0] > 0.1
        assert not pair.neutral
        assert pair.ratio > 0.17
        folder = lab.base
    assert not folder.exists()
    assert state(project) == before


def test_tests_that_fail_or_cannot_be_repeated_are_left_out(project):
    with Laboratory(project) as lab:
        lab.record()
        wrong = next(variants(SHOP, "total", [DEARER[0]], amounts=(10,)))
        wrong = type(wrong)(wrong.kind, False, wrong.source.replace("result += price\n", "result -= price\n"), 1)
        batch = [Attempt("shop.py", "shop.py::total", wrong, ["test_shop.py::test_total"])]
        assert lab.attempt(batch) == []
        broken = type(wrong)(wrong.kind, False, "raise RuntimeError\n" + SHOP, 1)
        assert lab.attempt([Attempt("shop.py", "shop.py::total", broken, ["test_shop.py::test_total"])]) == []


def test_what_was_explored_is_kept_and_not_tried_again(project, file, monkeypatch):
    found = Explored()

    def told(spent, what):
        if {pair.neutral for pair in Explored.load(file, project).pairs} == {True, False}:
            raise KeyboardInterrupt

    explore(project, file, found, seconds=300, seed=1, told=told)
    assert {pair.project for pair in found.pairs} == {"shop"}
    assert {pair.neutral for pair in found.pairs} == {True, False}
    kept = Explored.load(file, project)
    assert kept.tried == found.tried
    assert [pair.change for pair in kept.pairs] == [pair.change for pair in found.pairs]
    assert np.allclose([pair.features for pair in kept.pairs], [pair.features for pair in found.pairs])
    again = []

    def attempt(self, batch, *, seconds):
        again.extend((one.place, one.variant.kind) for one in batch)
        return []

    monkeypatch.setattr(Laboratory, "attempt", attempt)
    more = Explored.load(file, project)
    explore(project, file, more, seconds=300, seed=1)
    assert again and not set(again) & kept.tried.keys()
    assert len(again) == len(set(again))
    assert more.tried.keys() == kept.tried.keys() | set(again)
    assert len(more.pairs) == len(kept.pairs)
    # All was tried: there is nothing more to do, however much time there is.
    again.clear()
    explore(project, file, Explored.load(file, project), seconds=300, seed=2)
    assert not again


def test_what_is_measured_in_time_is_explored(project):
    (project / "test_zzz.py").write_text("import time\n\ndef test_slow():\n    time.sleep(1000)\n")
    (project / "pytest.ini").write_text("[pytest]\naddopts = -p no:randomly\n")  # the slow one last
    for limit in (8, 40, 200):  # how long the others take depends on what else the machine does
        with Laboratory(project) as lab:
            begun = time.monotonic()
            with suppress(ExploringError):
                lab.record(limit=limit)
            assert time.monotonic() - begun < 900
            if lab.records:
                break
    assert "test_shop.py::test_total" in lab.records
    assert "test_zzz.py::test_slow" not in lab.records


def test_tests_that_cannot_be_measured_in_time(project, file):
    (project / "conftest.py").write_text("import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(1000)\n")
    with pytest.raises(ExploringError, match="no test was measured in 1 s") as error:
        explore(project, file, Explored(), seconds=3)
    assert not file.exists()
    assert "\n" not in str(error.value)


def test_there_is_no_time_to_copy(project, file):
    with pytest.raises(ExploringError, match="give it more seconds"):
        explore(project, file, Explored(), seconds=1e-6)


def test_draws_are_the_same_for_the_same_seed(project):
    with Laboratory(project) as lab:
        lab.record()
        for record in lab.records.values():
            record["seconds"] = 1e-4
        lab.attempt = lambda batch, *, seconds: []
        drawn = []
        for seed, tried in ((5, ()), (5, ()), (6, ()), (5, [("shop.py::total", "loop added")])):
            batches = list(Explorer(lab, seed, tried).batches())
            drawn.append([(one.place, one.variant, tuple(one.tests)) for batch, _ in batches for one in batch])
        assert drawn[0] == drawn[1]
        assert drawn[0] != drawn[2]
        places = [{(place, variant.kind) for place, variant, _ in several} for several in drawn]
        assert places[0] == places[2]
        assert places[0] - places[3] == {("shop.py::total", "loop added")}


def test_no_tests(tmp_path, file):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExploringError, match="measured"):
        explore(tmp_path / "empty", file, Explored(), seconds=30)


# What is kept


def pair(number, kind="loop added"):
    return Pair(np.full(len(FEATURES), number / 8), number / 8, "shop", f"change {number}", kind, False)


def kept(project, file):
    digests = digests_of(SHOP)
    found = Explored()
    found.add("shop.py::total", "loop added", digests["total"], [pair(1), pair(2)])
    found.add("shop.py::largest", "loop added", digests["largest"], [pair(3)])
    found.add("shop.py::total", "locals renamed", digests["total"], [])
    found.save(file)
    return found


def test_what_is_kept_is_read_again(project, file):
    assert not Explored.load(file, project).tried
    found = kept(project, file)
    again = Explored.load(file, project)
    assert again.tried == found.tried
    assert [one.change for one in again.pairs] == ["change 1", "change 2", "change 3"]
    assert [one.ratio for one in again.pairs] == [1 / 8, 2 / 8, 3 / 8]


def test_what_is_kept_of_functions_that_changed_is_dropped(project, file):
    kept(project, file)
    (project / "shop.py").write_text("# Above\n" + SHOP.replace("result += price * 2", "result += 2 * price"))
    again = Explored.load(file, project)
    assert list(again.tried) == [("shop.py::largest", "loop added")]
    assert [one.change for one in again.pairs] == ["change 3"]
    (project / "shop.py").write_text("def broken(")
    assert not Explored.load(file, project).tried
    (project / "shop.py").unlink()
    assert not Explored.load(file, project).pairs


def test_pairs_of_other_features_are_dropped_and_tried_again(project, file, monkeypatch):
    kept(project, file)
    monkeypatch.setattr(change, "FEATURES", (*FEATURES, "another"))
    again = Explored.load(file, project)
    assert not again.tried and not again.pairs


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:100], "is damaged"),
        (lambda data: b"", "is no explored file"),
        (lambda data: data[:60] + b"0000" + data[64:], "is damaged"),
    ],
    ids=["short", "empty", "other"],
)
def test_a_file_that_is_damaged(damage, words, project, file):
    kept(project, file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ExploringError, match=words) as error:
        Explored.load(file, project)
    assert str(file) in str(error.value)


def test_where_nothing_can_be_kept(project, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExploringError, match="cannot write"):
        kept(project, tmp_path / "file" / "d" / "joules" / "explored.npz")


# Ended early

CODE = """
import sys
from pathlib import Path
from pytest_joules.explore.explored import Explored
from pytest_joules.explore.exploring import explore
root, file = map(Path, sys.argv[1:])
found = Explored()
explore(root, file, found, seconds=600, told=lambda spent, what: print(what, flush=True))
print(len(found.pairs), "in all")
"""


@pytest.fixture
def exploring(project, start, file):
    """A process that explores what is not explored to its end while a test looks on, when it has found something."""
    (project / "shop.py").write_text(SHOP + LARGE)
    calls = "".join(f"    shop.total{number}(range(3000)); shop.largest{number}(range(3000))\n" for number in range(30))
    (project / "test_shop.py").write_text(f"import shop\n\ndef test_all():\n{calls}")
    process = start("-c", CODE, str(project), str(file), env={**os.environ}, stderr=None)
    for line in process.stdout:
        if "pairs" in line:
            break
    return process


def test_ctrl_c_leaves_nothing(exploring, project, temporary, file):
    os.killpg(exploring.pid, signal.SIGINT)
    output, _ = exploring.communicate(timeout=PATIENCE)
    assert output.endswith(f"{len(Explored.load(file, project).pairs)} in all\n")
    wait_until(lambda: not [entry for entry in temporary.iterdir() if scratch.is_one(entry.name)], "removing what was made")


def test_a_killed_run_leaves_what_it_found_and_the_next_clears_up(exploring, project, temporary, file):
    exploring.kill()
    exploring.wait(PATIENCE)
    assert [entry for entry in temporary.iterdir() if scratch.is_one(entry.name)]
    assert Explored.load(file, project).tried

    def swept():
        scratch.sweep()
        return not [entry for entry in temporary.iterdir() if scratch.is_one(entry.name)]

    wait_until(swept, "removing what was left")  # when what it had started has ended
