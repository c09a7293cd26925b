"""The tables of variants as CSV, and as the picture alone."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import TextIO

from pytest_joules.files import atomic
from pytest_joules.report.csv_file import cell
from pytest_joules.report.variants import COLUMNS, Table, numbers
from pytest_joules.report.variants_picture import picture


def write_csv(found: Sequence[Table], path: str | os.PathLike[str]) -> None:
    """Write a row a variant; an empty cell is an unavailable value.

    Raises:
        pytest_joules.files.atomic.ReportPathError: the file cannot be written.
    """

    def writer(file: TextIO) -> None:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows(map(cell, row) for row in numbers(found))

    atomic.atomically(path, writer)


def write_picture(found: Sequence[Table], path: str | os.PathLike[str]) -> None:
    """Write the first table's picture.

    Raises:
        ValueError: no table has two variants with joules and a score.
        pytest_joules.files.atomic.ReportPathError: the file cannot be written.
    """
    drawn = next((made for one in found if (made := picture(one))), None)
    if drawn is None:
        raise ValueError("no picture: it needs two variants with joules and a score (energy.score in the test)")
    atomic.atomically(path, lambda file: file.writelines((drawn, "\n")))
