"""How tests have developed: what earlier sessions measured of each, for who draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple


class Level(NamedTuple):
    """What one session measured of a test."""

    created: str
    """ISO 8601, UTC."""
    commit: str | None
    median: float
    """In the unit of its series."""


class Series(NamedTuple):
    """Measurements of a test that can be held against each other: of one machine, read or counted in one way."""

    machine: str
    source: str
    """Names of the sources, joined by ``+``, and the provenance; or what counted."""
    unit: Literal["J", "instr"]
    levels: Sequence[Level]
    """The oldest first."""


#: By node id.
Past = Mapping[str, Sequence[Series]]
