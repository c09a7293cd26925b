"""Pairs of releases that ``joules collect --pairs`` measured: what each test runs and costs with either, checked when read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeAlias

from pytest_joules.files import reading
from pytest_joules.files.checked import Bad, decode, list_of, required, shown

SCHEMA = "pytest-joules-pairs/1"

#: Bytes of a pair's file, and of one line in it.
_MOST_BYTES = 2**30
_LONGEST = 64 * 2**20

#: A line, as the file has it: whatever is asked of it may not be there, or of another kind.
_Line: TypeAlias = "Mapping[str, Any]"
#: A function or a statement of a module in one version: its place (``path::qualified.name``) and the hash of its text.
Version: TypeAlias = "tuple[str, str]"


class PairError(Exception):
    """A file is no pair's records; the message says where, and what to do."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls out of the project by one of its functions, in the recorded round."""

    calls: int
    nanoseconds: int
    came_back: int


@dataclass(frozen=True, slots=True)
class Side:
    """A test with one of the two releases. Columns have one value a process."""

    functions: Mapping[str, str]
    """Hashes by place, of all that it runs."""
    counts: Mapping[str, Sequence[int]]
    """By place: how often a function was called in an unmeasured round, then how often each of its statements ran."""
    other_calls: int | None
    """Of Python functions that are not the package's; ``None`` where the interpreter does not tell."""
    outside: Mapping[str, Mapping[str, Calls]] | None
    """By place and by name of what is called; ``None`` where it was not recorded."""
    code_unknown: Sequence[str]
    """What could not be followed."""
    seconds: Sequence[float]
    """The least of a process's rounds, per iteration."""
    seconds_median: Sequence[float]
    joules: Sequence[float | None]
    """The least of a process's rounds."""
    joules_median: Sequence[float | None]
    pace: Sequence[float | None]
    """Seconds of a fixed loop beside the test: on a busy machine a whole process is slower than the next, by up to twice."""
    instructions: int | None
    """Of the body, which a busy machine does not change; ``None`` where they were not counted."""
    cpu_seconds: Sequence[float]
    """Of the body, the least of many runs in a pass, in which both sides take turns: one value a pass."""
    rounds: Sequence[int]
    iterations: int
    provenance: str

    @property
    def paced_seconds(self) -> float:
        """The median of all processes, each by its pace: in units of the loop. Of those without a pace, seconds."""
        return median(each / (pace or 1.0) for each, pace in zip(self.seconds, self.pace, strict=True))


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A test that passed in every process of both sides."""

    nodeid: str
    affected: bool
    """Whether it runs code that differs; the others are controls."""
    changed: Sequence[str]
    """Places that differ, or that one side alone has."""
    older: Side
    newer: Side

    @property
    def ratio(self) -> float:
        """What it costs with the newer release by what it costs with the older: the median of the passes, else in instructions
        where both were counted, else in seconds by their pace."""
        if both := list(zip(self.older.cpu_seconds, self.newer.cpu_seconds, strict=True)):
            return median(now / then for then, now in both)
        older, newer = self.older.instructions, self.newer.instructions
        return newer / older if older and newer else self.newer.paced_seconds / self.older.paced_seconds


@dataclass(frozen=True, slots=True)
class Pair:
    """Two releases of a package."""

    package: str
    older: str
    newer: str
    changed_lines: int
    """Of the package's Python source, added and removed."""
    sources: Mapping[Version, str]
    """Texts of what any test runs; what has none is left out."""
    tests: Sequence[PairedTest]
    head: Mapping[str, object]
    """The line of kind ``pair``, whole."""


def read_all(folder: Path) -> list[Pair]:
    """All pairs of a data set, by the names of their files.

    Raises:
        PairError: there are none, or one is damaged.
    """
    files = sorted((folder / "records").glob("*.jsonl"))
    if not files:
        raise PairError(f"there are no pairs in {folder}: make some with joules collect --pairs")
    return [read(file) for file in files]


