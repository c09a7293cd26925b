"""The ``joules`` command: what this machine can measure, what was measured, and baselines against each other."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_joules import __version__
from pytest_joules.cli import (
    account,
    bisect,
    bundle,
    collect,
    comment,
    compare,
    evaluate,
    history,
    predict,
    report,
    train,
    tune,
    variants,
)
from pytest_joules.cli.output import print_json, say, width
from pytest_joules.settings.values import POWERCAP

#: Exit codes, and when.
EXITS = {
    0: "done",
    1: "nothing was found, the history cannot be read, a compared test regressed, joules bisect found what made a test dearer, "
    "joules comment --find found none, nothing could be trained, predicted or collected, or an import left a baseline out",
    2: "a command line that is not understood, a baseline or a file that cannot be read or written, or commits or a test that "
    "cannot be bisected",
    3: "joules bisect cannot tell",
    130: "stopped with Ctrl-C; what joules collect has finished, joules tune has tried and joules bisect has judged is kept",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: those of the process) and return its exit code."""
    words, behind = bisect.separated(sys.argv[1:] if arguments is None else arguments)
    given = _parser().parse_args(words)
    given.behind = behind
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
    parser = argparse.ArgumentParser(
        prog="joules",
        description="Energy of tests: what pytest --energy can measure, and has.",
        epilog="Exit codes: " + "; ".join(f"{code}: {when}" for code, when in EXITS.items()) + ".",
    )
    parser.add_argument("--version", action="version", version=f"pytest-joules {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    doctor = commands.add_parser(
        "doctor",
        help="what this machine can measure, what it cannot, why, and the remedy",
        description="Every source of joules and whatever can count instructions: works or not, why, and the remedy if there is "
        "one; whether rapl and pyRAPL agree; what others use of the machine; the tick counter.",
    )
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.add_argument(
        "--powercap", type=Path, metavar="DIR", default=POWERCAP, help="root of the powercap tree (default %(default)s)"
    )
    doctor.set_defaults(command=_doctor)

    report.add_command(commands)
    account.add_command(commands)
    history.add_commands(commands)
    compare.add_commands(commands)
    bisect.add_command(commands)
    bundle.add_commands(commands)
    comment.add_command(commands)
    collect.add_commands(commands)
    train.add_command(commands)
    tune.add_command(commands)
    predict.add_command(commands)
    evaluate.add_command(commands)
    variants.add_command(commands)
    return parser


def _doctor(given: argparse.Namespace) -> int:
    from pytest_joules.cli import doctor

    findings = doctor.examine(given.powercap, None, None)
    if given.json:
        print_json(findings)
    else:
        say(doctor.render(findings, width()))
    return 0
