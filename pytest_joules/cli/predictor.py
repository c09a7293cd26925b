"""What ``joules train``, ``predict`` and ``evaluate`` have in common."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli import locate
from pytest_joules.predict.choices import MODEL_FILE

if TYPE_CHECKING:
    from pytest_joules.store import Store


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the history is, and in what form to answer."""
    locate.add_options(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


class NoHistoryError(Exception):
    """What to say where there is none."""


@contextlib.contextmanager
def opened(given: argparse.Namespace) -> Iterator[Store]:
    """The history.

    Raises:
        NoHistoryError: there is none.
        StoreError: it cannot be opened.
    """
    place = locate.place(given)
    if place is None:
        raise NoHistoryError(locate.NO_HISTORY)
    with locate.opened(place) as store:
        yield store


def model_beside(given: argparse.Namespace) -> Path:
    """Where the model is if nobody says: where ``pytest --energy-predict`` looks."""
    cache = locate.cache(given) or Path.cwd() / ".pytest_cache"
    return cache / locate.HISTORY.parent / MODEL_FILE


def root_of(given: argparse.Namespace) -> Path:
    """The project's root folder: that of the paths in the history."""
    if getattr(given, "root", None) is not None:
        return Path(given.root)
    cache = locate.cache(given)
    return cache.parent if cache is not None and cache.name == ".pytest_cache" else Path.cwd()


def many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def figure(value: object) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def factor(error: float | None) -> str:
    return "-" if error is None else f"{10**error:.2f}×"
