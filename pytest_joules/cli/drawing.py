"""A test's sessions as a drawn line, above the table of ``joules history NODEID``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_joules.cli.output import say, width

if TYPE_CHECKING:
    from pytest_joules.store.entries import HistoryRecord

#: Sessions of which a line says more than the table.
_FEWEST = 3


def draw(entries: Sequence[HistoryRecord]) -> None:
    """Print a line for each machine, source and provenance: median joules; and instructions where no joules were measured, by
    what decides counts. Only of sessions in which the test passed, the newest of ``entries`` first."""
    from pytest_joules.report.drawn_line import drawn
    from pytest_joules.report.text import encoding_of

    lines: dict[tuple[str, bool], list[tuple[str, float]]] = {}
    for entry in reversed(entries):
        if entry["outcome"] == "passed":
            for name, counted, value in _values(entry):
                lines.setdefault((name, counted), []).append((entry["created"], value))
    for (name, counted), points in lines.items():
        if len(points) >= _FEWEST:
            say(_said(name, counted, points))
            print(*drawn([value for _, value in points], width(), encoding_of(sys.stdout)), sep="\n")


def _values(entry: HistoryRecord) -> Iterator[tuple[str, bool, float]]:
    """What can be drawn in one line, its name, whether it was counted, and the value."""
    if entry["energy"] is not None:
        machine_id = entry["machine_id"]
        machine = f"machine {machine_id[:16]}" if machine_id else "machine not known"
        yield f"joules by {entry['source'] or '-'}, {entry['provenance']}, {machine}", False, entry["energy"]["median"]
    elif (counted := entry.get("instructions")) is not None:
        identity = entry.get("counting")
        place = f"surroundings {identity[:8]}" if identity else f"machine {(entry['machine_id'] or 'not known')[:16]}"
        yield f"instructions by {counted['counter']}, {place}", True, counted["count"]


def _said(name: str, counted: bool, points: Sequence[tuple[str, float]]) -> str:
    from pytest_joules.report import quantity
    from pytest_joules.report.text import whole

    unit = quantity.instructions if counted else quantity.joules
    values = [value for _, value in points]
    first, last = points[0][0][:10], points[-1][0][:10]
    lowest, highest = whole(unit(min(values))), whole(unit(max(values)))
    return f"{name}: {len(points)} sessions, {first} to {last}, lowest {lowest}, highest {highest}"
