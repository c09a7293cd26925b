"""Saved sessions to compare with: their files, where they stand, and what a run does with them."""

from __future__ import annotations

from pytest_joules.baseline.accepting import update
from pytest_joules.baseline.contents import Baseline, BaselineError, BaselineTest, other_models, remarks
from pytest_joules.baseline.folder import Entry, entries, find, nearest, path_of
from pytest_joules.baseline.from_json import load
from pytest_joules.baseline.saving import put, save

__all__ = [
    "Baseline",
    "BaselineError",
    "BaselineTest",
    "Entry",
    "entries",
    "find",
    "load",
    "nearest",
    "other_models",
    "path_of",
    "put",
    "remarks",
    "save",
    "update",
]
