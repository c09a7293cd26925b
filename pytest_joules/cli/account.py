"""``joules account``: where the joules of a trace went, or of the tests of a report."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_joules.cli.output import refuse, say, say_lines
from pytest_joules.cli.parsing import Commands, whole

if TYPE_CHECKING:
    from pytest_joules.account.power import Power
    from pytest_joules.account.timeline import Timeline
    from pytest_joules.model import AccountRecord

#: What a report begins with, and how far on it is looked for (bytes).
_REPORT, _HEAD = b'"schema": "pytest-joules/', 200


class Refused(Exception):
    """What cannot be done, in a sentence."""


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    account = commands.add_parser("account", help="where the joules of a trace went, or of a report's tests, part by part")
    account.add_argument(
        "file",
        metavar="TRACE|REPORT.json",
        type=Path,
        help="a trace of torch, TensorFlow, JAX or VizTracer (.json, .json.gz), or a report of --energy-trace",
    )
    account.add_argument("nodeid", nargs="?", metavar="NODEID", help="of a report: this test, or those whose names have it")
    account.add_argument("--power", type=Path, metavar="POWER", help="of a trace: readings of power as CSV or JSON")
    account.add_argument(
        "--joules", type=_joules, metavar="J", help="of a trace: what it cost, where that was measured (default: as POWER has it)"
    )
    account.add_argument(
        "--top", metavar="N", type=whole(0), default=10, help="parts that are shown (default %(default)s; 0: all)"
    )
    account.add_argument("--json", type=Path, metavar="FILE", help="write the account as JSON")
    account.add_argument("--html", type=Path, metavar="FILE", help="write it as a page that needs no other file")
    account.add_argument("--speedscope", type=Path, metavar="FILE", help="write it for speedscope.app, weighted by joules")
    account.add_argument("--chrome", type=Path, metavar="FILE", help="write a trace with a track of power, for Perfetto")
    account.set_defaults(command=_account)


def _joules(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of joules above 0")
    return value


def _account(given: argparse.Namespace) -> int:
    from pytest_joules.files import atomic

    try:
        if _is_report(given.file):
            _of_report(given)
        else:
            _of_trace(given)
    except (Refused, atomic.ReportPathError) as error:
        return refuse(str(error), 2)
    for path in (given.json, given.html, given.speedscope, given.chrome):
        if path is not None:
            say(f"written: {path}")
    return 0


def _is_report(path: Path) -> bool:
    from pytest_joules.files import reading

    try:
        return _REPORT in reading.head(path, _HEAD)
    except OSError as error:
        why = error.strerror or str(error)
        raise Refused(f"{path}: it cannot be read ({why}). Name a trace, or a report of pytest --energy-json.") from None


def _of_report(given: argparse.Namespace) -> None:
    from pytest_joules.account import chrome_trace
    from pytest_joules.report.from_json import ReportError, load

    if given.power is not None or given.joules is not None:
        raise Refused(f"{given.file} is a report, whose joules are known: --power and --joules are for a trace")
    try:
        report = load(given.file)
    except ReportError as error:
        raise Refused(str(error)) from None
    accounts = {test["nodeid"]: found for test in report.tests if (found := test["account"]) is not None}
    if not accounts:
        raise Refused(f"{given.file} has no account: run the tests with --energy-trace=functions --energy-json={given.file}")
    if given.nodeid is not None:
        accounts = {given.nodeid: accounts[given.nodeid]} if given.nodeid in accounts else _having(accounts, given.nodeid)
    if not accounts:
        raise Refused(f"no test with an account in {given.file} is called {given.nodeid}: without a name, all are shown")
    if given.chrome is not None:
        if len(accounts) > 1:
            raise Refused(f"--chrome is of one test, and these are {len(accounts)}: name one, such as {next(iter(accounts))}")
        chrome_trace.write_tree(next(iter(accounts.values())), given.chrome)
    _show(accounts, given)


def _having(accounts: Mapping[str, AccountRecord], words: str) -> dict[str, AccountRecord]:
    return {nodeid: found for nodeid, found in accounts.items() if words in nodeid}


def _of_trace(given: argparse.Namespace) -> None:
    from pytest_joules.account import chrome_trace, power_file, trace_clock, trace_events
    from pytest_joules.account.accounting import account
    from pytest_joules.account.traced_round import TracedRound

    if given.nodeid is not None:
        raise Refused(f"{given.file} is a trace, which has no tests: leave out {given.nodeid}")
    if given.power is None:
        raise Refused(f"{given.file} is no report; of a trace the readings of power are missing: give them with --power=POWER")
    try:
        trace = trace_events.load(given.file)
        powers = power_file.read(given.power)
        begin, end = trace_clock.check(trace.timeline, powers, trace.clock, given.file)
    except trace_events.TraceError as error:
        raise Refused(str(error)) from None
    joules = given.joules if given.joules is not None else sum(_between(power, begin, end) for power in powers)
    if joules <= 0:
        raise Refused(f"{given.power}: the counters stand still while the trace runs. Give readings in which they rise.")
    try:
        found = account([TracedRound(trace.timeline, powers, begin, end)], joules, None, what=_what(trace.timeline))
    except ValueError as error:
        raise Refused(f"{given.file}: {error}") from None
    found["notes"] += trace.notes
    if end - begin < 0.99 * int(trace.timeline.end.max() - trace.timeline.begin.min()):
        found["notes"].append(f"only {(end - begin) / 1e9:.3g} s of the trace have readings of power: the rest is left out")
    if given.chrome is not None:
        chrome_trace.write(trace.timeline, powers, given.chrome)
    _show({given.file.name: found}, given)


def _what(timeline: Timeline) -> Any:  # noqa: ANN401 - one of three words
    kinds = {part.kind for part in timeline.parts}
    return "operations" if "operation" in kinds else "modules" if "module" in kinds else "functions"


def _between(power: Power, begin: int, end: int) -> float:
    """What a counter counted from one time to another, joules; between two readings evenly."""
    import numpy as np

    first, last = np.interp([begin - int(power.at[0]), end - int(power.at[0])], power.at - power.at[0], power.joules)
    return float(last - first)


def _show(accounts: Mapping[str, AccountRecord], given: argparse.Namespace) -> None:
    from pytest_joules.files import atomic, strict_json
    from pytest_joules.report import page, speedscope

    if given.json is not None:
        value = next(iter(accounts.values())) if len(accounts) == 1 else accounts
        written = json.dumps(json.loads(strict_json.text(value)), indent=1, ensure_ascii=False)
        atomic.atomically(given.json, lambda file: file.writelines((written, "\n")), "account")
    if given.html is not None:
        page.write_accounts(accounts, given.html, given.top)
    if given.speedscope is not None:
        speedscope.write(accounts, given.speedscope)
    if all(path is None for path in (given.json, given.html, given.speedscope, given.chrome)):
        say_lines(lambda width, encoding: _lines(accounts, width, encoding, given.top))


def _lines(accounts: Mapping[str, AccountRecord], width: int, encoding: str, top: int) -> Sequence[str]:
    from pytest_joules.report import account
    from pytest_joules.report.text import sentence, whole

    found: list[str] = []
    for name, record in accounts.items():
        found += [""] if found else []
        found += sentence(whole(name), width, encoding)
        found += account.lines(record, width, top, encoding)
    return found
