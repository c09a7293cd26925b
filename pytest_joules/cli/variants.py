"""``joules variants``: what was measured before, as variants beside each other."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli.output import refuse, say, say_lines
from pytest_joules.cli.parsing import Commands, threshold

if TYPE_CHECKING:
    from pytest_joules.judge.variants import Group
    from pytest_joules.model import Record, Report


class Refused(Exception):
    """What cannot be shown, in a sentence."""


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    variants = commands.add_parser(
        "variants",
        help="variants of a parametrised test side by side, from a report: joules, ratios, scores, the front",
        description="A table of the variants in a report of --energy-json. What was not measured in turn (--energy-variants) has "
        "what the machine did meanwhile in its ratios, and is told so.",
    )
    variants.add_argument("report", type=Path, metavar="REPORT.json", help="of --energy-json")
    variants.add_argument("--by", required=True, metavar="PARAM", help="the parameter whose values are the variants")
    variants.add_argument("--reference", metavar="ID", help="the value to compare with (default: the first)")
    variants.add_argument("--score", metavar="NAME", help="the score to hold beside the joules (default: the first)")
    variants.add_argument(
        "--threshold", type=threshold, default=0.05, metavar="PERCENT", help="smallest change that counts (default 5%%)"
    )
    variants.add_argument("--html", type=Path, metavar="FILE", help="write them as a page that needs no other file")
    variants.add_argument("--svg", type=Path, metavar="FILE", help="write the picture: energy against score")
    variants.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    variants.add_argument("--csv", type=Path, metavar="FILE", help="write a row a variant")
    variants.set_defaults(command=_variants)


def _variants(given: argparse.Namespace) -> int:
    from pytest_joules.files import atomic
    from pytest_joules.report.from_json import ReportError, load

    try:
        report = load(given.report)
        _judge(report, given)
        _show(report, given)
    except (Refused, ReportError, ValueError, atomic.ReportPathError) as error:
        return refuse(str(error), 2)
    return 0


def _judge(report: Report, given: argparse.Namespace) -> None:
    """Put what is asked for into the report's records. Raises :class:`Refused`."""
    from pytest_joules.judge.variants import compare

    groups = _groups(report.tests, given)
    for test in report.tests:
        test["variants"] = None
    for group in groups:
        for name, found in compare(group, given.threshold, given.score).items():
            group.records[name]["variants"] = found


def _groups(tests: Sequence[Record], given: argparse.Namespace) -> list[Group]:
    from pytest_joules.judge.variants import Group
    from pytest_joules.report.variants import NOT_IN_TURN

    found: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Record]] = {}
    names: set[str] = set()
    for test in tests:
        names.update(name for key in test["parameters"] for name in key.split(","))
        parameter = next((key for key in test["parameters"] if given.by in key.split(",")), None)
        if parameter is not None:
            others = tuple(entry for entry in test["parameters"].items() if entry[0] != parameter)
            found.setdefault((test["nodeid"].partition("[")[0], others), {})[test["parameters"][parameter]] = test
    if not found:
        has = "its tests have none, or an older version wrote it"
        has = f"its parameters are {', '.join(sorted(names)[:8])}" if names else has
        raise Refused(f"{given.report}: no test has a parameter {given.by!r}; {has}")
    groups = []
    for (place, others), records in found.items():
        if len(records) < 2:
            continue
        reference = given.reference if given.reference is not None else next(iter(records))
        if reference not in records:
            raise Refused(f"{place}: {reference!r} is no value of {given.by}, which has {', '.join(records)}")
        in_turn = all((known := one["variants"]) is not None and known["in_turn"] for one in records.values())
        remarks = [remark for one in records.values() if (known := one["variants"]) is not None for remark in known["remarks"]]
        remarks = [remark for remark in remarks if "reference" not in remark and "no front" not in remark]
        remarks += [] if in_turn else [f"{NOT_IN_TURN}: pytest --energy-variants={given.by}:{reference} measures in turn"]
        remarks += [] if given.reference is not None else [f"no reference was named: {reference}, the first, is taken"]
        name = place + (f"[{', '.join(f'{one}={value}' for one, value in others)}]" if others else "")
        groups.append(Group(name, given.by, reference, records, in_turn, {}, remarks))
    if not groups:
        raise Refused(f"{given.report}: of {given.by} each test has one value alone: nothing to compare")
    scores = sorted({name for group in groups for one in group.records.values() for name in one["score_details"]})
    if given.score is not None and given.score not in scores:
        there = f"there are {', '.join(scores)}" if scores else "there is none"
        raise Refused(f"{given.report}: no score {given.score!r}: {there}")
    return groups


def _show(report: Report, given: argparse.Namespace) -> None:
    from pytest_joules.report import markdown, page, variants, variants_files

    if given.html is not None:
        page.write(report, given.html, {})
    if given.svg is not None:
        variants_files.write_picture(variants.tables(report), given.svg)
    if given.markdown is not None:
        markdown.write_variants(report, given.markdown)
    if given.csv is not None:
        variants_files.write_csv(variants.tables(report), given.csv)
    written = [path for path in (given.html, given.svg, given.markdown, given.csv) if path is not None]
    for path in written:
        say(f"written: {path}")
    if not written:
        say_lines(lambda width, encoding: variants.lines(report, width, encoding)[1:])
