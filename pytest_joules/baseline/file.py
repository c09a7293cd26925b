"""A baseline as a file: readable JSON, a test a line, what the tests share said once.

Nothing but :class:`BaselineError` leaves :func:`load`, whatever the file holds.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

from pytest_joules import __version__
from pytest_joules.files import checked, reading, strict_json
from pytest_joules.files.checked import Bad, within
from pytest_joules.model import SCHEMA as REPORT_SCHEMA
from pytest_joules.model import Record
from pytest_joules.stats import median

if TYPE_CHECKING:
    from pytest_joules.code.inventory import Inventory

SCHEMA = "pytest-joules-baseline/1"

#: No file larger than this is read (bytes): ten thousand tests of 20 rounds take about 6 MB.
MOST_BYTES = 64 * 2**20

#: Functions of all tests together: ten thousand tests that execute a thousand each are half of that.
MOST_FUNCTIONS = 20_000_000

#: Said once for all tests that have the most common value.
_USUAL = ("source", "provenance", "resolution", "rounds", "iterations")
_OWN_VERDICTS = (("budget", "over budget"), ("comparison", "regressed"))

T = TypeVar("T")


class BaselineError(Exception):
    """A baseline cannot be found, read or written; the message says what, where, and what to do."""


@dataclass(frozen=True, slots=True)
class BaselineTest:
    """A test in a baseline."""

    samples: tuple[float, ...] = ()
    """Joules per iteration, one value a sample, in measured order."""
    durations: tuple[float, ...] = ()
    """Seconds per iteration of the same samples."""
    energy: Record | None = None
    """``median`` and ``ci95`` of the joules."""
    source: str | None = None
    provenance: str = "unavailable"
    resolution: str | None = None
    rounds: int = 0
    iterations: int = 1
    notes: tuple[str, ...] = ()
    fingerprint: str | None = None
    functions: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the functions that the test executes, by ``path::qualname``."""
    created: str | None = None
    """When it was measured, where that is not when the baseline was saved."""
    commit: str | None = None
    """The revision it was measured at, where that is not the baseline's."""

    @property
    def record(self) -> Record:
        """What a comparison asks about, under the names it has in a report."""
        return {
            "source": self.source,
            "provenance": self.provenance,
            "resolution": self.resolution,
            "rounds": self.rounds,
            "iterations": self.iterations,
            "energy": self.energy,
            "notes": list(self.notes),
        }

    @property
    def code(self) -> Record | None:
        """``fingerprint`` and ``functions``, as a record has them while it is made."""
        return None if self.fingerprint is None else {"fingerprint": self.fingerprint, "functions": self.functions}

    @property
    def random(self) -> bool:
        """Its examples differ from round to round."""
        return any(note.startswith("random examples") for note in self.notes)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A saved session."""

    name: str
    path: Path
    created: str
    """ISO 8601, UTC."""
    machine: Record
    commit: Record | None
    sources: list[Record]
    settings: Record
    plugin: str
    tests: dict[str, BaselineTest]
    texts: Inventory = field(default_factory=dict)
    """What the project's code said, file by file; none in what older versions wrote."""
    order: Sequence[tuple[str, str]] = ()
    """The functions of all tests with their hashes, in the order of the file."""


def six_digits(value: float) -> float:
    """The value with six significant digits: a counter has no more."""
    return float(f"{value:.6g}")


def test_of(record: Record) -> BaselineTest:
    """A report's record as a baseline has it. Samples without joules are left out."""
    pairs = [
        (six_digits(sample["energy"]), six_digits(sample["duration"] or 0.0))
        for sample in record["samples"]
        if sample["energy"] is not None and math.isfinite(sample["energy"]) and sample["energy"] > 0
    ]
    samples = tuple(joules for joules, _ in pairs)
    interval = record["energy"]["ci95"] if record["energy"] else None
    code = record["code"] or {}
    return BaselineTest(
        samples=samples,
        durations=tuple(seconds for _, seconds in pairs),
        energy={"median": six_digits(median(samples)), "ci95": [six_digits(end) for end in interval] if interval else None}
        if samples
        else None,
        source=record["source"],
        provenance=record["provenance"],
        resolution=record["resolution"],
        rounds=record["rounds"],
        iterations=record["iterations"],
        notes=tuple(map(str, record["notes"])),
        fingerprint=code.get("fingerprint"),
        functions=dict(code.get("functions") or {}),
        created=record["cached"],
    )


