"""A test's record as a row of the history, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from json import dumps
from math import isfinite

from pytest_joules import __version__, stats
from pytest_joules.model import Code, CountingRecord, Record, Report, SampleRecord, Summary, empty_record
from pytest_joules.store import checked
from pytest_joules.store.checked_facts import facts_of
from pytest_joules.store.entries import Facts, HistoryRecord, LatestRecord, MeasurementRow, SessionRow
from pytest_joules.store.tables import code_number, number_of

#: Entries of a record that have a column of their own.
_COLUMNS = ("outcome", "source", "provenance", "resolution", "rounds", "iterations")

#: What the facts need not repeat: what has columns, what samples give again, what is said of other sessions, and accounts, which
#: nothing of a later session is held against.
_NOT_FACTS = frozenset(
    (*_COLUMNS, "nodeid", "energy", "duration", "power", "tsc", "domains", "samples", "code", "cached", "comparison", "account")
)

#: The columns of a measurement that are the same in every database.
VALUES = (*("number", *_COLUMNS), *("energy_median", "energy_low", "energy_high", "duration_median"), *("samples", "facts"))


def session_row(report: Report, uuid: str) -> SessionRow:
    """A session as it begins."""
    commit, machine_id = report.commit, report.machine.get("id")
    commit_id = commit["id"] if commit is not None else None
    return {
        "created": safe(report.created),
        "machine_id": safe(machine_id) if machine_id is not None else None,
        "machine": as_json(report.machine),
        "commit_id": safe(commit_id) if commit_id is not None else None,
        "commit_dirty": commit["dirty"] if commit is not None else None,
        "settings": as_json(report.settings),
        "sources": as_json(report.sources),
        "plugin_version": __version__,
        "uuid": uuid,
    }


def row_of(record: Record, number: int, counting: CountingRecord | None = None) -> MeasurementRow:
    """A record as the ``number``-th row of its session; ``counting``: what decides its counts besides the code."""
    nodeid, code = safe(record["nodeid"]), record["code"]
    energy, duration, outcome, source = record["energy"], record["duration"], record["outcome"], record["source"]
    low, high = (energy["ci95"] if energy is not None else None) or (None, None)
    facts = {key: value for key, value in record.items() if key not in _NOT_FACTS and _says_something(value)}
    if (counted := record["instructions"]) is not None:
        facts["instructions"] = {**counted, "ran": {}, "budget": None, "comparison": None}
        if counting is not None:
            facts["counting"] = f"{number_of(counting['facts'], counting['packages'], counting['folder']):016x}"
    return {
        "nodeid": nodeid,
        "code": code,
        "test_id": number_of(nodeid),
        "code_id": code_number(code) if code is not None else None,
        "number": number,
        "outcome": safe(outcome) if outcome is not None else None,
        "source": safe(source) if source is not None else None,
        "provenance": record["provenance"],
        "resolution": record["resolution"],
        "rounds": record["rounds"],
        "iterations": record["iterations"],
        "energy_median": _finite(energy["median"]) if energy is not None else None,
        "energy_low": _finite(low),
        "energy_high": _finite(high),
        "duration_median": _finite(duration["median"]) if duration is not None else None,
        "samples": _columnar(record["samples"]),
        "facts": as_json(facts),
    }


def row_again(values: Mapping[str, object], code: Code | None) -> MeasurementRow:
    """A row that was read, with the number of its code, as it can be written elsewhere.

    Raises:
        Bad: it holds what no run wrote.
    """
    nodeid = nodeid_of(values)
    record_of(values)
    joules, _, seconds = checked.energies(values)
    low, high = (checked.quantity(values[f"energy_{end}"], "interval", signed=True) for end in ("low", "high"))
    return {
        "nodeid": nodeid,
        "code": code,
        "test_id": number_of(nodeid),
        "code_id": checked.whole(values["code_id"], "code", most=2**63) if code is not None else None,
        "number": checked.whole(values["number"], "number"),
        **checked.columns(values),
        "energy_median": joules,
        "energy_low": low,
        "energy_high": high,
        "duration_median": seconds,
        "samples": checked.text(values["samples"], "samples"),
        "facts": checked.text(values["facts"], "facts"),
    }


def nodeid_of(values: Mapping[str, object]) -> str:
    """The test's, which its number is made of."""
    nodeid = checked.text(values["nodeid"], "node id")
    if number_of(nodeid) != values["test_id"]:
        raise checked.Bad(f"its node id {checked.shown(nodeid)} is not the one that was written")
    return nodeid


