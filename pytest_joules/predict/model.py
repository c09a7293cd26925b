"""A trained model: its parts, and what each is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

if TYPE_CHECKING:  # whoever asks for a ModelError need not wait for numpy
    from pytest_joules.predict.change.model import ChangeModel
    from pytest_joules.predict.level.model import LevelModel
    from pytest_joules.predict.scoring.conformal import Conformal

#: How far a part of a model was off, as its file has it: a version's own figures.
ErrorRecord: TypeAlias = "Mapping[str, Any]"


class LearnedFrom(TypedDict, total=False):
    """What a model was learned from."""

    tests: int
    projects: int
    sessions: int
    pairs: dict[str, int]
    """Of versions, by where they come from: ``history``, ``explored``, ``shipped``."""
    machine: str | None
    source: str


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
    summary: LearnedFrom = field(default_factory=LearnedFrom)
    error: Mapping[str, ErrorRecord] = field(default_factory=dict)
    """Cross-validated, by :func:`level_key`, and of ``change``."""
    created: str = ""
    """When, as ISO 8601 in UTC."""


def level_key(target: str, *, ran: bool) -> str:
    """The level model for tests whose last run was watched (on another machine, say), or that never ran."""
    return f"{target}-{'ran' if ran else 'static'}"
