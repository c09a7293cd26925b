"""``joules history``: what was measured, and keeping less of it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli import changes, locate, scope
from pytest_joules.cli.drawing import draw
from pytest_joules.cli.output import print_json, print_table, refuse, say
from pytest_joules.cli.parsing import Commands, threshold, whole
from pytest_joules.cli.progress import Waiting
from pytest_joules.settings.values import SESSIONS

if TYPE_CHECKING:
    from pytest_joules.model import CommitRecord
    from pytest_joules.store.entries import HistoryRecord, OverviewRecord


def add_commands(commands: Commands) -> None:
    """Add it to the command's parser."""
    history = commands.add_parser("history", help="what was measured, the newest first")
    history.add_argument("nodeid", nargs="?", metavar="NODEID", help="a test, or a part of its name; without: all tests")
    locate.add_options(history)
    scope.add_options(history)
    history.add_argument("--changes", action="store_true", help="the points where the level of tests changed, the worst first")
    history.add_argument(
        "--threshold",
        type=threshold,
        metavar="PERCENT",
        help="with --changes: smaller ones are not told (5%%; instructions: 1%%)",
    )
    history.add_argument("--limit", type=whole(1), metavar="N", help="at most N entries")
    history.add_argument("--json", action="store_true", help="as JSON, samples included")
    history.add_argument(
        "--prune",
        nargs="?",
        type=_sessions,
        const=SESSIONS,
        metavar="N",
        help="keep N sessions of each machine (default %(const)s; 0: all) and the newest of each test; remove what is damaged",
    )
    history.set_defaults(command=_history)


def _sessions(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of sessions")
    return int(text)


def _history(given: argparse.Namespace) -> int:
    if given.threshold is not None and not given.changes:
        return refuse("--threshold is for --changes: add it", 2)
    if given.prune is not None and (given.changes or given.since is not None or given.machine is not None):
        return refuse("--prune is of all sessions: leave out --changes, --since and --machine", 2)
    place = locate.place(given)
    if place is None:
        return refuse(locate.NO_HISTORY)
    if given.prune is not None:
        return _prune(place, given)

    from pytest_joules.report.text import printable
    from pytest_joules.store import StoreError

    try:
        with locate.opened(place) as store:
            within = scope.within(store, given)
            if given.nodeid is None and not given.changes:
                return _overview(store.overview(within)[: given.limit], given)
            if given.nodeid is None:
                return changes.show(store, given, within, None) if store.nodeids() else refuse(locate.NOTHING)
            candidates = store.nodeids(given.nodeid)
            nodeid = given.nodeid if given.nodeid in candidates else candidates[0] if len(candidates) == 1 else None
            if nodeid is not None and given.changes:
                return changes.show(store, given, within, nodeid)
            if nodeid is not None:
                return _of_one(nodeid, store.history(nodeid, given.limit, within), given)
    except StoreError as error:
        return refuse(str(error))
    except scope.Unknown as error:
        return refuse(str(error), 2)
    if not candidates:
        return refuse(f"nothing was measured of {given.nodeid}. joules history lists the tests that were.")
    shown = candidates[: given.limit]
    say("\n".join(map(printable, shown)))
    more = f", of which {len(shown)} are shown" if len(shown) < len(candidates) else ""
    return refuse(f"{given.nodeid} is in the names of these {len(candidates)} tests{more}: name one.")


def _overview(tests: list[OverviewRecord], given: argparse.Namespace) -> int:
    from pytest_joules.report.table import Column
    from pytest_joules.report.text import last_part, shorten_nodeid

    if given.json:
        print_json(tests)
    elif tests:
        print_table(
            Column("test", [test["nodeid"] for test in tests], shorten=shorten_nodeid, least=last_part),
            Column("measured", [f"{test['count']}×" for test in tests], "right", drop=1),
            Column("last", [_date(test["created"]) for test in tests], drop=2),
            Column("energy", [_cost(test) for test in tests], "right"),
            Column("provenance", [test["provenance"] for test in tests], drop=3),
        )
    if tests:
        return 0
    asked = scope.said(given)
    return refuse(f"nothing was measured{asked}. joules history lists all that was." if asked else locate.NOTHING)


def _cost(test: OverviewRecord) -> str:
    from pytest_joules.report import quantity

    counted = test["instructions"] if test["energy_median"] is None else None
    return quantity.joules(test["energy_median"]) if counted is None else quantity.instructions(counted)


def _of_one(nodeid: str, entries: list[HistoryRecord], given: argparse.Namespace) -> int:
    from pytest_joules.report import quantity
    from pytest_joules.report.table import Column
    from pytest_joules.report.text import printable

    if given.json:
        print_json(entries)
        return 0
    if not entries:
        return refuse(f"nothing was measured of {nodeid}{scope.said(given)}. joules history lists all that was.")
    shares = [quantity.relative_half_width(entry["energy"]) for entry in entries]
    say(printable(nodeid))
    draw(entries)
    counts = [found["count"] if (found := entry.get("instructions")) is not None else None for entry in entries]
    counted = [Column("instructions", ["-" if count is None else quantity.instructions(count) for count in counts], "right")]
    print_table(
        Column("date", [_date(entry["created"]) for entry in entries]),
        Column("commit", [_commit(entry["commit"]) for entry in entries], drop=3),
        Column("energy", [quantity.joules(quantity.median_of(entry["energy"])) for entry in entries], "right"),
        *(counted if any(counts) else ()),
        Column("±", ["-" if share is None else quantity.plus_minus(share) for share in shares], "right", drop=5),
        Column("source", [entry["source"] or "-" for entry in entries], drop=2),
        Column("provenance", [entry["provenance"] for entry in entries], drop=4),
        Column("rounds", [str(entry["rounds"]) for entry in entries], "right", drop=1),
    )
    return 0


def _date(created: str) -> str:
    return created[:16].replace("T", " ")


def _commit(commit: CommitRecord | None) -> str:
    return f"{commit['id'][:10]}{'+' if commit['dirty'] else ''}" if commit and commit["id"] else "-"


def _prune(place: str | Path, given: argparse.Namespace) -> int:
    """``joules history --prune``."""
    from pytest_joules.store import StoreError, pruning

    if given.nodeid is not None:
        return refuse("--prune is of all tests: leave out the name of one, and write the number as --prune=N", 2)
    try:
        with locate.opened(place, write=True) as store, Waiting("looking through: row") as waiting:
            removed = pruning.prune(store, given.prune, waiting.of)
    except StoreError as error:
        return refuse(str(error))
    if given.json:
        print_json(dataclasses.asdict(removed))
    else:
        say(f"removed: {removed.sentence()}")
    return 0
