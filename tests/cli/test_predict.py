"""``joules predict``, as users call it."""

from __future__ import annotations

import contextlib
import json

# Imported before pytester notes which modules there are, see inner.py.
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from inner import Inner
from predictor_project import HISTORY, MODEL, refused, said, write

from pytest_joules.predict.model import Model
from pytest_joules.predict.model_file import load, save

# Predicting


def no_clock(project: Inner) -> None:
    """Seconds as if the machine drew 2 W: what others do on it must not decide what a predictor learns."""
    with contextlib.closing(sqlite3.connect(project.path / HISTORY)) as history, history:
        history.execute("UPDATE measurements SET duration_median = energy_median / 2")


def test_predict_what_a_change_costs(project: Inner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    write(project, factor=2)
    project.run("--energy-rounds=3").assert_outcomes(passed=31)
    no_clock(project)
    out = said(capsys, "train", "--target", "joules", "--jobs", "1")
    assert "30 of this history" in out
    assert "31 other tests of 31" in said(capsys, "predict")
    write(project, factor=20)
    out = said(capsys, "predict")
    assert "1 other test of 31" in out and "test_free" not in out
    assert all(len(line) <= 80 for line in out.splitlines())
    given = json.loads(said(capsys, "predict", "--json"))
    assert given["model"] == "change" and given["measured"] == 31
    assert len(given["tests"]) == 30
    for entry in given["tests"]:
        assert entry["changed"] == ["work.py::spend"]
        assert entry["last"] > 0 and entry["since"]
        if entry["expected"] is not None:
            low, high = entry["interval"]
            assert low <= entry["expected"] <= high
            assert entry["expected"] == pytest.approx(entry["ratio"] * entry["last"])
    known = [entry["ratio"] for entry in given["tests"] if entry["ratio"] is not None]
    # Nearly all that these tests do is done ten times as often.
    assert len(known) == 30 and 5 < sorted(known)[15] < 15


def test_predict_one_test(project: Inner, capsys: pytest.CaptureFixture[str]):
    said(capsys, "train", "--model", "last", "--jobs", "1")
    write(project, factor=3)
    given = json.loads(said(capsys, "predict", "test_a_0", "--json"))
    (entry,) = given["tests"]
    # ``last`` expects what was measured: twice 200 µJ.
    assert entry["nodeid"] == "test_work.py::test_a_0" and entry["ratio"] == 1
    assert entry["expected"] == entry["last"] == pytest.approx(400e-6)
    assert "nothing was measured of nothing_like_it" in refused(capsys, "predict", "nothing_like_it")


@pytest.mark.parametrize("target", ["seconds", "tsc"])
def test_predict_in_another_unit(target: str, project: Inner, capsys: pytest.CaptureFixture[str]):
    said(capsys, "train", "--model", "last", "--jobs", "1")
    write(project, factor=3)
    given = json.loads(said(capsys, "predict", "--json", "--target", target))
    with_last = [entry for entry in given["tests"] if entry["last"] is not None]
    assert all(entry["expected"] == pytest.approx(entry["last"]) for entry in with_last)
    assert with_last or target == "tsc"
    assert "expected" in said(capsys, "predict", "--target", target)


def test_intervals_that_did_not_hold_are_wider_here_too(project: Inner, capsys: pytest.CaptureFixture[str]):
    said(capsys, "train", "--model", "last", "--jobs", "1")
    write(project, factor=3)
    before = json.loads(said(capsys, "predict", "test_a_0", "--json"))
    with contextlib.closing(sqlite3.connect(project.path / HISTORY)) as history, history:
        account = json.dumps({"model": before["model"], "stretches": [3.0] * 30})
        history.execute("UPDATE sessions SET predicting = ? WHERE id = (SELECT max(id) FROM sessions)", (account,))
    found = json.loads(said(capsys, "predict", "test_a_0", "--json"))
    assert before["widened"] == 1 and found["widened"] == 3
    ((one,), (wide,)) = before["tests"], found["tests"]
    assert wide["expected"] == one["expected"]
    for then, now in zip(one["interval"], wide["interval"], strict=True):
        assert now / one["expected"] == pytest.approx((then / one["expected"]) ** 3)
    assert "intervals held 0 % of 30: widened 3 times from now on" in said(capsys, "predict")


def test_predict_from_another_folder(project: Inner, tmp_path_factory: pytest.TempPathFactory, monkeypatch, capsys):
    said(capsys, "train", "--model", "last", "--jobs", "1")
    write(project, factor=3)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    cache = project.path / ".pytest_cache"
    assert len(json.loads(said(capsys, "predict", f"--cache-dir={cache}", "--json"))["tests"]) == 30
    store = f"--store={cache.parent / HISTORY}"
    options = [store, f"--model={cache.parent / MODEL}", f"--root={project.path}"]
    assert len(json.loads(said(capsys, "predict", *options, "--json"))["tests"]) == 30


def test_predict_without_a_model(project: Inner, capsys: pytest.CaptureFixture[str]):
    assert "there is no model yet: joules train makes one" in refused(capsys, "predict")
    assert "there is no model other.npz" in refused(capsys, "predict", "--model=other.npz")
    MODEL.write_bytes(b"PK\x03\x04")
    assert "make a new one with joules train" in refused(capsys, "predict")
    Path("own.pkl").write_bytes(b"nothing")
    assert "--trust-model=SHA256" in refused(capsys, "predict", "--model=own.pkl")
    assert "is no SHA-256" in refused(capsys, "predict", "--model=own.pkl", "--trust-model=1")


def test_predict_with_a_model_of_another_machine(project: Inner, capsys: pytest.CaptureFixture[str]):
    save(MODEL, Model("last", summary={"machine": "there", "source": "rapl"}))
    assert "nothing was measured of machine there with source rapl" in refused(capsys, "predict")


def test_predict_without_scikit_learn_and_where_a_source_does_not_parse(
    project: Inner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    said(capsys, "train", "--target=joules", "--jobs=1")
    assert load(MODEL).name == "change"
    assert said(capsys, "predict").startswith("31 other tests of 31")
    write(project, factor=2)
    code = "import sys; from pytest_joules.cli import main; main(['predict', '--json']); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project.path, check=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    (project.path / "work.py").write_text("def spend(:\n")
    given = json.loads(said(capsys, "predict", "--json"))
    assert len(given["tests"]) == 30
