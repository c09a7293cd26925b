"""What in a test ran more often than before: of each function of the project its calls, and of each of its statements how often
it ran. Unlike seconds, these are exact on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pytest_joules.code.installed_copies import INSTALLED
from pytest_joules.model import OTHER
from pytest_joules.report.comparison import dotted

#: How often functions were called and each of their statements ran, by ``path::qualname``.
Ran = Mapping[str, Sequence[int]]
#: Functions that are kept of a test, those that ran most.
KEPT = 12
#: Of all that ran, what is more by less is not worth a word.
_LITTLE = 0.01


def most_run(counts: Ran) -> dict[str, list[int]]:
    """Of what a recorded round counted, what is kept."""
    named = sorted((key for key in counts if key != OTHER), key=lambda key: (-sum(counts[key]), key))[:KEPT]
    return {key: list(counts[key]) for key in (*named, OTHER) if key in counts}


def where(before: Ran, now: Ran, changed: Sequence[str], line: Callable[[str, int], int | None]) -> list[str]:
    """What has more to do, in words: functions that changed, first those that ran more often than before, then others that did.

    Args:
        before: what :func:`most_run` kept then; empty where that is not known
        changed: functions in the test's path that changed, the most suspicious first, as they call themselves
        line: that of a statement of a function now, by its number
    """
    total = sum(map(sum, now.values())) or 1
    more = {key: sum(times) - sum(before.get(key, ())) for key, times in now.items()} if before else {}
    grown = sorted((key for key in more if more[key] > _LITTLE * total), key=lambda key: (-more[key], key))
    own = {key.removeprefix(f"{INSTALLED}/"): key for key in grown if key != OTHER}
    said = [_said(own[name], before, now, line, changed=True) for name in own if name in changed]
    said += [dotted(name) for name in changed if name not in own]
    said += [_said(key, before, now, line, changed=False) for name, key in own.items() if name not in changed]
    if OTHER in grown:
        said.append(f"{more[OTHER]:,} more calls of functions that are not the project's")
    return said


def _said(key: str, before: Ran, now: Ran, line: Callable[[str, int], int | None], *, changed: bool) -> str:
    """``shop.cart.total line 14 ran 40,000 times, was 400``."""
    name = dotted(key.removeprefix(f"{INSTALLED}/"))
    then, times = before.get(key, ()), now[key]
    # Of less than is kept it is not known.
    known = key in before or len(before.keys() - {OTHER}) < KEPT
    statements, earlier = times[1:], then[1:]
    if changed or len(earlier) != len(statements):
        number = max(range(len(statements)), key=statements.__getitem__, default=0)
        was = f"no line of it more than {_times(max(then, default=0))} before"
    else:
        number = max(range(len(statements)), key=lambda each: statements[each] - earlier[each], default=0)
        was = f"was {earlier[number]:,}" if earlier else ""
    place = line(key, number) if statements and statements[number] > times[0] else None
    if place is None:
        return f"{name} was called {_times(times[0])}" + (f", was {then[0] if then else 0:,}" if known else "")
    return f"{name} line {place} ran {_times(statements[number])}" + (f", {was}" if known else "")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
