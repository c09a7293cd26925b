"""A model's file: the same again when it is read, and a clear sentence for everything else."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from level_data import projects, rows

from pytest_joules.files import reading
from pytest_joules.predict.level.model import LevelModel, Seen
from pytest_joules.predict.level.regressors import KINDS
from pytest_joules.predict.model import Model, ModelError, level_key
from pytest_joules.predict.model_file import is_numbers, load, save
from pytest_joules.predict.model_predictor import ModelPredictor
from pytest_joules.predict.scoring import number_file
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.train.fitting import Table, fit
from pytest_joules.predict.train.level import features, train_level
from pytest_joules.predict.trusted import load_trusted

ROWS = rows(60)


def level(kind: str) -> LevelModel:
    table = Table.of(features(ROWS, ("bytecode",), ran=True))
    truth = np.array([row.log10["joules"] for row in ROWS])
    seen = Seen(table.names, np.asarray(table.matrix.max(axis=0).todense()).ravel(), 0.1)
    return LevelModel(("bytecode",), fit(kind, table, truth), Conformal.fit(truth, truth * 0.1), seen)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "model.npz"
    save(path, Model("boosted", {level_key("joules", ran=True): level("boosted")}, summary={"tests": 60}))
    return path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_read_says_the_same(kind: str, tmp_path: Path):
    path = tmp_path / "a" / "b" / "model.npz"
    model = Model(kind, {level_key("joules", ran=True): level(kind)}, last=Conformal.fit(np.zeros(3), np.arange(3.0)))
    save(path, model)
    again = load(path)
    asked = [row.facts for row in rows(20, seed=9)]
    assert ModelPredictor(again).levels(asked) == ModelPredictor(model).levels(asked)
    assert again.name == ModelPredictor(again).name == kind
    assert again.last is not None and again.last.interval(np.zeros(1)) == model.last.interval(np.zeros(1))
    assert list(path.parent.iterdir()) == [path]


def test_a_model_that_looks_at_what_is_not_computed(tmp_path: Path):
    other = dataclasses.replace(level("constant"), representations=("native",))
    save(tmp_path / "model.npz", Model("constant", {level_key("joules", ran=True): other}))
    with pytest.raises(ModelError, match="representations that are not known here: 'native'"):
        load(tmp_path / "model.npz")


def test_a_model_of_several_projects_keeps_how_it_adapts(tmp_path: Path):
    trained = train_level(projects("abcdef", 30), "joules", ran=True, kinds=("linear",)).model
    assert trained.adaptation is not None
    save(tmp_path / "m", Model("linear", {"joules-ran": trained}))
    again = load(tmp_path / "m").level["joules-ran"]
    new = rows(40, offset=2.0, seed=77)
    measured = [(row.facts, row.log10["joules"]) for row in new[:20]]
    asked = [row.facts for row in new[20:]]
    for before, after in zip(trained.predict(asked, measured), again.predict(asked, measured), strict=True):
        assert np.array_equal(before, after)
    # It was told of a factor of a hundred that no project had in training.
    truth = np.array([row.log10["joules"] for row in new[20:]])
    assert np.abs(again.predict(asked, measured).values - truth).mean() < 0.4 < np.abs(again.predict(asked).values - truth).mean()


def test_what_it_was_learned_from_is_in_the_file(tmp_path: Path, made: bytes):
    path = tmp_path / "model.npz"
    path.write_bytes(made)
    assert load(path).summary == {"tests": 60}
    manifest = json.loads(zipfile.ZipFile(path).read("manifest.json"))
    assert manifest["schema"] == "pytest-joules-model/1"
    assert {"features", "error", "created", "plugin", "python", "hash"} <= manifest.keys()


# What is wrong with a file


def packed(made: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    """The file with other members."""
    old = zipfile.ZipFile(io.BytesIO(made))
    members = {name: old.read(name) for name in old.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def with_manifest(made: bytes, **other: object) -> bytes:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | other).encode()

    return packed(made, change)


def rehashed(made: bytes, name: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """The file with another array and the hash that fits: not damaged, but made to harm."""

    def swap(members: dict[str, bytes]) -> None:
        arrays = {key[:-4]: np.load(io.BytesIO(data)) for key, data in members.items() if key.endswith(".npy")}
        arrays[name] = change(arrays[name])
        file = io.BytesIO()
        np.save(file, arrays[name])
        members[f"{name}.npy"] = file.getvalue()
        manifest = json.loads(members["manifest.json"])
        manifest["hash"] = number_file.hash_of(manifest, arrays)
        members["manifest.json"] = json.dumps(manifest).encode()

    return packed(made, swap)


def array(shape: str, data: bytes = b"", kind: str = "<f8") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def names(count: int) -> np.ndarray:
    return np.frombuffer(json.dumps([str(number) for number in range(count)]).encode(), np.uint8)


def with_trees(made: bytes, nodes: int, roots: int = 1) -> bytes:
    """Little to read: nodes that are all the same, a byte each."""
    for name in ("feature", "threshold", "left", "right", "value"):
        made = rehashed(made, f"{PART}.{name}", lambda _: np.zeros(nodes, np.uint8))
    return rehashed(made, f"{PART}.roots", lambda _: np.zeros(roots, np.uint8))


PART = "level.joules-ran.regressor"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: b"", "no model file"),
        (lambda made: b"PK\x03\x04", "damaged"),
        (lambda made: pickle.dumps({"a": 1}), "no model file"),
        (lambda made: made[: len(made) // 2], "damaged"),
        (lambda made: made[:3000] + b"\0\0\0\0" + made[3004:], "damaged"),
        (lambda made: packed(made, lambda members: members.pop("manifest.json")), "no manifest.json"),
        (lambda made: packed(made, lambda members: members.update({"run.py": b""})), "'run.py'"),
        (lambda made: packed(made, lambda members: members.update({"manifest.json": b"[]"})), "JSON object"),
        (lambda made: packed(made, lambda members: members.update({"manifest.json": b"{"})), "ends too early"),
        (lambda made: packed(made, lambda members: members.update({"manifest.json": b"\xff{"})), "manifest.json"),
        (lambda made: with_manifest(made, schema="pytest-joules-model/2"), "pytest-joules-model/2"),
        (lambda made: rehashed(with_manifest(made, features="other"), f"{PART}.value", lambda old: old), "other features"),
        (lambda made: with_manifest(made, name="other"), "changed after it was written"),
        (lambda made: packed(made, lambda members: members.pop(f"{PART}.value.npy")), "changed after it was written"),
        (lambda made: packed(made, lambda members: members.update({"a.npy": b"nothing"})), "'a.npy': is no array"),
        (lambda made: packed(made, lambda members: members.update({"a.npy": array("(10**9,)")})), "no array"),
        (lambda made: packed(made, lambda members: members.update({"a.npy": array("(((((")})), "no array"),
        (lambda made: made.replace(b"PK\x05\x06\0\0\0\0", b"PK\x05\x06\0\0\0\0\xff\xff"), "damaged"),
        (lambda made: made[:40] + made[41:], "damaged"),
        (lambda made: packed(made, lambda members: members.update({"manifest.json": b"{" + b" " * 2**20})), "more than 1 MiB"),
        (lambda made: with_trees(made, nodes=600_000), "has 1 trees of 600000 nodes, more than any of ours"),
        (lambda made: with_trees(made, nodes=2000, roots=1500), "has 1500 trees of 2000 nodes, more than any of ours"),
        (lambda made: with_trees(made, nodes=15_000_000), "holds 75[0-9]{6} numbers, and no model of ours more than"),
        (lambda made: rehashed(made, f"{PART}.names", lambda _: names(600_000)), "more names than any of ours"),
        (lambda made: rehashed(made, f"{PART}.names", lambda _: np.full(3_000_000, ord("["), np.uint8)), "more names than"),
        (lambda made: packed(made, lambda members: members.update({"a.npy": array("(1000000000000,)")})), "another size"),
        (lambda made: packed(made, lambda members: members.update({"a.npy": array("(-1, -8)", b"8" * 64)})), "is an? "),
        (lambda made: packed(made, lambda members: members.update({"a.npy": array("(1,)", b"8" * 8, "|O")})), "plain numbers"),
        (lambda made: packed(made, lambda members: members.update({"a.npy": array("(1,)", b"8" * 8, "<U2")})), "plain numbers"),
        (lambda made: rehashed(made, f"{PART}.value", lambda old: old * np.nan), "no number"),
        (lambda made: rehashed(made, f"{PART}.value", lambda old: old[:-1]), "wrong shape"),
        (lambda made: rehashed(made, f"{PART}.left", lambda old: old * 0), "circle"),
        (lambda made: rehashed(made, f"{PART}.left", lambda old: old + len(old)), "not there"),
        (lambda made: rehashed(made, f"{PART}.feature", lambda old: old + 99_999), "not there"),
        (lambda made: rehashed(made, f"{PART}.names", lambda old: old[:-1]), "no list of names"),
        (lambda made: rehashed(made, "level.joules-ran.conformal.scales", lambda old: old * -1), "intervals"),
    ],
)
def test_a_file_that_is_no_model(change: Callable[[bytes], bytes], words: str, made: bytes, tmp_path: Path):
    path = tmp_path / "model.npz"
    path.write_bytes(change(made))
    with pytest.raises(ModelError, match=words) as error:
        load(path)
    assert str(path) in str(error.value)
    assert str(error.value).endswith("make a new one with joules train")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ModelError, match=r"there is no model .*joules train"):
        load(tmp_path / "model.npz")


def test_a_folder(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path)


def test_too_large_a_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "model.npz"
    with path.open("wb") as file:
        file.truncate(number_file.MOST_PACKED + 1)
    monkeypatch.setattr(reading._System, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(ModelError, match="more than 32 MiB"):
        load(path)


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "model.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        for _ in range(300):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(ModelError, match="300 MiB"):
        load(path)


@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_with_another_byte_is_refused_or_the_same(place: int, byte: int, made: bytes, tmp_path: Path):
    path = tmp_path / "model.npz"
    place %= len(made)
    path.write_bytes(made[:place] + bytes([byte]) + made[place + 1 :])
    asked = [row.facts for row in ROWS[:3]]
    try:
        found = load(path)
    except ModelError:
        return
    (tmp_path / "whole.npz").write_bytes(made)
    assert ModelPredictor(found).levels(asked) == ModelPredictor(load(tmp_path / "whole.npz")).levels(asked)


def test_where_it_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot write the model"):
        save(tmp_path / "file" / "model.npz", Model("last", last=Conformal.fit(np.zeros(3), np.arange(3.0))))


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, made: bytes, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "model.npz"
    path.write_bytes(made)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ModelError, match="No space left"):
        save(path, Model("last", last=Conformal.fit(np.zeros(3), np.arange(3.0))))
    assert path.read_bytes() == made and list(tmp_path.iterdir()) == [path]


# Files of others


class Own:
    """A predictor in a file of its own."""

    name = "own"

    def predict(self, questions):
        return []


class Tells:
    """Says when it is read."""

    def __reduce__(self):
        return os.mkdir, (os.environ["TELLS"],)


def test_a_file_of_joblib_is_read_where_its_hash_is_named(tmp_path: Path):
    path = tmp_path / "own.joblib"
    joblib.dump(Own(), path, compress=3)
    assert not is_numbers(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_trusted(path, digest).name == load_trusted(path, digest.upper()).name == "own"


@pytest.mark.parametrize(
    ("digest", "words"),
    [
        (None, "runs code when it is read.*--energy-trust-model=SHA256"),
        ("0" * 64, "was not read: its SHA-256 is [0-9a-f]{64}"),
        ("abc", "64 hexadecimal digits"),
        ("g" * 64, "64 hexadecimal digits"),
        ("", "64 hexadecimal digits"),
    ],
)
def test_otherwise_nothing_in_it_is_run(digest: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TELLS", str(tmp_path / "told"))
    path = tmp_path / "own.pkl"
    path.write_bytes(pickle.dumps(Tells()))
    with pytest.raises(ModelError, match=words):
        load_trusted(path, digest)
    with pytest.raises(ModelError):
        load(path)
    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"nothing", "cannot be read by joblib"),
        (pickle.dumps([1]), "is no predictor but a list"),
        (pickle.dumps(Own), "is no predictor but a type"),
    ],
)
def test_a_trusted_file_that_is_no_predictor(data: bytes, words: str, tmp_path: Path):
    path = tmp_path / "own.pkl"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=words):
        load_trusted(path, hashlib.sha256(data).hexdigest())
