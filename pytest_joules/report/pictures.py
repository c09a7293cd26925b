"""Pictures as inline SVG: the samples of a test on one line, and how it has developed.

Drawn here rather than by pygal: its plots are 16 KB each, where a page of 500 tests may have 700 KB in all, and load a script
unless told not to. What is drawn is said in words beside it, so pictures are hidden from screen readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from pytest_joules.model.past import Series
from pytest_joules.report import quantity

_WIDTH, _STRIP, _LINE = 340, 40, 40
_EDGE = 6
#: Rows of dots, so that equal samples do not hide each other.
_ROWS = 5
#: Kinds of lines that can be told apart without colour, as the page's style has them.
_KINDS = ("solid", "dashed", "dotted", "dash-dotted")


class Mark(NamedTuple):
    """A value to compare samples with."""

    name: str
    value: float


def strip(samples: Sequence[float], median: float, interval: Sequence[float] | None, marks: Sequence[Mark]) -> str:
    """Samples as dots, their median and its interval, and marks, on one linear scale.

    All in one unit. Raises ``ValueError`` without samples.
    """
    across = _scale([*samples, *(interval or ()), *(mark.value for mark in marks)], _WIDTH)
    middle = _STRIP / 2
    parts = []
    if interval is not None:
        low, high = across(interval[0]), across(interval[1])
        parts.append(f"<rect class=band x={low:.0f} y=8 width={max(high - low, 1):.0f} height={_STRIP - 16} />")
    dots = "".join(
        f"M{across(value):.0f} {middle + 3 * (number % _ROWS - _ROWS // 2):g}z" for number, value in enumerate(samples)
    )
    parts.append(f'<path class=dots d="{dots}"/>')
    parts.append(f'<path class=median d="M{across(median):.0f} 4v{_STRIP - 8}"/>')
    for number, mark in enumerate(marks):
        at = across(mark.value)
        parts.append(f'<path class="mark d{1 + number % 3}" d="M{at:.0f} 0v{_STRIP}"/>')
    return _svg(_WIDTH, _STRIP, parts)


def strip_text(
    samples: Sequence[float], median: float, interval: Sequence[float] | None, marks: Sequence[Mark], show: Callable[[float], str]
) -> str:
    """What :func:`strip` draws, in words."""
    said = [f"{len(samples)} sample{'s' if len(samples) != 1 else ''}, {show(min(samples))} to {show(max(samples))}"]
    said.append(f"median {show(median)}")
    if interval is not None:
        said.append(f"95 % interval {show(interval[0])} to {show(interval[1])} (band)")
    said += [f"{mark.name} {show(mark.value)} ({_KINDS[1 + number % 3]})" for number, mark in enumerate(marks)]
    return "; ".join(said)


def line(found: Sequence[Series]) -> str:
    """Medians over sessions, a line for each series, all of one unit, with zero at the bottom."""
    dates = sorted({level.created for series in found for level in series.levels})
    place = {date: number for number, date in enumerate(dates)}
    highest = max(level.median for series in found for level in series.levels) or 1.0
    parts = [f'<path class=axis d="M0 {_LINE - 2}h{max(len(dates) - 1, 1)}"/>']
    for number, series in enumerate(found):
        # One unit to the right is a session: a page of many tests is mostly such steps.
        points = [(place[level.created], round(_LINE - 2 - (_LINE - 6) * level.median / highest)) for level in series.levels]
        steps = "".join(f"l{x - left}{y - up:+d}" if y != up else f"h{x - left}" for (left, up), (x, y) in pairwise(points))
        kind = number % 4
        parts.append(f'<path class="way d{kind}" d="M{points[0][0]} {points[0][1]}{steps or "h0"}"/>')
    return _svg(max(len(dates) - 1, 1), _LINE, parts, stretched=True)


def line_text(found: Sequence[Series]) -> list[str]:
    """What :func:`line` draws, in words, a sentence a series."""
    said = []
    for number, series in enumerate(found):
        show = quantity.joules if series.unit == "J" else quantity.instructions
        values = [level.median for level in series.levels]
        count = f"{len(values)} session{'s' if len(values) != 1 else ''}"
        dates = dict.fromkeys((series.levels[0].created[:10], series.levels[-1].created[:10]))
        said.append(
            f"{count} on {series.machine[:12]} by {series.source} ({_KINDS[number % 4]}), {' to '.join(dates)}: "
            f"{show(min(values))} to {show(max(values))}, last {show(values[-1])}"
        )
    return said


def _scale(values: Iterable[float], width: int) -> Callable[[float], float]:
    known = list(values)
    low, high = min(known), max(known)
    room = (high - low) or abs(high) or 1.0
    middle = (low + high) / 2

    def across(value: float) -> float:
        return width / 2 + (value - middle) / room * (width - 2 * _EDGE)

    return across


def _svg(width: int, height: int, parts: Iterable[str], *, stretched: bool = False) -> str:
    how = " class=line preserveAspectRatio=none" if stretched else ""
    return f'<svg viewBox="0 0 {width} {height}"{how} aria-hidden=true>{"".join(parts)}</svg>'
