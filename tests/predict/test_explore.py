"""Exploring a project: in a copy, with nothing left over, and with pairs that tell dearer variants from neutral ones."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile

import pytest
from processes import PATIENCE, wait_until

from pytest_joules.predict.variants.dearer import DEARER
from pytest_joules.predict.variants.explore import Explorer, ExploringError, explore, pairs_of_trial
from pytest_joules.predict.variants.laboratory import Attempt, Laboratory
from pytest_joules.predict.variants.neutral import NEUTRAL
from pytest_joules.predict.variants.rewriting import variants

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
    assert not [entry.name for entry in folder.iterdir() if entry.name.startswith("joules-")]


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


def test_explore(project):
    told = []
    dearer = {kind for kind, _, _ in DEARER}

    def progress(line):
        told.append(line)
        kinds = {line.partition(":")[0] in dearer for line in told[1:] if not line.endswith(" 0 tests")}
        if kinds == {True, False}:
            raise KeyboardInterrupt

    found = explore(project, seconds=300, seed=1, progress=progress)
    assert told[0] == "measuring the tests as they are"
    assert {pair.project for pair in found} == {"shop"}
    assert {pair.neutral for pair in found} == {True, False}


def test_draws_are_the_same_for_the_same_seed(project):
    with Laboratory(project) as lab:
        lab.record()
        for record in lab.records.values():
            record["seconds"] = 1e-4
        drawn = []
        for _ in range(2):
            explorer = Explorer(lab, 5)
            seen = []
            lab.attempt = lambda batch, *, seconds, seen=seen: (
                seen.extend((one.place, one.variant, tuple(one.tests)) for one in batch) or []
            )
            explorer_trials = explorer.trials(until=lambda seen=seen: len(seen) > 6)
            assert list(explorer_trials) == []
            drawn.append(seen)
        assert drawn[0] == drawn[1]
        assert drawn[0]


def test_no_tests(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExploringError, match="measured"):
        explore(tmp_path / "empty", seconds=1)


def test_ctrl_c_leaves_nothing(project, temporary, start):
    (project / "shop.py").write_text(SHOP + LARGE)
    calls = "".join(f"    shop.total{number}(range(3000)); shop.largest{number}(range(3000))\n" for number in range(30))
    (project / "test_shop.py").write_text(f"import shop\n\ndef test_all():\n{calls}")
    code = (
        "import sys; from pathlib import Path; from pytest_joules.predict.variants.explore import explore\n"
        "print(len(explore(Path(sys.argv[1]), seconds=600, progress=lambda line: print(line, flush=True))), 'pairs')"
    )
    process = start("-c", code, str(project), env={**os.environ}, stderr=None)
    for line in process.stdout:
        if "tests" in line and "measuring" not in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert "stopped" in output
    assert "pairs" in output
    wait_until(lambda: not [entry for entry in temporary.iterdir() if entry.name.startswith("joules-")], "removing what was made")