def can_be_kept(record: Record) -> bool:
    """Whether a report's record can stand in a baseline: a test that passed, or failed by our own verdict only, with joules."""
    passed = record["outcome"] == "passed" or (
        record["outcome"] == "failed" and any((record[key] or {}).get("verdict") == verdict for key, verdict in _OWN_VERDICTS)
    )
    return passed and record["energy"] is not None


# Writing


def write(baseline: Baseline, file: TextIO) -> None:
    """The baseline as JSON: shared facts first, then a line a function, a line a source file, a line a test in the order of their
    node ids.

    A function is a pair of place and hash; tests refer to the list of them by number, as ``"0-4 7"``. Functions of a file that
    is mended keep their numbers, so that the lines of other tests stay as they are.
    """
    tests = {nodeid: baseline.tests[nodeid] for nodeid in sorted(baseline.tests)}
    usual = (
        {name: Counter(getattr(test, name) for test in tests.values()).most_common(1)[0][0] for name in _USUAL} if tests else {}
    )
    added = {pair for test in tests.values() for pair in test.functions.items()}.difference(baseline.order)
    functions = [*baseline.order, *sorted(added)]
    numbers = {pair: number for number, pair in enumerate(functions)}
    shared = {
        "schema": SCHEMA,
        "created": baseline.created,
        "plugin": baseline.plugin,
        "commit": baseline.commit,
        "machine": baseline.machine,
        "settings": baseline.settings,
        "sources": baseline.sources,
        "usual": usual,
    }
    file.write("{\n")
    for key, value in shared.items():
        file.write(f"{strict_json.text(key)}: {strict_json.text(value)},\n")
    _write_lines(file, '"functions": [', (strict_json.text(pair) for pair in functions), "],\n")
    texts = (f"{strict_json.text(path)}: {strict_json.text(said)}" for path, said in sorted(baseline.texts.items()))
    _write_lines(file, '"texts": {', texts, "},\n")
    lines = (
        f"{strict_json.text(nodeid)}: {strict_json.text(_test_line(test, usual, numbers))}" for nodeid, test in tests.items()
    )
    _write_lines(file, '"tests": {', lines, "}\n")
    file.write("}\n")


def _most_common(values: Sequence[T]) -> T | None:
    return Counter(values).most_common(1)[0][0] if values else None


def _write_lines(file: TextIO, head: str, lines: Iterable[str], tail: str) -> None:
    file.write(head)
    for number, line in enumerate(lines):
        file.write(("," if number else "") + "\n" + line)
    file.write("\n" + tail)


def _test_line(test: BaselineTest, usual: Record, numbers: Mapping[tuple[str, str], int]) -> Record:
    line: Record = {"median": None, "ci95": None, **(test.energy or {})}
    line |= {"joules": test.samples, "seconds": test.durations}
    line |= {name: getattr(test, name) for name in _USUAL if getattr(test, name) != usual[name]}
    line |= {name: value for name in ("notes", "created", "commit") if (value := getattr(test, name))}
    if test.fingerprint is not None:
        line["code"] = test.fingerprint
    if test.functions:
        line["functions"] = _ranges(sorted(numbers[pair] for pair in test.functions.items()))
    return line


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending whole numbers, neighbours as ``first-last``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


# Reading


def load(path: Path) -> Baseline:
    """Read a baseline, or a report that ``--energy-json`` wrote, as one.

    Raises:
        BaselineError: it is not there, not whole, not a baseline, of another version, or holds what cannot be.
    """
    text = read_text(path)
    try:
        return parse(text, path.stem, path)
    except Bad as error:
        _refuse(path, str(error))


