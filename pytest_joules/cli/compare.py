"""``joules compare``: two baselines or reports, without a test run."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_joules.cli.output import print_json, print_table, refuse, say, width
from pytest_joules.cli.parsing import Commands, add_folder, folder_of, threshold, whole
from pytest_joules.settings.values import BASELINES, COUNT_THRESHOLD, ROWS, THRESHOLD

if TYPE_CHECKING:
    from pytest_joules.baseline import Baseline
    from pytest_joules.judge.case import Comparison
    from pytest_joules.model import (
        ComparisonRecord,
        CountComparisonRecord,
        CountRecord,
        MedianRecord,
        Record,
        Report,
        RunComparisonRecord,
    )


class _Both(NamedTuple):
    """A test that both sides have."""

    nodeid: str
    before: MedianRecord | None
    now: MedianRecord | None
    comparison: ComparisonRecord
    instructions: CountComparisonRecord | None


def add_commands(commands: Commands) -> None:
    """Add it to the command's parser."""
    compare = commands.add_parser("compare", help="two baselines or reports, test by test; exit 1 where one regressed")
    compare.add_argument("before", metavar="A", help="a baseline's name, MACHINE/NAME, or a file (also of --energy-json)")
    compare.add_argument("now", metavar="B", help="what is held against it, named likewise")
    compare.add_argument(
        "--threshold",
        metavar="PERCENT",
        type=threshold,
        default=THRESHOLD,
        help="smallest change that is one, as --energy-threshold (default 5%%)",
    )
    compare.add_argument(
        "--top", metavar="N", type=whole(0), default=ROWS, help="rows of the table (default %(default)s; 0: all)"
    )
    compare.add_argument("--json", action="store_true", help="as JSON")
    compare.set_defaults(command=_compare)
    add_folder(compare)


def _compare(given: argparse.Namespace) -> int:
    import sys

    from pytest_joules.baseline import BaselineError
    from pytest_joules.report import comparison, instructions
    from pytest_joules.report.text import encoding_of

    try:
        before, now = (_side(text, folder_of(given)) for text in (given.before, given.now))
    except BaselineError as error:
        return refuse(str(error), 2)
    report = _compared(before, now, given.threshold)
    common = [
        _Both(
            record["nodeid"],
            before.tests[record["nodeid"]].energy,
            now.tests[record["nodeid"]].energy,
            found,
            record["instructions"]["comparison"] if record["instructions"] is not None else None,
        )
        for record in report.tests
        if (found := record["comparison"]) is not None
    ]
    if not common:
        return refuse(f"{given.before} ({before.path}) and {given.now} ({now.path}) have no test in common", 2)
    if given.json:
        print_json({"comparison": report.comparison, "tests": [test._asdict() for test in common]})
    else:
        encoding = encoding_of(sys.stdout)
        if not instructions.counted_only(report):
            _table(common, given.top)
            say("\n".join(comparison.lines(report, width(), given.top, encoding, "--top=0")))
        if counted := instructions.lines(report, width(), given.top, encoding):
            say("\n".join(counted))
    verdicts = [one["verdict"] for test in common for one in (test.comparison, test.instructions) if one is not None]
    return 1 if "regressed" in verdicts else 0


def _side(text: str, folder: Path | None) -> Baseline:
    """A baseline by its name, machine and name, or path.

    Raises:
        BaselineError: it cannot be found or read.
    """
    from pytest_joules import baseline as baselines
    from pytest_joules import machine

    owner, _, name = text.rpartition("/")
    if folder is not None and not owner and (folder / name).suffix != ".json":
        return baselines.load(baselines.find(folder, machine.identity(), name))
    if folder is not None and owner and "/" not in owner and (there := folder / owner / f"{name}.json").is_file():
        return baselines.load(there)
    if folder is None and not Path(text).exists():
        raise baselines.BaselineError(
            f"{text}: there is no such file, and no folder {BASELINES} here or above for a baseline of this name. "
            "Name a file, or the folder with --dir."
        )
    return baselines.load(Path(text))


def _compared(before: Baseline, now: Baseline, threshold: float) -> Report:
    """What a run would have reported that measured what is in ``now``."""
    from pytest_joules.baseline import other_models, remarks
    from pytest_joules.machine import differences
    from pytest_joules.model import Report, empty_record

    differs = differences(before.machine, now.machine) or other_models(before.sources, now.sources)
    why = f"another machine or condition ({'; '.join(differs)}): compare baselines of one" if differs else None
    verdicts = _judged(before, now, threshold, why)
    regressed = {nodeid for nodeid, verdict in verdicts.items() if verdict.verdict == "regressed"}
    changed = _blame(before, now, verdicts, regressed)
    records: list[Record] = [
        {
            **empty_record(nodeid),
            **test.record,
            "comparison": verdicts[nodeid].as_record(before.name, changed.get(nodeid, ())) if nodeid in verdicts else None,
            "instructions": _counted(nodeid, before, now),
        }
        for nodeid, test in now.tests.items()
    ]
    only = not any(test.energy for test in now.tests.values()) and any(test.instructions for test in now.tests.values())
    facts: RunComparisonRecord = {
        "baseline": before.name,
        "created": before.created,
        "commit": before.commit["id"] if before.commit else None,
        "threshold": threshold,
        "held": max((verdict.held for verdict in verdicts.values() if verdict.held is not None), default=None),
        "counts": dict(Counter(verdict.verdict for verdict in verdicts.values())),
        "new": [nodeid for nodeid in now.tests if nodeid not in before.tests],
        "gone": [nodeid for nodeid in before.tests if nodeid not in now.tests],
        "renamed": {},
        "why": why,
        "notes": remarks(before, now.machine),
    }
    settings = {**now.settings, "count": True} if only else dict(now.settings)
    return Report(now.created, now.machine, now.commit, settings, [] if only else now.sources, records, comparison=facts)


