"""A trained model: its parts, and what each is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_joules.predict.level.model import LevelModel
from pytest_joules.predict.scoring.conformal import Conformal

if TYPE_CHECKING:
    from pytest_joules.predict.change.model import ChangeModel


#: The file beside the history, in pytest's cache folder.
NAME = "model.npz"


class ModelError(ValueError):
    """A model that cannot be used: one sentence with the file, what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Model:
    """All that ``joules train`` learned."""

    name: str
    """Of the predictor that it is: ``change``, or the kind of a level model, or ``last``."""
    level: Mapping[str, LevelModel] = field(default_factory=dict)
    """By :func:`level_key`."""
    change: ChangeModel | None = None
    last: Conformal | None = None
    """How far a test's measurements lie apart while its code stays the same, in log10."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """What it was learned from: ``tests``, ``projects``, ``sessions``, ``pairs``, ``machine``, ``source``."""
    error: Mapping[str, Any] = field(default_factory=dict)
    """Cross-validated, by target and model."""
    created: str = ""
    """When, as ISO 8601 in UTC."""


def level_key(target: str, *, ran: bool) -> str:
    """The level model for tests whose last run was watched (on another machine, say), or that never ran."""
    return f"{target}-{'ran' if ran else 'static'}"
