"""Baselines: saved sessions, in the project under ``.joules/<machine-id>/<NAME>.json``, small enough to commit.

Saving, finding and mending them; what a file looks like is in :mod:`pytest_joules.baseline.file`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pytest_joules import __version__
from pytest_joules.baseline.file import (
    Baseline,
    BaselineError,
    BaselineTest,
    can_be_kept,
    load,
    read_text,
    test_of,
    write,
)
from pytest_joules.files import atomic, reading
from pytest_joules.files.checked import shown
from pytest_joules.machine import differences
from pytest_joules.model import DISTURBED, Record, Report
from pytest_joules.report import quantity
from pytest_joules.settings.options import BASELINE_NAME
from pytest_joules.stats import FEWEST_SAMPLES

if TYPE_CHECKING:
    from pytest_joules.code.inventory import Inventory

__all__ = [
    "FOLDER",
    "Baseline",
    "BaselineError",
    "BaselineTest",
    "Entry",
    "can_be_kept",
    "differences",
    "entries",
    "find",
    "load",
    "nearest",
    "other_models",
    "path_of",
    "put",
    "remarks",
    "save",
    "test_of",
    "update",
]

#: Where they stand, below the project's root.
FOLDER = ".joules"

#: Settings that a measurement depends on.
_SETTINGS = ("rounds", "max_time", "warmup", "estimate_idle_watts", "estimate_max_watts")

_PREVIOUS = ".previous"
_SET_ASIDE = re.compile(rf"{re.escape(_PREVIOUS)}(-\d+)?$")

#: By node id, the functions that a test executes (by place, their hashes): a report's records do not have them.
Functions = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A baseline that was found; nothing but its head has been read."""

    machine_id: str
    name: str
    path: Path
    created: str
    cpu: str

    @property
    def set_aside(self) -> bool:
        """What a smaller one of the same name took the place of."""
        return _SET_ASIDE.search(self.name) is not None


def path_of(folder: Path, machine_id: str | None, name: str) -> Path:
    """Where the baseline of this name stands. Raises :class:`BaselineError` for what is no name."""
    if not BASELINE_NAME.fullmatch(name):
        raise BaselineError(f"{shown(name)} is not the name of a baseline: write letters, digits, '.', '_' and '-', such as main")
    return folder / (machine_id or "unknown") / f"{name}.json"


def entries(folder: Path) -> list[Entry]:
    """All baselines below ``folder``, by machine, the oldest first."""
    found = []
    for path in folder.glob("*/*.json"):
        if not (BASELINE_NAME.fullmatch(path.stem) and BASELINE_NAME.fullmatch(path.parent.name)):
            continue  # somebody else's
        head = ""
        with suppress(OSError):  # there, but unreadable: whoever asks for it is told why
            head = reading.head(path, 8192).decode("utf-8", "replace")
        created, cpu = (re.search(rf'"{key}": *"([^"\x00-\x1f\x7f-\x9f]*)"', head) for key in ("created", "cpu"))
        found.append(Entry(path.parent.name, path.stem, path, created[1] if created else "", cpu[1] if cpu else "unknown"))
    return sorted(found, key=lambda entry: (entry.machine_id, entry.created, entry.name))


def find(folder: Path, machine_id: str | None, name: str | None) -> Path:
    """The baseline of this name, or the latest where there is none: of this machine, else of another (see :func:`differences`).

    Raises:
        BaselineError: there is none; the message says which there are.
    """
    known = entries(folder)
    if name:
        path_of(folder, machine_id, name)
        candidates = [entry for entry in known if entry.name == name]
    else:
        # One that cannot be read is not the latest: nobody asked for it by name.
        whole = [entry for entry in known if entry.created and not entry.set_aside]
        candidates = whole or known
    own = [entry for entry in candidates if entry.machine_id == machine_id]
    if candidates:
        return max(own or candidates, key=lambda entry: (entry.created, entry.name)).path
    if not known:
        raise BaselineError(f"there is no baseline in {folder}: make one with pytest --energy --energy-save={name or 'main'}")
    raise BaselineError(
        f"there is no baseline {name!r} in {folder}, but {_listed(known, machine_id)}. Save one with --energy-save."
    )


