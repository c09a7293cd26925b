"""What a test's record said besides its numbers, out of a history: each in the form that a report gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from pytest_joules.store.checked import MOST_FUNCTIONS, bad, parsed, quantity, text, text_or_none, whole
from pytest_joules.store.entries import KeptFacts

#: What a value must be: a check of its own, ``[form]`` of a list's entries, ``{None: form}`` of an object's, ``{key: form}``.
Form = Callable[[object, str], object] | list["Form"] | Mapping[str | None, "Form"]


def _fits(value: object, form: Form, what: str) -> None:
    if callable(form):
        form(value, what)
    elif isinstance(form, list):
        if not isinstance(value, list) or len(value) > MOST_FUNCTIONS:
            bad(what, value, "a list")
        for entry in value:
            _fits(entry, form[0], what)
    elif not isinstance(value, dict):
        bad(what, value, "an object")
    elif None in form:
        for entry in value.values():
            _fits(entry, form[None], what)
    else:
        for key, part in form.items():
            # An older version may not have written it.
            absent: object = [] if isinstance(part, list) else False if part is _flag else 0 if part is _tally else None
            _fits(value.setdefault(key, absent), part, f"{key} of {what}")


def _signed(value: object, what: str) -> None:
    quantity(value, what, signed=True)


def _number(value: object, what: str) -> None:
    if quantity(value, what, signed=True) is None:
        bad(what, value, "a number")


def _finite(value: object, what: str) -> None:
    """A number of the user's own: of any size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
        bad(what, value, "a number")


def _finite_or_none(value: object, what: str) -> None:
    if value is not None:
        _finite(value, what)


def _interval(value: object, what: str) -> None:
    if value is None:
        return
    if not isinstance(value, list) or len(value) != 2:
        bad(what, value, "two numbers")
    for end in value:
        _number(end, what)


def _flag(value: object, what: str) -> None:
    if not isinstance(value, bool):
        bad(what, value, "true or false")


def _flag_or_none(value: object, what: str) -> None:
    if value is not None:
        _flag(value, what)


def _tally(value: object, what: str) -> None:
    whole(value, what)


def _many(value: object, what: str) -> None:
    whole(value, what, most=2**63 - 1)


def _nothing(value: object, what: str) -> None:
    if value is not None:
        bad(what, value, "nothing")


_SUMMARY: Form = {**dict.fromkeys(("median", "mean", "stdev", "iqr", "cv"), _signed), "ci95": _interval}


def _summary(value: object, what: str) -> None:
    if value is not None:
        _fits(value, _SUMMARY, what)


_FACTS: Mapping[str, Form] = {
    "phases": dict.fromkeys(("setup", "call", "teardown"), _signed),
    "net_energy": _signed,
    "own_share": _signed,
    "regions": {None: {"energy": _summary, "duration": _summary}},
    "work": {None: {"amount": _finite, "joules_per_unit": _finite_or_none}},
    "scores": {None: _finite_or_none},
    "notes": [text],
    "counting": text,
    "instructions": {
        "counter": text,
        "count": _many,
        "counts": [_many],
        "warm": _many,
        "spread": _signed,
        "doubts": [text],
        "functions": {None: _many},
        "misses": _signed,
        "ran": {None: [_many]},
        **dict.fromkeys(("budget", "comparison"), _nothing),
    },
    "budget": {"joules": _number, "verdict": text, "why": text_or_none},
    "prediction": {
        "model": text_or_none,
        "state": text,
        **dict.fromkeys(
            ("joules", "ratio", "last", "limit", "threshold", "measured", "exposure", "chance", "at_risk", "noise"), _signed
        ),
        "interval": _interval,
        "since": text_or_none,
        "because": [text],
        "changed": _tally,
        "limited_by": text_or_none,
        "flagged": _flag,
        "why": text_or_none,
        "failed": _flag,
        "dearer": _flag_or_none,
        "verdict": text_or_none,
        "outcome": text_or_none,
    },
}


def facts_of(value: object) -> KeptFacts:
    """What else a record says, each in the form that a report gives it."""
    found = {name: entry for name, entry in parsed(value, "facts", dict).items() if entry is not None}
    for name in found.keys() & _FACTS.keys():
        _fits(found[name], _FACTS[name], name)
    return cast(KeptFacts, found)  # each was held against its form, which no type checker can follow


def counted_of(value: object) -> int | None:
    """The instructions that a record's facts have, where it has facts."""
    found = facts_of(value).get("instructions") if value is not None else None
    return found["count"] if found is not None else None
