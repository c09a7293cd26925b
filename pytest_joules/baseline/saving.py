"""``--energy-save``: a session becomes a baseline, small enough to commit; what it takes the place of is not lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pytest_joules import __version__
from pytest_joules.baseline.contents import Baseline, BaselineError, can_be_kept, test_of
from pytest_joules.baseline.folder import PREVIOUS, SET_ASIDE, path_of
from pytest_joules.baseline.from_json import load, read_text
from pytest_joules.baseline.to_json import write
from pytest_joules.files import atomic
from pytest_joules.model import Report

if TYPE_CHECKING:
    from pytest_joules.code.inventory import Inventory

#: Settings that a measurement depends on.
_SETTINGS = ("rounds", "max_time", "warmup", "estimate_idle_watts", "estimate_max_watts")

#: By node id, the functions that a test executes (by place, their hashes): a report's records do not have them.
Functions = Mapping[str, Mapping[str, str]]


def save(
    report: Report, functions: Functions, folder: Path, name: str | None = None, texts: Inventory | None = None
) -> list[str]:
    """Write the session as a baseline; a missing ``name`` is made up from date and commit. Returns what there is to say.

    In it are the tests that passed (or failed by nothing but our own verdict) and have joules. A baseline of this name is
    replaced; where it has tests that the new one lacks, or cannot be read, it is kept beside it.

    Raises:
        BaselineError: no test can be kept, or the file cannot be written; an older one is as it was.
    """
    kept = {record["nodeid"]: test_of(record, functions.get(record["nodeid"])) for record in report.tests if can_be_kept(record)}
    if not any(test.samples or test.instructions is not None for test in kept.values()):
        what = "instructions that were counted" if report.settings.get("count") else "joules that were measured"
        raise BaselineError(f"no baseline was saved: no test passed with {what}")
    machine_id = report.machine["id"]
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
        counting=report.session.get("counting"),
    )
    if SET_ASIDE.search(name):
        raise BaselineError(f"{name}: names that end in {PREVIOUS} are for baselines that were replaced; choose another one")
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
    parts = [report.created[:16].replace(":", "")]
    if report.commit is not None:
        parts += [(report.commit["id"] or "")[:8], "dirty" if report.commit["dirty"] else ""]
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
        place = new.path.with_name(f"{new.name}{PREVIOUS}{f'-{number}' if number > 1 else ''}.json")
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
