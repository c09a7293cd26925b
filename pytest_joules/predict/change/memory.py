"""Functions that remember their results, and what comes of it when they no longer do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_joules.predict.change.calls import as_counted
from pytest_joules.predict.change.reading import code_of


def calls_without_memory(key: str, sources: Mapping[str, str], counts: Mapping[str, Sequence[float]]) -> float:
    """How often a function runs without its memory: as often as the path of the test calls it."""
    calls = float(counts[key][0])
    name = key.rpartition(".")[2].rpartition("::")[2]
    asked, own = 0.0, 0.0
    for place, counted in counts.items():
        text = sources.get(place, "")
        if not counted or counted[0] <= 0 or name not in text:
            continue
        code = code_of(text, (), len(counted) - 1)
        if code is None:
            continue
        sites = as_counted(code, tuple(counted)).sites
        times = sum(times for form, times in sites.items() if form.lstrip("@").rpartition(".")[2] == name)
        if place == key:
            own = times
        else:
            asked += times
    each = own / calls
    now = max(asked, calls - own if own < calls else 1.0)
    # It calls itself: each of these calls is made anew, which may well be without end.
    now = now / (1 - each) if each < 0.95 else max(now, 1.0) * 20.0 * calls
    return max(now, calls)
