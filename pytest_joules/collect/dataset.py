"""The tests of a data set that ``joules collect`` made, to learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from pytest_joules.collect import SCHEMA
from pytest_joules.files import reading
from pytest_joules.files.checked import Bad, decode, list_of, required, shown
from pytest_joules.model import OTHER, Code
from pytest_joules.predict.facts.of_test import facts_of
from pytest_joules.predict.train.fitting import TrainingError
from pytest_joules.predict.train.level import Row

#: What quantity of a repetition each target is.
_QUANTITY = {"joules": "energy", "seconds": "duration", "tsc": "tsc"}

#: Bytes of a package's file, and of one line in it.
_MOST_BYTES = 2**30
_LONGEST = 16 * 2**20

#: A line, as the file has it: whatever is asked of it may not be there, or of another kind.
_Line: TypeAlias = "Mapping[str, Any]"

#: Repetitions that a test has at least.
FEWEST = 5


def rows(folder: Path) -> Iterator[Row]:
    """The tests that passed and whose runs were watched whole (no processes, no threads, no random examples), with the medians
    over their repetitions; a package is a project.

    Raises:
        TrainingError: this is no data set.
    """
    files = sorted((folder / "records").glob("*.jsonl"))
    if not files:
        raise TrainingError(f"there is no data set in {folder}: make one with joules collect")
    for file in files:
        yield from _of_file(file)


def _of_file(file: Path) -> list[Row]:
    try:
        return list(_of_package(map(_decoded, reading.lines(file, _MOST_BYTES, _LONGEST))))
    except (Bad, OSError, LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        what = f"is no file of joules collect ({type(error).__name__})"
        if isinstance(error, Bad | OSError):
            what = str(error) if isinstance(error, Bad) else f"cannot be read ({error.strerror or error})"
        raise TrainingError(f"{file} {what}: collect it anew, or remove it") from None


def _decoded(line: str) -> _Line:
    if not line.startswith("{"):
        raise Bad("is no file of joules collect")
    return decode(line)


def _of_package(lines: Iterator[_Line]) -> Iterator[Row]:
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
        elif kind == "test" and line["outcome"] == "passed" and line["counts"] and not line.get("unknown"):
            row = _row(line, functions, sources)
            if row.log10:
                yield row


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
