"""The report as JSON, schema ``pytest-joules/1`` (``pytest_joules/data/report.schema.json``)."""

from __future__ import annotations

import os
from typing import TextIO

from pytest_joules.files import atomic
from pytest_joules.files.strict_json import text
from pytest_joules.model import Report


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report, one test a line, test by test, so that memory does not grow with their number.

    The file is strict JSON in UTF-8: NaN and infinities become null.

    Raises:
        pytest_joules.files.atomic.ReportPathError: the file cannot be written.
    """
    atomic.atomically(path, lambda file: _write(report, file))


def _write(report: Report, file: TextIO) -> None:
    file.write("{\n")
    for key, value in report.as_record().items():
        if key != "tests":
            file.write(f"{text(key)}: {text(value)},\n")
    file.write('"tests": [')
    for place, record in enumerate(report.tests):
        file.write(("," if place else "") + "\n" + text(record))
    file.write("\n]\n}\n")
