"""What the ``joules`` command prints: within the terminal, in characters that it has."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pytest_joules.report.table import Column


def width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return max(shutil.get_terminal_size().columns, 20)


def print_table(*columns: Column) -> None:
    """The columns as wide as the terminal allows; a pipe or a file gets whole names."""
    from pytest_joules.report.table import table
    from pytest_joules.report.text import encoding_of

    print("\n".join(table(columns, width() if _seen(sys.stdout) else 10_000, encoding_of(sys.stdout))))


def say_lines(lines: Callable[[int, str], Sequence[str]]) -> None:
    """Lines that are made for a width and an encoding; a pipe or a file gets whole names."""
    from pytest_joules.report.text import encoding_of

    print("\n".join(lines(width() if _seen(sys.stdout) else 10_000, encoding_of(sys.stdout))))


def print_json(value: object) -> None:
    """For programs."""
    from pytest_joules.report.text import encodable, encoding_of

    print(encodable(json.dumps(value, indent=2), encoding_of(sys.stdout)))


def say(text: str) -> None:
    """The text, what is wider than the terminal in several lines, with what the output's encoding lacks replaced."""
    from pytest_joules.report.text import encoding_of

    for line in text.split("\n"):
        print(*_wrapped(line, encoding_of(sys.stdout)), sep="\n")


def refuse(message: str, code: int = 1) -> int:
    """Say on the standard error why not, or what else there is, on one line where no terminal shows it; returns the exit code."""
    from pytest_joules.report.text import encoding_of, printable

    sys.stdout.flush()
    text, encoding = f"joules: {message}", encoding_of(sys.stderr)
    lines = _wrapped(text, encoding) if _seen(sys.stderr) else [printable(text, encoding)]
    print(*lines, sep="\n", file=sys.stderr)
    return code


def _seen(stream: TextIO) -> bool:
    """Whether a terminal shows it, or somebody says that one does."""
    return stream.isatty() or "COLUMNS" in os.environ


def _wrapped(line: str, encoding: str) -> list[str]:
    from pytest_joules.report.text import display_width, encodable, sentence

    if line.isprintable() and display_width(line) <= width():
        return [encodable(line, encoding)]
    indent = " " * (len(line) - len(line.lstrip(" ")))
    return [indent + part for part in sentence(line.lstrip(" "), width() - len(indent), encoding, broken=False)]
