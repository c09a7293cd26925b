"""The tree of an account as an icicle: a box a part, as wide as its joules, what ran in it below. Inline SVG, with no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from pytest_joules.model import AccountRecord, NodeRecord
from pytest_joules.report import quantity
from pytest_joules.report.account import UNATTRIBUTED
from pytest_joules.report.text import escaped

#: Boxes that are drawn, and rows of them, at most.
BOXES, ROWS = 60, 8
_WIDTH, _ROW, _LETTER = 960, 22, 6.7
#: A narrower box is not drawn.
_LEAST = 3.0


class _Box(NamedTuple):
    name: str
    joules: float
    left: float
    width: float
    row: int
    shade: int


def icicle(record: AccountRecord) -> tuple[str, list[str]]:
    """The picture, and what it shows in words (plain texts); an empty picture where nothing has joules."""
    total = _total(record)
    boxes = list(_boxes(record, total)) if total > 0 else []
    kept = sorted(boxes, key=lambda box: -box.width)[:BOXES]
    if not kept:
        return "", []
    height = (1 + max(box.row for box in kept)) * _ROW
    drawn = "".join(_drawn(box, total) for box in sorted(kept, key=lambda box: (box.row, box.left)))
    said = "each box a part, as wide as its joules with all that ran in it; what ran in it below"
    if len(kept) < _count(record["tree"]) + 1:
        said += "; the narrowest are left out"
    return f'<svg class=icicle viewBox="0 0 {_WIDTH} {height}" aria-hidden=true>{drawn}</svg>', [said]


def _total(record: AccountRecord) -> float:
    return sum(max(node["joules"], 0.0) for node in (*record["tree"], record["unattributed"]))


def _boxes(record: AccountRecord, total: float) -> Iterator[_Box]:
    rest = max(record["unattributed"]["joules"], 0.0)
    scale = _WIDTH / total
    left = 0.0
    for number, node in enumerate(record["tree"]):
        yield from _below(node, left, 0, scale, number)
        left += max(node["joules"], 0.0) * scale
    if rest * scale >= _LEAST:
        yield _Box(UNATTRIBUTED, rest, left, rest * scale, 0, 4)


def _below(node: NodeRecord, left: float, row: int, scale: float, number: int) -> Iterator[_Box]:
    width = node["joules"] * scale
    if width < _LEAST or row >= ROWS:
        return
    name = node["name"] + (f" ({node['direction']})" if node["direction"] == "backward" else "")
    yield _Box(escaped(name), node["joules"], left, width, row, (row + number) % 2 + 2 * (number % 2))
    # Of noise, what is below may be more than the whole: it stays inside.
    inside = sum(max(child["joules"], 0.0) for child in node["children"])
    smaller = scale * min(1.0, node["joules"] / inside) if inside > 0 else scale
    for place, child in enumerate(node["children"]):
        yield from _below(child, left, row + 1, smaller, place)
        left += max(child["joules"], 0.0) * smaller


def _drawn(box: _Box, total: float) -> str:
    top = box.row * _ROW
    words = f"{quantity.joules(box.joules)} {100 * box.joules / total:.0f} %"
    room = int((box.width - 8) / _LETTER)
    text = next((one for one in (f"{box.name}  {words}", box.name, _last(box.name)) if len(one) <= room), "")
    label = f'<text x="{box.left + 4:.1f}" y="{top + 15}">{escape(text)}</text>' if text else ""
    title = f"<title>{escape(f'{box.name}: {words}')}</title>"
    width = max(box.width - 1, 1)
    return (
        f'<g>{title}<rect class=b{box.shade} x="{box.left:.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 1}" />{label}</g>'
    )


def _last(name: str) -> str:
    """What of a qualified name is its own."""
    return name.removesuffix(" (backward)").rpartition("/")[2].rpartition("::")[2]


def _count(nodes: Sequence[NodeRecord]) -> int:
    return sum(1 + _count(node["children"]) for node in nodes)
