"""Joules from a model, for machines without counters: CPU seconds of the test's process tree, times a power curve.

The curve is the median relative power of 212 servers tested from 2017 on in the public SPECpower_ssj2008 results
(https://www.spec.org/power_ssj2008/results/), at 0, 10, … 100 % load. What it is scaled with, best first:

1. the user's own idle and full-load watts;
2. on bare metal, the CPU's TDP from CodeCarbon's table (``pytest_joules/data``), times the sockets;
3. a published average per (virtual) CPU. A virtual machine sees a few CPUs of a big chip: its TDP is never charged to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_joules import machine
from pytest_joules.model import Counters
from pytest_joules.sources.base import MOST_WATTS, Domain, Source
from pytest_joules.sources.cpu_power import tdp
from pytest_joules.sources.process_tree import ProcessTree

#: Power at 0, 10, … 100 % load as a share of the power at full load.
CURVE = (0.20, 0.325, 0.376, 0.422, 0.47, 0.529, 0.595, 0.669, 0.774, 0.893, 1.0)
IDLE_SHARE = CURVE[0]

#: Watts of one virtual CPU, idle and at full load: Cloud Carbon Footprint's averages over the processors of Amazon's cloud, from
#: SPECpower results ("Methodology", "Compute"; packages/aws/.../AwsFootprintEstimationConstants.ts; Apache-2.0).
GENERIC_IDLE_WATTS = 0.74
GENERIC_MAX_WATTS = 3.5

#: TDP times load misses CodeCarbon's published RAPL tables by 38 to 43 % in the mean.
TABLE_UNCERTAINTY = 0.40
#: Cloud Carbon Footprint's figures by processor (1.69 to 5.42 W at full load, without the two designs it calls outliers) lie up
#: to 55 % from its average of 3.5 W; rounded up.
GENERIC_UNCERTAINTY = 0.60
#: With both ends known only the shape in between is guessed. A straight line and the curve differ by at most 16 % of the
#: power (at 10 % load); rounded up.
OWN_UNCERTAINTY = 0.20


def relative_power(utilisation: float) -> float:
    """Share of the full-load power at this utilisation (0 to 1, clamped): :data:`CURVE`, linear in between."""
    position = min(max(utilisation, 0.0), 1.0) * (len(CURVE) - 1)
    low = min(int(position), len(CURVE) - 2)
    return CURVE[low] + (CURVE[low + 1] - CURVE[low]) * (position - low)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the model needs to know of the machine."""

    model: str
    cpus: int
    """Logical CPUs of the whole machine."""
    sockets: int
    virtual: bool | None

    @classmethod
    def here(cls) -> Hardware:
        return cls(machine.cpu_model(), machine.cores(), machine.sockets(), machine.is_virtual())


