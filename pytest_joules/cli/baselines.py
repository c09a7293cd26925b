"""``joules compare``, ``joules export`` and ``joules import``: baselines without a test run."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pytest_joules.cli.output import encoding, print_json, print_table, refuse, say, width

if TYPE_CHECKING:
    from pytest_joules.baseline.baselines import Baseline, BaselineTest, Entry
    from pytest_joules.model import Record, Report

BUNDLE = "pytest-joules-baselines/1"


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse's private type
    """Add the three to the command's parser."""
    compare = commands.add_parser("compare", help="two baselines or reports, test by test; exit 1 where one regressed")
    compare.add_argument("before", metavar="A", help="a baseline's name, MACHINE/NAME, or a file (also of --energy-json)")
    compare.add_argument("now", metavar="B", help="the same")
    compare.add_argument(
        "--threshold", metavar="PERCENT", type=_threshold, default=0.05, help="as --energy-threshold (default 5%%)"
    )
    compare.add_argument("--top", metavar="N", type=_whole, default=20, help="rows of the table (default 20; 0: all)")
    compare.add_argument("--json", action="store_true", help="as JSON")
    compare.set_defaults(command=_compare)

    export = commands.add_parser("export", help="write baselines into one file, to take to another machine")
    export.add_argument("names", nargs="*", metavar="NAME", help="NAME or MACHINE/NAME; without: all, of every machine")
    export.add_argument("file", type=Path, metavar="FILE")
    export.set_defaults(command=_export)

    bring = commands.add_parser("import", help="take baselines out of such a file, each to its machine's folder")
    bring.add_argument("file", type=Path, metavar="FILE")
    bring.add_argument("--force", action="store_true", help="replace baselines of the same name")
    bring.set_defaults(command=_import)

    for parser in (compare, export, bring):
        parser.add_argument("--dir", type=Path, metavar="DIR", help="the folder of baselines (default: the nearest .joules)")


