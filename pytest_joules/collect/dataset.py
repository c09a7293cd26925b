"""The tests of a data set that ``joules collect`` made, to learn from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias, TypeVar

from pytest_joules.collect import SCHEMA
from pytest_joules.files import reading
from pytest_joules.files.checked import Bad, decode, list_of, required, shown
from pytest_joules.model import OTHER, Code
from pytest_joules.predict.facts.of_test import TestFacts, facts_of
from pytest_joules.predict.train.fitting import TrainingError
from pytest_joules.predict.train.level import Row

#: What quantity of a repetition each target is.
_QUANTITY = {"joules": "energy", "seconds": "duration", "tsc": "tsc"}

#: Bytes of a package's file, and of one line in it.
_MOST_BYTES = 2**30
_LONGEST = 16 * 2**20

#: A line, as the file has it: whatever is asked of it may not be there, or of another kind.
_Line: TypeAlias = "Mapping[str, Any]"
_Found = TypeVar("_Found")

#: Repetitions that a test has at least.
FEWEST = 5


def rows(folder: Path) -> Iterator[Row]:
    """The tests that passed and whose runs were watched whole (no processes, no threads, no random examples), with the medians
    over their repetitions; a package is a project.

    Raises:
        TrainingError: this is no data set.
    """
    for file in _files(folder):
        yield from _of_file(file, _measured)


def unlabelled(folder: Path) -> Iterator[tuple[str, TestFacts]]:
    """With their package, the tests that :func:`rows` leaves out and whose code is known: what they cost, nobody knows.

    Raises:
        TrainingError: this is no data set.
    """
    for file in _files(folder):
        yield from _of_file(file, _unlabelled)


def digest(folder: Path) -> str:
    """A hash of all records.

    Raises:
        TrainingError: this is no data set.
    """
    found = hashlib.blake2b(digest_size=16)
    file = folder
    try:
        for file in _files(folder):
            found.update(f"{file.name} {hashlib.blake2b(reading.read_bytes(file, _MOST_BYTES)).hexdigest()}\n".encode())
    except OSError as error:
        raise TrainingError(f"{file} cannot be read ({error.strerror or error})") from None
    return found.hexdigest()


def machine_of(folder: Path) -> tuple[str | None, str]:
    """The machine that measured the data set (the latest run's, ``None``: not known), and what it measured joules with."""
    try:
        manifest = decode(reading.read_text(folder / "manifest.json", _LONGEST))
        package: _Line = _decoded(next(reading.lines(_files(folder)[0], _MOST_BYTES, _LONGEST)))
        return str(required(manifest, "machine", dict)["id"]), "+".join(source["name"] for source in package["sources"])
    except (Bad, OSError, LookupError, TypeError, StopIteration):
        return None, ""


def _files(folder: Path) -> list[Path]:
    files = sorted((folder / "records").glob("*.jsonl"))
    if not files:
        raise TrainingError(f"there is no data set in {folder}: make one with joules collect")
    return files


def _of_file(file: Path, of_package: Callable[[Iterator[_Line]], Iterator[_Found]]) -> list[_Found]:
    try:
        return list(of_package(map(_decoded, reading.lines(file, _MOST_BYTES, _LONGEST))))
    except (Bad, OSError, LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        what = f"is no file of joules collect ({type(error).__name__})"
        if isinstance(error, Bad | OSError):
            what = str(error) if isinstance(error, Bad) else f"cannot be read ({error.strerror or error})"
        raise TrainingError(f"{file} {what}: collect it anew, or remove it") from None


def _decoded(line: str) -> _Line:
    if not line.startswith("{"):
        raise Bad("is no file of joules collect")
    return decode(line)


def _measured(lines: Iterator[_Line]) -> Iterator[Row]:
    for line, functions, sources in _tests(lines):
        if _watched(line):
            row = _row(line, functions, sources)
            if row.log10:
                yield row


def _unlabelled(lines: Iterator[_Line]) -> Iterator[tuple[str, TestFacts]]:
    for line, functions, sources in _tests(lines):
        row = _row({**line, "counts": line["counts"] or {}}, functions, sources)
        if not (_watched(line) and row.log10) and row.facts.sources:
            yield row.project, row.facts


def _watched(line: _Line) -> bool:
    """It passed, and its run was watched whole."""
    return line["outcome"] == "passed" and bool(line["counts"]) and not line.get("unknown")


def _tests(lines: Iterator[_Line]) -> Iterator[tuple[_Line, dict[int, tuple[str, str]], dict[tuple[str, str], str]]]:
    """Each test, with the functions by number and the sources by place and hash that its package had up to there."""
    functions: dict[int, tuple[str, str]] = {}
    sources: dict[tuple[str, str], str] = {}
    for line in lines:
        kind = required(line, "kind", str)
        if kind == "package":
            if line.get("schema") != SCHEMA:
                raise Bad(f"has the schema {shown(line.get('schema'))}, and this version reads {SCHEMA}")
        elif kind == "function":
            functions[required(line, "id", int)] = key = (required(line, "place", str), required(line, "hash", str))
            if line["source"] is not None:
                sources[key] = required(line, "source", str)
        elif kind == "test":
            yield line, functions, sources


def _row(line: _Line, functions: Mapping[int, tuple[str, str]], sources: Mapping[tuple[str, str], str]) -> Row:
    numbers: list[int] = []
    for first, last in list_of(line, "functions", list):
        if not 0 <= last - first < len(functions) - len(numbers):
            raise Bad(f"names functions ({shown([first, last])}) that are not there")
        numbers += range(first, last + 1)
    counts = {functions[int(number)][0]: [int(count) for count in counted] for number, counted in line["counts"].items()}
    if line["other_calls"] is not None:
        counts[OTHER] = [int(line["other_calls"])]
    log10 = {}
    for target, quantity in _QUANTITY.items():
        values = [value for value in line["repetitions"][quantity] or () if value]
        if len(values) >= FEWEST:
            log10[target] = math.log10(median(values))
    executed = dict(functions[number] for number in numbers)
    outside = {
        functions[int(number)][0]: {callee: [int(value) for value in values] for callee, values in inside.items()}
        for number, inside in line.get("outside", {}).items()  # older ones have none
    }
    code: Code = {"fingerprint": None, "unknown": [], "functions": executed, "counts": counts, "outside": outside}
    return Row(facts_of(line["nodeid"], code, sources), line["package"], log10)
