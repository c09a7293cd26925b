"""A test's record as a row of the history, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json import dumps
from math import isfinite
from typing import Any

from pytest_joules import stats
from pytest_joules.model import Record, empty_record
from pytest_joules.store import decoded
from pytest_joules.store.tables import code_number, number_of

#: Entries of a record that have a column of their own.
_COLUMNS = ("outcome", "source", "provenance", "resolution", "rounds", "iterations")

#: What the facts need not repeat: what has columns, what samples give again, and what is said of other sessions.
_NOT_FACTS = frozenset(
    (*_COLUMNS, "nodeid", "energy", "duration", "power", "tsc", "domains", "samples", "code", "cached", "comparison")
)

#: The columns of a measurement that are the same in every database.
VALUES = (
    *("number", *_COLUMNS),
    *("energy_median", "energy_low", "energy_high", "duration_median"),
    *("samples", "facts"),
)


def row_of(record: Record, number: int) -> Record:
    """What is written of a record: ``nodeid``, ``code``, their numbers, and :data:`VALUES`."""
    nodeid, code = safe(record["nodeid"]), record.get("code")
    energy, duration = record["energy"] or {}, record["duration"] or {}
    low, high = energy.get("ci95") or (None, None)
    facts = {key: value for key, value in record.items() if key not in _NOT_FACTS and _says_something(value)}
    return {
        "nodeid": nodeid,
        "code": code,
        "test_id": number_of(nodeid),
        "code_id": code_number(code) if code is not None else None,
        "number": number,
        **{key: _storable(record[key]) for key in _COLUMNS},
        "energy_median": _finite(energy.get("median")),
        "energy_low": _finite(low),
        "energy_high": _finite(high),
        "duration_median": _finite(duration.get("median")),
        "samples": _columnar(record["samples"]),
        "facts": as_json(facts),
    }


def nodeid_of(values: Mapping[str, Any]) -> str:
    """The test's, which its number is made of."""
    nodeid = decoded.text(values["nodeid"], "node id")
    if number_of(nodeid) != values["test_id"]:
        raise decoded.Bad(f"its node id {decoded.shown(nodeid)} is not the one that was written")
    return nodeid


def entry_of(values: Mapping[str, Any]) -> Record:
    """A row with its session's columns as :meth:`pytest_joules.store.Store.history` gives it.

    Raises:
        Bad: it holds what no run wrote.
    """
    energy, interval, duration = decoded.energies(values)
    dirty = values["commit_dirty"]
    commit = {"id": decoded.text_or_none(values["commit_id"], "commit"), "dirty": bool(dirty) if dirty is not None else None}
    return {
        **decoded.facts(values["facts"]),
        "nodeid": nodeid_of(values),
        **decoded.columns(values),
        "session": values["session_id"],
        "created": decoded.created(values["created"]),
        "machine_id": decoded.text_or_none(values["machine_id"], "machine's number"),
        **{
            key: decoded.parsed(values[key], key, kind)
            for key, kind in (("machine", dict), ("settings", dict), ("sources", list))
        },
        "plugin_version": decoded.text(values["plugin_version"], "plugin's version"),
        "commit": commit if commit["id"] is not None else None,
        "samples": decoded.samples(values["samples"]),
        "energy": {"median": energy, "ci95": interval} if energy is not None else None,
        "duration": {"median": duration} if duration is not None else None,
    }


def record_of(values: Mapping[str, Any]) -> Record:
    """A row as a test's record, as near to the one that was written as 9 digits allow.

    Raises:
        Bad: it holds what no run wrote.
    """
    record = empty_record(nodeid_of(values))
    record.update((key, value) for key, value in decoded.facts(values["facts"]).items() if key not in _NOT_FACTS)
    record.update(decoded.columns(values))
    _, interval, _ = decoded.energies(values)
    samples = decoded.samples(values["samples"])
    domains: Mapping[str, list[float | None]] = samples["domains"]
    blocks = samples.get("block") or [1] * len(samples["energy"])
    record["samples"] = [
        {
            "energy": energy,
            "duration": duration,
            "tsc": tsc,
            "domains": {name: column[place] for name, column in domains.items()},
            "block": blocks[place],
        }
        for place, (energy, duration, tsc) in enumerate(zip(*(samples[key] for key in _QUANTITIES), strict=True))
    ]
    powers = [
        energy / duration if energy is not None and duration else None
        for energy, duration in zip(samples["energy"], samples["duration"], strict=True)
    ]
    for key, column in (*((key, samples[key]) for key in _QUANTITIES), ("power", powers)):
        record[key] = _summary(column)
    record["domains"] = {name: _summary(column) for name, column in domains.items()}
    if record["energy"] is not None and interval is not None:
        # It may be wider than the samples alone say: an apportioned block has an uncertainty of its own.
        record["energy"]["ci95"] = interval
    return record


_QUANTITIES = ("energy", "duration", "tsc")


def _summary(column: Iterable[float | None]) -> Record | None:
    known = [value for value in column if value is not None]
    return stats.summarise(known) if known else None


def _columnar(samples: Iterable[Record]) -> str:
    """Samples as one JSON list a quantity: short, and quick to write and to read."""
    samples = list(samples)
    domains = dict.fromkeys(name for sample in samples for name in sample["domains"])
    parts = [f'"{key}":{_numbers([sample[key] for sample in samples])}' for key in _QUANTITIES]
    inner = ",".join([f"{dumps(safe(name))}:{_numbers([sample['domains'].get(name) for sample in samples])}" for name in domains])
    if any(sample["block"] != 1 for sample in samples):
        parts.append(f'"block":{dumps([sample["block"] for sample in samples])}')
    return "{" + ",".join(parts) + ',"domains":{' + inner + "}}"


def _numbers(values: Iterable[float | None]) -> str:
    texts = ["null" if value is None or not isfinite(value) else f"{value:.9g}" for value in values]
    return f"[{','.join(texts)}]"


def as_json(value: object) -> str:
    from pytest_joules.files.strict_json import text

    return safe(text(value))


def safe(text: str) -> str:
    """A text without lone surrogates and NUL, which databases refuse."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def _storable(value: Any) -> Any:  # noqa: ANN401 - whatever a column takes
    return safe(value) if isinstance(value, str) else value


def _says_something(value: object) -> bool:
    if isinstance(value, dict):
        return any(entry is not None for entry in value.values())
    return value is not None and value != []


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None
