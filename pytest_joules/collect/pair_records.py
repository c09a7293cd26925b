"""Lines of the data set of pairs: what each drawn test runs and costs with the older release and with the newer.

A pair's file begins with a line of kind ``pair``; then one of kind ``function`` for each version of a function, or of a statement
of a module, that any of its tests has in its path on either side; then one of kind ``test`` for each test. Joules, seconds;
``null`` where nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TextIO

from pytest_joules.collect.failure import Failed
from pytest_joules.collect.records import ranges
from pytest_joules.files import atomic, checked, reading, strict_json
from pytest_joules.model import OTHER

if TYPE_CHECKING:
    from pytest_joules.model import Code
    from pytest_joules.store.entries import HistoryRecord, Version

SCHEMA = "pytest-joules-pairs/1"
SIDES = ("older", "newer")
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Seen:
    """A test on one side, as it was recorded."""

    passed: bool
    seconds: float
    """Of its body, the median of few rounds; infinite where nothing was measured."""
    code: Code | None
    sources: Mapping[Version, str]
    """Of all tests of that side."""

    @property
    def functions(self) -> Mapping[str, str]:
        return self.code["functions"] if self.code is not None else {}

    def differs(self, other: Seen) -> list[str]:
        """Places of code (the interpreter and the like are none) that have another text there, or are on one side only."""
        both = self.functions.keys() | other.functions.keys()
        return sorted(
            place for place in both if not place.startswith("<") and self.functions.get(place) != other.functions.get(place)
        )


@dataclass(frozen=True, slots=True)
class Timed:
    """A test in one process, per iteration."""

    seconds: float
    """The least of its rounds."""
    seconds_median: float
    joules: float | None
    """The least of its rounds."""
    joules_median: float | None
    pace: float | None
    """Seconds of a fixed loop beside it."""
    rounds: int
    iterations: int
    provenance: str


@dataclass(frozen=True, slots=True)
class Run:
    """One process that measured."""

    tests: Mapping[str, Timed]
    session: Mapping[str, object]
    """``created``, ``machine``, ``settings`` and ``sources``."""


def looked_at(history: Path) -> dict[str, Seen]:
    """The tests of a history with one session, in its order.

    Raises:
        Failed: it cannot be read.
    """
    entries, sources = _read(history, code=True)
    found = {}
    for entry in entries:
        durations = [value for value in entry["samples"]["duration"] if value is not None]
        passed = entry["outcome"] == "passed" and bool(durations)
        found[entry["nodeid"]] = Seen(passed, median(durations) if durations else float("inf"), entry["code"], sources)
    return found


def timed(history: Path) -> Run:
    """What the process cost whose history that is.

    Raises:
        Failed: it cannot be read.
    """
    entries, _ = _read(history, code=False)
    try:
        found = checked.decode(reading.read_text(history.with_suffix(".json"), 2**26))
        paces = {name: value for name, value in found.items() if isinstance(value, float) and value > 0}
    except (OSError, ValueError):
        paces = {}
    tests = {}
    for entry in entries:
        durations = [value for value in entry["samples"]["duration"] if value is not None]
        joules = [value for value in entry["samples"]["energy"] if value is not None]
        if entry["outcome"] == "passed" and durations:
            tests[entry["nodeid"]] = Timed(
                min(durations),
                median(durations),
                min(joules, default=None),
                median(joules) if joules else None,
                paces.get(entry["nodeid"]),
                len(durations),
                entry["iterations"],
                entry["provenance"],
            )
    session: dict[str, object] = {}
    for entry in entries[:1]:
        session = {key: entry[key] for key in ("created", "machine", "settings", "sources")}
    return Run(tests, session)


def instructions(history: Path) -> dict[str, int]:
    """Of each test that was counted, without doubt; none where nothing was.

    Raises:
        Failed: it cannot be read.
    """
    if not history.exists():
        return {}
    found = {}
    for entry in _read(history, code=False)[0]:
        counted = entry.get("instructions")
        if entry["outcome"] == "passed" and counted is not None and counted["count"] is not None and not counted["doubts"]:
            found[entry["nodeid"]] = counted["count"]
    return found


def _read(history: Path, *, code: bool) -> tuple[list[HistoryRecord], Mapping[Version, str]]:
    from pytest_joules.store import StoreError, open_store

    try:
        store = open_store(history, write=False)
        try:
            entries = [entry for nodeid in store.nodeids() for entry in store.history(nodeid, 1)]
            keys = {key for entry in entries if code and entry["code"] is not None for key in entry["code"]["functions"].items()}
            return entries, store.sources(sorted(keys))
        finally:
            store.close()
    except StoreError as error:
        raise Failed("not written", str(error)) from None


@dataclass(frozen=True, slots=True)
class PairLines:
    """What a pair's lines are made of. ``seen`` and ``runs``: the older side's, the newer's."""

    outcome: Mapping[str, object]
    """As :meth:`pytest_joules.collect.pair.PairOutcome.as_record` makes it."""
    recorded_by: Mapping[str, object]
    """The pytest-joules that looked at what the tests run."""
    bounds: Mapping[str, object]
    drawn: Sequence[str]
    seen: Sequence[Mapping[str, Seen]]
    runs: Sequence[Sequence[Run]]
    counts: Sequence[Mapping[str, int]]
    """Instructions."""
    passes: Sequence[Mapping[str, Sequence[float]]]
    """CPU seconds of both sides in turn, by test."""

    def tests(self) -> list[str]:
        """Of the drawn ones those that passed in every process of both sides."""
        return [
            nodeid
            for nodeid in self.drawn
            if all(nodeid in side and side[nodeid].functions for side in self.seen)
            and all(nodeid in run.tests for side in self.runs for run in side)
            and all(nodeid in one for one in self.passes)
        ]