class Estimate(Source):
    """Joules of the whole CPU, idle power included, as the model sees them from this process tree's CPU time.

    Args:
        idle_watts: the user's own figure for this machine's CPUs doing nothing, watts.
        max_watts: the same under full load, watts. Where only one is given, the other follows from the curve's idle share (20 %).
        hardware: the machine, found out in :meth:`open` where not given.
        tree: the CPU clock.

    Raises:
        ValueError: a wattage is not a positive number, or idle is not below full load.
    """

    name = "estimate"
    provenance = "estimated"
    rank = 10

    def __init__(
        self,
        idle_watts: float | None = None,
        max_watts: float | None = None,
        *,
        hardware: Hardware | None = None,
        tree: ProcessTree | None = None,
    ) -> None:
        super().__init__()
        for label, watts in (("energy_estimate_idle_watts", idle_watts), ("energy_estimate_max_watts", max_watts)):
            if watts is not None and not 0 < watts <= MOST_WATTS:
                raise ValueError(f"{label} is {watts!r}: give a positive number of watts, {MOST_WATTS:.0f} at most")
        if idle_watts is not None and max_watts is not None and idle_watts >= max_watts:
            raise ValueError(
                f"energy_estimate_idle_watts ({idle_watts:g}) is not below energy_estimate_max_watts ({max_watts:g}): "
                "idle is the power of this machine's CPUs doing nothing, max the power with all of them busy"
            )
        self._own_idle = idle_watts
        self._own_max = max_watts
        self._hardware = hardware
        self._tree = tree or ProcessTree()
        self._cpus = 1
        self.idle_watts = math.nan
        """Watts at no load; known once opened."""
        self.max_watts = math.nan
        """Watts at full load; known once opened."""
        self.tick = 0.0
        self.domains = (Domain("cpu", counts=True),)

    def open(self) -> None:
        hardware = self._hardware or Hardware.here()
        self._cpus = max(1, hardware.cpus)
        figure = self._scale(hardware)
        self.why = f"model: {figure}, ±{self.uncertainty:.0%}".replace("%", " %")

    def _scale(self, hardware: Hardware) -> str:
        """Set both ends of the curve and the uncertainty; the words that say where they are from."""
        cpus, sockets = self._cpus, max(1, hardware.sockets)
        if self._own_idle is not None or self._own_max is not None:
            return self._scale_by_user()
        watts = None if hardware.virtual else tdp(hardware.model)
        if watts is not None:
            self.max_watts = watts * sockets
            self.idle_watts = self.max_watts * IDLE_SHARE
            self.uncertainty = TABLE_UNCERTAINTY
            times = f" × {sockets} sockets" if sockets > 1 else ""
            return f"{hardware.model}, {watts:g} W TDP{times} (CodeCarbon's table, MIT), {cpus} threads"
        self.idle_watts = GENERIC_IDLE_WATTS * cpus
        self.max_watts = GENERIC_MAX_WATTS * cpus
        self.uncertainty = GENERIC_UNCERTAINTY
        reason = (
            f"virtual machine, {cpus} CPUs of {hardware.model}, so not its TDP"
            if hardware.virtual
            else f"{hardware.model} is in no table, {cpus} threads"
        )
        return (
            f"{reason}, but a generic {GENERIC_IDLE_WATTS} to {GENERIC_MAX_WATTS} W a CPU "
            "(Cloud Carbon Footprint's average for AWS, Apache-2.0)"
        )

    def _scale_by_user(self) -> str:
        if self._own_idle is not None and self._own_max is not None:
            self.idle_watts, self.max_watts, self.uncertainty = self._own_idle, self._own_max, OWN_UNCERTAINTY
            return f"your own {self.idle_watts:g} W idle and {self.max_watts:g} W at full load"
        self.uncertainty = TABLE_UNCERTAINTY
        if self._own_max is not None:
            self.max_watts, self.idle_watts = self._own_max, self._own_max * IDLE_SHARE
            return f"your own {self.max_watts:g} W at full load, idle taken as {IDLE_SHARE:.0%} of it ({self.idle_watts:g} W)"
        assert self._own_idle is not None
        self.idle_watts, self.max_watts = self._own_idle, self._own_idle / IDLE_SHARE
        return f"your own {self.idle_watts:g} W idle, taken as {IDLE_SHARE:.0%} of full load ({self.max_watts:g} W)"

    def power(self, utilisation: float) -> float:
        """Watts at this share of all CPUs' time (0 to 1, clamped).

        idle + (max − idle) · (curve(u) − curve(0)) / (1 − curve(0)); with a TDP this is TDP · curve(u).
        """
        above_idle = (relative_power(utilisation) - IDLE_SHARE) / (1 - IDLE_SHARE)
        return self.idle_watts + (self.max_watts - self.idle_watts) * above_idle

    def read(self) -> Counters:
        try:
            seconds = self._tree.seconds()
        except Exception as error:  # a source must never fail the test it reads for
            self.trouble["cpu"] = f"the CPU time of the process tree could not be read: {error!r}"
            return (None,)
        if self.trouble:
            self.trouble.clear()
        return (seconds,)

    def joules(self, before: Counters, after: Counters, seconds: float) -> Counters:
        start, end = before[0], after[0]
        if start is None or end is None or not seconds > 0:
            return (None,)
        return (self.power((end - start) / (self._cpus * seconds)) * seconds,)
