"""Numbers for programs that draw them over time: github-action-benchmark's JSON, and OpenMetrics text.

Formats after their public descriptions: ``customSmallerIsBetter`` takes a list of name, unit, value, range and extra; OpenMetrics
1.0 wants the unit at the end of a metric's name, escaped labels, and ``# EOF`` as its last line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypedDict

from pytest_joules.model import Record, Report
from pytest_joules.report import quantity
from pytest_joules.report.findings import count_of
from pytest_joules.report.quantity import median_of
from pytest_joules.report.text import escaped


class Benchmark(TypedDict):
    """An entry of github-action-benchmark's list."""

    name: str
    unit: str
    value: float
    range: str
    extra: str


def benchmarks(reports: Sequence[Report]) -> list[Benchmark]:
    """Joules and instructions of every test that has them, each an entry of its own; names say the environment where there are
    several."""
    several = len(reports) > 1
    found: list[Benchmark] = []
    for report, test in _tests(reports):
        machine = f"{report.machine['id'] or 'unknown'}"[:12]
        name = escaped(test["nodeid"]) + (f" [{machine}, Python {report.machine['python']}]" if several else "")
        if (energy := median_of(test["energy"])) is not None:
            extra = f"{test['provenance']}, {test['source']}, {test['rounds']} rounds, machine {machine}"
            said = quantity.precision(test["energy"])
            found.append({"name": name, "unit": "J", "value": energy, "range": said, "extra": extra})
        if (counted := test["instructions"]) is not None:
            name_of_count = f"{name} (instructions)"
            extra = f"counted by {counted['counter']}"
            found.append({"name": name_of_count, "unit": "instr", "value": counted["count"], "range": "", "extra": extra})
    return found


def open_metrics(reports: Sequence[Report]) -> Iterator[str]:
    """Lines of OpenMetrics text: gauges of joules, seconds and instructions."""
    for name, unit, help_text, value_of in (
        ("pytest_joules_energy_joules", "joules", "Median energy of one run of a test.", _energy),
        ("pytest_joules_duration_seconds", "seconds", "Median duration of one run of a test.", _duration),
        ("pytest_joules_instructions", "", "Instructions of one run of a test's body.", count_of),
    ):
        rows = [(report, test, value) for report, test in _tests(reports) if (value := value_of(test)) is not None]
        if not rows:
            continue
        yield f"# TYPE {name} gauge\n"
        yield f"# UNIT {name} {unit}\n" if unit else ""
        yield f"# HELP {name} {help_text}\n"
        seen: set[str] = set()
        for report, test, value in rows:
            labels = _labels(report, test, instructions=value_of is count_of)
            if labels not in seen:  # one value for each set of labels
                seen.add(labels)
                yield f"{name}{{{labels}}} {value!r}\n"
    yield "# EOF\n"


def _tests(reports: Iterable[Report]) -> Iterator[tuple[Report, Record]]:
    for report in reports:
        for test in report.tests:
            yield report, test


def _energy(test: Record) -> float | None:
    return median_of(test["energy"])


def _duration(test: Record) -> float | None:
    return median_of(test["duration"])


def _labels(report: Report, test: Record, *, instructions: bool) -> str:
    counted = test["instructions"]
    values = {
        "test": test["nodeid"],
        "machine": (report.machine["id"] or "unknown")[:12],
        "python": report.machine["python"] or "unknown",
        **({"counter": counted["counter"]} if instructions and counted is not None else {}),
        **({} if instructions else {"source": test["source"] or "unknown", "provenance": test["provenance"]}),
        # A label of a session must not take the place of one of these.
        **{f"label_{_name(key)}": str(value) for key, value in report.settings.get("labels", {}).items()},
    }
    return ",".join(f'{name}="{_value(value)}"' for name, value in values.items())


def _name(key: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in key)


def _value(text: str) -> str:
    return escaped(text).replace("\\", "\\\\").replace('"', '\\"')
