"""Error against what a prediction takes, as SVG: a circle a point, filled on the front; its arms are 95 % intervals."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Sequence

from pytest_joules.files import atomic
from pytest_joules.report import quantity
from pytest_joules.tune.front_file import FrontRecord, PointRecord, Quantity

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 190, 26, 48
#: What stands across, the first that is known, and how it is written.
_ACROSS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "joules": ("joules a prediction", quantity.joules),
    "seconds": ("CPU seconds a prediction", quantity.seconds),
    "bytes": ("bytes of the model", lambda value: f"{value:.3g}"),
}


def write(path: str | os.PathLike[str], front: FrontRecord) -> None:
    """Write the picture, whole or not at all.

    Raises:
        pytest_joules.files.atomic.ReportPathError: it cannot be written.
    """
    atomic.atomically(path, lambda file: file.writelines((picture(front), "\n")), "picture")


def picture(front: FrontRecord) -> str:
    """All points: those whose cost is not known stand at the left edge, and say so."""
    points = front["points"]
    cost = next((name for name in ("joules", "seconds") if any(one[name] for one in points)), "bytes")
    placed = [(one, _cost(one, cost)) for one in points]
    ends = [end for _, found in placed if found is not None for end in (found["ci95"] or [found["median"]])]
    heights = [end for one in points for end in (one["error"]["ci95"] or [one["error"]["median"]])]
    low, high = math.log10(min(ends, default=1.0)), math.log10(max(ends, default=1.0))
    least, most = min(heights), max(heights)
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT

    def across(value: float) -> float:
        return _LEFT + 16 + (math.log10(value) - low) / ((high - low) or 1.0) * (right - _LEFT - 16)

    def up(value: float) -> float:
        return bottom - 10 - (value - least) / ((most - least) or 1.0) * (bottom - _TOP - 20)

    what, say = _ACROSS[cost]
    parts = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{right + 10}" fill="none" stroke="currentColor"/>']
    parts += [_text(across(value), bottom + 18, say(value), "middle") for value in sorted({10**low, 10**high})]
    parts += [_text(_LEFT - 6, up(value) + 4, f"{value:.2f}", "end") for value in sorted({least, most})]
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 8, f"{what} ({front['provenance']}, logarithmic)", "middle"))
    parts.append(_text(_LEFT + 4, _TOP - 10, "median |log10 error| on held-out packages, lower is better", "start"))
    line = sorted((found["median"], one["error"]["median"]) for one, found in placed if found and one["verdict"] == "front")
    if len(line) > 1:
        way = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line)
        parts.append(f'<path d="M{way}" fill="none" stroke="currentColor" stroke-dasharray="5 4" opacity=".5"/>')
    for one, found in placed:
        parts.append(_point(one, found, across, up, knee=bool(front["knee"] and front["knee"]["number"] == one["number"])))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'font-family="sans-serif" font-size="11">{"".join(parts)}{_legend(points)}</svg>'
    )


def _cost(one: PointRecord, cost: str) -> Quantity | None:
    if cost == "bytes":
        return {"median": float(max(one["bytes"], 1)), "ci95": None}
    found = one["joules"] if cost == "joules" else one["seconds"]
    return found if found is not None and min(found["ci95"] or [found["median"]]) > 0 else None


def _point(
    one: PointRecord,
    found: Quantity | None,
    across: Callable[[float], float],
    up: Callable[[float], float],
    *,
    knee: bool,
) -> str:
    x = across(found["median"]) if found is not None else float(_LEFT)
    y = up(one["error"]["median"])
    lows, highs = (found["ci95"] or [found["median"]] * 2) if found is not None else (None, None)
    arms = f"M{x:.1f} " + "V".join(f"{up(end):.1f}" for end in one["error"]["ci95"] or [one["error"]["median"]] * 2)
    if lows is not None and highs is not None:
        arms += f"M{across(lows):.1f} {y:.1f}H{across(highs):.1f}"
    faint = "" if one["verdict"] == "front" else ' opacity=".5"'
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="none" stroke="currentColor"/>' if knee else ""
    fill = "currentColor" if one["verdict"] == "front" else "none"
    title = f"{one['number']} {one['label']}: {one['verdict']}" + (" by " + ", ".join(map(str, one["by"])) if one["by"] else "")
    return (
        f'<g class="point"{faint}><title>{html.escape(title)}</title><path d="{arms}" stroke="currentColor" fill="none"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" stroke="currentColor" fill="{fill}"/>{ring}'
        f"{_text(x + 7, y - 6, str(one['number']), 'start')}</g>"
    )


def _legend(points: Sequence[PointRecord]) -> str:
    step = min(15.0, (_HEIGHT - 2 * _TOP) / max(len(points), 1))
    return "".join(
        _text(_WIDTH - _RIGHT + 20, _TOP + place * step, f"{one['number']} {one['label']}", "start", 10)
        for place, one in enumerate(points)
    )


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="currentColor">{html.escape(text)}</text>'
    )