def _listed(known: Iterable[Entry], machine_id: str | None) -> str:
    machines: dict[str, list[Entry]] = {}
    for entry in known:
        machines.setdefault(entry.machine_id, []).append(entry)
    parts = []
    for machine, there in sorted(machines.items(), key=lambda pair: pair[0] != machine_id):
        names = [entry.name for entry in reversed(there)]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        where = "of this machine" if machine == machine_id else f"of machine {machine} ({there[-1].cpu})"
        parts.append(f"{', '.join(names[:8])}{more} {where}")
    return "; ".join(parts)


def other_models(before: Iterable[Record], now: Iterable[Record]) -> list[str]:
    """Estimates by another power model than before, in words: their joules cannot be compared. Both as in a report."""
    models = {source.get("name"): _model(source) for source in before if source.get("provenance") == "estimated"}
    pairs = [(models.get(source.get("name")), _model(source)) for source in now]
    return [f"{was}, now {model}" for was, model in pairs if was and model and was != model]


def _model(source: Record) -> str:
    """The power model of an estimate in words; what follows is why no better source was taken."""
    return (source.get("why") or "").partition("; ")[0]


def remarks(baseline: Baseline, machine: Mapping[str, object]) -> list[str]:
    """What differs and may be the cause of a difference, but does not forbid to compare."""
    before, now = baseline.machine.get("python"), machine.get("python")
    if not before or not now or before == now:
        return []
    return [f"Python: {before}, now {now}; it may be the cause of what differs"]


# Saving


def save(
    report: Report, functions: Functions, folder: Path, name: str | None = None, texts: Inventory | None = None
) -> list[str]:
    """Write the session as a baseline; a missing ``name`` is made up from date and commit. Returns what there is to say.

    In it are the tests that passed (or failed by nothing but our own verdict) and have joules. A baseline of this name is
    replaced; where it has tests that the new one lacks, or cannot be read, it is kept beside it.

    Raises:
        BaselineError: no test can be kept, or the file cannot be written; an older one is as it was.
    """
    kept = {record["nodeid"]: _test(record, functions) for record in report.tests if can_be_kept(record)}
    if not any(test.samples for test in kept.values()):
        raise BaselineError("no baseline was saved: no test passed with joules that were measured")
    machine_id = report.machine.get("id")
    name = name or _made_up(folder, machine_id, report)
    baseline = Baseline(
        name=name,
        path=path_of(folder, machine_id, name),
        created=report.created,
        machine=report.machine,
        commit=report.commit,
        sources=report.sources,
        settings={key: report.settings[key] for key in _SETTINGS if key in report.settings},
        plugin=__version__,
        tests=kept,
        texts=texts or {},
    )
    if _SET_ASIDE.search(name):
        raise BaselineError(f"{name}: names that end in {_PREVIOUS} are for baselines that were replaced; choose another one")
    inside = folder.parent  # the project
    _stay(baseline, inside)
    said = _set_aside(baseline, inside)
    put(baseline, inside)
    count = f"{len(kept)} test{'s' if len(kept) > 1 else ''}"
    said.insert(0, f"baseline {name}: {count} kept in {baseline.path} ({_size(baseline.path)})")
    failed = sum(record["outcome"] in ("failed", "error", "crashed", "interrupted") for record in report.tests) - sum(
        record["outcome"] == "failed" for record in report.tests if record["nodeid"] in kept
    )
    if failed:
        said.append(f"baseline {name}: {failed} test{'s that failed are' if failed > 1 else ' that failed is'} not in it")
    return said


def _test(record: Record, functions: Functions) -> BaselineTest:
    test = test_of(record)
    return replace(test, functions=functions.get(record["nodeid"]) or test.functions)


