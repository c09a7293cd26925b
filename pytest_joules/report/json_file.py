"""The report as JSON, schema ``pytest-joules/1`` (``pytest_joules/data/report.schema.json``)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence, Set
from numbers import Integral, Real
from typing import TextIO

from pytest_joules.files import writing
from pytest_joules.model import Report

_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report, one test a line, test by test, so that memory does not grow with their number.

    The file is strict JSON in UTF-8: NaN and infinities become null.

    Raises:
        pytest_joules.files.writing.ReportPathError: the file cannot be written.
    """
    writing.atomically(path, lambda file: _write(report, file))


def _write(report: Report, file: TextIO) -> None:
    shared = report.as_record()
    tests = shared.pop("tests")
    file.write("{\n")
    for key, value in shared.items():
        file.write(f"{text(key)}: {text(value)},\n")
    file.write('"tests": [')
    for place, record in enumerate(tests):
        file.write(("," if place else "") + "\n" + text(record))
    file.write("\n]\n}\n")


def text(value: object) -> str:
    """A value as strict JSON on one line; what JSON does not know becomes null (NaN, infinities), a number or a string."""
    try:
        return _STRICT.encode(value)
    except (TypeError, ValueError):
        return _STRICT.encode(_plain(value))


def _plain(value: object) -> object:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (bytes, bytearray)):
        return [_plain(entry) for entry in value]
    return str(value)
