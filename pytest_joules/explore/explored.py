"""What was explored of a project: what was tried and what it taught, in a file beside the model."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pytest_joules.code.source_file import MOST_BYTES
from pytest_joules.explore.rewriting import functions
from pytest_joules.files import atomic, reading
from pytest_joules.files.checked import Bad
from pytest_joules.predict.level.model import within
from pytest_joules.predict.scoring import number_file
from pytest_joules.predict.scoring.arrays import indices, pack, unpack
from pytest_joules.predict.train.change import Pair, read, write

SCHEMA = "pytest-joules-explored/1"


class ExploringError(RuntimeError):
    """The project cannot be explored: one sentence."""


@dataclass(slots=True)
class Explored:
    """What was tried, and the pairs that came of it."""

    tried: dict[tuple[str, str], str] = field(default_factory=dict)
    """By function (``path::qualname``) and kind: a hash of the function as it was."""
    _taught: list[tuple[tuple[str, str], Pair]] = field(default_factory=list)

    @property
    def pairs(self) -> list[Pair]:
        """In the order in which they were found."""
        return [pair for _, pair in self._taught]

    def add(self, place: str, kind: str, digest: str, pairs: Iterable[Pair]) -> None:
        """A function was rewritten in some way."""
        self.tried[place, kind] = digest
        self._taught += [((place, kind), pair) for pair in pairs]

    def save(self, file: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            ExploringError: it cannot be written.
        """
        numbers = {tried: number for number, tried in enumerate(self.tried)}
        arrays = {f"pairs.{name}": array for name, array in (write(self.pairs) if self._taught else {}).items()}
        arrays["tried"] = pack([f"{digest} {kind}\n{place}" for (place, kind), digest in self.tried.items()])
        arrays["of"] = np.array([numbers[tried] for tried, _ in self._taught], dtype=np.int32)
        try:
            number_file.write(file, {"schema": SCHEMA}, arrays, "file of what was explored", (file.parents[2],))
        except atomic.ReportPathError as error:
            raise ExploringError(str(error)) from None

    @classmethod
    def load(cls, file: Path, root: Path) -> Explored:
        """What a file has that holds still: nothing of functions that are another now or gone, and nothing at all where there
        is no file, or where pairs had other features.

        Raises:
            ExploringError: the file cannot be read.
        """
        try:
            _, arrays = number_file.read(file, SCHEMA, "explored")
            entries = [_entry(text) for text in unpack(arrays, "tried")]
            taught = within(arrays, "pairs")
            pairs = read(taught) if taught else []
            of = indices(arrays, "of", len(entries))
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise ExploringError(f"{file} cannot be read: {error.strerror or error}") from None
        except Bad as error:
            raise ExploringError(f"{file} {error}") from None
        if len(pairs) != len(of):
            return cls()
        digests = {path: digests_of(_text(root / path)) for path in {place.partition("::")[0] for place, _, _ in entries}}
        now = {place: digests[place.partition("::")[0]].get(place.partition("::")[2]) for place, _, _ in entries}
        found = cls({(place, kind): digest for place, kind, digest in entries if digest == now[place]})
        attempts = [(place, kind) for place, kind, _ in entries]
        found._taught = [(attempts[at], pair) for at, pair in zip(of, pairs, strict=True) if attempts[at] in found.tried]
        return found


def digests_of(text: str) -> dict[str, str]:
    """Hashes of the functions of a file with that text, by qualified name."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    dumped = ((name, ast.dump(node)) for name, node in functions(module))
    return {name: hashlib.blake2b(code.encode(), digest_size=8).hexdigest() for name, code in dumped}


def _entry(text: str) -> tuple[str, str, str]:
    """Place, kind and digest."""
    head, line, place = text.partition("\n")
    digest, space, kind = head.partition(" ")
    if not (line and space):
        raise Bad("names what is no attempt")
    return place, kind, digest


def _text(path: Path) -> str:
    try:
        return reading.read_text(path, MOST_BYTES)
    except (OSError, ValueError):
        return ""
