"""``joules tune`` and ``joules train --like``, as users call them."""

from __future__ import annotations

import builtins
import contextlib
import functools
import io
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import joblib
import pytest
import sklearn.ensemble
import sklearn.linear_model
import tuned
from level_data import facts
from predictor_project import refused, said
from simulated import Machine

from pytest_joules.cli import main
from pytest_joules.cli import tune as command
from pytest_joules.predict.model_file import load
from pytest_joules.predict.model_predictor import ModelPredictor
from pytest_joules.tune.configurations import CALLS
from pytest_joules.tune.front_file import load as load_front
from pytest_joules.tune.run import TuneSettings

assert joblib and sklearn


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tuned.write(tmp_path_factory.mktemp("data"))


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small space, and a simulated machine."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("pytest_joules.tune.levels.space", lambda: tuned.SMALL)
    machine = Machine()
    monkeypatch.setattr(command, "_metering", lambda powercap: tuned.metering(machine))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    small(monkeypatch)


@pytest.fixture(scope="module")
def once(data: Path, tmp_path_factory) -> tuple[Path, str]:
    """A folder in which joules tune was run, and what it said."""
    folder, out = tmp_path_factory.mktemp("once"), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out):
        patched.chdir(folder)
        small(patched)
        assert main(["tune", f"--dataset={data}", "--jobs=1", "--svg=front.svg", "--budget=1h"]) == 0
    return folder, out.getvalue()


@pytest.fixture
def tuning(once: tuple[Path, str], tmp_path: Path) -> str:
    shutil.copytree(once[0], tmp_path, dirs_exist_ok=True)
    return once[1]


def test_what_tune_says_and_writes(tuning: str):
    assert "80 tests of 5 packages, 5 of them held out in 5 folds; joules: measured" in tuning
    assert all(len(line) <= 80 for line in tuning.splitlines())
    table = [line.split() for line in tuning.splitlines() if line[:2].strip().isdigit() and "×" in line]
    assert [words[0] for words in table] == [str(number) for number in range(1, len(table) + 1)]
    assert table[0][1:4] == ["constant", "*", table[0][3]] and ["linear", "calls", "*"] in [words[1:4] for words in table]
    assert any("<" in "".join(words) for words in table)
    record = json.loads(Path("front.json").read_text())
    assert len(record["points"]) == len(table) and record["schema"] == "pytest-joules-front/1"
    knee = record["knee"]["number"]
    assert f"next: joules train --like=front.json#{knee}" in tuning and f"knee: {knee} " in tuning
    assert "student" in tuning and "of its joules: met" in " ".join(tuning.split())
    assert len([each for each in ElementTree.parse("front.svg").iter() if each.get("class") == "point"]) == len(table)
    assert not Path("front.json.state").exists()


def test_train_like_trains_the_same_configuration(tuning: str, data: Path, capsys: pytest.CaptureFixture[str]):
    front = load_front(Path("front.json"))
    # The calls and the words alone, a student, trees: each as it is, and one that is moved.
    wanted = {label: number for number, (label, _) in front.points.items() if not label.endswith("+20") or "calls" in label}
    assert {"linear calls", "linear calls +20", "linear text", tuned.PARSED.label} <= wanted.keys()
    for number, (label, configuration) in front.points.items():
        if number not in wanted.values():
            continue
        out = said(capsys, "train", f"--like=front.json#{number}", "--out=model.npz", "--jobs=1")
        assert f"trained like point {number} of front.json: {label}" in out
        assert "learned from 80 tests in 5 projects" in " ".join(out.split())
        model = load("model.npz")
        ((key, level),) = model.level.items()
        assert key == ("joules-ran" if configuration.ran else "joules-static")
        assert (level.regressor.kind, level.representations) == (configuration.kind, configuration.representations)
        assert (level.adaptation is not None) == configuration.adapted
        if label == "linear calls":
            (answer,) = ModelPredictor(model).levels([facts("a.py::test_a", "    return helper()\n", calls=100)])
            assert answer.joules == pytest.approx(tuned.EACH * 101, rel=0.15)
        # What the search found on the same folds, moved or not.
        error = json.loads(Path("front.json").read_text())["points"][number - 1]["error"]
        name = configuration.kind + ("+20" if configuration.adapted else "")
        low, high = error["ci95"]
        assert low <= model.error[key]["models"][name]["median_error"] <= high
        assert ("moved by 20 measured tests, projects held out" in out) == configuration.adapted


