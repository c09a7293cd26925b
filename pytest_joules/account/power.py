"""What a domain drew over time: its counter, read again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Power:
    """Of one domain, time-stamped readings of a counter that only rises. A reading that came late is a longer interval."""

    domain: str
    """``package-0``, ``gpu-0``."""
    device: str
    """Which lanes' work it pays: ``cpu``, or a device's domain."""
    at: NDArray[np.int64]
    """When each reading was taken, nanoseconds of ``CLOCKS.wall()``, each just after the counter stepped; rising."""
    joules: NDArray[np.float64]
    """What the counter had counted by then since the first reading, joules; never falling."""
    stamp_seconds: float = 30e-6
    """By how much a time stamp may be off (one standard deviation)."""
