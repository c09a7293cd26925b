"""``joules train --model=lora`` and ``pytest --energy-predict`` with its file, as far as they need no torch."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from changing_shop import edit
from foretold import double, shop
from inner import Inner
from language_data import base_folder, data_set, language_model, rows
from predictor_project import refused, said

from pytest_joules.language_model import base, extra, model
from pytest_joules.predict.model_file import save
from pytest_joules.predict.train import learning

assert shop  # a fixture


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "transformers", "peft"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(extra, "find_spec", lambda name: None)


@pytest.fixture
def with_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as anybody can see who does not import it."""
    monkeypatch.setattr(extra, "need", lambda: None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    base_folder(tmp_path / "base")
    base_folder(tmp_path / "large", num_hidden_layers=24, hidden_size=1024, max_position_embeddings=512)
    data_set(tmp_path / "data", rows("abcde", 6))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lora-rank=4"], "--lora-rank says how a language model is trained: add --model=lora, or leave it out"),
        (["--model=linear", "--epochs=2"], "--epochs says how"),
        (["--model=bow", "--seed=0"], "--seed says how"),
        (["--base-model=base"], "--base-model says how"),
        (["--device=cpu"], "--device says how"),
        (["--model=lora", "--backend=threading"], "--backend=threading: a language model is trained in one process"),
        (["--model=lora", "--representation=ast", "--representation=source"], "reads one text of a test, and 2 are named"),
        (["--model=lora", "--representation=pixels"], "reads one of source, ast, bytecode"),
        (["--model=lora", "--representation=counts"], "reads one of source, ast, bytecode"),
    ],
)
def test_options_that_mean_nothing(arguments: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]):
    assert words in refused(capsys, "train", *arguments, code=2)


@pytest.mark.parametrize("option", ["--lora-tokens=8", "--lora-rank=0", "--epochs=x", "--seed=-1", "--lora-layers=1e3"])
def test_numbers_that_are_none(option: str, here: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        said(capsys, "train", "--model=lora", option)
    assert ended.value.code == 2
    assert "is no whole number from" in capsys.readouterr().err


@pytest.mark.usefixtures("without_extra")
def test_train_without_the_extra(here: Path, capsys: pytest.CaptureFixture[str]):
    err = refused(capsys, "train", "--model=lora", "--dataset=data")
    assert err == 'joules: the language model needs torch, transformers, peft: pip install "pytest-joules[lora]"'
    assert "torch" not in sys.modules


@pytest.mark.usefixtures("with_extra")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--base-model=nowhere"], "there is no base model in"),
        (["--base-model=base", "--lora-layers=3"], "the base model has 2 layers: --lora-layers=3 is too many"),
        (["--base-model=base", "--lora-layers=2", "--lora-tokens=65"], "reads 64 tokens at most: --lora-tokens=65 is too many"),
        (["--base-model=large", "--lora-layers=24", "--lora-rank=64"], "lower --lora-rank=64"),
        (["--base-model=base", "--lora-layers=2", "--lora-tokens=64"], "Run pytest --energy first"),
        (["--base-model=base", "--lora-layers=2", "--lora-tokens=64", "--dataset=nowhere"], "there is no data set in nowhere"),
    ],
)
def test_what_is_not_there(arguments: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]):
    assert words in refused(capsys, "train", "--model=lora", *arguments)
    assert not list(here.glob("**/*.npz*"))


@pytest.mark.usefixtures("with_extra")
def test_too_few_packages(here: Path, capsys: pytest.CaptureFixture[str]):
    options = ("--model=lora", "--base-model=base", "--lora-layers=2", "--lora-tokens=64")
    (here / "data" / "records" / "e.jsonl").unlink()
    err = refused(capsys, "train", *options, "--dataset=data")
    assert "the tests are of 4 packages" in err and "collect 5 or more" in err
    data_set(here / "few", rows("abcde", 3))
    assert "15 tests with a known cost are too few" in refused(capsys, "train", *options, "--dataset=few")


# In a run of pytest


@pytest.mark.parametrize("options", [(), pytest.param(("-n1",), marks=pytest.mark.inner_plugins("xdist"))])
def test_a_run_without_the_extra(options: tuple[str, ...], shop: Inner, tmp_path: Path):
    if options:
        pytest.importorskip("xdist")
    found = base.find(base_folder(tmp_path / "base"))
    model.save(shop.path / "lora.npz", language_model(found.as_record()))
    (shop.path / "conftest.py").write_text(
        "from pytest_joules.language_model import extra\nextra.find_spec = lambda name: None\n"
        + (shop.path / "conftest.py").read_text()
    )
    edit(shop, "test_shop.py", "def test_loud", "def test_new():\n    assert 1\n\ndef test_loud")
    result = shop.run("--energy-predict=lora.npz", *options, energy=False, subprocess=True)
    out = " ".join(result.stdout.str().split())
    assert "no predictions for new tests: the language model needs torch, transformers, peft: pip install" in out
    assert '"pytest-joules[lora]"' in out and "Traceback" not in out
    assert result.ret == 0


@pytest.mark.usefixtures("without_extra")
def test_changed_tests_are_no_question_of_the_language_model(
    shop: Inner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    found = base.find(base_folder(tmp_path / "base"))
    learned = learning.learn(learning.History((), {}, None, ""), "change", targets=())[0]
    model.save(shop.path / "lora.npz", dataclasses.replace(language_model(found.as_record()), others=learned))
    save(shop.path / "model.npz", learned)
    double(shop)
    monkeypatch.chdir(shop.path)
    out = said(capsys, "predict", "--model=lora.npz")
    # The very same as of a model that has nothing else.
    assert "test_shop.py::test_total[3]" in out and out == said(capsys, "predict", "--model=model.npz")