def _threshold(text: str) -> float:
    from pytest_joules.settings.values import SettingError, threshold

    try:
        return threshold(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _folder(given: argparse.Namespace) -> Path | None:
    from pytest_joules.baseline.baselines import nearest

    return given.dir if given.dir is not None else nearest(Path.cwd())


# Comparing


def _compare(given: argparse.Namespace) -> int:
    from pytest_joules.baseline.baselines import BaselineError
    from pytest_joules.report import comparison

    try:
        before, now = (_side(text, _folder(given)) for text in (given.before, given.now))
    except BaselineError as error:
        return refuse(str(error), 2)
    report = _compared(before, now, given.threshold)
    assert report.comparison is not None
    common = [record for record in report.tests if record["comparison"] is not None]
    if not common:
        return refuse(f"{given.before} ({before.path}) and {given.now} ({now.path}) have no test in common", 2)
    if given.json:
        print_json({"comparison": report.comparison, "tests": [_entry(record, before) for record in common]})
    else:
        _table(common, before, given.top)
        say("\n".join(comparison.lines(report, width(), given.top, encoding(), "--top=0")))
    return 1 if any(record["comparison"]["verdict"] == "regressed" for record in common) else 0


def _side(text: str, folder: Path | None) -> Baseline:
    """A baseline by its name, machine and name, or path.

    Raises:
        BaselineError: it cannot be found or read.
    """
    from pytest_joules import machine
    from pytest_joules.baseline import baselines

    owner, _, name = text.rpartition("/")
    if folder is not None and not owner and (folder / name).suffix != ".json":
        return baselines.load(baselines.find(folder, machine.fingerprint()["id"], name))
    if folder is not None and owner and "/" not in owner and (there := folder / owner / f"{name}.json").is_file():
        return baselines.load(there)
    if folder is None and not Path(text).exists():
        raise baselines.BaselineError(
            f"{text}: there is no such file, and no folder {baselines.FOLDER} here or above for a baseline of this name. "
            "Name a file, or the folder with --dir."
        )
    return baselines.load(Path(text))


def _compared(before: Baseline, now: Baseline, threshold: float) -> Report:
    """What a run would have reported that measured what is in ``now``."""
    from pytest_joules.baseline import baselines
    from pytest_joules.judge.case import Case
    from pytest_joules.judge.comparing import refusal
    from pytest_joules.judge.judgement import judge
    from pytest_joules.model import Report

    differs = baselines.differences(before.machine, now.machine) or baselines.other_models(before.sources, now.sources)
    why = f"another machine or condition ({'; '.join(differs)}): compare baselines of one" if differs else None
    pairs = {nodeid: (before.tests[nodeid], test) for nodeid, test in now.tests.items() if nodeid in before.tests}
    cases = [
        Case(
            nodeid,
            before=(then.samples,),
            now=(test.samples,),
            cannot=why or refusal(then.record, test.record, random=test.random or then.random),
        )
        for nodeid, (then, test) in pairs.items()
    ]
    verdicts = dict(zip(pairs, judge(cases, threshold, confirm=False), strict=True))
    changed = _blame(before, now, pairs, {nodeid for nodeid, verdict in verdicts.items() if verdict.verdict == "regressed"})
    records = [
        {
            **test.record,
            "nodeid": nodeid,
            "comparison": verdicts[nodeid].as_record(before.name, changed.get(nodeid, ())) if nodeid in verdicts else None,
        }
        for nodeid, test in now.tests.items()
    ]
    facts = {
        "baseline": before.name,
        "created": before.created,
        "commit": (before.commit or {}).get("id"),
        "threshold": threshold,
        "held": max((verdict.held for verdict in verdicts.values() if verdict.held is not None), default=None),
        "counts": dict(Counter(verdict.verdict for verdict in verdicts.values())),
        "new": [nodeid for nodeid in now.tests if nodeid not in before.tests],
        "gone": [nodeid for nodeid in before.tests if nodeid not in now.tests],
        "renamed": {},
        "why": why,
        "notes": baselines.remarks(before, now.machine),
    }
    return Report(now.created, now.machine, now.commit, now.settings, now.sources, records, comparison=facts)


def _blame(
    before: Baseline, now: Baseline, pairs: dict[str, tuple[BaselineTest, BaselineTest]], regressed: set[str]
) -> dict[str, list[str]]:
    # The report that --energy-json writes does not have the functions: everything would look new.
    known = {nodeid: pair for nodeid, pair in pairs.items() if pair[0].functions and pair[1].functions}
    if not regressed & known.keys():
        return {}
    from pytest_joules.code.changed import blame
    from pytest_joules.code.inventory import Stored

    then, executed = ({nodeid: pair[side].functions for nodeid, pair in known.items()} for side in (0, 1))
    return blame(then, executed, regressed & known.keys(), then=Stored(before.texts), present=Stored(now.texts))


def _entry(record: Record, before: Baseline) -> Record:
    return {
        "nodeid": record["nodeid"],
        "before": before.tests[record["nodeid"]].energy,
        "now": record["energy"],
        "comparison": record["comparison"],
    }


def _table(records: Sequence[Record], before: Baseline, rows: int) -> None:
    from pytest_joules.report import quantity
    from pytest_joules.report.table import Column
    from pytest_joules.report.text import last_part, shorten_nodeid

    order = ("regressed", "improved", "cannot tell", "ok")
    ordered = sorted(
        records,
        key=lambda record: (order.index(record["comparison"]["verdict"]), -abs((record["comparison"]["ratio"] or 1) - 1)),
    )
    shown = ordered[:rows] if rows else ordered

    def joules(compared: float | None, energy: Record | None) -> str:
        # What the ratio is of, where there is one.
        return quantity.joules(compared if compared is not None or energy is None else energy["median"])

    def interval(comparison: Record) -> str:
        ends = comparison["ci95"]
        return f"{quantity.ratio(ends[0])}–{quantity.ratio(ends[1])}" if ends else "-"

    print_table(
        Column("test", [record["nodeid"] for record in shown], shorten=shorten_nodeid, least=last_part),
        Column("before", [joules(*_before(record, before)) for record in shown], "right", drop=2),
        Column("now", [joules(record["comparison"]["now"], record["energy"]) for record in shown], "right", drop=3),
        Column("ratio", [_times(record["comparison"]["ratio"]) for record in shown], "right"),
        Column("95 %", [interval(record["comparison"]) for record in shown], drop=1),
        Column("verdict", [record["comparison"]["verdict"] for record in shown]),
    )
    if len(shown) < len(ordered):
        say(f"… and {len(ordered) - len(shown)} more: --top=0 shows all")


def _before(record: Record, before: Baseline) -> tuple[float | None, Record | None]:
    return record["comparison"]["before"], before.tests[record["nodeid"]].energy


def _times(ratio: float | None) -> str:
    from pytest_joules.report import quantity

    return "-" if ratio is None else f"{quantity.ratio(ratio)}×"


# Moving


def _export(given: argparse.Namespace) -> int:
    from pytest_joules.baseline import baselines
    from pytest_joules.baseline import file as baseline_file
    from pytest_joules.files import atomic, strict_json

    folder = _folder(given)
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
                baseline_file.write(baseline, file)
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
    from pytest_joules.baseline.baselines import BaselineError

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
    from pytest_joules.baseline.baselines import FOLDER, BaselineError, put

    folder = _folder(given) or Path.cwd() / FOLDER
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
    import dataclasses

    from pytest_joules.baseline.baselines import BaselineError, load

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
    from pytest_joules.baseline.baselines import BaselineError, path_of
    from pytest_joules.baseline.file import baseline_of, read_text
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
                if baseline.machine.get("id") not in (owner, None):
                    raise checked.Bad(f"says it is of machine {owner}, but was measured on {baseline.machine['id']}")
                found.append(baseline)
    except (checked.Bad, BaselineError) as error:
        raise BaselineError(f"{path}: {error}. Nothing was taken; export it again with joules export.") from None
    return found
