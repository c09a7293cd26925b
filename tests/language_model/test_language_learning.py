"""Training a tiny language model on costs that are known, and asking it; where torch, transformers and peft are installed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from changing_shop import edit
from foretold import shop
from inner import Inner
from language_data import COSTS, SMALL, data_set, rows
from predictor_project import refused, said
from tiny_bert import make

from pytest_joules.language_model import base, checkpoint, learning, model, network, scoring
from pytest_joules.language_model.learning import TestTexts, Where
from pytest_joules.language_model.model import LanguageModel
from pytest_joules.language_model.settings import Settings
from pytest_joules.language_model.texts import text_of
from pytest_joules.language_model.training import Teacher
from pytest_joules.predict.model import Model, ModelError

assert shop  # a fixture

ROWS = rows()
OPTIONS = ("--lora-rank=4", "--lora-layers=2", "--lora-tokens=32", "--epochs=3", "--seed=1", "--jobs=1")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("tiny"))


def learned(folder: Path, where: Where = Where(), settings: Settings = SMALL) -> LanguageModel:  # noqa: B008 - frozen
    tests = TestTexts.of(ROWS, ("joules", "tsc"), "source", settings)
    return learning.learn(tests, base.find(folder), settings, where, others=Model("change"), told=lambda share, what: None)


def same(one: LanguageModel, other: LanguageModel) -> bool:
    numbers = all(np.array_equal(array, other.numbers[name]) for name, array in one.numbers.items())
    return numbers and one.others.error == other.others.error


@pytest.fixture(scope="module")
def whole(tiny: Path) -> LanguageModel:
    return learned(tiny)


@pytest.fixture(scope="module")
def taught(tiny: Path) -> LanguageModel:
    """Of more epochs: what is taught here begins as chance."""
    return learned(tiny, settings=dataclasses.replace(SMALL, epochs=20))


def test_it_learns_what_a_word_costs(taught: LanguageModel):
    for target in ("joules-static", "tsc-static"):
        models = taught.others.error[target]["models"]
        # Of packages that it has not seen, and far better than the constant, which knows nothing of the word.
        assert models["lora"]["r2"] > 0.6 and models["constant"]["r2"] < 0.1
        assert models["lora"]["spearman"] > 0.8
    said = scoring.said_of(taught, [text_of(row.facts, "source", SMALL.tokens) for row in rows("z", 12)])
    values, low, high, why = taught.levels("joules", said, [True] * 12)
    truth = [row.log10["joules"] for row in rows("z", 12)]
    assert np.abs(values - truth).mean() < 0.5
    assert np.mean((low <= truth) & (truth <= high)) >= 0.6
    assert why == [""] * 12
    assert taught.cost["prediction"] > 0 and taught.cost["start"] > 0
    assert taught.others.summary == {"projects": 6, "tests": 144}


def test_it_is_the_same_for_a_seed(tiny: Path, whole: LanguageModel):
    assert same(learned(tiny), whole)


@pytest.mark.parametrize("after", [1, 4, 12])
def test_it_goes_on_after_any_epoch(
    after: int, tiny: Path, tmp_path: Path, whole: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    epochs = []
    own = Teacher.epoch

    def stopped(self, number, told):
        if len(epochs) == after:
            raise KeyboardInterrupt
        epochs.append(number)
        own(self, number, told)

    monkeypatch.setattr(Teacher, "epoch", stopped)
    where = Where(checkpoint=tmp_path / "unfinished")
    if after < 12:
        with pytest.raises(KeyboardInterrupt):
            learned(tiny, where)
        assert (tmp_path / "unfinished").exists()
    else:
        learned(tiny, where)  # ended between the last epoch and writing the model
    assert len(epochs) == after
    monkeypatch.setattr(Teacher, "epoch", lambda self, number, told: (epochs.append(number), own(self, number, told)))
    assert same(learned(tiny, where), whole)
    assert epochs == [0, 1, 2] * 4  # three parts held out, and all tests: none twice


def test_what_was_kept_of_another_training_is_not_gone_on_with(tiny: Path, tmp_path: Path):
    kept = checkpoint.Checkpoint(tmp_path / "unfinished", "one")
    kept.save(checkpoint.Progress(2, 1, {"a": np.ones(2)}, {"0": np.zeros((1, 1))}))
    again = kept.load()
    assert (again.part, again.epochs, again.state["a"].tolist()) == (2, 1, [1, 1]) and "0" in again.held_out
    assert checkpoint.Checkpoint(tmp_path / "unfinished", "other").load() == checkpoint.Progress()
    (tmp_path / "unfinished").write_bytes((tmp_path / "unfinished").read_bytes()[:-9])
    assert kept.load() == checkpoint.Progress()


def test_a_device_that_vanishes(tiny: Path, tmp_path: Path, whole: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    own = Teacher.epoch

    def lost(self, number, told):
        if number == 1:
            raise RuntimeError("CUDA error: device lost\nsecond line")
        own(self, number, told)

    monkeypatch.setattr(Teacher, "epoch", lost)
    monkeypatch.setattr(learning, "device_errors", lambda device: network.device_errors("cuda"))
    with pytest.raises(ModelError, match=r"the cuda device failed \(CUDA error: device lost second line\): what was finished is"):
        learned(tiny, Where(checkpoint=tmp_path / "unfinished"))
    monkeypatch.setattr(Teacher, "epoch", own)
    assert same(learned(tiny, Where(checkpoint=tmp_path / "unfinished")), whole)


def test_a_base_model_that_lacks_weights(tiny: Path, tmp_path: Path):
    folder = make(tmp_path / "short", num_hidden_layers=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ModelError, match="lacks 16 weights"):
        learned(folder)
    (folder / "model.safetensors").write_bytes(b"nothing at all")
    with pytest.raises(ModelError, match="cannot be loaded"):
        learned(folder)


# The command, and a run


def test_the_command_and_the_process_that_scores(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    data_set(tmp_path / "data", ROWS)
    given = ("train", "--model=lora", "--dataset=data", f"--base-model={tiny}", *OPTIONS, "--out=m/lora.npz")
    out = said(capsys, *given)
    assert f"learned from 144 tests of 6 packages, adapting {tiny}" in " ".join(out.split())
    table = [line.split() for line in out.splitlines() if line.strip().startswith(("constant", "> lora"))]
    assert [line[0] for line in table] == ["constant", ">"] * 3
    assert out.splitlines()[-1] == "next: pytest --energy-predict=m/lora.npz"
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["lora.npz"]
    found = model.load(Path("m/lora.npz"))
    assert found.targets == ("joules", "seconds", "tsc") and found.others.change is not None
    texts = [text_of(row.facts, "source", SMALL.tokens) for row in ROWS[:5]]
    assert scoring.asked(Path("m/lora.npz"), texts).tolist() == scoring.said_of(found, texts).tolist()
    assert "torch finds no CUDA device here" in refused(capsys, *given, "--device=cuda")


def test_a_run_says_what_it_costs_and_what_new_tests_will(shop: Inner, tiny: Path, whole: LanguageModel):
    model.save(shop.path / "lora.npz", whole)
    edit(shop, "test_shop.py", "def test_loud", "def test_new():\n    assert heavy(1)\n\ndef test_loud")
    edit(shop, "shop.py", "    result = 0\n", "    result = 0\n    n = n + n\n")
    result = shop.run("--energy-predict=lora.npz", "--collect-only", "--energy-json=r.json", energy=False)
    out = " ".join(result.stdout.str().split())
    assert "energy: a language model is asked about 1 new test: about " in out and " ms a test)" in out
    tests = {one["nodeid"]: one["prediction"] for one in json.loads((shop.path / "r.json").read_text())["tests"]}
    new = tests["test_shop.py::test_new"]
    assert (new["state"], new["model"]) == ("new", "lora")
    assert new["interval"][0] < new["joules"] < new["interval"][1]
    assert abs(np.log10(new["joules"]) - COSTS["heavy"]) < 1
    # Of changes it knows what its other part does, here nothing: they stay unknown, and unchanged tests unchanged.
    assert {one["state"] for name, one in tests.items() if name != "test_shop.py::test_new"} <= {"unknown", "unchanged"}

    other = {**whole.base, "folder": str(make(shop.path / "other", seed=9))}
    model.save(shop.path / "lora.npz", dataclasses.replace(whole, base=other))
    result = shop.run("--energy-predict=lora.npz", "--collect-only", energy=False)
    assert "is not the one that was adapted" in " ".join(result.stdout.str().split())
