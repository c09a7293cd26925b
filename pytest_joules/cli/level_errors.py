"""The table of how far level models were off, for ``joules train``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_joules.cli.output import print_table, say
from pytest_joules.cli.predictor import figure, percent

if TYPE_CHECKING:
    from pytest_joules.predict.model import ErrorRecord


def say_errors(target: str, static: ErrorRecord, ran: ErrorRecord | None) -> None:
    """The table of one target: every model on tests whose function, or project, it had not seen."""
    from pytest_joules.report.table import Column

    say(f"\n{target} of a test never measured, cross-validated by {static['split']} (log10)")
    found = [(name, one, "") for name, one in static["models"].items()]
    if ran is not None:
        found += [(name, one, " *") for name, one in ran["models"].items() if name not in ("constant", "last")]
    print_table(
        Column("model", [("> " if _is_chosen(name, mark, static, ran) else "  ") + name + mark for name, _, mark in found]),
        Column("R²", [figure(one["r2"]) for _, one, _ in found], "right"),
        Column("rank", [figure(one["spearman"]) for _, one, _ in found], "right"),
        Column("off by", [f"{10 ** one['median_error']:.2f}×" for _, one, _ in found], "right"),
        Column("in 80 %", [percent(one["coverage"]) for _, one, _ in found], "right", drop=2),
        Column("tests", [str(one["tests"]) for _, one, _ in found], "right", drop=1),
    )
    if ran is not None:
        say("* with what ran the last time; >: kept")


def _is_chosen(name: str, mark: str, static: ErrorRecord, ran: ErrorRecord | None) -> bool:
    return bool(name == (ran if mark and ran is not None else static)["chosen"])
