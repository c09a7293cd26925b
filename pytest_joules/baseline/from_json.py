"""A baseline out of a file, which may hold anything: nothing but :class:`BaselineError` leaves :func:`load`."""

from __future__ import annotations

import re
from array import array
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_joules import __version__
from pytest_joules.baseline.contents import SCHEMA, Baseline, BaselineError, BaselineTest, make_test, sound
from pytest_joules.files import checked, reading
from pytest_joules.files.checked import Bad, Object, within
from pytest_joules.model import SCHEMA as REPORT_SCHEMA
from pytest_joules.model import (
    CommitRecord,
    CountingRecord,
    CountRecord,
    HowMeasured,
    KeptAccount,
    KeptPart,
    MachineRecord,
    Provenance,
    Resolution,
    SourceRecord,
)

if TYPE_CHECKING:
    from pytest_joules.code.inventory import Inventory

#: No file larger than this is read (bytes): ten thousand tests of 20 rounds take about 6 MB.
MOST_BYTES = 64 * 2**20

#: Functions of all tests together: ten thousand tests that execute a thousand each are half of that.
MOST_FUNCTIONS = 20_000_000

_PROVENANCES: tuple[Provenance, ...] = ("measured", "shared", "attributed", "estimated", "unavailable")
_RESOLUTIONS: tuple[Resolution | None, ...] = (None, "ok", "apportioned", "below")


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


def baseline_of(data: Object, name: str, path: Path) -> Baseline:
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
    return Baseline(
        name=name,
        path=path,
        created=_said(data, "created"),
        machine=_machine(checked.required(data, "machine", dict)),
        commit=_commit(checked.optional(data, "commit", dict)),
        sources=[_source(source) for source in checked.list_of(data, "sources", dict)],
        settings=checked.optional(data, "settings", dict, {}),
        plugin=checked.optional(data, "plugin", str, __version__),
        tests=tests,
        texts=_texts(data),
        counting=_counting(data),
        order=order,
    )


def _said(data: Object, key: str) -> str:
    checked.words(data, key)
    return checked.required(data, key, str)


def _machine(data: Object) -> MachineRecord:
    facts = checked.optional(data, "facts", dict, {})
    cores, virtual = data.get("cores"), data.get("virtual")
    return {
        "id": checked.words(data, "id"),
        "cpu": checked.words(data, "cpu"),
        "cores": cores if isinstance(cores, int) else None,
        "os": checked.words(data, "os"),
        "python": checked.words(data, "python"),
        "virtual": virtual if isinstance(virtual, bool) else None,
        "facts": {name: checked.words(facts, name) for name in facts},
    }


def _commit(data: Object | None) -> CommitRecord | None:
    if data is None:
        return None
    dirty = data.get("dirty")
    return {"id": checked.words(data, "id"), "dirty": dirty if isinstance(dirty, bool) else None}


def _source(data: Object) -> SourceRecord:
    resolution, uncertainty = data.get("resolution_s"), data.get("uncertainty")
    return {
        "name": checked.words(data, "name") or "",
        "provenance": checked.one_of({"provenance": "unavailable", **data}, "provenance", *_PROVENANCES),
        "domains": checked.list_of(data, "domains", str),
        "resolution_s": None if resolution is None else checked.number(resolution, "resolution_s"),
        "uncertainty": None if uncertainty is None else checked.number(uncertainty, "uncertainty"),
        "why": checked.words(data, "why"),
    }


def _functions(data: Object) -> list[tuple[str, str]]:
    functions: list[tuple[str, str]] = []
    for pair in checked.required(data, "functions", list):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise Bad(f"the function {checked.shown(pair)} is not a pair of place and hash")
        functions.append((pair[0], pair[1]))
    return functions


def _texts(data: Object) -> Inventory:
    found = checked.optional(data, "texts", dict, {})
    for path, said in found.items():
        with within(path):
            for value in said.values() if isinstance(said, dict) else (said,):
                if not isinstance(value, str):
                    raise Bad(f"holds {checked.shown(value)}, which is no hash")
    return dict(found)


def _counting(data: Object) -> CountingRecord | None:
    """Of a baseline; a report has it with its session."""
    found = checked.optional(data, "counting", dict) or checked.optional(
        checked.optional(data, "session", dict, {}), "counting", dict
    )
    if found is None:
        return None
    facts, packages = checked.required(found, "facts", dict), checked.required(found, "packages", dict)
    return {
        "facts": {name: checked.words(facts, name) or "" for name in facts},
        "packages": {name: checked.words(packages, name) or "" for name in packages},
        "folder": checked.optional(found, "folder", int),
    }