def write_pair(path: Path, lines: PairLines) -> tuple[int, int]:
    """Write a pair's file, whole or not at all; returns how many tests it has, and how many values of all their processes.

    Raises:
        Failed: there is no test, or it cannot be written.
    """
    tests = lines.tests()
    if not tests:
        raise Failed("all tests fail", "no drawn test passed in every process of both sides")

    def writer(file: TextIO) -> None:
        for line in _lines(lines, tests):
            file.write(strict_json.text(line) + "\n")

    try:
        atomic.atomically(path, writer, "records")
    except atomic.ReportPathError as error:
        raise Failed("not written", str(error)) from None
    return len(tests), len(tests) * sum(map(len, lines.runs))


def _lines(lines: PairLines, tests: Sequence[str]) -> Iterator[dict[str, object]]:
    outcome, seen = lines.outcome, lines.seen
    keys = sorted({key for side in seen for nodeid in tests for key in side[nodeid].functions.items()})
    numbers = {key: number for number, key in enumerate(keys)}
    counted = ("collected", "chosen", "passed_on_both", "affected", "drawn", "changed_lines")
    yield {
        "kind": "pair",
        "schema": SCHEMA,
        "package": outcome["name"],
        "older": outcome["older"],
        "newer": outcome["version"],
        "archives": {"older": outcome["older_archive"], "newer": outcome["archive"]},
        "pytest_joules": outcome["pytest_joules"],
        "recorded_by": lines.recorded_by,
        **{key: outcome[key] for key in counted},
        "tests": len(tests),
        "counted": sum(all(nodeid in side for side in lines.counts) for nodeid in tests),
        "bounds": lines.bounds,
        **lines.runs[0][0].session,
    }
    texts = {key: text for side in seen for key, text in side[tests[0]].sources.items()}
    for (place, found), number in numbers.items():
        yield {"kind": "function", "id": number, "place": place, "hash": found, "source": texts.get((place, found))}
    for nodeid in tests:
        changed = seen[0][nodeid].differs(seen[1][nodeid])
        sides = {
            name: {
                **_side(side[nodeid], [run.tests[nodeid] for run in runs], numbers),
                "instructions": counts.get(nodeid),
                "cpu_seconds": _rounded(one[nodeid][number] for one in lines.passes),
            }
            for number, (name, side, runs, counts) in enumerate(zip(SIDES, seen, lines.runs, lines.counts, strict=True))
        }
        yield {"kind": "test", "nodeid": nodeid, "affected": bool(changed), "changed": changed, **sides}


def _side(seen: Seen, values: Sequence[Timed], numbers: Mapping[Version, int]) -> dict[str, object]:
    code = seen.code
    assert code is not None  # it has functions
    of_place = {place: numbers[place, text] for place, text in code["functions"].items()}
    counts = code["counts"]
    return {
        "functions": ranges(of_place.values()),
        "counts": {str(of_place[place]): list(entry) for place, entry in counts.items() if place in of_place},
        "other_calls": next(iter(counts.get(OTHER, ())), None),
        "outside": code.get("outside"),
        "code_unknown": code["unknown"],
        "seconds": _rounded(value.seconds for value in values),
        "seconds_median": _rounded(value.seconds_median for value in values),
        "joules": _rounded(value.joules for value in values),
        "joules_median": _rounded(value.joules_median for value in values),
        "pace": _rounded(value.pace for value in values),
        "rounds": [value.rounds for value in values],
        "iterations": values[0].iterations,
        "provenance": values[0].provenance,
    }


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else float(f"{value:.{_DIGITS}g}") for value in values]
