"""What the ``joules`` command prints: within the terminal, in characters that it has."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_joules.report.table import Column


def width() -> int:
    """Columns of the terminal; a pipe or a file gets whole names."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 10_000


def encoding() -> str:
    """That of the standard output."""
    return sys.stdout.encoding or "utf-8"


def print_table(*columns: Column) -> None:
    """The columns as wide as the terminal allows."""
    from pytest_joules.report.table import table

    say("\n".join(table(columns, width(), encoding())))


def print_json(value: object) -> None:
    """For programs."""
    say(json.dumps(value, indent=2))


def say(text: str) -> None:
    """The text, with what the output's encoding lacks replaced."""
    from pytest_joules.report.text import encodable

    print("\n".join(encodable(line, encoding()) for line in text.split("\n")))


def refuse(message: str, code: int = 1) -> int:
    """Say on the standard error why not; returns the exit code."""
    from pytest_joules.report.text import printable

    sys.stdout.flush()
    print(f"joules: {printable(message, sys.stderr.encoding or 'utf-8')}", file=sys.stderr)
    return code
