"""Where a regression is: the parts whose joules grew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_joules.model import AccountRecord, GrownRecord, KeptAccount, KeptPart, PartRecord
from pytest_joules.report import quantity

#: Parts that are named.
_NAMED = 5
#: Of the account's joules, below which a part that may be noise is not worth a word.
_LEAST = 0.01

_Key = tuple[str, str, str]


def grown(now: AccountRecord, before: KeptAccount) -> list[GrownRecord]:
    """Parts that cost more than before, those first whose 95 % intervals lie apart, then by the joules that they grew by.

    A part that did not run before has no interval there: it is sure where its own lies above zero. Parts of another kind
    (functions before, modules now) are not compared: the list is empty. What grew by less than a hundredth of the account, and
    may be noise, is left out.
    """
    if now["what"] != before["what"]:
        return []
    known = {_key(part): part for part in before["parts"]}
    found: list[GrownRecord] = []
    for part in (*now["flat"], now["unattributed"]):
        old = before["unattributed"] if part is now["unattributed"] else known.get(_key(part))
        grew = part["joules"] - (old["joules"] if old is not None else 0.0)
        sure = _apart(part, old)
        if grew > 0 and (sure or grew >= _LEAST * abs(now["joules"])):
            found.append(_grown(part, old, sure=sure))
    return sorted(found, key=lambda one: (not one["sure"], (one["before"] or 0.0) - one["now"], one["name"]))


def sentences(parts: Sequence[GrownRecord]) -> Iterator[str]:
    """What grew, the worst first: ``grew: shop.total 0.20 J -> 0.42 J``."""
    for part in parts[:_NAMED]:
        yield _said(part)
    if len(parts) > _NAMED:
        yield f"… and {len(parts) - _NAMED} more parts that grew, each by less"


def headline(parts: Sequence[GrownRecord]) -> str:
    """The worst of those that are sure, for the line of a regression; empty where none is."""
    sure = [part for part in parts if part["sure"]]
    named = ", ".join(f"{_name(part)} ({_moved(part)})" for part in sure[:3])
    more = f" and {len(sure) - 3} more" if len(sure) > 3 else ""
    return f"parts that grew: {named}{more}" if sure else ""


def _said(part: GrownRecord) -> str:
    return f"grew: {_name(part)} {_moved(part)}" + ("" if part["sure"] else ", within the noise")


def _moved(part: GrownRecord) -> str:
    before = "new" if part["before"] is None else quantity.joules(part["before"])
    return f"{before} -> {quantity.joules(part['now'])}"


def _name(part: GrownRecord) -> str:
    said = [text for text in (part["direction"], part["device"] if part["device"] != "cpu" else "") if text]
    return part["name"] + (f" ({', '.join(said)})" if said else "")


def _apart(now: PartRecord, before: KeptPart | None) -> bool:
    if now["ci95"] is None or (before is not None and before["ci95"] is None):
        return False
    return now["ci95"][0] > (before["ci95"][1] if before is not None and before["ci95"] is not None else 0.0)


def _grown(part: PartRecord, before: KeptPart | None, *, sure: bool) -> GrownRecord:
    return {
        "name": part["name"],
        "direction": part["direction"],
        "device": part["device"],
        "before": before["joules"] if before is not None else None,
        "now": part["joules"],
        "sure": sure,
    }


def _key(part: PartRecord | KeptPart) -> _Key:
    return part["name"], part["direction"], part["device"]
