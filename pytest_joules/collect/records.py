"""Lines of the data set, made of a package's history.

A package's file begins with a line of kind ``package``; then one of kind ``function`` for each version of a function or of a
statement of a module, numbered from 0; then one of kind ``test`` for each test, which names functions by these numbers. Joules,
seconds, bytes; ``null`` where nothing is known, never 0 in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pytest_joules.collect.failure import Failed
from pytest_joules.files import atomic, strict_json
from pytest_joules.model import OTHER, Code

if TYPE_CHECKING:
    from pytest_joules.predict.facts.of_test import TestFacts
    from pytest_joules.store import Store
    from pytest_joules.store.entries import HistoryRecord, Version

#: A representation: of a test's facts, values by name.
Representation = Callable[["TestFacts"], Mapping[str, float]]
_DIGITS = 9


@dataclass(slots=True)
class Lines:
    """What the lines of one package share, and how many tests and repetitions there came to be."""

    head: Mapping[str, object]
    """Of the line of kind ``package``; has ``package``, ``version`` and ``popularity``, which every line repeats."""
    representations: Mapping[str, Representation] = field(default_factory=dict)
    tests: int = 0
    """That passed, with samples."""
    repetitions: int = 0


def write_lines(path: Path, history: Path, lines: Lines) -> None:
    """Write a package's file, whole or not at all, and count in ``lines``.

    Raises:
        Failed: the history cannot be read, or the file cannot be written.
    """
    from pytest_joules.store import StoreError, open_store

    def writer(file: TextIO) -> None:
        for line in _lines(store, lines):
            file.write(strict_json.text(line) + "\n")

    try:
        store = open_store(history, write=False)
        try:
            atomic.atomically(path, writer, "records")
        finally:
            store.close()
    except (StoreError, atomic.ReportPathError) as error:
        raise Failed("not written", str(error)) from None


def _lines(store: Store, lines: Lines) -> Iterator[dict[str, object]]:
    entries = [entry for nodeid in store.nodeids() for entry in store.history(nodeid, 1)]
    codes = [entry["code"] for entry in entries]
    keys = sorted({key for code in codes if code is not None for key in code["functions"].items()})
    numbers = {key: number for number, key in enumerate(keys)}
    sources = store.sources(keys)
    shared = {key: lines.head[key] for key in ("package", "version")}
    first: Mapping[str, object] = entries[0] if entries else {}
    yield {"kind": "package", **lines.head, **{name: first.get(name) for name in ("created", "machine", "settings", "sources")}}
    for (place, found), number in numbers.items():
        yield {"kind": "function", **shared, "id": number, "place": place, "hash": found, "source": sources.get((place, found))}
    for entry, code in zip(entries, codes, strict=True):
        samples = _repetitions(entry)
        repeated = len(samples["duration"] or ())
        if entry["outcome"] == "passed" and repeated:
            lines.tests += 1
            lines.repetitions += repeated
        yield {
            "kind": "test",
            **shared,
            "popularity": lines.head["popularity"],
            "nodeid": entry["nodeid"],
            "outcome": entry["outcome"],
            "source": entry["source"],
            "provenance": entry["provenance"],
            "resolution": entry["resolution"],
            "rounds": entry["rounds"],
            "iterations": entry["iterations"],
            "repetitions": samples,
            **_code(code, numbers),
            "notes": entry.get("notes") or [],
            "representations": _represented(entry["nodeid"], code, sources, lines.representations),
        }


def _repetitions(entry: HistoryRecord) -> dict[str, Sequence[float | None] | None]:
    """One value a repetition and quantity, per iteration; a column without a single value is ``null``.

    ``package`` is the sum of the processors' domains, ``core`` that of their cores; ``energy`` is the total, which is all that a
    model has.
    """
    samples = entry["samples"]
    domains = samples["domains"]
    columns = {
        "duration": samples["duration"],
        "tsc": samples["tsc"],
        "energy": samples["energy"],
        "package": _sum([column for name, column in domains.items() if name.startswith("package-")]),
        "core": _sum([column for name, column in domains.items() if name.partition("-")[0] == "core"]),
    }
    count = len(samples["duration"])
    found = {
        name: [_rounded(value) for value in column] if any(value is not None for value in column) else None
        for name, column in columns.items()
    }
    status = [0] * count
    if status and entry["outcome"] == "failed":
        status[-1] = 1  # a round that does not pass is the last one
    return {**found, "duration": found["duration"] or [], "exit_status": status}


def _sum(columns: Sequence[Sequence[float | None]]) -> list[float | None]:
    return [None if None in row else math.fsum(value for value in row if value is not None) for row in zip(*columns, strict=True)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _code(code: Code | None, numbers: Mapping[Version, int]) -> dict[str, object]:
    """What ran: functions as ranges of their numbers, first and last; counts, and what calls
    out of the package cost, by number; calls of Python functions that are not
    the package's, where the interpreter tells of them (before 3.12)."""
    code = code or {"fingerprint": None, "functions": {}, "unknown": [], "counts": {}, "outside": {}}
    of_place = {place: numbers[place, found] for place, found in code["functions"].items()}
    counts = code["counts"]
    return {
        "code": code["fingerprint"],
        "functions": ranges(of_place.values()),
        "counts": {str(of_place[place]): list(counted) for place, counted in counts.items() if place in of_place},
        "outside": {
            str(of_place[place]): {callee: list(numbers) for callee, numbers in inside.items()}
            for place, inside in code.get("outside", {}).items()
            if place in of_place
        },
        "other_calls": next(iter(counts.get(OTHER, ())), None),
        "unknown": code["unknown"],
    }


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Runs of consecutive numbers, each as its first and its last."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def _represented(
    nodeid: str, code: Code | None, sources: Mapping[Version, str], wanted: Mapping[str, Representation]
) -> dict[str, dict[str, float]]:
    if not wanted:
        return {}
    from pytest_joules.predict.facts.of_test import facts_of

    facts = facts_of(nodeid, code or {"fingerprint": None, "unknown": []}, sources)
    return {name: {key: float(f"{value:.6g}") for key, value in sorted(make(facts).items())} for name, make in wanted.items()}


def representations(names: str) -> dict[str, Representation]:
    """Those with these names, between commas; ``all`` for all there are.

    Raises:
        ValueError: there is none of that name; the message says which there are.
    """
    from pytest_joules.predict.facts.features import REPRESENTATIONS

    if names == "all":
        return dict(REPRESENTATIONS)
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in REPRESENTATIONS:
            raise ValueError(f"there is no representation {name!r}; there are: {', '.join(REPRESENTATIONS)}, or all")
    return {name: REPRESENTATIONS[name] for name in wanted}
