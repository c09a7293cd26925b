"""What the process that samples the power takes, and how well it meets the counter's steps.

    python benchmarks/account_sampler.py [--powercap DIR] [--seconds N] [--busy]

Needs counters that move: a machine with RAPL, or a simulated one. Prints how many readings of each counter there are, the time
between two of them (median and longest), the power's median and spread, and the share of a core that the process took after its
start. Bar: 1 % of a core. Exit code 1 where it is missed or there are no readings.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil

from pytest_joules.sources.base import Unavailable
from pytest_joules.sources.power_ring import PowerRing
from pytest_joules.sources.powercap import POWERCAP
from pytest_joules.sources.rapl import Rapl


def serving(ring: PowerRing) -> psutil.Process:
    """The process that fills this ring."""
    assert ring._process is not None
    (found,) = [each for each in psutil.process_iter(["cmdline"]) if ring._process.file in (each.info["cmdline"] or [])]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--powercap", type=Path, default=POWERCAP)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--busy", action="store_true", help="keep this process busy meanwhile")
    arguments = parser.parse_args()
    source = Rapl(arguments.powercap)
    try:
        source.open()
    except Unavailable as error:
        print(error.reason, error.remedy, sep="\n")
        return 1
    ring = PowerRing([source])
    if ring.why:
        print(ring.why)
        return 1
    process = serving(ring)
    time.sleep(1.0)
    begin, before = time.perf_counter_ns(), process.cpu_times()
    while time.perf_counter_ns() - begin < arguments.seconds * 1e9:
        if not arguments.busy:
            time.sleep(0.05)
    end, after = time.perf_counter_ns(), process.cpu_times()
    found = ring.readings(begin, end)
    ring.close()
    share = (after.user + after.system - before.user - before.system) / ((end - begin) / 1e9)
    for each in found:
        gaps = [(later - sooner) / 1e6 for sooner, later in pairwise(each.at)]
        watts = [joules / gap * 1e3 for joules, gap in zip((b - a for a, b in pairwise(each.joules)), gaps, strict=True)]
        print(
            f"{each.domain}: {len(each.at)} readings, every {statistics.median(gaps):.1f} ms, at most {max(gaps):.0f} ms; "
            f"{statistics.median(watts):.2f} W, from {min(watts):.2f} to {max(watts):.2f}"
        )
    print(f"the process takes {share:.2%} of a core")
    return 0 if found and share <= 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
