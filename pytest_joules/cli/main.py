"""The ``joules`` command: what this machine can measure, what was measured, and baselines against each other.

Exit codes: 0; 1 where nothing was found, the history cannot be read, or a compared test regressed; 2 for a command line that is
not understood, and for baselines that cannot be read or written.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_joules import __version__
from pytest_joules.cli import baselines, collecting, locate, predictor
from pytest_joules.cli.output import print_json, print_table, refuse, say, width


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: those of the process) and return its exit code."""
    given = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = given.command
    try:
        code = command(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (joules history | head); Python's own flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="joules", description="Energy of tests: what pytest --energy can measure, and has.")
    parser.add_argument("--version", action="version", version=f"pytest-joules {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    doctor = commands.add_parser("doctor", help="what this machine can measure, what it cannot, why, and the remedy")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.add_argument("--powercap", type=Path, metavar="DIR", default=Path("/sys/class/powercap"), help="(default %(default)s)")
    doctor.set_defaults(command=_doctor)

    history = commands.add_parser("history", help="what was measured, the newest first")
    history.add_argument("nodeid", nargs="?", metavar="NODEID", help="a test, or a part of its name; without: all tests")
    locate.add_options(history)
    history.add_argument("--limit", type=_positive, metavar="N", help="at most N entries")
    history.add_argument("--json", action="store_true", help="as JSON, samples included")
    history.add_argument(
        "--prune",
        nargs="?",
        type=locate.sessions,
        const=200,
        metavar="N",
        help="keep N sessions of each machine (default %(const)s; 0: all) and the newest of each test; remove what is damaged",
    )
    history.set_defaults(command=_history)
    baselines.add_commands(commands)
    collecting.add_commands(commands)
    predictor.add_commands(commands)
    return parser


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _doctor(given: argparse.Namespace) -> int:
    from pytest_joules.cli import doctor

    findings = doctor.examine(given.powercap, None, None)
    if given.json:
        print_json(findings)
    else:
        say(doctor.render(findings, width()))
    return 0


def _history(given: argparse.Namespace) -> int:
    place = locate.place(given)
    if place is None:
        return refuse(locate.NO_HISTORY)
    if given.prune is not None:
        return locate.prune(place, given)

    from pytest_joules.report.text import printable
    from pytest_joules.store import StoreError

    try:
        with locate.opened(place) as store:
            if given.nodeid is None:
                return _overview(store.overview()[: given.limit], given.json)
            candidates = store.nodeids(given.nodeid)
            nodeid = given.nodeid if given.nodeid in candidates else candidates[0] if len(candidates) == 1 else None
            if nodeid is not None:
                return _of_one(nodeid, store.history(nodeid, given.limit), given.json)
    except StoreError as error:
        return refuse(str(error))
    if not candidates:
        return refuse(f"nothing was measured of {given.nodeid}. joules history lists the tests that were.")
    shown = candidates[: given.limit]
    say("\n".join(map(printable, shown)))
    more = f", of which {len(shown)} are shown" if len(shown) < len(candidates) else ""
    return refuse(f"{given.nodeid} is in the names of these {len(candidates)} tests{more}: name one.")


def _overview(tests: list[dict[str, Any]], as_json: bool) -> int:
    from pytest_joules.report import quantity
    from pytest_joules.report.table import Column
    from pytest_joules.report.text import last_part, shorten_nodeid

    if as_json:
        print_json(tests)
    elif tests:
        print_table(
            Column("test", [test["nodeid"] for test in tests], shorten=shorten_nodeid, least=last_part),
            Column("measured", [f"{test['count']}×" for test in tests], "right", drop=1),
            Column("last", [_date(test["created"]) for test in tests], drop=2),
            Column("energy", [quantity.joules(test["energy_median"]) for test in tests], "right"),
            Column("provenance", [test["provenance"] for test in tests], drop=3),
        )
    return 0 if tests else refuse("the history holds no measurements yet: run pytest --energy first.")


def _of_one(nodeid: str, entries: list[dict[str, Any]], as_json: bool) -> int:
    from pytest_joules.report import quantity
    from pytest_joules.report.table import Column
    from pytest_joules.report.text import printable

    if as_json:
        print_json(entries)
        return 0
    shares = [quantity.relative_half_width(entry["energy"]) for entry in entries]
    say(printable(nodeid))
    print_table(
        Column("date", [_date(entry["created"]) for entry in entries]),
        Column("commit", [_commit(entry["commit"]) for entry in entries], drop=3),
        Column("energy", [quantity.joules((entry["energy"] or {}).get("median")) for entry in entries], "right"),
        Column("±", ["-" if share is None else quantity.plus_minus(share) for share in shares], "right", drop=5),
        Column("source", [entry["source"] or "-" for entry in entries], drop=2),
        Column("provenance", [entry["provenance"] for entry in entries], drop=4),
        Column("rounds", [str(entry["rounds"]) for entry in entries], "right", drop=1),
    )
    return 0


def _date(created: str) -> str:
    return created[:16].replace("T", " ")


def _commit(commit: dict[str, Any] | None) -> str:
    return f"{commit['id'][:10]}{'+' if commit['dirty'] else ''}" if commit else "-"


if __name__ == "__main__":
    sys.exit(main())
