"""Sources that other plugins offer: what they get wrong must cost a number, never a test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from pytest_joules.model import Counters
from pytest_joules.sources.base import Domain, Source


def guarded(source: Source) -> Source:
    """``source`` with a net under its methods: what raises, or is not one number a domain, becomes *unavailable*.

    Raises:
        TypeError: it is no :class:`Source`.
    """
    if not isinstance(source, Source):
        raise TypeError(f"{source!r} is no Source object")
    own = dict(vars(source))
    Source.__init__(source)  # its own __init__ may have left that out
    vars(source).update(own)
    opening, reading, computing = source.open, source.read, source.joules

    def open_() -> None:
        opening()
        if not isinstance(source.domains, tuple) or not all(isinstance(domain, Domain) for domain in source.domains):
            raise TypeError(f"its domains must be a tuple of Domain objects, not {source.domains!r}")
        for what, least in (("tick", 0.0), ("most_watts", 1e-9)):
            value = getattr(source, what)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
                raise TypeError(f"its {what} is {value!r}, not a number of {'seconds' if what == 'tick' else 'watts'}")

    def read() -> Counters:
        return _caught(source, "read()", reading)

    def joules(before: Counters, after: Counters, seconds: float) -> Counters:
        if None in before or None in after:
            # Why the reading is missing is known already; what its author forgot to expect is no news.
            known = dict(source.trouble)
            result = _caught(source, "joules()", lambda: computing(before, after, seconds))
            source.trouble.update(known)
            return result
        return _caught(source, "joules()", lambda: computing(before, after, seconds))

    # The instance's own attributes stand before its class's methods.
    vars(source).update(open=open_, read=read, joules=joules)
    return source


def _caught(source: Source, method: str, call: Callable[[], Iterable[float | None]]) -> Counters:
    try:
        values = [_number(value) for value in call()]
        if len(values) != len(source.domains):
            raise ValueError(f"{len(values)} values for {len(source.domains)} domains")
        for place, domain in enumerate(source.domains):
            value = values[place]
            if value is not None and not math.isfinite(value):
                source.trouble[domain.name] = f"{method} of {source.name} gave {value}"
                values[place] = None
    except Exception as error:
        trouble = f"{method} of {source.name} failed: {type(error).__name__}: {error}"
        source.trouble.update(dict.fromkeys((domain.name for domain in source.domains), trouble))
        return (None,) * len(source.domains)
    return tuple(values)


def _number(value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{value!r} is not a number")
    # What a Decimal or an array's number cannot be mixed with is to come; integers stay exact.
    return int(value) if isinstance(value, int) else float(value)
