"""``joules train``, as users call it."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
from inner import Inner
from level_data import projects
from predictor_project import HISTORY, MODEL, refused, said, write

from pytest_joules.cli import main
from pytest_joules.collect import SCHEMA
from pytest_joules.explore.explored import ExploringError, digests_of
from pytest_joules.predict.change.effect import FEATURES
from pytest_joules.predict.model_file import load
from pytest_joules.predict.train.change import RELEASED, Pair
from pytest_joules.store import open_store

try:
    import distributed
except ImportError:
    distributed = None


# Training


def test_train_says_what_it_learned_and_how_good_it_is(project: Inner, capsys: pytest.CaptureFixture[str]):
    out = said(capsys, "train", "--model", "linear", "--target", "joules", "--jobs", "1")
    assert "learned from 31 tests in 2 sessions (rapl on machine " in " ".join(out.split())
    assert "joules of a test never measured, cross-validated by function" in out
    table = {words[1 if words[0] == ">" else 0]: words for words in map(str.split, out.splitlines()) if len(words) > 5}
    assert {"constant", "linear", "last"} <= table.keys()
    # The counters tell the same twice, so that nothing beats the last measurement.
    assert table["last"][1] == "1.00"
    assert out.splitlines()[-1] == "next: pytest --energy-predict, or joules predict"
    assert str(MODEL) in out
    assert load(MODEL).name == "linear"
    assert all(len(line) <= 80 for line in out.splitlines() if not line.endswith("model.npz"))


def test_train_as_json(project: Inner, capsys: pytest.CaptureFixture[str]):
    given = json.loads(said(capsys, "train", "--model=boosted", "--json", "--jobs=1", "--out=m/x.npz", "--target=joules"))
    assert given["file"] == str(Path("m", "x.npz")) and given["name"] == "boosted"
    assert given["summary"] | {"machine": ""} == {
        "tests": 31,
        "sessions": 2,
        "machine": "",
        "source": "rapl",
        "projects": 1,
        "pairs": {},
    }
    assert given["error"]["joules-ran"]["split"] == "function"
    # How often a loop ran is what these tests cost.
    assert given["error"]["joules-ran"]["models"]["boosted"]["spearman"] > 0.8
    assert load("m/x.npz").error == given["error"]


@pytest.mark.parametrize("name", ["last", "constant", "bow"])
def test_train_every_model(name: str, project: Inner, capsys: pytest.CaptureFixture[str]):
    said(capsys, "train", "--model", name, "--target", "joules", "--jobs", "1")
    assert load(MODEL).name == name
    assert said(capsys, "predict").startswith("31 other tests of 31") or name != "last"


@pytest.mark.slow
def test_train_on_dask(project: Inner, capsys: pytest.CaptureFixture[str]):
    if distributed is None:
        pytest.skip("dask's distributed is not installed: pip install 'pytest-joules[dask]'")
    out = said(capsys, "train", "--model=linear", "--target=joules", "--backend=dask", "--jobs=2")
    assert "next: pytest --energy-predict" in out


def test_train_looks_at_what_it_is_told_to(project: Inner, capsys: pytest.CaptureFixture[str]):
    said(capsys, "train", "--model=bow", "--target=joules", "--jobs=1", "--representation=ast", "--representation=bytecode")
    assert load(MODEL).level["joules-ran"].representations == ("ast", "bytecode")


def test_train_explores(project: Inner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    asked: list = []

    def explore(root, file, found, *, seconds, told):
        told(1.0, "trying")
        asked.append((root, seconds, list(found.tried)))
        place = f"work.py::{'idle' if asked[1:] else 'spend'}"
        pairs = [Pair(np.full(len(FEATURES), number / 50), number / 50, "here", str(number)) for number in range(20)]
        found.add(place, "loop added", digests_of((root / "work.py").read_text())[place.partition("::")[2]], pairs)
        found.save(file)

    monkeypatch.setattr("pytest_joules.explore.exploring.explore", explore)
    monkeypatch.setattr("pytest_joules.predict.train.change.shipped_pairs", list)
    out = said(capsys, "train", "--explore=7", "--target=joules", "--jobs=1")
    assert asked == [(project.path, 7.0, [])]
    assert "and from 20 pairs of versions: 0 of this history, 20 explored, 0 shipped" in " ".join(out.split())
    assert load(MODEL).change is not None
    # What was explored counts from then on, and exploring goes on from there.
    assert "20 explored" in said(capsys, "train", "--target=joules", "--jobs=1")
    assert "40 explored" in said(capsys, "train", "--explore", "--target=joules", "--jobs=1")
    assert asked[1] == (project.path, 300.0, [("work.py::spend", "loop added")])
    # As long as it is readable.
    MODEL.with_name("explored.npz").write_bytes(b"PK")
    out = " ".join(said(capsys, "train", "--target=joules", "--jobs=1").split())
    assert "what was explored before is lost" in out and "is no explored file" in out

    def fails(root, file, found, *, seconds, told):
        raise ExploringError("no test was measured")

    monkeypatch.setattr("pytest_joules.explore.exploring.explore", fails)
    assert "exploring: no test was measured" in refused(capsys, "train", "--explore")


def test_train_without_any_pair_of_versions(project: Inner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("pytest_joules.predict.train.change.shipped_pairs", list)
    assert "joules train --explore tries some" in " ".join(said(capsys, "train", "--target=joules", "--jobs=1").split())
    write(project, factor=2)
    out = said(capsys, "predict")
    assert "unknown" in out and "30 tests" not in out


def test_train_on_a_data_set(project: Inner, capsys: pytest.CaptureFixture[str]):
    records = project.path / "data" / "records"
    records.mkdir(parents=True)
    for package in "abcdef":
        lines = [{"kind": "package", "schema": SCHEMA}]
        for number, row in enumerate(projects([package], 8)):
            keys = {key: 10 * number + place for place, key in enumerate(row.facts.sources)}
            for key, identity in keys.items():
                source = row.facts.sources[key]
                lines.append({"kind": "function", "id": identity, "place": key, "hash": str(number), "source": source})
            joules = 10 ** row.log10["joules"]
            lines.append(
                {
                    "kind": "test",
                    "package": package,
                    "nodeid": row.facts.nodeid,
                    "outcome": "passed",
                    "functions": [[identity, identity] for identity in keys.values()],
                    "counts": {str(identity): row.facts.counts[key] for key, identity in keys.items()},
                    "other_calls": None,
                    "repetitions": {"duration": [joules / 10] * 5, "tsc": None, "energy": [joules] * 5},
                }
            )
        (records / f"{package}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = said(capsys, "train", "--model=linear", "--target=joules", "--jobs=1", "--dataset=data")
    assert "and from 6 other projects" in out and "cross-validated by project" in out and "linear+20" in out
    assert load(MODEL).level["joules-ran"].adaptation is not None
    assert "there is no data set in nowhere" in refused(capsys, "train", "--dataset=nowhere")


def test_train_without_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert "Run pytest --energy first" in refused(capsys, "train")
    (tmp_path / HISTORY.parent).mkdir(parents=True)
    open_store(HISTORY).close()
    assert "run pytest --energy first" in refused(capsys, "train")
    assert not MODEL.exists()


def test_train_with_few_tests(inner: Inner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "80")
    write(inner, count=3)
    inner.run("--energy-rounds=2")
    shipped = [Pair(np.full(len(FEATURES), number / 50), number / 50, "other", str(number), RELEASED) for number in range(50)]
    monkeypatch.setattr("pytest_joules.predict.train.change.shipped_pairs", lambda: shipped)
    out = said(capsys, "train", "--jobs=1")
    assert all(len(line) <= 80 for line in out.splitlines() if not line.endswith("model.npz"))
    out = " ".join(out.split())
    assert "and from 50 pairs of versions: 0 of this history, 0 explored, 50" in out
    assert "no model for tests that were never measured: 4 tests with a known cost are too few" in out
    assert load(MODEL).name == "change"
    assert "4 tests" in refused(capsys, "train", "--model=linear", "--jobs=1")
    assert "measured twice" in refused(capsys, "train", "--model=last", "--jobs=1")


def test_train_without_scikit_learn(project: Inner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    own = builtins.__import__

    def absent(name, *args, **options):
        if name.partition(".")[0] == "sklearn":
            raise ImportError(name)
        return own(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert "pip install 'pytest-joules[predict]'" in refused(capsys, "train")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--backend=ray", "--model=linear"], 1, "there is no backend 'ray'"),
        (["--representation=image"], 2, "there are source, ast, bytecode"),
        (["--store=oracle://x"], 1, "oracle"),
        (["--out=work.py/model.npz", "--model=linear", "--target=joules", "--jobs=1"], 1, "cannot write the model"),
    ],
)
def test_train_told_what_is_not_there(
    arguments: list[str], code: int, words: str, project: Inner, capsys: pytest.CaptureFixture[str]
):
    assert words in refused(capsys, "train", *arguments, code=code)


@pytest.mark.parametrize(
    "argument",
    [
        *("--jobs=0", "--jobs=x", "--explore=0", "--explore=long", "--explore=-1", "--explore=nan", "--explore=inf"),
        *("--model=forest", "--target=watts", "--bogus"),
    ],
)
def test_train_misunderstood(argument: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["train", argument])
    assert ended.value.code == 2