def _counted(nodeid: str, before: Baseline, now: Baseline) -> CountRecord | None:
    """The instructions of a test now, with their verdict where both sides have counted it."""
    counted = now.tests[nodeid].instructions
    if counted is None or nodeid not in before.tests:
        return counted
    from pytest_joules.count.identity import differences, elsewhere
    from pytest_joules.judge import instructions as judge

    known = before.counting is not None and now.counting is not None
    differs = differences(before.counting, now.counting) if before.counting is not None and now.counting is not None else []
    then = before.tests[nodeid].instructions if known else None
    found = judge.compare(
        then,
        counted,
        baseline=before.name,
        threshold=COUNT_THRESHOLD,
        differs=differs,
        elsewhere=elsewhere(before.counting, now.counting),
    )
    if found["verdict"] == "regressed" and then is not None:
        found["where"] = judge.gone_up(then["functions"], counted["functions"])
    return {**counted, "comparison": found}


def _judged(before: Baseline, now: Baseline, threshold: float, why: str | None) -> dict[str, Comparison]:
    """The verdicts on the tests that both sides have; ``why`` there can be none."""
    from pytest_joules.judge.case import Case
    from pytest_joules.judge.comparing import refusal
    from pytest_joules.judge.verdict import judge

    cases = [
        Case(
            nodeid,
            before=(then.samples,),
            now=(test.samples,),
            cannot=why or refusal(then.record, test.record, random=test.random or then.random),
        )
        for nodeid, test in now.tests.items()
        if (then := before.tests.get(nodeid)) is not None
    ]
    verdicts = judge(cases, threshold, confirm=False)
    return {case.nodeid: verdict for case, verdict in zip(cases, verdicts, strict=True)}


def _blame(before: Baseline, now: Baseline, nodeids: Collection[str], regressed: set[str]) -> Mapping[str, Sequence[str]]:
    # The report that --energy-json writes does not have the functions: everything would look new.
    then, executed = ({nodeid: side.tests[nodeid].functions for nodeid in nodeids} for side in (before, now))
    known = {nodeid for nodeid in nodeids if then[nodeid] and executed[nodeid]}
    if not regressed & known:
        return {}
    from pytest_joules.code.blame import blame
    from pytest_joules.code.inventory import Stored

    then, executed = ({nodeid: side[nodeid] for nodeid in known} for side in (then, executed))
    return blame(then, executed, regressed & known, then=Stored(before.texts), present=Stored(now.texts))


def _table(tests: Sequence[_Both], rows: int) -> None:
    from pytest_joules.report import quantity
    from pytest_joules.report.table import Column
    from pytest_joules.report.text import last_part, shorten_nodeid

    order = ("regressed", "improved", "cannot tell", "ok")
    ordered = sorted(tests, key=lambda test: (order.index(test.comparison["verdict"]), -abs((test.comparison["ratio"] or 1) - 1)))
    shown = ordered[:rows] if rows else ordered

    def joules(compared: float | None, energy: MedianRecord | None) -> str:
        # What the ratio is of, where there is one.
        return quantity.joules(compared if compared is not None or energy is None else energy["median"])

    def interval(ends: Sequence[float] | None) -> str:
        return f"{quantity.ratio(ends[0])}–{quantity.ratio(ends[1])}" if ends else "-"

    def times(ratio: float | None) -> str:
        return "-" if ratio is None else f"{quantity.ratio(ratio)}×"

    print_table(
        Column("test", [test.nodeid for test in shown], shorten=shorten_nodeid, least=last_part),
        Column("before", [joules(test.comparison["before"], test.before) for test in shown], "right", drop=2),
        Column("now", [joules(test.comparison["now"], test.now) for test in shown], "right", drop=3),
        Column("ratio", [times(test.comparison["ratio"]) for test in shown], "right"),
        Column("95 %", [interval(test.comparison["ci95"]) for test in shown], drop=1),
        Column("verdict", [test.comparison["verdict"] for test in shown]),
    )
    if len(shown) < len(ordered):
        say(f"… and {len(ordered) - len(shown)} more: --top=0 shows all")
