"""Where the joules of a test went, for a terminal: the dearest parts, what no part accounts for, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_joules.model import AccountRecord, PartRecord, SimilarityRecord
from pytest_joules.report import quantity
from pytest_joules.report.account_growth import sentences
from pytest_joules.report.table import Column, table
from pytest_joules.report.text import sentence

#: Parts that are shown.
TOP = 10
UNATTRIBUTED = "unattributed"

_UNITS = {"nJ": 1e-9, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "MJ": 1e6}
_METHODS = {
    "regression": "each part has watts of its own, told from the counter's readings",
    "busy time": "shared out by CPU time (on a device: by the time that it worked): all parts at the same watts",
    "seconds": "shared out by time alone",
}
_NO_ERROR = "similarity, which is no error (a wrong account can have .99)"


def lines(record: AccountRecord, width: int, rows: int = TOP, encoding: str = "utf-8") -> list[str]:
    """The account for a terminal, no line wider than ``width``; ``rows``: parts in each table at most (0: all)."""
    found = []
    for text in _before(record):
        found += sentence(text, width, encoding)
    found += _table(record["flat"], record["unattributed"], width=width, rows=rows, encoding=encoding)
    if record["summarised"]:
        found += sentence("alike parts as one:", width, encoding)
        found += _table(record["summarised"], record["unattributed"], width=width, rows=rows, encoding=encoding)
    for text in (*sentences(record["grown"]), *remarks(record)):
        found += sentence(text, width, encoding)
    return found


def title(record: AccountRecord) -> str:
    """``0.82 J by functions``."""
    return f"{quantity.joules(record['joules'])} by {record['what']}"


def remarks(record: AccountRecord) -> Iterator[str]:
    """How far to trust it: the method and why, both checks, the similarity, notes."""
    method = _METHODS[record["shared_by"]]
    yield f"{method}; {record['why']}" if record["why"] else method
    if any(part["same"] for part in record["flat"]):
        yield "+N: with N other parts that ran as it did; the joules are those of all of them"
    yield "; ".join(_checks(record))
    similar = record["similarity"]
    if similar is not None and (told := _similar(similar)):
        yield f"{_NO_ERROR}: {'; '.join(told)}"
    yield from record["notes"]


def _before(record: AccountRecord) -> Iterator[str]:
    rounds = record["rounds"]
    idle = f"; idle {quantity.watts(record['idle_watts'])}" if record["idle_watts"] is not None else ""
    yield f"where the joules go: {title(record)}, {rounds} traced round{'s' if rounds != 1 else ''}{idle}"


def _checks(record: AccountRecord) -> Iterator[str]:
    off = abs(record["conservation"])
    yield f"parts and {UNATTRIBUTED} add up to the test's joules" + (f" within {100 * off:.1g} %" if off > 1e-9 else "")
    if (against := record["against_counter"]) is not None:
        yield f"the model gives the traced rounds {100 * against:.4g} % of what the counter counted"


def _similar(similar: SimilarityRecord) -> Iterator[str]:
    sparser = ", ".join(f"1 in {every} {value:.3f}" for every, value in similar["sparser"].items())
    yield from [f"of fewer readings {sparser}"] if sparser else []
    yield from [f"of half the rounds {value:.3f}" for value in (similar["more_runs"],) if value is not None]
    yield from [f"between rounds {value:.3f}" for value in (similar["between_runs"],) if value is not None]


def _table(parts: Sequence[PartRecord], rest: PartRecord, *, width: int, rows: int, encoding: str) -> list[str]:
    shown = list(parts[:rows] if rows else parts)
    every = [*shown, rest]
    names = [name_of(part) for part in shown] + [UNATTRIBUTED]
    columns = [
        Column("part", names, shorten=_ending),
        Column("energy", [quantity.joules(part["joules"]) for part in every], "right"),
        Column("95 %", [interval(part) for part in every], "right", drop=4),
        Column("%", [f"{100 * part['share']:.1f}" for part in every], "right"),
        Column("W", [f"{part['watts']:.3g}" if part["watts"] is not None else "" for part in every], "right", drop=3),
        Column("time", [quantity.seconds(part["seconds"]) for part in every], "right", drop=2),
        Column("calls", [calls(part["calls"]) for part in shown] + [""], "right", drop=1),
    ]
    found = table(columns, width, encoding)
    if len(shown) < len(parts):
        left = sum(part["joules"] for part in parts[len(shown) :])
        text = f"… and {len(parts) - len(shown)} parts more, {quantity.joules(left)} together"
        found[-1:-1] = sentence(text, width, encoding)
    return found


def name_of(part: PartRecord) -> str:
    """A part's name, with how many cannot be told apart from it (``+2``), its direction and its device."""
    said: list[str] = [part["direction"]] if part["direction"] else []
    said += [part["device"]] if part["device"] != "cpu" else []
    return part["name"] + (f" +{len(part['same'])}" if part["same"] else "") + (f" ({', '.join(said)})" if said else "")


def interval(part: PartRecord) -> str:
    """``0.19–0.23`` in the unit of the part's energy; empty where it is not known."""
    if part["ci95"] is None:
        return ""
    number, _, unit = quantity.joules(part["joules"]).partition(" ")
    places = len(number.partition(".")[2])
    return "–".join(f"{end / _UNITS[unit]:.{places}f}" for end in part["ci95"])


def calls(count: float) -> str:
    """How often; a mean over rounds has a place."""
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:,.1f}"


def _ending(name: str, width: int) -> str:
    """The end of a qualified name says more than its beginning."""
    return name if len(name) <= width else f"…{name[len(name) - width + 1 :]}"
