"""An unfinished training beside its model: numbers, written whole after each epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_joules.files import atomic, checked
from pytest_joules.files.checked import Bad
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.scoring import number_file
from pytest_joules.predict.scoring.arrays import Array

SCHEMA = "pytest-joules-language-training/1"


def beside(path: Path) -> Path:
    """The file of the training of a model."""
    return path.with_name(f"{path.name}.unfinished")


def key_of(*parts: object) -> str:
    """The same for the same training: whatever its result follows from."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part.tobytes() if hasattr(part, "tobytes") else json.dumps(part, sort_keys=True).encode())
        found.update(b"\n")
    return found.hexdigest()


@dataclass(slots=True)
class Progress:
    """How far a training is."""

    part: int = 0
    """Folds that are done."""
    epochs: int = 0
    """Of the part that is under way."""
    state: Mapping[str, Array] = field(default_factory=dict)
    """Of the network and what teaches it; empty before the first epoch."""
    held_out: Mapping[str, Array] = field(default_factory=dict)
    """What the parts that are done said of the tests they had not seen, by their number."""


class Checkpoint:
    """Where a training is kept. ``path`` ``None``: nowhere."""

    def __init__(self, path: Path | None, key: str, inside: Sequence[Path] = ()) -> None:
        self._path, self._key, self._inside = path, key, inside

    def load(self) -> Progress:
        """Where to go on: at the beginning, if there is nothing of this very training."""
        if self._path is None:
            return Progress()
        try:
            manifest, arrays = number_file.read(self._path, SCHEMA, "training")
            if manifest.get("key") != self._key:
                return Progress()
            state, held_out = (
                {name.removeprefix(kind): array for name, array in arrays.items() if name.startswith(kind)}
                for kind in ("state.", "held_out.")
            )
            return Progress(checked.count(manifest, "part", 0), checked.count(manifest, "epochs", 0), state, held_out)
        except (OSError, Bad):
            return Progress()  # none, or one that was damaged: its work is done again

    def save(self, progress: Progress) -> None:
        """Keep it.

        Raises:
            ModelError: it cannot be written.
        """
        if self._path is None:
            return
        arrays = {f"state.{name}": array for name, array in progress.state.items()}
        arrays |= {f"held_out.{name}": array for name, array in progress.held_out.items()}
        manifest = {"schema": SCHEMA, "key": self._key, "part": progress.part, "epochs": progress.epochs}
        try:
            number_file.write(self._path, manifest, arrays, "training", self._inside)
        except atomic.ReportPathError as error:
            raise ModelError(str(error)) from None
