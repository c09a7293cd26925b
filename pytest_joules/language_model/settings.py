"""How large a language model is, and how it is taught."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_joules.files import checked
from pytest_joules.files.checked import Bad

#: The least and the most that each may be.
BOUNDS: Mapping[str, tuple[int, int]] = {
    "rank": (1, 64),
    "layers": (1, 48),
    "tokens": (16, 512),
    "epochs": (1, 100),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``joules train --model=lora`` may be told."""

    rank: int = 8
    """Of the matrices that adapt the attention."""
    layers: int = 2
    """Of the base model, the first ones; those above are left out."""
    tokens: int = 64
    """Of a test's text, at most."""
    epochs: int = 3
    seed: int = 0

    def as_record(self) -> dict[str, int]:
        """For the manifest."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Settings:
        """Out of a manifest.

        Raises:
            Bad: they are none of ours.
        """
        found = {name: checked.required(record, name, int) for name in BOUNDS}
        for name, (least, most) in BOUNDS.items():
            if isinstance(found[name], bool) or not least <= found[name] <= most:
                raise Bad(f"has {name} {checked.shown(found[name])}, and {least} to {most} are possible")
        return cls(**found)
