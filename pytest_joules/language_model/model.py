"""What is kept of a language model: adapters, head and intervals as numbers, with a manifest that says what they belong to."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import numpy as np

from pytest_joules import __version__
from pytest_joules.files import atomic, checked
from pytest_joules.files.checked import Bad
from pytest_joules.language_model import SCHEMA
from pytest_joules.language_model.network import names_of
from pytest_joules.language_model.settings import Settings
from pytest_joules.language_model.texts import REPRESENTATIONS
from pytest_joules.predict.choices import TARGETS
from pytest_joules.predict.level.model import Levels, within
from pytest_joules.predict.model import LearnedFrom, Model, ModelError
from pytest_joules.predict.scoring import number_file
from pytest_joules.predict.scoring.arrays import Array, floats
from pytest_joules.predict.scoring.conformal import Conformal

NAME = "lora"


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """All that ``joules train --model=lora`` learned."""

    settings: Settings
    base: Mapping[str, Any]
    """Of the base model: ``package``, ``version``, ``folder``, ``architecture``, ``hidden``, ``sha256``."""
    representation: str
    targets: tuple[str, ...]
    """In the order of the head's numbers."""
    numbers: Mapping[str, Array]
    """Adapters by :func:`pytest_joules.language_model.network.names_of`, ``head.weight`` (targets x hidden), ``head.bias``."""
    centre: Array
    """Of each target, log10: the head says how many of ``scale`` a test lies above it."""
    scale: Array
    costs: Array
    """Of each target the least and the most that a test cost, log10: nothing is known beyond."""
    conformal: Mapping[str, Conformal]
    """By target, from what was held out."""
    cost: Mapping[str, float]
    """CPU seconds, measured at the end of training: ``prediction``, of one test, and ``start``, of loading all that is needed."""
    others: Model
    """What it says of changed tests, and what all of it was learned from."""

    def levels(self, target: str, said: Array, known: Sequence[bool]) -> Levels:
        """What tests cost, by what the network said of their texts (tests x targets). ``known``: whether each had a text."""
        at = self.targets.index(target)
        values = np.clip(said[:, at] * self.scale[at] + self.centre[at], *self.costs[at])
        why = ["" if one else "nothing of its code is known" for one in known]
        return Levels(values, *self.conformal[target].interval(values), why)


def save(path: Path, model: LanguageModel, inside: Sequence[Path] = ()) -> None:
    """Write the file, whole or not at all, and not out of these folders.

    Raises:
        ModelError: it cannot be written.
    """
    arrays: dict[str, Array] = {f"network.{name}": array for name, array in model.numbers.items()}
    arrays |= {"centre": model.centre, "scale": model.scale, "costs": model.costs}
    for target, conformal in model.conformal.items():
        arrays |= {f"conformal.{target}.{name}": array for name, array in conformal.arrays().items()}
    if model.others.change is not None:
        arrays |= {f"change.{name}": array for name, array in model.others.change.arrays().items()}
    manifest = {
        "schema": SCHEMA,
        "name": NAME,
        "base": dict(model.base),
        "settings": model.settings.as_record(),
        "representation": model.representation,
        "targets": list(model.targets),
        "cost": dict(model.cost),
        "change": model.others.change is not None,
        "summary": dict(model.others.summary),
        "error": dict(model.others.error),
        "created": model.others.created or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "plugin": __version__,
        "python": platform.python_version(),
    }
    try:
        number_file.write(path, manifest, arrays, "model", inside)
    except atomic.ReportPathError as error:
        raise ModelError(str(error)) from None


def load(path: Path) -> LanguageModel:
    """The model in a file. Needs nothing that the extra brings.

    Raises:
        ModelError: there is none, or it is none of ours.
    """
    try:
        return _model(*number_file.read(path, SCHEMA, "model"))
    except FileNotFoundError:
        raise ModelError(f"there is no model {path}: make one with joules train --model=lora") from None
    except OSError as error:
        raise ModelError(f"the model {path} cannot be read: {error.strerror or error}") from None
    except Bad as error:
        raise ModelError(f"the model {path} {error}: make a new one with joules train --model=lora") from None


def _model(manifest: Mapping[str, object], arrays: dict[str, Array]) -> LanguageModel:
    settings = Settings.from_record(checked.required(manifest, "settings", dict))
    base = _base(checked.required(manifest, "base", dict))
    representation = checked.required(manifest, "representation", str)
    targets = tuple(checked.list_of(manifest, "targets", str))
    if representation not in REPRESENTATIONS:
        raise Bad(f"reads a representation {checked.shown(representation)} that is not known here")
    if not targets or len(set(targets)) < len(targets) or set(targets) - set(TARGETS):
        raise Bad(f"predicts {checked.shown(list(targets))}, which is not known here")
    scale, costs = floats(arrays, "scale", 1, len(targets)), floats(arrays, "costs", 2, len(targets))
    if np.any(scale <= 0) or costs.shape[1] != 2 or np.any(costs[:, 0] > costs[:, 1]):
        raise Bad("has costs that are none")
    conformal = {target: Conformal.from_arrays(within(arrays, f"conformal.{target}")) for target in targets}
    return LanguageModel(
        settings,
        base,
        representation,
        targets,
        _numbers(within(arrays, "network"), settings, base["hidden"], len(targets)),
        floats(arrays, "centre", 1, len(targets)),
        scale,
        costs,
        conformal,
        _cost(checked.required(manifest, "cost", dict)),
        _others(manifest, arrays),
    )


def _base(found: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("architecture", "sha256"):
        checked.required(found, name, str)
    for name in ("package", "version", "folder"):
        checked.words(found, name)
    if not 1 <= checked.count(found, "hidden", 1) <= 8192:
        raise Bad(f"has a base model of {found['hidden']} numbers a token, more than any")
    return {name: found.get(name) for name in ("package", "version", "folder", "architecture", "hidden", "sha256")}


def _numbers(arrays: Mapping[str, Array], settings: Settings, hidden: int, targets: int) -> dict[str, Array]:
    """Raises ``Bad`` where one is missing, of another shape, or no number."""
    shapes: dict[str, tuple[int, ...]] = {
        name: (settings.rank, hidden) if name.endswith("A") else (hidden, settings.rank) for name in names_of(settings)
    }
    shapes |= {"head.weight": (targets, hidden), "head.bias": (targets,)}
    found = {}
    for name, shape in shapes.items():
        array = floats(arrays, name, len(shape))
        if array.shape != shape:
            raise Bad(f"{name!r} has the wrong shape: {array.shape}, not {shape}")
        found[name] = array.astype(np.float32)
    return found


def _cost(found: Mapping[str, Any]) -> dict[str, float]:
    cost = {name: float(checked.required(found, name, float)) for name in ("prediction", "start")}
    if min(cost.values()) < 0:
        raise Bad("cost less than nothing")
    return cost


def _others(manifest: Mapping[str, object], arrays: dict[str, Array]) -> Model:
    error = checked.required(manifest, "error", dict)
    change = None
    if checked.required(manifest, "change", bool):
        from pytest_joules.predict.change.model import ChangeModel

        own = error.get("change")
        change = ChangeModel.from_arrays(within(arrays, "change"), own if isinstance(own, dict) else None)
    summary = cast("LearnedFrom", checked.required(manifest, "summary", dict))
    return Model("change", {}, change, None, summary, error, checked.required(manifest, "created", str))