def read(path: Path) -> Pair:
    """One pair's file.

    Raises:
        PairError: it cannot be read, or a line is not what it should be; the message names file and line.
    """
    reader = _Reader()
    try:
        for line in reading.lines(path, _MOST_BYTES, _LONGEST):
            reader.number += 1
            reader.take(_decoded(line))
        return reader.pair()
    except OSError as error:
        raise PairError(f"{path} cannot be read: {error.strerror or error}") from None
    except (Bad, LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        what = str(error) if isinstance(error, Bad) else f"is no line of joules collect --pairs ({type(error).__name__})"
        raise PairError(f"{path}, line {reader.number}: {what}: collect the pair anew, or remove the file") from None


def _decoded(line: str) -> _Line:
    if not line.startswith("{"):
        raise Bad("is no JSON object")
    return decode(line)


class _Reader:
    """Takes the lines of a file in their order."""

    def __init__(self) -> None:
        self.number = 0
        """Of the line that is read, from 1."""
        self._head: _Line | None = None
        self._functions: list[Version] = []
        self._sources: dict[Version, str] = {}
        self._tests: list[PairedTest] = []

    def take(self, line: _Line) -> None:
        kind: Literal["pair", "function", "test"] | str = required(line, "kind", str)
        if self._head is None:
            if kind != "pair" or line.get("schema") != SCHEMA:
                raise Bad(f"does not begin with a pair of {SCHEMA}")
            self._head = line
        elif kind == "function":
            if required(line, "id", int) != len(self._functions):
                raise Bad(f"has the function {shown(line['id'])} where {len(self._functions)} should be")
            key = (required(line, "place", str), required(line, "hash", str))
            self._functions.append(key)
            if line["source"] is not None:
                self._sources[key] = required(line, "source", str)
        elif kind == "test":
            self._tests.append(self._test(line))
        else:
            raise Bad(f"is of the unknown kind {shown(kind)}")

    def _test(self, line: _Line) -> PairedTest:
        older, newer = (self._side(required(line, side, dict)) for side in ("older", "newer"))
        changed = list_of(line, "changed", str)
        affected = required(line, "affected", bool)
        if affected != bool(changed):
            raise Bad(f"says affected {shown(affected)}, and names {len(changed)} places that differ")
        return PairedTest(required(line, "nodeid", str), affected, changed, older, newer)

    def _side(self, line: _Line) -> Side:
        numbers: list[int] = []
        for first, last in list_of(line, "functions", list):
            if not 0 <= first <= last < len(self._functions):
                raise Bad(f"names functions ({shown([first, last])}) that are not there")
            numbers += range(first, last + 1)
        counts = {
            self._functions[int(number)][0]: [_count(value) for value in counted]
            for number, counted in required(line, "counts", dict).items()
        }
        columns = {
            name: _column(line, name) for name in ("seconds", "seconds_median", "joules", "joules_median", "pace", "rounds")
        }
        if len({len(column) for column in columns.values()}) != 1:
            raise Bad("has columns of unequal length")
        return Side(
            functions=dict(self._functions[number] for number in numbers),
            counts=counts,
            other_calls=None if line["other_calls"] is None else _count(line["other_calls"]),
            outside=_outside(line["outside"]),
            code_unknown=list_of(line, "code_unknown", str),
            seconds=[_above_zero(value) for value in columns["seconds"]],
            seconds_median=[_above_zero(value) for value in columns["seconds_median"]],
            joules=columns["joules"],
            joules_median=columns["joules_median"],
            pace=columns["pace"],
            instructions=None if line["instructions"] is None else _count(line["instructions"]),
            cpu_seconds=[_above_zero(value) for value in line.get("cpu_seconds", ())],
            rounds=[_count(value) for value in columns["rounds"]],
            iterations=required(line, "iterations", int),
            provenance=required(line, "provenance", str),
        )

    def pair(self) -> Pair:
        head = self._head
        if head is None:
            raise Bad("does not begin with a pair of " + SCHEMA)
        package, older, newer = (required(head, key, str) for key in ("package", "older", "newer"))
        if len(self._tests) != required(head, "tests", int):
            raise Bad(f"has {len(self._tests)} of {shown(head['tests'])} tests: it was cut short")
        return Pair(package, older, newer, required(head, "changed_lines", int), self._sources, self._tests, head)


def _column(line: _Line, name: str) -> list[Any]:
    values = required(line, name, list)
    for value in values:
        if value is not None and not (type(value) in (int, float) and 0 <= value < math.inf):
            raise Bad(f"has {shown(value)} in {name}")
    if not values:
        raise Bad(f"has no {name}")
    return values


def _above_zero(value: float | None) -> float:
    if value is None or value <= 0:
        raise Bad(f"has {shown(value)} seconds")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise Bad(f"has {shown(value)} for a count")
    return value


def _outside(value: object) -> Mapping[str, Mapping[str, Calls]] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Bad(f"has {shown(value)} for the calls out of the project")
    return {place: {name: Calls(*map(_count, values)) for name, values in called.items()} for place, called in value.items()}
