"""``joules export`` and ``joules import``: baselines in one file, to take to another machine; or numbers for other programs."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pytest_joules.cli import locate, series
from pytest_joules.cli.output import refuse, say
from pytest_joules.cli.parsing import Commands, add_folder, folder_of
from pytest_joules.settings.values import BASELINES

if TYPE_CHECKING:
    from pytest_joules.baseline import Baseline, Entry

BUNDLE = "pytest-joules-baselines/1"


def add_commands(commands: Commands) -> None:
    """Add both to the command's parser."""
    export = commands.add_parser("export", help="baselines in one file for another machine; numbers for other programs")
    export.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="NAME or MACHINE/NAME; without: all, of every machine; with --format: REPORT.json, or history (default)",
    )
    export.add_argument("file", type=Path, metavar="FILE", help="where to")
    export.add_argument("--format", choices=series.FORMATS, help="numbers of reports or of the history instead of baselines")
    locate.add_options(export)
    export.set_defaults(command=_export)

    bring = commands.add_parser("import", help="take baselines out of such a file, each to its machine's folder")
    bring.add_argument("file", type=Path, metavar="FILE", help="what joules export wrote")
    bring.add_argument("--force", action="store_true", help="replace baselines of the same name")
    bring.set_defaults(command=_import)

    for parser in (export, bring):
        add_folder(parser)


def _export(given: argparse.Namespace) -> int:
    if given.format is not None:
        return series.export(given, given.names, given.file)
    from pytest_joules import baseline as baselines
    from pytest_joules.baseline import to_json
    from pytest_joules.files import atomic, strict_json

    folder = folder_of(given)
    known = baselines.entries(folder) if folder is not None else []
    if folder is None or not known:
        where = given.dir or "this folder or above it"
        return refuse(f"there is no baseline in {where}: make one with pytest --energy --energy-save=NAME", 2)
    try:
        chosen = _chosen(known, given.names, folder)
        # Loaded first: a damaged one must not make half a bundle.
        loaded = [(entry, baselines.load(entry.path)) for entry in chosen]

        def writer(file: TextIO) -> None:
            file.write(f'{{\n"schema": {strict_json.text(BUNDLE)},\n"baselines": [')
            for number, (entry, baseline) in enumerate(loaded):
                head = {"name": entry.name, "machine": entry.machine_id}
                file.write(("," if number else "") + f'\n{strict_json.text(head)[:-1]}, "baseline":\n')
                to_json.write(baseline, file)
                file.write("}")
            file.write("\n]\n}\n")

        atomic.atomically(given.file, writer, "baselines")
    except (baselines.BaselineError, atomic.ReportPathError) as error:
        return refuse(str(error), 2)
    for entry in chosen:
        say(f"{entry.name} of machine {entry.machine_id} ({entry.cpu})")
    say(f"written: {given.file}")
    return 0


def _chosen(known: Sequence[Entry], names: Sequence[str], folder: Path) -> list[Entry]:
    from pytest_joules.baseline import BaselineError

    if not names:
        return list(known)
    chosen: list[Entry] = []
    for name in names:
        found = [entry for entry in known if name in (entry.name, f"{entry.machine_id}/{entry.name}")]
        if not found:
            there = ", ".join(sorted({entry.name for entry in known}))
            raise BaselineError(f"there is no baseline {name!r} in {folder}; there are: {there}")
        chosen += [entry for entry in found if entry not in chosen]
    return chosen


def _import(given: argparse.Namespace) -> int:
    from pytest_joules.baseline import BaselineError, put

    folder = folder_of(given) or Path.cwd() / BASELINES
    inside = folder if given.dir is not None else folder.parent
    try:
        brought = _read_bundle(given.file, folder)
    except BaselineError as error:
        return refuse(str(error), 2)
    kept = 0
    for baseline in brought:
        what = f"{baseline.name} of machine {baseline.path.parent.name}"
        state = _state(baseline)
        if state == "there already" or (state == "another" and not given.force):
            kept += state == "another"
            say(f"{what}: " + ("there already" if state == "there already" else f"not taken: {baseline.path} is another one"))
            continue
        try:
            put(baseline, inside)
        except BaselineError as error:
            return refuse(str(error), 2)
        say(f"{what}: {'replaced' if state == 'another' else 'taken'}, {len(baseline.tests)} tests, {baseline.path}")
    if kept:
        return refuse(f"{kept} not taken, as there is another of the same name: --force replaces it")
    return 0


def _state(baseline: Baseline) -> str:
    """Whether a baseline stands where this one is to be."""
    from pytest_joules.baseline import BaselineError, load

    if not baseline.path.exists():
        return "free"
    try:
        there = load(baseline.path)
    except BaselineError:
        return "another"
    return "there already" if there == dataclasses.replace(baseline, order=there.order) else "another"


def _read_bundle(path: Path, folder: Path) -> list[Baseline]:
    """The baselines in a file that :func:`_export` wrote, with the paths they are to have.

    Raises:
        BaselineError: it is none; nothing of it is to be taken then.
    """
    from pytest_joules.baseline import BaselineError, path_of
    from pytest_joules.baseline.from_json import baseline_of, read_text
    from pytest_joules.files import checked

    text = read_text(path)
    try:
        data = checked.decode(text)
        if data.get("schema") != BUNDLE:
            raise checked.Bad(f"is no file of baselines: its schema is {checked.shown(data.get('schema'))}, not {BUNDLE}")
        found = []
        for entry in checked.list_of(data, "baselines", dict):
            name, owner = checked.required(entry, "name", str), checked.required(entry, "machine", str)
            with checked.within(name):
                path_of(folder, None, owner)  # a folder's name is as free of paths as a file's
                place = path_of(folder, owner, name)
                baseline = baseline_of(checked.required(entry, "baseline", dict), name, place)
                if baseline.machine["id"] not in (owner, None):
                    raise checked.Bad(f"says it is of machine {owner}, but was measured on {baseline.machine['id']}")
                found.append(baseline)
    except (checked.Bad, BaselineError) as error:
        raise BaselineError(f"{path}: {error}. Nothing was taken; export it again with joules export.") from None
    return found
