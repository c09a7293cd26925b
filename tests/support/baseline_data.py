"""Measured tests, reports of them, and the baselines saved of those."""

import itertools

from hypothesis import HealthCheck, settings

from pytest_joules import baseline as baselines
from pytest_joules import stats
from pytest_joules.model import Report, empty_record

calmly = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

FACTS = {"CPU": "Some CPU", "logical CPUs": "8", "memory": "about 16 GiB", "governor": "performance", "turbo": "on"}
MACHINE = {
    "id": "0a1b",
    "cpu": "Some CPU",
    "cores": 8,
    "os": "Linux",
    "python": "CPython 3.12.1",
    "virtual": False,
    "facts": FACTS,
}
OTHER = {**MACHINE, "id": "ffff", "cpu": "Other CPU", "facts": {**FACTS, "CPU": "Other CPU"}}
RAPL = {
    "name": "rapl",
    "provenance": "measured",
    "domains": ["package-0"],
    "resolution_s": 0.001,
    "uncertainty": None,
    "why": "read",
}


def record_of(nodeid, *joules, seconds=0.01, **other):
    """A test that passed with these joules."""
    record = empty_record(nodeid)
    record.update(
        outcome="passed",
        source="rapl",
        provenance="measured",
        resolution="ok",
        rounds=len(joules),
        energy=stats.summarise(joules),
        duration=stats.summarise([seconds] * len(joules)),
        samples=[{"energy": value, "duration": seconds, "tsc": None, "domains": {"package-0": value}} for value in joules],
    )
    record.update(other)
    return record


def around(joules, spread=0.01, n=10):
    return [joules * (1 + spread * (step - (n - 1) / 2) / n) for step in range(n)]


def report_of(*tests, machine=MACHINE, created="2026-11-20T10:30:00+00:00", commit="1a2b3c4d5e6f", **options):
    head = {"id": commit, "dirty": False} if commit else None
    return Report(created, machine, head, {"rounds": 20, "threshold": 0.05, **options}, [RAPL], list(tests))


def saved(folder, *tests, name="main", functions=None, **options):
    report = report_of(*tests, **options)
    baselines.save(report, functions or {}, folder, name)
    return baselines.find(folder, report.machine["id"], name)


def good_text(folder):
    functions = {"t.py::a": {f"m.py::f{n}": f"{n:x}" for n in range(5)}, "t.py::b": {"m.py::f1": "1"}}
    tests = [record_of("t.py::a", *around(1.0)), record_of("t.py::b", *around(2.0), iterations=3, notes=["n"])]
    return saved(folder, *tests, functions=functions).read_text("utf-8")


COUNT = itertools.count()
