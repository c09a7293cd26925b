"""``joules train``, ``joules predict`` and ``joules evaluate``, as users call them."""

from __future__ import annotations

import builtins
import json
import shutil
import subprocess
import sys
from pathlib import Path

# Imported before pytester notes which modules there are, see inner.py.
import joblib
import numpy as np
import pytest
import sklearn.ensemble
import sklearn.feature_extraction.text
import sklearn.linear_model
from inner import Inner, inner
from level_data import projects

try:
    import distributed
except ImportError:
    distributed = None

import pytest_joules.predict.facts.callgraph
import pytest_joules.predict.facts.features
import pytest_joules.predict.model_predictor
import pytest_joules.predict.train.learning
import pytest_joules.predict.train.level
import pytest_joules.predict.trusted
from pytest_joules import stats
from pytest_joules.cli import main
from pytest_joules.model import Report, empty_record
from pytest_joules.predict import evaluation
from pytest_joules.predict.change.effect import FEATURES
from pytest_joules.predict.model import Model
from pytest_joules.predict.model_file import load, save
from pytest_joules.predict.train.change import Pair, shipped_pairs
from pytest_joules.predict.variants.laboratory import ExploringError
from pytest_joules.store import open_store

__all__ = ["inner"]

assert joblib and sklearn and pytest_joules.predict.train.learning

HISTORY = Path(".pytest_cache", "d", "joules", "history.db")
MODEL = HISTORY.with_name("model.npz")

WORK = """
from counter import draw

def spend(times):
    for _ in range(times):
        for _ in range({factor}):
            draw(200)

def idle():
    return 1
"""

TEST = """
def test_{name}_{number}():
    assert spend({times}) is None
    assert idle() == 1
    assert {number} != 'x'
"""


def write(inner: Inner, factor: int = 1, count: int = 30) -> None:
    """Tests that spend 200 µJ several times each, the last a hundred times as much as the first."""
    (inner.path / "work.py").write_text(WORK.format(factor=factor))
    text = "from work import spend, idle\n"
    for number in range(count):
        text += TEST.format(name="abc"[number % 3], number=number, times=int(2 * 100 ** (number / max(1, count - 1))))
    inner.file(test_work=text + "\ndef test_free():\n    draw(500)\n")


#: What was measured for the first of the tests: a copy of the folder, and its counters.
MEASURED: list[Path] = []


