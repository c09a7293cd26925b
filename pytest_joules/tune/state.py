"""What a search has found out so far, beside its output: whoever stops it can go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pytest_joules.files import atomic
from pytest_joules.files.checked import Bad, list_of, number, required
from pytest_joules.predict.scoring import number_file
from pytest_joules.predict.scoring.arrays import Array, floats

SCHEMA = "pytest-joules-tuning/1"


@dataclass(slots=True)
class State:
    """Of one search: of a data set, a seed and a space, which its ``key`` tells apart."""

    path: Path
    key: str
    spent: float = 0.0
    """Seconds of its budget, up to now."""
    folds: dict[tuple[str, int], Array] = field(default_factory=dict)
    """By a unit's text and the fold: log10 of each test in the fold, predicted without it."""
    blocks: dict[str, Array] = field(default_factory=dict)
    """By a configuration's text, what a prediction took, a row a block, as :class:`~pytest_joules.tune.measuring.Taken` has
    them; not a number: unknown."""
    sources: str = ""
    """What measured these blocks, and where."""

    @classmethod
    def load(cls, path: Path, key: str) -> tuple[State, str]:
        """What is there, and what to say where it is of no use."""
        fresh = cls(path, key)
        try:
            manifest, arrays = number_file.read(path, SCHEMA, "search")
            if required(manifest, "key", str) != key:
                return fresh, f"{path} is of another data set, seed or version: the search begins anew"
            fresh.spent = number(manifest.get("spent"), "spent")
            for place, text in enumerate(list_of(manifest, "folds", str)):
                unit, _, fold = text.rpartition(" #")
                fresh.folds[unit, int(fold)] = floats(arrays, f"fold{place}", 1)
            fresh.sources = required(manifest, "sources", str)
            for place, text in enumerate(list_of(manifest, "blocks", str)):
                fresh.blocks[text] = np.asarray(arrays[f"blocks{place}"], float).reshape(-1, 3)
        except FileNotFoundError:
            return fresh, ""
        except (Bad, OSError, KeyError, ValueError) as error:
            return cls(path, key), f"{path} cannot be read ({error}): the search begins anew"
        return fresh, ""

    def save(self) -> None:
        """Write it, whole or not at all.

        Raises:
            pytest_joules.files.atomic.ReportPathError: it cannot be written.
        """
        manifest = {
            "schema": SCHEMA,
            "key": self.key,
            "spent": self.spent,
            "folds": [f"{unit} #{fold}" for unit, fold in self.folds],
            "blocks": list(self.blocks),
            "sources": self.sources,
        }
        arrays = {f"fold{place}": values for place, values in enumerate(self.folds.values())}
        arrays |= {f"blocks{place}": values for place, values in enumerate(self.blocks.values())}
        number_file.write(self.path, manifest, arrays, "search's state", ())

    def check(self) -> None:
        """Raises :class:`pytest_joules.files.atomic.ReportPathError` where it could not be written."""
        atomic.check(self.path, "the search's state")

    def predicted(self, unit: str, fold: Array) -> Array:
        """Of each test, what was predicted; not a number: nothing yet. ``fold``: of each test."""
        values = np.full(len(fold), np.nan)
        for (text, place), own in self.folds.items():
            if text == unit:
                values[fold == place] = own
        return values