def put(baseline: Baseline, inside: Path) -> None:
    """Write a baseline where it says it stands, which is to be in a folder.

    Raises:
        BaselineError: it is not, or cannot be written; an older file is as it was.
    """
    _put(baseline.path, lambda file: write(baseline, file), inside)


def _stay(baseline: Baseline, inside: Path) -> None:
    try:
        atomic.stay(baseline.path, (inside,), f"baseline {baseline.name}")
    except atomic.ReportPathError as error:
        raise BaselineError(str(error)) from None


def _put(path: Path, writer: Callable[[TextIO], None], inside: Path) -> None:
    try:
        atomic.atomically(path, writer, "baseline", (inside,))
    except atomic.ReportPathError as error:
        raise BaselineError(str(error)) from None


def _made_up(folder: Path, machine_id: str | None, report: Report) -> str:
    """A name that sorts by time and says the commit, such as ``2026-11-21T1030-1a2b3c4d``, and that is not taken."""
    commit = report.commit or {}
    parts = [report.created[:16].replace(":", ""), (commit.get("id") or "")[:8], "dirty" if commit.get("dirty") else ""]
    name = re.sub(r"[^A-Za-z0-9._-]", "-", "-".join(part for part in parts if part))
    taken, number = name, 1
    while path_of(folder, machine_id, taken).exists():
        number += 1
        taken = f"{name}-{number}"
    return taken


def _set_aside(new: Baseline, inside: Path) -> list[str]:
    """Keep what stands in the place of ``new`` and would be lost; what there is to say of it."""
    if not new.path.exists():
        return []
    try:
        old = load(new.path)
    except BaselineError as error:
        place = _free(new, None)
        _copy(new, place, str(error), inside)
        return [f"baseline {new.name}: the one before could not be read, and is kept as {place.name}: {error}"]
    lost = len(old.tests.keys() - new.tests.keys())
    if not lost:
        return []
    place = _free(new, old)
    put(replace(old, path=place), inside)
    return [
        f"baseline {new.name}: the one before has {lost} test{'s' if lost > 1 else ''} more (was this a part of the tests?), "
        f"and is kept as {place.name}"
    ]


def _copy(new: Baseline, place: Path, trouble: str, inside: Path) -> None:
    try:
        text = read_text(new.path)
    except BaselineError:
        raise BaselineError(f"baseline {new.name} was not saved over a file that cannot be read: {trouble}") from None

    def writer(file: TextIO) -> None:
        file.write(text)

    _put(place, writer, inside)


def _free(new: Baseline, old: Baseline | None) -> Path:
    """The first place for what is set aside where nothing stands that ``old`` does not hold as well."""
    number = 1
    while True:
        place = new.path.with_name(f"{new.name}{_PREVIOUS}{f'-{number}' if number > 1 else ''}.json")
        if not place.exists():
            return place
        if old is not None:
            try:
                if load(place).tests.keys() <= old.tests.keys():
                    return place
            except BaselineError:
                pass
        number += 1


def _size(path: Path) -> str:
    return f"{max(1, round(path.stat().st_size / 1000)):,} kB"


# The ratchet


