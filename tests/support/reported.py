"""Records of tests and reports of them, for what prints them."""

from pytest_joules import stats
from pytest_joules.model import Report, empty_record

ESTIMATE = {
    "name": "estimate",
    "provenance": "estimated",
    "domains": ["package-0"],
    "resolution_s": 0.0,
    "uncertainty": 0.4,
    "why": "a model",
}


def report_of(*tests, sources=(), session=None):
    machine = {"id": "m", "cpu": "c", "cores": 2, "os": "Linux", "python": "3.12", "virtual": False}
    return Report("2026-01-01T00:00:00+00:00", machine, None, {}, list(sources), list(tests), session or {})


def record_of(nodeid, joules, seconds=0.1, **other):
    values = [joules * (1 + step / 100) for step in (-2, -1, 0, 0, 1, 2)]
    record = empty_record(nodeid)
    record.update(
        outcome="passed",
        source="rapl",
        provenance="measured",
        resolution="ok",
        rounds=6,
        energy=stats.summarise(values),
        duration=stats.summarise([seconds] * 6),
        power=stats.summarise([value / seconds for value in values]),
    )
    record.update(other)
    return record
