"""Numbers for people: three significant digits, a unit with its prefix, and ``unavailable`` where there is no number."""

from __future__ import annotations

import math
from datetime import datetime

from pytest_joules.model import MedianRecord

UNAVAILABLE = "unavailable"
"""What is written for ``None``, NaN and infinity: never a zero."""

_PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}


def age(then: str, now: str) -> str:
    """How long before ``now`` something was, of two ISO dates: ``3 days ago``."""
    passed = (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds()
    for seconds, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if passed >= seconds:
            count = int(passed // seconds)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"


def joules(value: float | None) -> str:
    """Joules as nJ, µJ, mJ, J, kJ or MJ."""
    return _prefixed(value, "J", -9, 6)


def seconds(value: float | None) -> str:
    """Seconds as ns, µs, ms or s."""
    return _prefixed(value, "s", -9, 0)


def watts(value: float | None) -> str:
    """Watts as µW, mW, W or kW."""
    return _prefixed(value, "W", -6, 3)


def instructions(value: float | None) -> str:
    """Instructions as instr, kinstr, Minstr or Ginstr."""
    return _prefixed(value, "instr", 0, 9)


def median_of(summary: MedianRecord | None) -> float | None:
    """The median that a summary has; ``None`` where it has no number."""
    value = summary["median"] if summary else None
    return value if value is not None and math.isfinite(value) else None


def relative_half_width(summary: MedianRecord | None) -> float | None:
    """Half the width of a summary's 95 % interval over its median (0.02 is ±2 %); ``None`` where either is unknown."""
    if summary is None or summary["ci95"] is None or not summary["median"]:
        return None
    low, high = summary["ci95"]
    share = (high - low) / 2 / abs(summary["median"])
    return share if math.isfinite(share) else None


def plus_minus(share: float | None) -> str:
    """A relative half-width in per cent with two significant digits: 0.02 is ``±2.0 %``."""
    if share is None or not math.isfinite(share):
        return UNAVAILABLE
    percent = abs(share) * 100
    if percent >= 999.5:
        return "±>999 %"
    if 0 < percent < 0.0995:
        return "±<0.1 %"
    # Rounded first: 9.96 is ±10 %, not ±10.0 %.
    return f"±{percent:.1f} %" if float(f"{percent:.2g}") < 10 else f"±{percent:.0f} %"


def precision(summary: MedianRecord | None) -> str:
    """:func:`plus_minus` of a summary; empty where its interval is not known."""
    share = relative_half_width(summary)
    return "" if share is None else plus_minus(share)


def ratio(value: float | None) -> str:
    """A ratio with two places, such as ``1.30``; with three significant digits where it is far from 1."""
    if value is None or not math.isfinite(value):
        return UNAVAILABLE
    return f"{value:.2f}" if 0.0995 <= value < 9.995 else f"{float(f'{value:.3g}'):,.15g}"


def change(ratio: float) -> str:
    """A ratio as a change in per cent: 1.12 is ``+12 %``; from twice on as a multiple: ``3.1×``."""
    if ratio >= 2:
        return f"{float(f'{ratio:.3g}'):,.15g}×"
    percent = 100 * (ratio - 1)
    return f"{percent:+.0f} %" if abs(percent) >= 9.95 else f"{percent:+.1f} %"


def _prefixed(value: float | None, unit: str, lowest: int, highest: int) -> str:
    if value is None or not math.isfinite(value):
        return UNAVAILABLE
    if value == 0:
        return f"0 {unit}"
    # The exponent after rounding to three digits, so that 0.9996 J is 1.00 J and not 1000 mJ.
    exponent = int(f"{value:.2e}".partition("e")[2])
    power = min(max(exponent // 3 * 3, lowest), highest)
    scaled = value / 10.0**power
    number = f"{scaled:.3g}" if exponent < lowest else f"{scaled:.{max(0, 2 - (exponent - power))}f}"
    return f"{number} {_PREFIXES[power]}{unit}"
