"""What has been read of source texts: in memory, and for training also on disk.

What is on disk is joblib's, which reads by unpickling: whoever can write there can have anything run. So it is kept in a folder
of the user's own, never below the repository under test, and asked only by the training command, never by a test run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pytest_joules.predict.facts.opcodes import analysed
from pytest_joules.predict.facts.parsed import UNREADABLE, body_of
from pytest_joules.predict.facts.statement import Statements
from pytest_joules.predict.facts.syntax import syntax
from pytest_joules.predict.facts.tokens import tokens

#: To be raised when the same source gives something else.
_VERSION = 1
#: Sources are kept on disk in so many pieces; one that changes makes its piece anew.
_PIECES = 64
#: What the folder holds at most; what was not asked for longest goes.
_MOST_BYTES = 256 * 2**20

_read: dict[str, tuple[Statements, dict[str, float], dict[str, float]]] = {}
"""By source text, what was found on disk."""


@lru_cache(maxsize=16_384)
def statement_features(source: str) -> Statements:
    """The statements of a function's source text, and what each does. Of a source that does not parse, and of one without a
    function: none."""
    if (read := _read.get(source)) is not None:
        return read[0]
    return _statements(source)


@lru_cache(maxsize=16_384)
def token_counts(source: str) -> dict[str, float]:
    """:func:`pytest_joules.predict.facts.tokens.tokens`, kept; not to be changed."""
    if (read := _read.get(source)) is not None:
        return read[1]
    return tokens(source)


@lru_cache(maxsize=16_384)
def syntax_counts(source: str) -> dict[str, float]:
    """:func:`pytest_joules.predict.facts.syntax.syntax`, kept; not to be changed."""
    if (read := _read.get(source)) is not None:
        return read[2]
    return syntax(source)


def _statements(source: str) -> Statements:
    try:
        return analysed(body_of(source) or ())
    except UNREADABLE:  # nested deeper than can be walked
        return analysed(())


def own_folder() -> Path:
    """The folder for caches that this system gives a user's programs."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pytest-joules"


def remember(sources: Iterable[str], folder: Path) -> None:
    """Have all representations of ``sources`` in memory, from ``folder`` where they are there; else they are made and kept there.

    For training only, see above. A folder that cannot be read or written costs the time to make them again, nothing else.
    """
    pieces: dict[int, list[str]] = {}
    for source in sorted(set(sources) - _read.keys()):
        pieces.setdefault(blake2b(source.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] % _PIECES, []).append(
            source
        )
    with _quiet():
        memory, make = _on_disk(folder)
        for piece in pieces.values():
            found: Any = None
            with contextlib.suppress(Exception):  # whatever a broken file makes of unpickling
                found = make(tuple(piece), _VERSION)
            if not _sound(found, len(piece)):
                found = made(tuple(piece), _VERSION)
            _read.update(zip(piece, found, strict=True))
        if memory is not None:
            with contextlib.suppress(Exception):  # a file that went away meanwhile
                memory.reduce_size(bytes_limit=_MOST_BYTES)
    for cached in (statement_features, token_counts, syntax_counts):
        cached.cache_clear()


def made(sources: Sequence[str], version: int) -> list[tuple[Statements, dict[str, float], dict[str, float]]]:
    """All representations of source texts that do not depend on counts."""
    return [(_statements(source), tokens(source), syntax(source)) for source in sources]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What joblib says of files that it cannot write or read concerns nobody: it is made again."""
    log = logging.getLogger("joblib")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def _on_disk(folder: Path) -> tuple[Any, Callable[[Sequence[str], int], object]]:
    """joblib's memory, where it can be used, and :func:`made` by way of it."""
    try:
        import joblib

        memory = joblib.Memory(folder, verbose=0)
        return memory, memory.cache(made)
    except (ImportError, OSError):
        return None, made


def _sound(found: object, length: int) -> bool:
    return (
        isinstance(found, list)
        and len(found) == length
        and all(isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[0], Statements) for entry in found)
    )
