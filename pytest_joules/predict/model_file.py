"""A model as a file of numbers: loading it runs nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

from pytest_joules import __version__
from pytest_joules.files import atomic, checked, reading
from pytest_joules.files.checked import Bad
from pytest_joules.predict.facts.features import SCHEMA as FEATURES
from pytest_joules.predict.level.model import LevelModel, within
from pytest_joules.predict.model import LearnedFrom, Model, ModelError
from pytest_joules.predict.scoring import number_file
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.scoring.conformal import Conformal

SCHEMA = "pytest-joules-model/1"


def save(path: str | os.PathLike[str], model: Model, inside: Sequence[Path] = ()) -> None:
    """Write the file, whole or not at all, and not out of these folders; missing ones are made.

    Raises:
        ModelError: it cannot be written.
    """
    parts: dict[str, Mapping[str, Array]] = {f"level.{key}": level.arrays() for key, level in model.level.items()}
    if model.change is not None:
        parts["change"] = model.change.arrays()
    if model.last is not None:
        parts["last"] = model.last.arrays()
    manifest = {
        "schema": SCHEMA,
        "name": model.name,
        "features": FEATURES,
        "levels": {
            key: {"kind": level.regressor.kind, "representations": list(level.representations)}
            for key, level in model.level.items()
        },
        "change": model.change is not None,
        "last": model.last is not None,
        "summary": dict(model.summary),
        "error": dict(model.error),
        "created": model.created or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "plugin": __version__,
        "python": platform.python_version(),
    }
    arrays = {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
    try:
        number_file.write(path, manifest, arrays, "model", inside)
    except atomic.ReportPathError as error:
        raise ModelError(str(error)) from None


def is_numbers(path: str | os.PathLike[str]) -> bool:
    """Whether a file may be one of ours (a zip archive), rather than one that only joblib or pickle can read."""
    try:
        return reading.head(path, 4) == b"PK\x03\x04"
    except OSError:
        return True  # load() says what is wrong with it


def load(path: str | os.PathLike[str]) -> Model:
    """The model in a file.

    Raises:
        ModelError: there is none, or it is no model for this version of the plugin.
    """
    place = Path(path)
    try:
        return _model(*number_file.read(place, SCHEMA, "model"))
    except FileNotFoundError:
        raise ModelError(f"there is no model {place}: make one with joules train") from None
    except OSError as error:
        raise ModelError(f"the model {place} cannot be read: {error.strerror or error}") from None
    except Bad as error:
        raise ModelError(f"the model {place} {error}: make a new one with joules train") from None


def _model(manifest: Mapping[str, object], arrays: dict[str, Array]) -> Model:
    if manifest.get("features") != FEATURES:
        found = checked.shown(manifest.get("features"))
        raise Bad(f"was trained on other features (version {found}) than this version computes ({FEATURES})")
    level = {}
    for key, facts in checked.required(manifest, "levels", dict).items():
        if not isinstance(facts, dict):
            raise Bad(f"'levels' holds {checked.shown(facts)}")
        representations = checked.list_of(facts, "representations", str)
        level[key] = LevelModel.from_arrays(checked.required(facts, "kind", str), representations, within(arrays, f"level.{key}"))
    change = None
    if checked.required(manifest, "change", bool):
        from pytest_joules.predict.change.model import ChangeModel

        error = checked.required(manifest, "error", dict).get("change")
        change = ChangeModel.from_arrays(within(arrays, "change"), error if isinstance(error, dict) else None)
    last = Conformal.from_arrays(within(arrays, "last")) if checked.required(manifest, "last", bool) else None
    return Model(
        checked.required(manifest, "name", str),
        level,
        change,
        last,
        cast("LearnedFrom", checked.required(manifest, "summary", dict)),
        checked.required(manifest, "error", dict),
        checked.required(manifest, "created", str),
    )
