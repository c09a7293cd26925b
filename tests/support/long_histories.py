"""Histories of many sessions, as runs leave them: one session a day, one commit each."""

from datetime import datetime, timedelta, timezone

from pytest_joules.model import Report, empty_record
from pytest_joules.store import open_store

FIRST = datetime(2026, 1, 1, 10, 20, tzinfo=timezone.utc)


def commit_of(session):
    return f"{session:04d}{'abcdef' * 6}"


def counting(cpu="Some CPU"):
    return {"facts": {"counter": "callgrind 3.19.0", "CPU": cpu}, "packages": {"attrs": "25.1"}, "folder": 12}


def counted(count, **other):
    made = {
        **{"counter": "callgrind 3.19.0", "count": count, "counts": [count], "warm": 3, "spread": 0.0, "doubts": []},
        **{"functions": {}, "misses": 0, "ran": {}, "budget": None, "comparison": None},
    }
    return made | other


def code_of(**functions):
    """Of hashes by function of ``src/shop.py``."""
    hashes = {f"src/shop.py::{name}": str(value) for name, value in functions.items()}
    return {"fingerprint": str(sorted(hashes.items())), "functions": hashes, "unknown": [], "counts": {}}


def write(path, tests, *, machine_id="0a1b2c3d4e5f", source="rapl", codes=None, begin=0, surroundings=None):
    """``tests``: by node id, joules of each session (``None``: not measured in it), or records to go in."""
    machine = {"id": machine_id, "cpu": "Some CPU", "cores": 8, "os": "Linux", "python": "3.12.1", "virtual": False}
    store = open_store(path)
    for session in range(max(map(len, tests.values()))):
        created = (FIRST + timedelta(days=begin + session)).isoformat(timespec="seconds")
        report = Report(created, machine, {"id": commit_of(begin + session), "dirty": False}, {}, [])
        if surroundings is not None:
            report.session["counting"] = surroundings
        store.begin(report)
        for nodeid, values in tests.items():
            value = values[session] if session < len(values) else None
            if value is None:
                continue
            record = empty_record(nodeid)
            record.update(outcome="passed", source=source, provenance="measured", resolution="ok", rounds=5)
            if isinstance(value, dict):
                record.update(value)
            else:
                record["energy"] = {"median": value, "mean": value, "stdev": 0.0, "iqr": 0.0, "ci95": None, "cv": 0.0}
            if codes is not None and nodeid in codes:
                record["code"] = codes[nodeid](session)
            store.add(record)
    store.close()