def update(path: Path, report: Report, functions: Functions, texts: Inventory | None = None) -> list[str]:
    """Accept the session's values of the tests that it measured, write them into the baseline at ``path``, say what moved.

    Values within the session's threshold stay as they were, so that a series of small steps cannot creep past it. Tests that did
    not run, did not pass, were measured beside other processes or below the resolution, or of which the comparison cannot tell
    keep their old values.

    Raises:
        BaselineError: the machine is another one, or the file cannot be read or written.
    """
    baseline = load(path)
    different = differences(baseline.machine, report.machine) or other_models(baseline.sources, report.sources)
    if different:
        raise BaselineError(
            f"baseline {baseline.name} was not updated: {'; '.join(different)}. Save one of its own for this with --energy-save."
        )
    threshold = report.settings.get("threshold", 0.05)
    commit = (report.commit or {}).get("id")
    tests = dict(baseline.tests)
    moves: list[_Move] = []
    counts: Counter[str] = Counter()
    for record in report.tests:
        nodeid = record["nodeid"]
        now = _test(record, functions) if can_be_kept(record) and record["cached"] is None else None
        if now is None or now.energy is None or now.resolution == "below" or _beside_others(now):
            if record["cached"] is not None:
                counts["cached"] += 1
            elif record["outcome"] not in (None, "skipped", "xfailed", "xpassed"):
                counts["left"] += 1
            continue
        verdict = (record["comparison"] or {}).get("verdict")
        move = _move(nodeid, tests.get(nodeid), now, threshold, verdict)
        if move is None:
            counts["unchanged"] += 1
            continue
        if verdict == "cannot tell" and move.ratio is not None:
            counts["undecided"] += 1
            continue
        moves.append(move)
        tests[nodeid] = replace(
            now,
            created=report.created if report.created != baseline.created else None,
            commit=commit if commit != (baseline.commit or {}).get("id") else None,
        )
    if moves:
        # Tests that keep their values keep the code that these are of.
        others = tests.keys() - {move.nodeid for move in moves}
        put(replace(baseline, tests=tests, texts={**(texts or {}), **(baseline.texts if others else {})}), path.parents[2])
    order = ("loosened", "tightened", "replaced", "new")
    moves.sort(key=lambda move: (order.index(move.kind), -abs(math.log(move.ratio)) if move.ratio else 0.0, move.nodeid))
    lines = [f"{move.kind:<9}  {move.nodeid}  {move.text}" for move in moves]
    if counts["unchanged"]:
        lines.append(f"unchanged  {counts['unchanged']} within {100 * threshold:.3g} %, which keep their values")
    if counts["undecided"]:
        lines.append(f"undecided  {counts['undecided']} of which nothing could be told, which keep their values")
    if counts["cached"]:
        lines.append(f"cached     {counts['cached']} that were not measured in this run, which is without their values")
    if counts["left"]:
        lines.append(
            f"left       {counts['left']} that did not pass, were measured beside others, below the resolution or not at all"
        )
    return lines


@dataclass(frozen=True, slots=True)
class _Move:
    kind: str
    nodeid: str
    text: str
    ratio: float | None = None


def _move(nodeid: str, before: BaselineTest | None, now: BaselineTest, threshold: float, verdict: str | None) -> _Move | None:
    value = now.energy["median"] if now.energy else None
    shown = quantity.joules(value)
    if before is None or before.energy is None:
        return _Move("new", nodeid, shown)
    then = before.energy["median"]
    mended = _flaws(before) and not _flaws(now)
    if not value or not then or mended or (before.source, before.iterations) != (now.source, now.iterations):
        return _Move("replaced", nodeid, f"{quantity.joules(then)} ({_how(before)}) -> {shown} ({_how(now)})")
    ratio = value / then
    if verdict == "ok" or (abs(ratio - 1) <= threshold and verdict not in ("regressed", "improved")):
        return None
    kind = "loosened" if ratio > 1 else "tightened"
    return _Move(kind, nodeid, f"{quantity.joules(then)} -> {shown} ({quantity.change(ratio)})", ratio)


def _how(test: BaselineTest) -> str:
    iterations = [f"{test.iterations} iterations"] if test.iterations > 1 else []
    return ", ".join([str(test.source), *iterations, *_flaws(test)])


def _flaws(test: BaselineTest) -> list[str]:
    """Why nothing can be held against this value."""
    few = [f"{len(test.samples)} samples"] if len(test.samples) < FEWEST_SAMPLES else []
    return few + (["beside others"] if _beside_others(test) else [])


def _beside_others(test: BaselineTest) -> bool:
    return test.provenance == "shared" or DISTURBED in test.notes


def nearest(folder: Path) -> Path | None:
    """``.joules`` in ``folder`` or the nearest one above it."""
    return next((place for up in (folder, *folder.parents) if (place := up / FOLDER).is_dir()), None)
