"""A report out of a JSON file, which may hold anything: it is held against the published schema."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_joules.files import checked, reading
from pytest_joules.files.checked import Bad
from pytest_joules.model import SCHEMA, Report, empty_record

if TYPE_CHECKING:
    from pytest_joules.model import ReportRecord, Summary

#: No file larger than this is read (bytes): ten thousand tests of 20 rounds take about 60 MB.
MOST_BYTES = 256 * 2**20

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


class ReportError(ValueError):
    """A report cannot be read; the message names the file, what is wrong and what to do."""


def load(path: Path) -> Report:
    """Read what ``--energy-json`` wrote.

    Raises:
        ReportError: it is not there, not whole, no report, or of another version.
    """
    try:
        text = reading.read_bytes(path, MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise ReportError(f"{path}: there is no such file. Write one with pytest --energy --energy-json={path}.") from None
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: {getattr(error, 'strerror', None) or error}. Name a file of pytest --energy-json.") from None
    try:
        return report_of(json.loads(text))
    except (Bad, ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, Bad) else "it is not whole, or no JSON"
        raise ReportError(f"{path}: {why}. Name a file that pytest --energy-json=FILE wrote.") from None


def report_of(data: object) -> Report:
    """A report out of its JSON; what older versions did not write is ``None``.

    Raises:
        Bad: it is none.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        said = checked.shown(data.get("schema")) if isinstance(data, dict) else "missing"
        raise Bad(f"it is no report of this version: its schema is {said}, not {SCHEMA!r}")
    for test in data["tests"] if isinstance(data.get("tests"), list) else ():
        if isinstance(test, dict):
            for name, value in empty_record("").items():
                test.setdefault(name, value)
    schema = _schema()
    for wrong in _wrong(data, schema, schema, ""):
        raise Bad(f"it is no sound report: {wrong}")
    found = cast("ReportRecord", data)
    for record in found["tests"]:
        # What was no number was written as null.
        for key in ("energy", "duration", "power", "tsc"):
            record[key] = _known(record[key])
        record["domains"] = {name: _known(summary) for name, summary in record["domains"].items()}
    names = ("created", "machine", "commit", "settings", "sources", "tests", "session", "comparison", "versions")
    return Report(**{name: found[name] for name in names}, extra=found.get("extra", {}))  # type: ignore[literal-required]  # each is a key


def _known(summary: Summary | None) -> Summary | None:
    return summary if summary is not None and summary["median"] is not None else None


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("pytest_joules.data").joinpath("report.schema.json").read_text("utf-8"))
    return found


def _wrong(value: object, form: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """What of a value does not fit, by the words of JSON Schema that the report's schema uses; keys that a later version may have
    written are let pass."""
    if "$ref" in form:
        form = schema["$defs"][form["$ref"].rpartition("/")[2]]
    if "anyOf" in form:
        if all(next(_wrong(value, one, schema, place), None) for one in form["anyOf"]):
            yield f"{place or 'it'} is {checked.shown(value)}"
        return
    if not _is(value, form):
        yield f"{place or 'it'} is {checked.shown(value)}"
    elif isinstance(value, dict):
        yield from _wrong_keys(value, form, schema, place)
    elif isinstance(value, list):
        bounds = form.get("minItems", 0), form.get("maxItems", math.inf)
        if not bounds[0] <= len(value) <= bounds[1]:
            yield f"{place} has {len(value)} entries"
        for number, part in enumerate(value):
            yield from _wrong(part, form.get("items", {}), schema, f"{place}[{number}]")


def _wrong_keys(value: Mapping[str, object], form: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> Iterator[str]:
    for name in form.get("required", ()):
        if name not in value:
            yield f"{place}.{name} is missing".lstrip(".")
    known, others = form.get("properties", {}), form.get("additionalProperties")
    for name, part in value.items():
        inner = known.get(name, others)
        if isinstance(inner, dict):
            yield from _wrong(part, inner, schema, f"{place}.{checked.shown(name)[1:-1]}".lstrip("."))


def _is(value: object, form: Mapping[str, Any]) -> bool:
    """Of its type, and one of those that are allowed."""
    kinds = form.get("type", list(_KINDS))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool):
        fits = "boolean" in kinds
    else:
        fits = any(isinstance(value, _KINDS[kind]) for kind in kinds if kind != "boolean")
    if isinstance(value, int | float) and not isinstance(value, bool):
        fits = fits and math.isfinite(value) and form.get("minimum", -math.inf) <= value <= form.get("maximum", math.inf)
    return fits and value in form.get("enum", [value]) and value == form.get("const", value)
