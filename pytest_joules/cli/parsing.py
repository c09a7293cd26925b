"""What several commands' lines have in common: numbers that are checked where they are written, and the folder of baselines."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

#: What :meth:`argparse.ArgumentParser.add_subparsers` returns, which has no public name.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number from ``least`` (0 or 1) on."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number{' above 0' if least else ''}")
        return int(text)

    return read


def jobs(text: str) -> int:
    """Reads a number of processor cores."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cores")
    return int(text)


def threshold(text: str) -> float:
    """Reads a share: ``5%`` or ``0.05``."""
    from pytest_joules.settings import values

    return _setting(text, values.threshold)


def seconds(text: str) -> float:
    """Reads seconds as ``--energy-max-time`` does."""
    from pytest_joules.settings import values

    return _setting(text, values.seconds)


def _setting(text: str, read: Callable[[object], float]) -> float:
    from pytest_joules.settings.values import SettingError

    try:
        return read(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The option that says where baselines are."""
    parser.add_argument("--dir", type=Path, metavar="DIR", help="the folder of baselines (default: the nearest .joules)")


def folder_of(given: argparse.Namespace) -> Path | None:
    """The folder of baselines that is named, or the nearest; ``None``: there is none."""
    from pytest_joules.baseline import nearest

    folder: Path | None = given.dir
    return folder if folder is not None else nearest(Path.cwd())
