"""Where the joules of a test went, in its section of a page: an icicle, the dearest parts, how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_joules.model import AccountRecord
from pytest_joules.report import account, quantity
from pytest_joules.report.account_growth import sentences
from pytest_joules.report.icicle import icicle
from pytest_joules.report.text import escaped

_HEADER = ("part", "energy", "95 %", "share", "power", "time", "calls")


class AccountSection(NamedTuple):
    """What a page shows of an account; all texts are plain ones."""

    said: list[str]
    figures: list[tuple[str, list[str]]]
    """SVG, and what it shows."""
    tables: list[tuple[str, Sequence[str], list[Sequence[str]]]]
    """Caption, header, rows."""


def section(record: AccountRecord, rows: int = account.TOP) -> AccountSection:
    """The section's parts; ``rows``: parts in the table at most (0: all)."""
    picture, words = icicle(record)
    shown = record["flat"][:rows] if rows else record["flat"]
    lines: list[Sequence[str]] = [
        (
            escaped(account.name_of(part)) if part is not record["unattributed"] else account.UNATTRIBUTED,
            quantity.joules(part["joules"]),
            account.interval(part),
            f"{100 * part['share']:.1f} %",
            quantity.watts(part["watts"]) if part["watts"] is not None else "",
            quantity.seconds(part["seconds"]),
            account.calls(part["calls"]) if part is not record["unattributed"] else "",
        )
        for part in (*shown, record["unattributed"])
    ]
    left = len(record["flat"]) - len(shown)
    caption = f"where its joules go: {account.title(record)}" + (f"; {left} cheaper parts are left out" if left else "")
    said = [escaped(text) for text in (*sentences(record["grown"]), *account.remarks(record))]
    return AccountSection(said, [(picture, words)] if picture else [], [(caption, _HEADER, lines)])
