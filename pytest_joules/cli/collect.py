"""``joules collect``: a data set of measured tests of public packages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli.output import print_table, refuse, say
from pytest_joules.cli.parsing import Commands, whole
from pytest_joules.cli.progress import Waiting
from pytest_joules.files import reading

if TYPE_CHECKING:
    from pytest_joules.collect.fetching import Request
    from pytest_joules.collect.package import Bounds, Outcome

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def add_commands(commands: Commands) -> None:
    """Add it to the command's parser."""
    collect = commands.add_parser(
        "collect",
        help="measure the tests of public packages, and write a data set",
        description="Fetch source distributions, install each in an environment of its own, measure its tests, and write one "
        "record a test as JSON lines. Code of these packages is executed: in a process with a home of its own, bounded in time "
        "and disk, but as you. Packages that are finished are not collected again.",
    )
    collect.add_argument("packages", nargs="*", metavar="PACKAGE", help="NAME, NAME==VERSION, or a path to an sdist or project")
    collect.add_argument(
        "--pairs", action="store_true", help="packages are NAME==OLDER..NEWER: each test's cost with either release"
    )
    collect.add_argument("--list", type=Path, metavar="FILE", help="packages, one a line; # begins a comment")
    collect.add_argument("--out", type=Path, metavar="DIR", help="where to (default joules-data; joules-pairs)")
    collect.add_argument(
        "--rounds", type=whole(1), metavar="N", help="repetitions of a test (default 20; of pairs 10 in each process)"
    )
    collect.add_argument(
        "--max-tests", type=whole(1), metavar="N", help="of a package, spread over its files (default: all; of pairs 400)"
    )
    collect.add_argument(
        "--max-time", type=_seconds, metavar="SECONDS", help="for the repetitions of one test (default 10; of pairs 1)"
    )
    collect.add_argument("--max-affected", type=whole(1), metavar="N", help="of a pair, tests that run changed code (default 40)")
    collect.add_argument("--passes", type=whole(1), metavar="N", help="of a pair, both sides in turn (default 3)")
    collect.add_argument("--processes", type=whole(1), metavar="N", help="of a pair, on each side, for joules (default 2)")
    collect.add_argument("--count", action="store_true", help="of a pair, the instructions of its quicker tests too (Valgrind)")
    collect.add_argument("--keep", action="store_true", help="environments and trees of pairs stay, for --rewrite")
    collect.add_argument(
        "--time-limit", type=_seconds, metavar="SECONDS", default=900.0, help="for one package, installing included (default 900)"
    )
    collect.add_argument("--disk-limit", type=_bytes, metavar="SIZE", default=4 * 2**30, help="for one package (default 4G)")
    collect.add_argument(
        "--jobs", type=whole(1), metavar="N", default=1, help="packages prepared at once; one measures (default 1)"
    )
    collect.add_argument("--python", metavar="PATH", default=sys.executable, help="the interpreter (default: this one)")
    collect.add_argument("--popularity", type=Path, metavar="FILE", help="CSV or JSON: package and number")
    collect.add_argument(
        "--representations", metavar="NAMES", help="features in every record: source,ast,bytecode,calls,counts,text or all"
    )
    collect.add_argument(
        "--rewrite",
        action="store_true",
        help="write finished packages' records anew from their histories; pairs' with what their tests run now",
    )
    collect.add_argument("--retry", action="store_true", help="try again what failed before")
    collect.set_defaults(command=_collect)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def _bytes(text: str) -> int:
    number, unit = text.strip().upper().removesuffix("IB").removesuffix("B"), ""
    if number and number[-1] in _UNITS:
        number, unit = number[:-1], number[-1]
    try:
        value = float(number) * _UNITS[unit]
    except ValueError:
        value = 0.0
    if not 0 < value < 2**60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500M or 4G")
    return int(value)