def read_text(path: Path) -> str:
    """The text of a file that is not too large. Raises :class:`BaselineError`."""
    try:
        data = reading.read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        raise BaselineError(f"{path}: there is no such file. Save a baseline with pytest --energy --energy-save=NAME.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BaselineError(f"{path}: {reason}. Name a file that you may read.") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(path, f"is not UTF-8 text (byte {error.start})")


def _refuse(path: Path, what: str) -> NoReturn:
    raise BaselineError(f"{path}: {what}. Take it from version control again, or save it anew with --energy-save.") from None


def parse(text: str, name: str, path: Path) -> Baseline:
    """A baseline or report from JSON. Raises :class:`~pytest_joules.files.checked.Bad`, which says what is wrong."""
    return baseline_of(checked.decode(text), name, path)


def baseline_of(data: Record, name: str, path: Path) -> Baseline:
    """A baseline from decoded JSON. Raises :class:`~pytest_joules.files.checked.Bad`, which says what is wrong."""
    schema = data.get("schema")
    if schema == REPORT_SCHEMA:
        tests, order = _tests_of_report(data), []
    elif schema == SCHEMA:
        order = _functions(data)
        tests = _tests(data, order)
    elif isinstance(schema, str) and (version := re.fullmatch(r"pytest-joules(?:-baseline)?/(\d{1,9})", schema)):
        how = "a newer version; update pytest-joules to read it" if int(version[1]) > 1 else "a version that nobody wrote"
        raise Bad(f"is of schema {schema}, {how}")
    else:
        raise Bad(f"is not a baseline: its schema is {checked.shown(schema)}, not {SCHEMA}")
    machine = checked.required(data, "machine", dict)
    facts = checked.optional(machine, "facts", dict, {})
    for about, keys in ((data, ("created",)), (machine, ("id", "cpu", "os", "python")), (facts, facts)):
        for key in keys:
            checked.words(about, key)
    commit = checked.optional(data, "commit", dict)
    if commit is not None:
        checked.words(commit, "id")
    sources = checked.list_of(data, "sources", dict)
    for source in sources:
        checked.words(source, "name")
        checked.words(source, "why")
    return Baseline(
        name=name,
        path=path,
        created=checked.required(data, "created", str),
        machine=machine,
        commit=commit,
        sources=sources,
        settings=checked.optional(data, "settings", dict, {}),
        plugin=checked.optional(data, "plugin", str, __version__),
        tests=tests,
        texts=_texts(data),
        order=order,
    )


def _functions(data: Record) -> list[tuple[str, str]]:
    functions: list[tuple[str, str]] = []
    for pair in checked.required(data, "functions", list):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise Bad(f"the function {checked.shown(pair)} is not a pair of place and hash")
        functions.append((pair[0], pair[1]))
    return functions


def _texts(data: Record) -> Inventory:
    found = checked.optional(data, "texts", dict, {})
    for path, said in found.items():
        with within(path):
            for value in said.values() if isinstance(said, dict) else (said,):
                if not isinstance(value, str):
                    raise Bad(f"holds {checked.shown(value)}, which is no hash")
    return dict(found)


def _tests(data: Record, functions: Sequence[tuple[str, str]]) -> dict[str, BaselineTest]:
    usual = checked.required(data, "usual", dict)
    paths: dict[str, _Executed] = {}
    room = MOST_FUNCTIONS
    tests = {}
    for nodeid, line in checked.required(data, "tests", dict).items():
        with within(nodeid):
            if not isinstance(line, dict):
                raise Bad("is not an object")
            ranges = checked.optional(line, "functions", str, "")
            if ranges not in paths:
                # Parameters of one test share theirs.
                paths[ranges] = _chosen(ranges, functions, room)
                room -= paths[ranges].count
            tests[nodeid] = _test({**usual, **line}, paths[ranges])
    return tests


def _test(line: Record, functions: Mapping[str, str]) -> BaselineTest:
    samples, durations = checked.numbers(line, "joules", above=0), checked.numbers(line, "seconds")
    if len(durations) != len(samples):
        raise Bad(f"has {len(samples)} joules and {len(durations)} seconds")
    centre, interval = line.get("median"), line.get("ci95")
    if (centre is None) == bool(samples):
        raise Bad("has samples without a median" if samples else "has a median without samples")
    return BaselineTest(
        samples=samples,
        durations=durations,
        energy=None if centre is None else {"median": checked.number(centre, "median"), "ci95": checked.interval(interval)},
        **_usual_of(line),
        notes=tuple(checked.list_of(line, "notes", str)),
        fingerprint=checked.optional(line, "code", str),
        functions=functions,
        created=checked.optional(line, "created", str),
        commit=checked.optional(line, "commit", str),
    )


def _usual_of(line: Record) -> dict[str, Any]:
    return {
        "source": checked.optional(line, "source", str),
        "provenance": checked.one_of(line, "provenance", "measured", "shared", "estimated", "unavailable"),
        "resolution": checked.one_of(line, "resolution", None, "ok", "apportioned", "below"),
        "rounds": checked.count(line, "rounds", 0),
        "iterations": checked.count(line, "iterations", 1),
    }


class _Executed(Mapping[str, str]):
    """The functions of a test by their numbers, looked up when they are asked for: of all tests they would fill the memory."""

    def __init__(self, functions: Sequence[tuple[str, str]]) -> None:
        self.count = 0
        self._functions = functions
        self._spans = array("I")
        """First and last, in turn."""

    def add(self, first: int, last: int) -> None:
        self._spans.extend((first, last))
        self.count += last + 1 - first

    def _whole(self) -> dict[str, str]:
        ends = iter(self._spans)
        spans = (self._functions[first : last + 1] for first, last in zip(ends, ends, strict=True))
        return dict(chain.from_iterable(spans))

    def items(self) -> ItemsView[str, str]:
        return self._whole().items()

    def __getitem__(self, place: str) -> str:
        return self._whole()[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def __bool__(self) -> bool:
        return bool(self.count)


def _chosen(ranges: str, functions: Sequence[tuple[str, str]], room: int) -> _Executed:
    chosen = _Executed(functions)
    for match in re.finditer(r"\S+", ranges):
        span = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", match[0], re.ASCII)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if not first <= last < len(functions):
            raise Bad(f"its functions {checked.shown(match[0])} are not in the list of {len(functions)}")
        chosen.add(first, last)
        if chosen.count > min(len(functions), room):
            raise Bad("names more functions than there can be")
    return chosen


def _tests_of_report(data: Record) -> dict[str, BaselineTest]:
    tests = {}
    for record in checked.list_of(data, "tests", dict):
        nodeid = checked.required(record, "nodeid", str)
        with within(nodeid):
            if nodeid in tests:
                raise Bad("is there twice")
            test = _test_of_report(record)
        if test is not None:
            tests[nodeid] = test
    return tests


def _test_of_report(record: Record) -> BaselineTest | None:
    values = {key: checked.optional(record, key, dict) for key in ("energy", "code", "budget", "comparison")}
    energy, code = values["energy"], values["code"] or {}
    samples = []
    for sample in checked.list_of(record, "samples", dict):
        joules, seconds = sample.get("energy"), sample.get("duration")
        if joules is not None:
            checked.number(joules, "energy", above=0)
        samples.append({"energy": joules, "duration": 0.0 if seconds is None else checked.number(seconds, "duration")})
    whole = {
        **values,
        "energy": None if energy is None else {"ci95": checked.interval(energy.get("ci95"))},
        "samples": samples,
        "outcome": record.get("outcome"),
        "notes": checked.list_of(record, "notes", str),
        "cached": checked.optional(record, "cached", str),
        "code": {"fingerprint": checked.optional(code, "fingerprint", str)},
        **_usual_of(record),
    }
    return test_of(whole) if can_be_kept(whole) else None
