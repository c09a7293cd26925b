"""The ``joules`` command: what this machine can measure, what was measured, and baselines against each other.

Exit codes: 0; 1 where nothing was found, the history cannot be read, or a compared test regressed; 2 for a command line that is
not understood, and for baselines that cannot be read or written. ``joules bisect`` has a 3 for what cannot be told.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_joules import __version__
from pytest_joules.cli import bisect, bundle, collect, compare, evaluate, history, predict, train
from pytest_joules.cli.output import print_json, say, width
from pytest_joules.settings.values import POWERCAP


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
    parser = argparse.ArgumentParser(prog="joules", description="Energy of tests: what pytest --energy can measure, and has.")
    parser.add_argument("--version", action="version", version=f"pytest-joules {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    doctor = commands.add_parser("doctor", help="what this machine can measure, what it cannot, why, and the remedy")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.add_argument("--powercap", type=Path, metavar="DIR", default=POWERCAP, help="(default %(default)s)")
    doctor.set_defaults(command=_doctor)

    history.add_commands(commands)
    compare.add_commands(commands)
    bisect.add_command(commands)
    bundle.add_commands(commands)
    collect.add_commands(commands)
    train.add_command(commands)
    predict.add_command(commands)
    evaluate.add_command(commands)
    return parser


def _doctor(given: argparse.Namespace) -> int:
    from pytest_joules.cli import doctor

    findings = doctor.examine(given.powercap, None, None)
    if given.json:
        print_json(findings)
    else:
        say(doctor.render(findings, width()))
    return 0
