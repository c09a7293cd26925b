"""The table at the end of a run: the most expensive tests, the session's totals, and what a reader must know of them."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pytest_joules.model import Record, Report
from pytest_joules.report import quantity

#: Letter (for narrow terminals), word, explanation.
_NOTES = (
    ("J", "over budget", "its 95 % interval lies above its energy budget"),
    ("F", "failed", "measured until it failed"),
    ("R", "regressed", "costs more than its baseline"),
    ("I", "improved", "costs less than its baseline"),
    ("e", "estimated", "a model, not a counter"),
    ("s", "shared", "other processes used the machine meanwhile"),
    ("a", "apportioned", "too short to read alone: a share of a block of rounds, by CPU time; ± includes that"),
    ("b", "below", "too short for this source to tell: give it @pytest.mark.energy(iterations=N)"),
    ("1", "one round", "no interval without a second round: give it more with --energy-rounds"),
)

#: What an encoding without these characters gets instead.
_ASCII = str.maketrans({"µ": "u", "±": "+-", "…": "~", "×": "x"})


def lines(report: Report, width: int, rows: int | None = 20, encoding: str = "utf-8") -> list[str]:
    """The report for a terminal, none of its lines wider than ``width`` columns.

    ``rows`` is how many tests the table shows at most (``None`` or 0: all), the most joules first. ``encoding`` is that of
    the terminal: characters that it lacks are replaced before the widths are counted. Empty where the report has no tests.
    """
    width = max(width, 1)
    measured = [record for record in report.tests if _median(record["energy"]) is not None]
    measured.sort(key=lambda record: (-(_median(record["energy"]) or 0.0), record["nodeid"]))
    shown = measured[:rows] if rows else measured
    result: list[str] = []
    if shown:
        grid, legend = _tests(shown, width, encoding)
        result += grid
        if len(shown) < len(measured):
            result += _sentence(f"… and {len(measured) - len(shown)} more, each less: --energy-top=0 shows all", width, encoding)
        result += legend
    for sentence in _sentences(report, measured):
        result += _sentence(sentence, width, encoding)
    result += _undecided(report.tests, width, rows, encoding)
    return result


def _tests(records: Sequence[Record], width: int, encoding: str) -> tuple[list[str], list[str]]:
    """The table and its legend."""
    # Said once under the table where it holds for all.
    every_estimated = all(record["provenance"] == "estimated" for record in records)
    noted = [_notes(record, every_estimated) for record in records]
    occurring = [note for note in _NOTES if any(note[1] in notes for notes in noted)]
    columns = [
        Column("test", [record["nodeid"] for record in records], shorten=shorten_nodeid),
        Column("energy", [quantity.joules(_median(record["energy"])) for record in records], "right"),
        Column("±", [_interval(record["energy"]) for record in records], "right", drop=5),
        Column("power", [quantity.watts(_median(record["power"])) for record in records], "right", drop=2),
        Column("time", [quantity.seconds(_median(record["duration"])) for record in records], "right", drop=3),
        Column("rounds", [str(record["rounds"]) for record in records], "right", drop=1),
    ]
    if any(record["net_energy"] is not None for record in records):  # idle power was measured: what is above it
        columns.insert(2, Column("net", [quantity.joules(record["net_energy"]) for record in records], "right", drop=6))
    words = Column("note", [", ".join(notes) for notes in noted], drop=4)
    letters = Column("note", ["".join(letter for letter, word, _ in _NOTES if word in notes) for notes in noted], drop=4)
    if not occurring:
        return table(columns, width, encoding), []
    spelt = fits([*columns, words], width, encoding)
    grid = table([*columns, words if spelt else letters], width, encoding)
    legend: list[str] = []
    for letter, word, explanation in occurring:
        legend += _sentence(f"{word if spelt else f'{letter} {word}'}: {explanation}", width, encoding)
    return grid, legend


def _notes(record: Record, every_estimated: bool) -> list[str]:
    budget, comparison = record["budget"] or {}, record["comparison"] or {}
    over = budget.get("verdict") == "over budget"
    failed = record["outcome"] in ("failed", "error", "crashed", "interrupted")
    occurs = {
        "over budget": over,
        "failed": failed and not over and comparison.get("verdict") != "regressed",
        "regressed": comparison.get("verdict") == "regressed",
        "improved": comparison.get("verdict") == "improved",
        "estimated": record["provenance"] == "estimated" and not every_estimated,
        "shared": record["provenance"] == "shared",
        "apportioned": record["resolution"] == "apportioned",
        "below": record["resolution"] == "below",
        "one round": record["rounds"] == 1,
    }
    return [word for _, word, _ in _NOTES if occurs[word]]


def _sentences(report: Report, measured: Sequence[Record]) -> Iterable[str]:
    if measured:
        energy = math.fsum(_median(record["energy"]) or 0.0 for record in measured)
        times = [_median(record["duration"]) for record in measured]
        known = [value for value in times if value is not None]
        duration = math.fsum(known) if len(known) == len(times) else None
        count = f"{len(measured)} test{'s' if len(measured) > 1 else ''}"
        yield f"one pass over {count}: {quantity.joules(energy)}" + (f" in {quantity.seconds(duration)}" if duration else "")
    reasons = Counter(_why_not(record) for record in report.tests if _median(record["energy"]) is None)
    if reasons:
        yield "not measured: " + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    cost = [
        text
        for text, value in (
            (quantity.seconds(report.session.get("seconds")), report.session.get("seconds")),
            (quantity.joules(report.session.get("joules")), report.session.get("joules")),
        )
        if value is not None and math.isfinite(value)
    ]
    if cost:
        yield f"measuring took {' and '.join(cost)}"
    if report.session.get("idle_watts") is not None:
        yield f"idle power of this machine: {quantity.watts(report.session['idle_watts'])}"
    if any(record["provenance"] == "estimated" for record in measured):
        declared = [source["uncertainty"] for source in report.sources if source["provenance"] == "estimated"]
        known = [value for value in declared if value is not None]
        about = f", ±{max(known) * 100:.0f} %" if known else ""
        yield f"estimated: CPU time × a power model{about}; good for comparing on this machine, not as an absolute value"


def _why_not(record: Record) -> str:
    """Why a test has no energy, in a few words."""
    if record["outcome"] not in (None, "passed", "xpassed"):
        return str(record["outcome"])
    if record["resolution"] == "below":
        return "below what the source can tell"
    return f"{quantity.UNAVAILABLE} ({record['notes'][0].rstrip('.')})" if record["notes"] else quantity.UNAVAILABLE


def _undecided(records: Iterable[Record], width: int, rows: int | None, encoding: str) -> list[str]:
    """The budgets that nobody can vouch for, and why."""
    undecided = [
        record
        for record in records
        if record["budget"] and record["budget"]["verdict"] == "cannot tell" and record["budget"]["why"]
    ]
    shown = undecided[:rows] if rows else undecided
    result: list[str] = []
    for record in shown:
        limit = quantity.joules(record["budget"]["joules"])
        result += _sentence(f"budget of {limit} for {record['nodeid']}: cannot tell: {record['budget']['why']}", width, encoding)
    if len(shown) < len(undecided):
        result += _sentence(f"… and {len(undecided) - len(shown)} more such budgets", width, encoding)
    return result


def _median(summary: Record | None) -> float | None:
    value = summary["median"] if summary else None
    return value if value is not None and math.isfinite(value) else None


def _interval(summary: Record | None) -> str:
    share = quantity.relative_half_width(summary)
    return "-" if share is None else quantity.plus_minus(share)


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
    names = [encodable(shorten(printable(text, encoding), room), encoding) for text in (first.header, *first.cells)]
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
    result = [name + line[len(stand_in) :] for name, stand_in, line in zip(names, stand_ins, laid_out, strict=True)]
    widths = [max(map(len, stand_ins)), *(_natural(column, encoding) for column in others)]
    result.insert(1, "  ".join("-" * columns for columns in widths))
    return [encodable(shorten_end(line.rstrip(), width), encoding) for line in result]


def _natural(column: Column, encoding: str) -> int:
    return max(display_width(printable(text, encoding)) for text in (column.header, *column.cells))


@lru_cache(maxsize=1024)
def _character_width(character: str) -> int:
    if character.isascii():
        return 1
    if character in "\u200c\u200d" or unicodedata.category(character) in ("Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "FW" else 1


def display_width(text: str) -> int:
    """How many columns a terminal needs for a printable text, counted as pytest counts them."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def encodable(text: str, encoding: str) -> str:
    """The text in characters that the encoding has: its nearest ones, or backslash escapes."""
    try:
        text.encode(encoding)
    except LookupError:
        encoding = "ascii"
    except UnicodeEncodeError:
        pass
    else:
        return text
    return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text on one line: composed, with control characters, lone surrogates and the like escaped."""
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", text)
        text = "".join(
            character
            if character.isprintable() or character in "\u200c\u200d"
            else character.encode("unicode-escape").decode("ascii")
            for character in text
        )
    return encodable(text, encoding)


def shorten_nodeid(nodeid: str, width: int) -> str:
    """A node id in at most ``width`` columns: the directories go first, then the file's head, then the middle of the test."""
    if display_width(nodeid) <= width:
        return nodeid
    path, colons, test = nodeid.partition("::")
    room = width - 1 - display_width(colons + test)
    if not colons or room < 0:
        return _shorten_middle(test or path, width)
    return "…" + _tail(path, room) + colons + test


