"""Readings of power out of a file, for a trace that was taken elsewhere: CSV with a header, or the same columns as JSON.

``time_ns`` (``time.perf_counter_ns()``), ``time_s`` (the same in seconds) or ``unix_s`` (seconds of the time of day); ``joules``
(a counter that only rises) or ``watts`` (drawn from this reading to the next); and, where there are several, ``domain``.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pytest_joules.account.power import Power
from pytest_joules.account.trace_clock import unix_ahead
from pytest_joules.account.trace_file import TraceError
from pytest_joules.files import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes that a file of readings may have: a day at one a millisecond is 2.6 GB, an hour 110 MB.
MOST_BYTES = 512 * 2**20
#: A time in a unit, in nanoseconds.
_TIMES = {"time_ns": 1.0, "time_s": 1e9, "unix_s": 1e9}
#: Nanoseconds, joules or watts, beyond which a number is none.
_MOST = 9e18
_AMOUNTS = ("joules", "watts")
_FORM = f"It needs the columns {'|'.join(_TIMES)}, {'|'.join(_AMOUNTS)}, and domain where there are several (docs/account.md)."


def read(path: str | os.PathLike[str], domain: str = "package-0") -> list[Power]:
    """The readings by domain; ``domain`` is that of a file that names none.

    Work of the CPU is paid by ``package-*``, ``cpu`` and ``psys``, that of a device by the domain of its name (``gpu-0``).

    Raises:
        TraceError: it cannot be read, has no such columns, a time that does not rise, a counter that falls, a number that is
            none, or a domain with fewer than two readings.
    """
    name = os.fspath(path)
    try:
        text = reading.read_text(path, MOST_BYTES, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is no text"
        raise TraceError(f"{name}: the readings of power cannot be read ({why}). {_FORM}") from None
    rows = _json(name, text) if text.lstrip()[:1] in ("[", "{") else csv.DictReader(text.splitlines(), skipinitialspace=True)
    return _powers(name, rows, domain)


def _json(name: str, text: str) -> Iterable[Mapping[str, object]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise TraceError(f"{name}: it is not whole, or no JSON. {_FORM}") from None
    rows = found.get("readings") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TraceError(f'{name}: it is neither a list of objects nor {{"readings": [...]}}. {_FORM}')
    return rows


def _powers(name: str, rows: Iterable[Mapping[str, object]], domain: str) -> list[Power]:
    at: dict[str, list[float]] = {}
    amounts: dict[str, list[float]] = {}
    clock = amount = ""
    for number, row in enumerate(rows, 1):
        if not clock:
            clock, amount = (next((key for key in keys if key in row), "") for keys in (_TIMES, _AMOUNTS))
            if not clock or not amount:
                raise TraceError(f"{name}: its columns are {', '.join(map(str, row))}. {_FORM}")
        of = str(row.get("domain") or domain)
        at.setdefault(of, []).append(_number(name, number, clock, row))
        amounts.setdefault(of, []).append(_number(name, number, amount, row))
    if not at:
        raise TraceError(f"{name}: it has no readings. {_FORM}")
    # A time in nanoseconds has more digits than a float: what is left is some 100 ns.
    ahead = unix_ahead() if clock == "unix_s" else 0
    watts = amount == "watts"
    return [_power(name, of, np.array(at[of]) * _TIMES[clock], np.array(amounts[of]), watts=watts, ahead=ahead) for of in at]


def _power(name: str, domain: str, at: NDArray[np.float64], values: NDArray[np.float64], *, watts: bool, ahead: int) -> Power:
    if not (np.abs(at) < _MOST).all() or not (np.abs(values) < _MOST).all():
        raise TraceError(
            f"{name}: {domain} has a time or an amount beyond all that is measured. Look at the units of its columns."
        )
    if len(at) < 2:
        raise TraceError(f"{name}: {domain} has one reading. Power needs two or more.")
    if len(wrong := np.flatnonzero(np.diff(at) <= 0)):
        raise TraceError(f"{name}: the times of {domain} do not rise at its reading {wrong[0] + 2}. Sort it by time.")
    if watts:
        if len(wrong := np.flatnonzero(values < 0)):
            raise TraceError(f"{name}: {domain} draws less than nothing at its reading {wrong[0] + 1}. Power is not negative.")
        joules = np.concatenate(([0.0], np.cumsum(values[:-1] * np.diff(at) / 1e9)))
    else:
        if len(wrong := np.flatnonzero(np.diff(values) < 0)):
            raise TraceError(
                f"{name}: the counter of {domain} falls at its reading {wrong[0] + 2}. Add what it had where it wrapped around."
            )
        joules = values - values[0]
    device = "cpu" if domain.partition("-")[0] in ("package", "cpu", "psys", "core", "dram") else domain
    return Power(domain, device, np.round(at).astype(np.int64) - ahead, joules)


def _number(name: str, row: int, key: str, values: Mapping[str, object]) -> float:
    value = values.get(key)
    try:
        found = float(value) if isinstance(value, (str, int, float)) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise TraceError(f"{name}: reading {row} has no number as its {key}: {str(value)[:30]!r}. Mend or remove it.")
    return found
