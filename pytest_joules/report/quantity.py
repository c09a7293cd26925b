"""Numbers for people: three significant digits, a unit with its prefix, and ``unavailable`` where there is no number."""

from __future__ import annotations

import math

from pytest_joules.model import Record

UNAVAILABLE = "unavailable"
"""What is written for ``None``, NaN and infinity: never a zero."""

_PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M"}


def joules(value: float | None) -> str:
    """Joules as nJ, µJ, mJ, J, kJ or MJ."""
    return _prefixed(value, "J", -9, 6)


def seconds(value: float | None) -> str:
    """Seconds as ns, µs, ms or s."""
    return _prefixed(value, "s", -9, 0)


def watts(value: float | None) -> str:
    """Watts as µW, mW, W or kW."""
    return _prefixed(value, "W", -6, 3)


def relative_half_width(summary: Record | None) -> float | None:
    """Half the width of a summary's 95 % interval over its median (0.02 is ±2 %); ``None`` where either is unknown."""
    if summary is None or summary.get("ci95") is None or not summary.get("median"):
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