@pytest.fixture
def project(inner: Inner, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Inner:
    """A project that was measured twice."""
    monkeypatch.setenv("COLUMNS", "80")
    if MEASURED:
        shutil.copytree(MEASURED[0], inner.path, dirs_exist_ok=True)
        inner.powercap = MEASURED[1]  # as counter.py says, which is in every test's path
        return inner
    write(inner)
    for _ in range(2):
        inner.run("--energy-rounds=3", "--energy-warmup=1").assert_outcomes(passed=31)
    kept = tmp_path_factory.mktemp("measured") / "project"
    shutil.copytree(inner.path, kept, ignore=shutil.ignore_patterns(".powercap"))
    MEASURED.extend((kept, inner.powercap))
    return inner


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What the command prints; within 80 columns, but for a path or sentence that is one."""
    capsys.readouterr()
    assert main.main(arguments) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out if code == 0 else err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    err = said(capsys, *arguments, code=code)
    first, *others = err.splitlines()
    assert first.startswith("joules: ") and all(line.startswith("  ") for line in others)
    return " ".join(err.split())


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

    def explore(root, *, seconds, progress):
        progress("trying")
        asked.append((root, seconds))
        return [Pair(np.full(len(FEATURES), number / 50), number / 50, "here", str(number)) for number in range(20)]

    monkeypatch.setattr("pytest_joules.predict.variants.explore.explore", explore)
    monkeypatch.setattr("pytest_joules.predict.train.change.shipped_pairs", list)
    out = said(capsys, "train", "--explore=7", "--target=joules", "--jobs=1")
    assert asked == [(project.path, 7.0)]
    assert "and from 20 pairs of versions: 0 of this history, 20 made and measured now, 0 shipped" in " ".join(out.split())
    assert load(MODEL).change is not None

    def fails(root, *, seconds, progress):
        raise ExploringError("the tests cannot be run: no module named x")

    monkeypatch.setattr("pytest_joules.predict.variants.explore.explore", fails)
    assert "the tests cannot be run" in refused(capsys, "train", "--explore")


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
        lines = [{"kind": "package"}]
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
    shipped = [Pair(np.full(len(FEATURES), number / 50), number / 50, "other", str(number)) for number in range(50)]
    monkeypatch.setattr("pytest_joules.predict.train.change.shipped_pairs", lambda: shipped)
    out = said(capsys, "train", "--jobs=1")
    assert all(len(line) <= 80 for line in out.splitlines() if not line.endswith("model.npz"))
    out = " ".join(out.split())
    assert "and from 50 pairs of versions: 0 of this history, 0 made and measured now, 50" in out
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
        (["--representation=image"], 2, "there are source, ast, bytecode, native"),
        (["--store=oracle://x"], 1, "oracle"),
        (["--out=work.py/model.npz", "--model=linear", "--target=joules", "--jobs=1"], 1, "cannot write the model"),
    ],
)
def test_train_told_what_is_not_there(
    arguments: list[str], code: int, words: str, project: Inner, capsys: pytest.CaptureFixture[str]
):
    assert words in refused(capsys, "train", *arguments, code=code)


@pytest.mark.parametrize(
    "argument", ["--jobs=0", "--jobs=x", "--explore=0", "--explore=long", "--model=forest", "--target=watts", "--bogus"]
)
def test_train_misunderstood(argument: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main.main(["train", argument])
    assert ended.value.code == 2


# Predicting


def few_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one project alone: each that is held out is another training."""
    shipped = shipped_pairs()
    few = [pair for pair in shipped if pair.project == shipped[0].project]
    assert len(few) > 80
    monkeypatch.setattr("pytest_joules.predict.train.change.shipped_pairs", lambda: few)


def test_predict_what_a_change_costs(project: Inner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    few_shipped(monkeypatch)
    write(project, factor=2)
    project.run("--energy-rounds=3").assert_outcomes(passed=31)
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
    few_shipped(monkeypatch)
    said(capsys, "train", "--target=joules", "--jobs=1")
    assert load(MODEL).name == "change"
    assert said(capsys, "predict").startswith("31 other tests of 31")
    write(project, factor=2)
    code = "import sys; from pytest_joules import cli; cli.main(['predict', '--json']); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project.path, check=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    (project.path / "work.py").write_text("def spend(:\n")
    given = json.loads(said(capsys, "predict", "--json"))
    assert len(given["tests"]) == 30


# Evaluating


def prediction(outcome: str, measured: float, joules: float | None = 1.0, **other: object) -> dict:
    made = {
        "model": "change",
        "state": "changed",
        "joules": joules,
        "interval": None if joules is None else [joules * 0.8, joules * 1.25],
        "ratio": None,
        "last": 1.0,
        "flagged": outcome in ("hit", "false flag"),
        "threshold": 0.05,
        "measured": measured,
        "dearer": None,
        "outcome": outcome,
        "why": "",
    }
    return made | other


def keep(sessions: list[list[dict | None]]) -> None:
    """A history in which each session has these predictions, each of a test of its own."""
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    store = open_store(HISTORY)
    machine = {"id": "m", "cpu": "c", "cores": 2, "os": "Linux", "python": "3.12", "virtual": False}
    for day, predictions in enumerate(sessions, 1):
        store.begin(Report(f"2026-01-{day:02}T10:20:30+00:00", machine, None, {}, []))
        for number, one in enumerate(predictions):
            record = empty_record(f"test_a.py::test_{number}")
            record.update(outcome="passed", source="rapl", provenance="measured", resolution="ok", rounds=5)
            record.update(energy=stats.summarise([1.0] * 5), prediction=one)
            store.add(record)
    store.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TWO_SESSIONS: list[list[dict | None]] = [
    [prediction("hit", 2.0, 2.0), prediction("hit", 2.0, 1.0), prediction("missed", 10.0), prediction("right", 1.0)],
    [
        prediction("false flag", 1.0, 2.0),
        prediction("right", 1.1),
        prediction("right", 1.0, model="last", state="unchanged"),
        prediction("unknown", 1.0, None, model="own", state="unknown"),
        None,
    ],
]


def test_evaluate_by_hand(here: Path, capsys: pytest.CaptureFixture[str]):
    keep(TWO_SESSIONS)
    given = json.loads(said(capsys, "evaluate", "--json"))
    change = given["models"]["change"]
    assert list(given["models"]) == ["change"]
    assert {name: change[name] for name in ("tests", "predicted", "hits", "missed", "false", "right", "unclear")} == {
        "tests": 6,
        "predicted": 6,
        "hits": 2,
        "missed": 1,
        "false": 1,
        "right": 2,
        "unclear": 0,
    }
    assert change["recall"] == pytest.approx(2 / 3) == change["precision"]
    assert change["false_flags"] == pytest.approx(1 / 3)
    # Inside: 2 of 2, 1 of 1, 1.1 of 1; outside: 2 of 1, 10 of 1, 1 of 2.
    assert change["coverage"] == pytest.approx(0.5)
    # |log10| of 1, 2, 10, 1, 2, 1.1; without a prediction of 2, 2, 10, 1, 1, 1.1.
    assert 10 ** change["median_error"] == pytest.approx((1.1 * 2) ** 0.5)
    assert 10 ** change["last_error"] == pytest.approx((1.1 * 2) ** 0.5)
    whole = given["all"]
    assert (whole["tests"], whole["right"], whole["unclear"], whole["predicted"]) == (8, 3, 1, 6)
    assert [(one["created"][:10], one["tests"], one["hits"]) for one in given["sessions"]] == [
        ("2026-01-01", 4, 2),
        ("2026-01-02", 4, 0),
    ]


def test_evaluate_in_a_terminal(here: Path, capsys: pytest.CaptureFixture[str]):
    keep(TWO_SESSIONS)
    out = said(capsys, "evaluate")
    assert out.startswith("8 predictions held against measurements\ndearer: 3, of which 2 were flagged and 1 missed\n")
    assert "not dearer: 4, of which 1 were flagged\ncannot be told: 1\n" in out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("change ")]
    assert row[1:] == ["6", "67", "%", "67", "%", "33", "%", "50", "%", "1.48×", "1.48×"]
    assert "2026-01-02 10:20" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_the_latest_sessions_are_shown(here: Path, capsys: pytest.CaptureFixture[str]):
    keep([[prediction("right", 1.0)] for _ in range(12)])
    given = json.loads(said(capsys, "evaluate", "--json"))
    assert [one["created"][8:10] for one in given["sessions"]] == [f"{day:02}" for day in range(3, 13)]
    assert given["all"]["tests"] == 12


@pytest.mark.parametrize("sessions", [[], [[None]], [[prediction("unknown", 1.0) | {"measured": None}]]])
def test_nothing_to_evaluate(sessions: list, here: Path, capsys: pytest.CaptureFixture[str]):
    keep(sessions)
    assert "nothing to evaluate yet" in refused(capsys, "evaluate")


def test_evaluate_without_a_history(here: Path, capsys: pytest.CaptureFixture[str]):
    assert "no history here" in refused(capsys, "evaluate")


def test_figures_without_anything_are_unknown():
    assert evaluation.figures([]) | {"tests": 0} == {
        **dict.fromkeys(("tests", "predicted", "hits", "missed", "false", "right", "unclear"), 0),
        **dict.fromkeys(("recall", "precision", "false_flags", "coverage", "median_error", "last_error"), None),
    }
