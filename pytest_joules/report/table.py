"""A table that fits a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_joules.report.text import display_width, encodable, printable, shorten_end


@dataclass(frozen=True, slots=True)
class Column:
    """A column of :func:`table`."""

    header: str
    cells: Sequence[str]
    align: str = "left"
    drop: int | None = None
    """Left out when the table is too wide, the smallest number first; ``None``: never."""
    shorten: Callable[[str, int], str] | None = None
    """How a cell is brought down to a number of columns; only for the first column."""
    least: Callable[[str], str] | None = None
    """The part of a cell that is to stay whole: where the column has no room for it, the cell has a line of its own."""


def fits(columns: Sequence[Column], width: int, encoding: str = "utf-8") -> bool:
    """Whether all columns fit, three eighths of ``width`` left for the first where it needs them."""
    first, *others = columns
    room = width - sum(2 + _natural(column, encoding) for column in others)
    return room >= min(_natural(first, encoding), width * 3 // 8)


def table(columns: Sequence[Column], width: int, encoding: str = "utf-8") -> list[str]:
    """A table no wider than ``width``: columns are dropped until it fits, then the first column's cells are shortened."""
    kept = list(columns)
    while not fits(kept, width, encoding):
        droppable = [column for column in kept if column.drop is not None]
        if not droppable:
            break
        kept.remove(min(droppable, key=lambda column: column.drop or 0))
    first, *others = kept
    room = max(1, width - sum(2 + _natural(column, encoding) for column in others))
    shorten = first.shorten or shorten_end
    texts = [printable(text, encoding) for text in (first.header, *first.cells)]
    alone = [
        first.least is not None and place > 0 and display_width(first.least(text)) > room for place, text in enumerate(texts)
    ]
    names = ["" if apart else encodable(shorten(text, room), encoding) for text, apart in zip(texts, alone, strict=True)]
    cells = [[printable(text, encoding) for text in (column.header, *column.cells)] for column in others]
    widths = [max(map(display_width, names)), *(_natural(column, encoding) for column in others)]
    laid_out = [
        [_padded(text, width, column.align) for text in texts]
        for texts, width, column in zip((names, *cells), widths, kept, strict=True)
    ]
    result: list[str] = []
    for text, apart, *line in zip(texts, alone, *laid_out, strict=True):
        if apart:
            result.append(encodable(shorten(text, width), encoding))
        result.append("  ".join(line))
    result.insert(1, "  ".join("-" * columns for columns in widths))
    return [encodable(shorten_end(line.rstrip(), width), encoding) for line in result]


def _natural(column: Column, encoding: str) -> int:
    return max(display_width(printable(text, encoding)) for text in {column.header, *column.cells})


def _padded(text: str, width: int, align: str) -> str:
    space = " " * (width - display_width(text))
    return space + text if align == "right" else text + space
