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
    from tabulate import tabulate  # 45 ms, paid only where a table is printed

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
    # tabulate counts columns by a library that may be missing or differ from pytest's count, so it lays out
    # stand-ins of the right width, and the names take their place.
    stand_ins = ["x" * display_width(name) for name in names]
    cells = [[printable(text, encoding) for text in (column.header, *column.cells)] for column in others]
    laid_out = tabulate(
        list(zip(stand_ins, *cells, strict=True)),
        tablefmt="plain",
        disable_numparse=True,
        colalign=[column.align for column in kept],
    ).split("\n")
    widths = [max(map(len, stand_ins)), *(_natural(column, encoding) for column in others)]
    result: list[str] = []
    for name, stand_in, line, text, apart in zip(names, stand_ins, laid_out, texts, alone, strict=True):
        if apart:
            result.append(encodable(shorten(text, width), encoding))
        result.append(name + line[len(stand_in) :])
    result.insert(1, "  ".join("-" * columns for columns in widths))
    return [encodable(shorten_end(line.rstrip(), width), encoding) for line in result]


def _natural(column: Column, encoding: str) -> int:
    return max(display_width(printable(text, encoding)) for text in {column.header, *column.cells})
