"""``joules evaluate``: predictions against what was measured then."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pytest_joules.cli.output import print_json, print_table, refuse, say
from pytest_joules.cli.parsing import Commands
from pytest_joules.cli.predictor import NoHistoryError, add_options, factor, many, opened, percent
from pytest_joules.cli.progress import Waiting

if TYPE_CHECKING:
    from pytest_joules.predict.evaluation import Evaluation


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    parser = commands.add_parser("evaluate", help="how good the predictions in the history have been")
    parser.set_defaults(command=_evaluate)
    add_options(parser)


def _evaluate(given: argparse.Namespace) -> int:
    from pytest_joules.predict import evaluation
    from pytest_joules.predict.widening import SESSIONS
    from pytest_joules.store import StoreError

    try:
        with opened(given) as store, Waiting("evaluating: session") as waiting:
            found = evaluation.predictions(store, waiting.of)
            accounts = store.predictings(SESSIONS)
    except (NoHistoryError, StoreError) as error:
        return refuse(str(error))
    if not found:
        return refuse(
            "nothing to evaluate yet: the history has no prediction with its measurement. Run pytest --energy --energy-predict."
        )
    result = evaluation.evaluate(found, accounts=accounts)
    if given.json:
        print_json(result | {"accounts": accounts[:10]})
        return 0
    _say_evaluated(result)
    return 0


def _say_evaluated(result: Evaluation) -> None:
    from pytest_joules.report.table import Column

    say(_overview(result))
    whole = result["all"]
    parts = [(name, figures) for name, figures in result["models"].items()] + [("all", whole)]
    print_table(
        Column("model", [name or "-" for name, _ in parts]),
        Column("tests", [str(one["tests"]) for _, one in parts], "right", drop=1),
        Column("recall", [percent(one["recall"]) for _, one in parts], "right"),
        Column("precision", [percent(one["precision"]) for _, one in parts], "right", drop=2),
        Column("false flags", [percent(one["false_flags"]) for _, one in parts], "right"),
        Column("in 80 %", [percent(one["coverage"]) for _, one in parts], "right"),
        Column("off by", [factor(one["median_error"]) for _, one in parts], "right"),
        Column("last", [factor(one["last_error"]) for _, one in parts], "right", drop=3),
    )
    say("off by: half of the predictions were within this factor; last: had the last measurement been expected again\n")
    if result["calibration"]:
        print_table(
            Column("chance said", [f"{percent(one['low'])} to {percent(one['high'])}" for one in result["calibration"]]),
            Column("tests", [str(one["tests"]) for one in result["calibration"]], "right"),
            Column("on average", [percent(one["chance"]) for one in result["calibration"]], "right"),
            Column("became dearer", [percent(one["share"]) for one in result["calibration"]], "right"),
        )
        say("")
    sessions = result["sessions"]
    print_table(
        Column("session", [one["created"][:16].replace("T", " ") for one in sessions]),
        Column("tests", [str(one["tests"]) for one in sessions], "right", drop=1),
        Column("hit", [str(one["hits"]) for one in sessions], "right"),
        Column("missed", [str(one["missed"]) for one in sessions], "right"),
        Column("false flag", [str(one["false"]) for one in sessions], "right"),
        Column("right", [str(one["right"]) for one in sessions], "right"),
        Column("unclear", [str(one["unclear"]) for one in sessions], "right", drop=2),
    )


def _overview(result: Evaluation) -> str:
    from pytest_joules.report import quantity

    whole, ranked, intervals = result["all"], result["ranked"], result["intervals"]
    lines = [
        f"{many(whole['tests'], 'prediction')} held against measurements",
        f"dearer: {whole['hits'] + whole['missed']}, of which {whole['hits']} were flagged and {whole['missed']} missed",
        f"not dearer: {whole['false'] + whole['right']}, of which {whole['false']} were flagged",
        f"cannot be told: {whole['unclear']}",
    ]
    if whole["older"]:
        lines.append(
            f"{whole['older']} of these outcomes are an older version's, which took for change what sessions do to unchanged code"
        )
    if result["unknown"] is not None:
        dearer = f", {result['unknown_dearer']} of them dearer" if result["unknown_dearer"] else ""
        lines.append(f"nobody could say: {percent(result['unknown'])} of the tests of changed code{dearer}")
    if ranked["found"] is not None:
        lines.append(
            f"ranked: {percent(ranked['found'])} of the {many(ranked['dearer'], 'dearer test')} within the first "
            f"{percent(ranked['first'])} of the affected joules"
        )
    if intervals["said"] is not None:
        lines.append(intervals["said"])
    if result["balance"] is not None:
        drew, saved = map(quantity.joules, result["balance"])
        lines.append(f"predicting drew {drew} and saved {saved} over the latest sessions")
    return "\n".join(lines) + "\n"
