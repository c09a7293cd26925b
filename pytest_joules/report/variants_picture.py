"""Energy against score as inline SVG: a cross a variant, its arms the two 95 % intervals; the front's are filled."""

from __future__ import annotations

import html
from typing import NamedTuple

from pytest_joules.report.quantity import joules, median_of
from pytest_joules.report.text import escaped
from pytest_joules.report.variants import Table

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 110, 20, 46


class Point(NamedTuple):
    """A variant; joules and score with their intervals."""

    name: str
    energy: float
    energy_interval: tuple[float, float]
    score: float
    score_interval: tuple[float, float]
    front: bool
    dominated: bool


class Scale(NamedTuple):
    """From values to places."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        room = (self.high - self.low) or abs(self.high) or 1.0
        return self.begin + (value - self.low) / room * (self.end - self.begin)


def points(table: Table) -> list[Point]:
    """The variants that have both numbers."""
    found = []
    for row in table.rows:
        energy, score = median_of(row.test["energy"]), row.score
        if energy is None or score is None:
            continue
        around = row.test["energy"]["ci95"] if row.test["energy"] is not None else None
        bounds = score["ci95"] or score["spread"] or [score["value"]] * 2
        found.append(
            Point(
                row.found["variant"],
                energy,
                (around[0], around[1]) if around is not None else (energy, energy),
                score["value"],
                (bounds[0], bounds[1]),
                row.found["front"] == "front",
                row.found["front"] == "dominated",
            )
        )
    return found


def picture(table: Table) -> str:
    """The picture; empty where fewer than two variants have both numbers."""
    found = points(table)
    if len(found) < 2:
        return ""
    energies = [end for one in found for end in one.energy_interval]
    scores = [end for one in found for end in one.score_interval]
    across = Scale(min(energies), max(energies), _LEFT + 14, _WIDTH - _RIGHT)
    up = Scale(min(scores), max(scores), _HEIGHT - _BOTTOM - 10, _TOP + 10)
    bottom = _HEIGHT - _BOTTOM
    parts = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - 10}" fill="none" stroke="currentColor" stroke-width="1"/>']
    parts += [_text(across(value), bottom + 18, joules(value), "middle") for value in (across.low, across.high)]
    parts += [_text(_LEFT - 6, up(value) + 4, f"{value:.3g}", "end") for value in (up.low, up.high)]
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "energy (median, 95 % interval)", "middle"))
    better = next((row.score["higher_is_better"] for row in table.rows if row.score is not None), None)
    way = {True: ", higher is better", False: ", lower is better"}.get(better, "") if better is not None else ""
    parts.append(_text(_LEFT + 4, _TOP - 6, f"{table.score}{way}", "start"))
    front = sorted((one for one in found if one.front), key=lambda one: one.energy)
    if len(front) > 1:
        way_along = "L".join(f"{across(one.energy):.1f} {up(one.score):.1f}" for one in front)
        parts.append(f'<path d="M{way_along}" fill="none" stroke="currentColor" stroke-dasharray="5 4" opacity=".55"/>')
    for one in found:
        x, y = across(one.energy), up(one.score)
        left, right = (across(value) for value in one.energy_interval)
        low, high = (up(value) for value in one.score_interval)
        faint = ' opacity=".5"' if one.dominated else ""
        parts.append(f'<g{faint}><path d="M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {low:.1f}V{high:.1f}" stroke="currentColor"/>')
        fill = "currentColor" if one.front else "none"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" stroke="currentColor" fill="{fill}"/>')
        parts.append(f"{_text(x + 7, y - 6, one.name, 'start')}</g>")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" font-family="sans-serif" '
        f'font-size="12" aria-hidden="true">{"".join(parts)}</svg>'
    )


def words(table: Table) -> str:
    """What the picture shows, in words."""
    front = [escaped(one.name) for one in points(table) if one.front]
    said = f"on the front (filled): {', '.join(front)}" if front else "no variant is surely on the front"
    return f"energy against {escaped(table.score or '')}, with both 95 % intervals; {said}"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{html.escape(escaped(text))}</text>'
