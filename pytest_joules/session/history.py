"""Our folder in pytest's cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_joules.files import atomic

if TYPE_CHECKING:
    import pytest

_REMEDY = "name a place with --energy-store=FILE"


class NoCache(Exception):
    """There is none: one sentence, for everybody who asks."""


def folder(config: pytest.Config) -> Path:
    """The folder, made where need be.

    Raises:
        NoCache: the cache is switched off, cannot be written, or leads elsewhere.
    """
    cache: Any = getattr(config, "cache", None)
    if cache is None:
        raise NoCache(f"pytest's cache is switched off (-p no:cacheprovider); {_REMEDY}")
    try:
        found = Path(cache.mkdir("joules"))
    except OSError as error:
        raise NoCache(f"pytest's cache directory cannot be written: {error}; set cache_dir, or {_REMEDY}") from None
    try:
        for path in (found, found / "history.db"):
            atomic.stay(path, (Path(cache._cachedir),), "pytest's cache cannot be used")
    except atomic.ReportPathError as error:
        raise NoCache(str(error)) from None
    return found


def path(config: pytest.Config) -> str:
    """The history that is kept if nobody names another. Raises :class:`NoCache`."""
    return str(folder(config) / "history.db")
