"""Where the history is that a command is asked about."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli.output import refuse

if TYPE_CHECKING:
    from pytest_joules.store import Store

#: Of the history, in pytest's cache folder.
HISTORY = Path("d", "joules", "history.db")

NO_HISTORY = (
    "no history here: neither this folder nor one above it has .pytest_cache/d/joules/history.db. "
    "Run pytest --energy first, or name the cache with --cache-dir=DIR or the history with --store=URL."
)

NOTHING = "the history holds no measurements yet: run pytest --energy first."


def add_options(parser: argparse.ArgumentParser) -> None:
    """The two that say where it is."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cache-dir", type=Path, metavar="DIR", help="pytest's cache (default: the nearest .pytest_cache)")
    where.add_argument("--store", metavar="URL", help="the history, as in pytest --energy-store")


def cache(given: argparse.Namespace) -> Path | None:
    """The cache folder that is named, or the nearest with a history, from the current folder upwards."""
    if given.cache_dir is not None:
        return Path(given.cache_dir)
    here = Path.cwd()
    places = (folder / ".pytest_cache" for folder in (here, *here.parents))
    return next((place for place in places if (place / HISTORY).is_file()), None)


def place(given: argparse.Namespace) -> str | Path | None:
    """The history that is named, or the nearest; ``None``: there is none."""
    if given.store:
        return str(given.store)
    folder = cache(given)
    return folder / HISTORY if folder is not None else None


@contextlib.contextmanager
def opened(place: str | Path, *, write: bool = False) -> Iterator[Store]:
    """The history there; what there is to say of it goes to the standard error.

    Raises:
        StoreError: it cannot be opened.
    """
    from pytest_joules.store import open_store

    store = open_store(place, write=write)
    try:
        yield store
    finally:
        store.close()
        for notice in store.notices:
            refuse(notice)