def shorten_end(text: str, width: int) -> str:
    """A text in at most ``width`` columns, its end left out."""
    if display_width(text) <= width:
        return text
    return _head(text, width - 1) + "…" if width > 0 else ""


def _shorten_middle(text: str, width: int) -> str:
    if display_width(text) <= width:
        return text
    if width < 1:
        return ""
    tail = (width - 1) // 2
    return _head(text, width - 1 - tail) + "…" + _tail(text, tail)


def _head(text: str, width: int) -> str:
    used = 0
    for place, character in enumerate(text):
        used += _character_width(character)
        if used > width:
            return text[:place]
    return text


def _tail(text: str, width: int) -> str:
    used = 0
    for place in range(len(text) - 1, -1, -1):
        used += _character_width(text[place])
        if used > width:
            return text[place + 1 :]
    return text


def _sentence(text: str, width: int, encoding: str) -> list[str]:
    """A sentence wrapped at spaces; a word wider than the terminal is broken."""
    indent = "  " if width >= 20 else ""
    result: list[str] = []
    line = ""
    for word in printable(text, encoding).split(" "):
        rest = word
        while True:
            joined = f"{line} {rest}" if line.strip() else line + rest
            if display_width(joined) <= width:
                line = joined
                break
            if line.strip():
                result.append(line)
                line = indent
            else:
                part = _head(rest, width - display_width(line)) or rest[0]
                result.append(line + part)
                line, rest = indent, rest[len(part) :]
    result.append(line)
    return result