def _instructions(data: Object) -> CountRecord | None:
    found = checked.optional(data, "instructions", dict)
    if found is None:
        return None
    spread, functions = found.get("spread"), checked.optional(found, "functions", dict, {})
    return {
        "counter": checked.words(found, "counter") or "",
        "count": checked.whole(found.get("count"), "count"),
        "counts": [checked.whole(count, "counts") for count in checked.optional(found, "counts", list, [])],
        "warm": checked.whole(found.get("warm", 1), "warm"),
        "spread": None if spread is None else checked.number(spread, "spread"),
        "doubts": checked.list_of(found, "doubts", str),
        "functions": {name: checked.whole(count, "functions") for name, count in functions.items()},
        "misses": None if (misses := found.get("misses")) is None else checked.whole(misses, "misses"),
        "ran": {key: _times(times) for key, times in checked.optional(found, "ran", dict, {}).items()},
        "budget": None,
        "comparison": None,
    }


def _account(data: Object, parts: str) -> KeptAccount | None:
    """Of a baseline, or of a report, whose key for its parts is another."""
    found = checked.optional(data, "account", dict)
    if found is None:
        return None
    with within("account"):
        return {
            "what": checked.words(found, "what") or "",
            "parts": [_part(one) for one in checked.list_of(found, parts, dict)],
            "unattributed": _part(checked.required(found, "unattributed", dict)),
        }


def _part(data: Object) -> KeptPart:
    return {
        "name": checked.words(data, "name") or "",
        "direction": checked.words(data, "direction") or "",
        "device": checked.words({"device": "cpu", **data}, "device") or "",
        "joules": checked.number(data.get("joules"), "joules"),
        "ci95": checked.interval(data.get("ci95")),
    }


def _times(value: object) -> list[int]:
    if not isinstance(value, list):
        raise Bad(f"holds {checked.shown(value)}, which is no list of counts")
    return [checked.whole(count, "ran") for count in value]


def _tests(data: Object, functions: Sequence[tuple[str, str]]) -> dict[str, BaselineTest]:
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


def _test(line: Object, functions: Mapping[str, str]) -> BaselineTest:
    samples, durations = checked.numbers(line, "joules", above=0), checked.numbers(line, "seconds")
    if len(durations) != len(samples):
        raise Bad(f"has {len(samples)} joules and {len(durations)} seconds")
    centre, interval = line.get("median"), line.get("ci95")
    if (centre is None) == bool(samples):
        raise Bad("has samples without a median" if samples else "has a median without samples")
    return BaselineTest(
        _how_measured(line),
        samples=samples,
        durations=durations,
        energy=None if centre is None else {"median": checked.number(centre, "median"), "ci95": checked.interval(interval)},
        fingerprint=checked.optional(line, "code", str),
        functions=functions,
        created=checked.optional(line, "created", str),
        commit=checked.optional(line, "commit", str),
        instructions=_instructions(line),
        account=_account(line, "parts"),
    )


def _how_measured(data: Object) -> HowMeasured:
    return {
        "source": checked.optional(data, "source", str),
        "provenance": checked.one_of(data, "provenance", *_PROVENANCES),
        "resolution": checked.one_of(data, "resolution", *_RESOLUTIONS),
        "rounds": checked.count(data, "rounds", 0),
        "iterations": checked.count(data, "iterations", 1),
        "notes": checked.list_of(data, "notes", str),
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


def _tests_of_report(data: Object) -> dict[str, BaselineTest]:
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


def _test_of_report(data: Object) -> BaselineTest | None:
    energy, code, budget, comparison = (checked.optional(data, key, dict) for key in ("energy", "code", "budget", "comparison"))
    samples = []
    for sample in checked.list_of(data, "samples", dict):
        joules, seconds = sample.get("energy"), sample.get("duration")
        samples.append(
            (
                None if joules is None else checked.number(joules, "energy", above=0),
                None if seconds is None else checked.number(seconds, "duration"),
            )
        )
    test = make_test(
        _how_measured(data),
        samples,
        checked.interval(energy.get("ci95")) if energy is not None else None,
        fingerprint=checked.optional(code or {}, "fingerprint", str),
        functions=None,
        created=checked.optional(data, "cached", str),
        instructions=_instructions(data),
        account=_account(data, "flat"),
    )
    judged = [budget, comparison]
    if (counted := checked.optional(data, "instructions", dict)) is not None:
        judged += [checked.optional(counted, key, dict) for key in ("budget", "comparison")]
    return test if (energy is not None or counted is not None) and sound(data.get("outcome"), *judged) else None