def entry_of(values: Mapping[str, object], code: Code | None) -> HistoryRecord:
    """A row with its session's columns as :meth:`pytest_joules.store.Store.history` gives it.

    Raises:
        Bad: it holds what no run wrote.
    """
    energy, interval, duration = checked.energies(values)
    dirty = values["commit_dirty"]
    commit = checked.text_or_none(values["commit_id"], "commit")
    return {
        **facts_of(values["facts"]),
        "nodeid": nodeid_of(values),
        **checked.columns(values),
        "session": checked.whole(values["session_id"], "session"),
        "created": checked.created(values["created"]),
        "machine_id": checked.text_or_none(values["machine_id"], "machine's number"),
        "machine": checked.parsed(values["machine"], "machine", dict),
        "settings": checked.parsed(values["settings"], "settings", dict),
        "sources": checked.parsed(values["sources"], "sources", list),
        "plugin_version": checked.text(values["plugin_version"], "plugin's version"),
        "commit": {"id": commit, "dirty": bool(dirty) if dirty is not None else None} if commit is not None else None,
        "samples": checked.samples(values["samples"]),
        "energy": {"median": energy, "ci95": interval} if energy is not None else None,
        "duration": {"median": duration} if duration is not None else None,
        "code": code,
    }


def latest_of(nodeid: str, values: Mapping[str, object], created: str, code: Code, files: dict[str, str]) -> LatestRecord:
    """A row as :meth:`pytest_joules.store.Store.latest` gives it.

    Raises:
        Bad: it holds what no run wrote.
    """
    checked.energies(values)
    columns = checked.columns(values)
    return {
        "nodeid": nodeid,
        "created": created,
        "joules": checked.present(values["energy_median"], "joules"),
        "seconds": checked.quantity(values["duration_median"], "seconds"),
        "source": columns["source"],
        "provenance": columns["provenance"],
        "rounds": columns["rounds"],
        "iterations": columns["iterations"],
        "code": code,
        "files": files,
    }


def record_of(values: Mapping[str, object]) -> Record:
    """A row as a test's record, as near to the one that was written as 9 digits allow.

    Raises:
        Bad: it holds what no run wrote.
    """
    columns, samples = checked.columns(values), checked.samples(values["samples"])
    kept = facts_of(values["facts"])
    kept.pop("counting", None)
    facts: Facts = kept
    _, interval, _ = checked.energies(values)
    blocks = samples.get("block") or [1] * len(samples["energy"])
    powers = [
        energy / duration if energy is not None and duration else None
        for energy, duration in zip(samples["energy"], samples["duration"], strict=True)
    ]
    energy = _summary(samples["energy"])
    if energy is not None and interval is not None:
        # It may be wider than the samples alone say: an apportioned block has an uncertainty of its own.
        energy["ci95"] = interval
    return {
        **empty_record(""),
        **facts,
        "nodeid": nodeid_of(values),
        **columns,
        "energy": energy,
        "duration": _summary(samples["duration"]),
        "power": _summary(powers),
        "tsc": _summary(samples["tsc"]),
        "domains": {name: _summary(column) for name, column in samples["domains"].items()},
        "samples": [
            {
                "energy": joules,
                "duration": checked.present(seconds, "samples"),
                "tsc": tsc,
                "domains": {name: column[place] for name, column in samples["domains"].items()},
                "block": blocks[place],
            }
            for place, (joules, seconds, tsc) in enumerate(
                zip(samples["energy"], samples["duration"], samples["tsc"], strict=True)
            )
        ],
        "code": None,
        "cached": None,
        "comparison": None,
    }


def _summary(column: Iterable[float | None]) -> Summary | None:
    return stats.summarise([value for value in column if value is not None])


def _columnar(samples: Sequence[SampleRecord]) -> str:
    """Samples as one JSON list a quantity: short, and quick to write and to read."""
    domains = dict.fromkeys(name for sample in samples for name in sample["domains"])
    parts = [
        f'"energy":{_numbers([sample["energy"] for sample in samples])}',
        f'"duration":{_numbers([sample["duration"] for sample in samples])}',
        f'"tsc":{_numbers([sample["tsc"] for sample in samples])}',
    ]
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


def _says_something(value: object) -> bool:
    if isinstance(value, dict):
        return any(entry is not None for entry in value.values())
    return value is not None and value != []


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None