def test_train_like_the_knee_as_json_on_another_data_set(tuning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tuned.write(tmp_path / "other", "vwxyz", each=14)
    given = json.loads(said(capsys, "train", "--like=front.json", "--dataset=other", "--out=model.npz", "--json", "--jobs=1"))
    assert given["summary"]["tests"] == 70 and given["summary"]["machine"] == "here" and given["summary"]["source"] == "rapl"
    front = load_front(Path("front.json"))
    assert given["configuration"] == front.points[front.knee][1].as_record()


def test_like_what_is_not_there(tuning: str, data: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, words in (
        (["--like=front.json#99"], "the front has no point 99"),
        (["--like=front.json#first"], "'first' is no number of a point: write --like=front.json#3"),
        (["--like=nothing.json#1"], "there is no front nothing.json: make one with joules tune --json=nothing.json"),
        (["--like=front.svg#1"], "is no file of joules tune"),
        (["--like=front.json#1", "--model=linear"], "--model does not go with --like"),
        (["--like=front.json#1", "--target=seconds"], "--target does not go with --like"),
    ):
        assert words in refused(capsys, "train", *arguments, code=2)
    assert "there is no data set in nowhere" in refused(capsys, "train", "--like=front.json#1", "--dataset=nowhere")


def test_a_budget_that_ends_says_how_to_go_on(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    looks = iter(range(10**9))
    timed = functools.partial(TuneSettings, clock=lambda: next(looks) * 10**9)
    monkeypatch.setattr("pytest_joules.tune.run.TuneSettings", timed)
    err = refused(capsys, "tune", f"--dataset={data}", "--jobs=1", "--budget=2")
    assert "the budget of 2 s ended before one configuration was tried on 80 tests" in err and "longer --budget goes on" in err


def test_ctrl_c_says_where_it_is_kept(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pytest_joules.tune.run.measure", stop)
        err = refused(capsys, "tune", f"--dataset={data}", "--jobs=1", code=130)
    assert "what was tried is kept in front.json.state, and the same command goes on from there" in err
    assert Path("front.json.state").exists() and not Path("front.json").exists()
    assert "next: joules train --like=front.json#" in said(capsys, "tune", f"--dataset={data}", "--jobs=1")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--dataset=nowhere"], 1, "there is no data set in nowhere: make one with joules collect"),
        (["--backend=ray"], 1, "there is no backend 'ray'"),
        (["--json=/proc/front.json"], 2, "--json=/proc/front.json"),
        (["--svg=."], 2, "--svg=.: this is a folder"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments: list[str], code: int, words: str, data: Path, capsys):
    assert words in refused(capsys, "tune", f"--dataset={data}", *arguments, code=code)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--targets=error,watts", "there is no target 'watts': name some of error,bytes,seconds,joules"),
        ("--targets=joules", "a front is of error and a cost"),
        ("--budget=soon", "is not a number of seconds"),
        ("--budget=0m", "above 0"),
        ("--budget=1000h", "more than 30 days"),
        ("--jobs=0", "is not a number of cores"),
        ("--with=magic", "invalid choice"),
    ],
)
def test_words_that_are_not_understood(argument: str, words: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--dataset=x", argument])
    assert ended.value.code == 2 and words in " ".join(capsys.readouterr().err.split())


def test_another_schema_and_too_few_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tuned.write(tmp_path / "new", schema="pytest-joules-dataset/9")
    assert "has the schema 'pytest-joules-dataset/9', and this version reads" in refused(capsys, "tune", "--dataset=new")
    tuned.write(tmp_path / "few", "ab")
    assert "of 2 packages are too few to hold packages out" in refused(capsys, "tune", "--dataset=few")


def test_without_scikit_learn(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    own = builtins.__import__

    def absent(name, *args, **options):
        if name.partition(".")[0] == "sklearn":
            raise ImportError(name)
        return own(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert "pip install 'pytest-joules[predict]'" in refused(capsys, "tune", f"--dataset={data}")


def test_error_and_bytes_need_no_measuring(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "_metering", lambda powercap: pytest.fail("nothing is to be measured"))
    out = said(capsys, "tune", f"--dataset={data}", "--jobs=1", "--targets=error,bytes")
    assert "joules: unavailable" in out and "of the bytes" in " ".join(out.split())
    assert CALLS.label in out
