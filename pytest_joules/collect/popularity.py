"""How popular packages are, from a file of the user's: numbers are not fetched."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.utils import canonicalize_name

from pytest_joules.files import reading

_NAMES = ("package", "project", "name")
_NUMBERS = ("popularity", "downloads", "download_count", "count", "stars", "dependents")
_MOST_BYTES = 64 * 2**20


def read(path: Path) -> dict[str, float]:
    """Popularity by canonical name, in whatever unit the file has.

    Understood are CSV with a header, JSON lists of objects (also under ``rows``), both with one column out of package, project,
    name and one out of popularity, downloads, download_count, count, stars, dependents; and a JSON object of names and numbers.

    Raises:
        ValueError: it cannot be read or understood; the message says what was expected.
    """
    try:
        text = reading.read_text(path, _MOST_BYTES, "utf-8-sig")
        found = _json(text) if text.lstrip()[:1] in ("{", "[") else _csv(text)
        result: dict[str, float] = {canonicalize_name(name): number for name, number in found}
    except OSError as error:
        raise ValueError(f"--popularity={path}: {error.strerror or error}") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise ValueError(f"--popularity={path}: {error}") from None
    if not result:
        raise ValueError(f"--popularity={path}: it names no package")
    return result


def _json(text: str) -> Iterator[tuple[str, float]]:
    data = json.loads(text)
    if isinstance(data, dict) and isinstance(data.get("rows"), list):
        data = data["rows"]
    if isinstance(data, dict):
        yield from ((name, _number(name, value)) for name, value in data.items())
    elif isinstance(data, list) and all(isinstance(row, dict) for row in data):
        yield from _rows(data)
    else:
        raise ValueError("expected an object of names and numbers, or a list of objects")


def _csv(text: str) -> Iterator[tuple[str, float]]:
    yield from _rows(csv.DictReader(text.splitlines()))


def _rows(rows: Iterable[dict[str, object]]) -> Iterator[tuple[str, float]]:
    for row in rows:
        name = next((row[key] for key in _NAMES if isinstance(row.get(key), str)), None)
        number = next((row[key] for key in _NUMBERS if row.get(key) is not None), None)
        if not isinstance(name, str) or number is None:
            raise ValueError(f"expected one column of {', '.join(_NAMES)} and one of {', '.join(_NUMBERS)}")
        yield name, _number(name, number)


def _number(name: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: {value!r} is not a number")
    return number
