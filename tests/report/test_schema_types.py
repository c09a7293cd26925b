"""The JSON Schema that is published and the types that the code is checked by say the same of a report."""

from __future__ import annotations

import json
import types
from importlib import resources
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from pytest_joules.model import records

SCHEMA = json.loads(resources.files("pytest_joules.data").joinpath("report.schema.json").read_text("utf-8"))
#: What stands in a report in the place of what the type says: by then the versions are read, and the functions have gone.
WRITTEN = {"versions": records.VersionsRecord, "tests[].code": records.ReportedCode | None}
#: pytest's own words, which the code takes as texts.
WORDS = {"tests[].outcome"}
#: Keys that the first reports of this schema did not have: always written, not always there.
LATER = {
    *(f"versions.{key}" for key in ("pytest-joules", "pytest", "python", "installed")),
    *(f"session.{key}" for key in ("seconds", "joules", "idle_watts")),
    *(f"session.predicting.{key}" for key in ("model", "unchanged", "changed", "new", "unknown", "provenance", "suite")),
    *(f"comparison.{key}" for key in ("held", "notes")),
    *(f"tests[].comparison.{key}" for key in ("before", "now", "held")),
    *(f"tests[].{key}" for key in ("instructions", "account", "score_details", "parameters", "variants")),
    *(f"tests[].prediction.{key}" for key in ("state", "ratio", "last", "since", "because", "changed", "threshold", "limit")),
    *(
        f"tests[].prediction.{key}"
        for key in ("limited_by", "exposure", "chance", "at_risk", "failed", "measured", "verdict", "noise", "dearer", "outcome")
    ),
}
NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def alternatives(hint):
    """A type without ``None``, and whether it has that."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    (rest,) = (option for option in options if option is not type(None))
    return (Literal[tuple(word for word in get_args(rest) if word is not None)] if get_origin(rest) is Literal else rest), (
        type(None) in options or (get_origin(rest) is Literal and None in get_args(rest))
    )


def resolved(schema):
    """A schema without null and without reference, and whether it had null."""
    if "anyOf" in schema:
        (rest,) = (option for option in schema["anyOf"] if option != {"type": "null"})
        return resolved(rest)[0], True
    if "$ref" in schema:
        return resolved(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return {**schema, "enum": [word for word in schema["enum"] if word is not None]}, None in schema["enum"]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        (kind,) = (kind for kind in kinds if kind != "null")
        return {**schema, "type": kind}, True
    return schema, False


def differences(hint, schema, where=""):
    """In what a type and a schema differ, each with its place."""
    hint, optional = alternatives(WRITTEN.get(where, hint))
    schema, nullable = resolved(schema)
    # A number that is none (NaN, infinite) is written as null.
    if optional != nullable and not (nullable and hint is float):
        yield f"{where}: null is {'right' if nullable else 'wrong'} in the schema"
    if hint is Any or where.count(".children[]") > 1:  # a node of a tree is made of nodes
        return
    if is_typeddict(hint):
        yield from keys(hint, schema, where)
    elif get_origin(hint) is Literal or where in WORDS:
        if where not in WORDS and set(get_args(hint)) != set(schema.get("enum", ())):
            yield f"{where}: {get_args(hint)}, and {schema.get('enum')} in the schema"
    elif get_origin(hint) is list:
        yield from differences(get_args(hint)[0], schema.get("items", {}), f"{where}[]")
    elif get_origin(hint) is dict:
        values = get_args(hint)[1]
        if values is not Any:
            yield from differences(values, schema.get("additionalProperties", {}), f"{where}.*")
        elif schema.get("type") != "object":
            yield f"{where}: no object in the schema"
    elif NAMES[hint] != schema.get("type", "string" if "const" in schema else None):
        yield f"{where}: {hint.__name__}, and {schema.get('type')} in the schema"


def keys(hint, schema, where):
    hints, properties = get_type_hints(hint), schema.get("properties", {})
    if hints.keys() != properties.keys():
        yield f"{where}: keys of one of them alone: {sorted(hints.keys() ^ properties.keys())}"
    if schema.get("additionalProperties") is not False:
        yield f"{where}: the schema lets other keys in"
    prefix = f"{where}." if where else ""
    for key in hints.keys() & properties.keys():
        always, required = key in hint.__required_keys__, key in schema["required"]
        if always != (required or f"{prefix}{key}" in LATER):
            yield f"{prefix}{key}: {'always' if always else 'not always'} there, {required=} in the schema"
        yield from differences(hints[key], properties[key], f"{prefix}{key}")


def test_the_schema_and_the_types_say_the_same():
    assert list(differences(records.ReportRecord, SCHEMA)) == []


@pytest.mark.parametrize(
    ("place", "change", "says"),
    [
        (("test", "properties"), {"more": {"type": "string"}}, "['more']"),
        (("test", "properties", "rounds"), {"type": ["integer", "null"]}, "null is right"),
        (("phases", "properties", "call"), {"type": "string"}, "float, and string"),
        (("budget", "properties", "verdict"), {"enum": ["ok", "dear"]}, "'dear'"),
        (("sample",), {"required": ["energy"]}, "required=False"),
    ],
)
def test_a_difference_is_found(monkeypatch, place, change, says):
    changed = json.loads(json.dumps(SCHEMA))
    part = changed["$defs"]
    for name in place:
        part = part[name]
    part |= change
    monkeypatch.setitem(SCHEMA, "$defs", changed["$defs"])
    assert any(says in found for found in differences(records.ReportRecord, SCHEMA))