def _collect(given: argparse.Namespace) -> int:
    from pytest_joules.collect import popularity
    from pytest_joules.collect.records import representations
    from pytest_joules.collect.run import CollectError, CollectSettings, collect

    try:
        _check_together(given)
        requests = _requests(given)
        popular = popularity.read(given.popularity) if given.popularity is not None else {}
        represented = representations(given.representations) if given.representations is not None else {}
    except ValueError as error:
        return refuse(str(error), 2)
    out = given.out or Path("joules-pairs" if given.pairs else "joules-data")
    settings = CollectSettings(
        requests, out.resolve(), _bounds(given), given.python, given.jobs, given.retry, given.rewrite, popular, represented
    )
    try:
        with Waiting("collecting: package", len(requests)) as waiting:
            outcomes, stopped = collect(settings, lambda text: waiting.say(text, _progress), waiting.of)
    except CollectError as error:
        return refuse(str(error), 2)
    if outcomes:
        _table(outcomes)
    if stopped:
        return refuse(f"stopped; what is finished is in {out}, and the same command goes on from there", 130)
    return 0 if any(outcome.tests for outcome in outcomes) else refuse("no package could be measured")


#: What makes sense for packages alone, and for pairs alone.
_OF_PACKAGES = ("popularity", "representations")
_OF_PAIRS = ("max_affected", "passes", "processes", "count", "keep")


def _check_together(given: argparse.Namespace) -> None:
    """Raises :class:`ValueError` for options that would be ignored, or cannot be done."""
    for name in _OF_PACKAGES if given.pairs else _OF_PAIRS:
        if getattr(given, name):
            raise ValueError(f"--{name.replace('_', '-')} {'does not go with' if given.pairs else 'is for'} --pairs")
    if given.count:
        _check_counter()


def _check_counter() -> None:
    from pytest_joules.count import callgrind
    from pytest_joules.count.counter import NoCounter

    try:
        callgrind.find()
    except NoCounter as error:
        raise ValueError(f"--count: {error}") from None


def _bounds(given: argparse.Namespace) -> Bounds:
    from pytest_joules.collect.package import Bounds
    from pytest_joules.collect.pair_side import PairBounds

    limits = given.time_limit, given.disk_limit
    if not given.pairs:
        return Bounds(given.rounds or 20, given.max_tests, given.max_time or 10.0, *limits)
    return PairBounds(
        given.rounds or 10,
        given.max_tests or 400,
        given.max_time or 1.0,
        *limits,
        max_affected=given.max_affected or 40,
        passes=given.passes or 3,
        processes=given.processes or 2,
        count=given.count,
        keep=given.keep,
    )


def _requests(given: argparse.Namespace) -> list[Request]:
    from pytest_joules.collect.fetching import pair_request, request

    texts = list(given.packages)
    if given.list is not None:
        try:
            lines = reading.read_text(given.list, 16 * 2**20).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--list={given.list} cannot be read: {error}") from None
        texts += [text for line in lines if (text := line.partition("#")[0].strip())]
    if not texts:
        raise ValueError("name at least one PACKAGE (with --pairs NAME==OLDER..NEWER), or a file of them with --list=FILE")
    found: dict[str, Request] = {}
    for text in texts:
        wanted = pair_request(text) if given.pairs else request(text)
        other = found.setdefault(wanted.key, wanted)
        if other != wanted:
            raise ValueError(f"{other.text} and {text} would share one place: collect one of them into another folder with --out")
    return list(found.values())


def _progress(text: str) -> None:
    from pytest_joules.report.text import printable

    say(printable(text))  # what packages say of themselves may be anything
    sys.stdout.flush()


def _table(outcomes: list[Outcome]) -> None:
    from pytest_joules.report.table import Column
    from pytest_joules.report.text import printable

    print_table(
        Column("package", [outcome.package for outcome in outcomes]),
        Column("version", [outcome.version or "-" for outcome in outcomes], drop=2),
        Column("tests", [str(outcome.tests) for outcome in outcomes], "right"),
        Column("repetitions", [str(outcome.repetitions) for outcome in outcomes], "right", drop=1),
        Column("seconds", [f"{outcome.seconds:.0f}" for outcome in outcomes], "right", drop=3),
        Column("failed", [outcome.reason or "" for outcome in outcomes]),
    )
    measured = [outcome for outcome in outcomes if outcome.tests]
    tests, repetitions = (sum(getattr(outcome, key) for outcome in measured) for key in ("tests", "repetitions"))
    say(f"{len(measured)} of {len(outcomes)} packages, {tests} tests, {repetitions} repetitions")
    for outcome in outcomes:
        if outcome.reason is not None:
            say(printable(f"{outcome.package}: {outcome.reason}: {outcome.detail}"))
