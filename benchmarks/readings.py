"""What a reading costs: a pair of readings of package, core and dram against pyRAPL's pair of package and dram, on plain files.

    python benchmarks/readings.py [--rounds N] [--pairs N]

Both read the same powercap tree of plain files in a temporary folder; pyRAPL, which knows only the real paths, is pointed at it
by a stand-in for ``open`` and ``os.path.exists`` while it looks for its files. The ways take turns (A B C A B C ...) in one
process; the table gives the median over the rounds. On real counters every read also costs the kernel's own work.

The bar is for the readings themselves. Below them stands what goes with a pair in a run (two clocks, ticks, joules with the
wrap-around corrected) and pyRAPL's like of it.

Bars: a pair at most 6 µs and at most half of pyRAPL's; a read of the tick counter at most 100 ns. Exit 1 where one is missed.
"""

from __future__ import annotations

import argparse
import builtins
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_joules.measure.meter import Meter
from pytest_joules.sources.rapl import Rapl
from pytest_joules.sources.tsc import open_counter


def make_tree(root: Path) -> None:
    """One package with core and dram, in both layouts' place: ``intel-rapl/intel-rapl:0`` as pyRAPL wants it."""
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0/intel-rapl:0:0": "core", "intel-rapl:0/intel-rapl:0:1": "dram"}
    for zone, name in zones.items():
        folder = root / "powercap/intel-rapl" / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text("123456789012\n")
        (folder / "max_energy_range_uj").write_text("262143328850\n")
    topology = root / "cpu/cpu0/topology"
    topology.mkdir(parents=True)
    (root / "cpu/present").write_text("0\n")
    (topology / "physical_package_id").write_text("0\n")


def open_pyrapl(root: Path) -> Any:  # noqa: ANN401 - the library is not typed
    """The module pyRAPL, set up on the tree at ``root``."""
    moved = {"/sys/class/powercap": str(root / "powercap"), "/sys/devices/system/cpu": str(root / "cpu")}
    real_open, real_exists = builtins.open, os.path.exists

    def place(path: Any) -> Any:  # noqa: ANN401 - whatever open takes
        for old, new in moved.items():
            if isinstance(path, str) and path.startswith(old):
                return new + path[len(old) :]
        return path

    logging.disable(logging.WARNING)  # two on the root logger when it is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyRAPL

        with (
            mock.patch("builtins.open", lambda path, *rest, **named: real_open(place(path), *rest, **named)),
            mock.patch("os.path.exists", lambda path: real_exists(place(path))),
        ):
            pyRAPL.setup()
    logging.disable(logging.NOTSET)
    return pyRAPL


def timed(work: Callable[[], object], times: int) -> float:
    """Nanoseconds of one call, the loop included."""
    begun = time.perf_counter_ns()
    for _ in range(times):
        work()
    return (time.perf_counter_ns() - begun) / times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31, metavar="N", help="turns of each way (default 31)")
    parser.add_argument("--pairs", type=int, default=2000, metavar="N", help="pairs in a turn (default 2000)")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tree(root)
        source = Rapl(root / "powercap")
        source.open()
        assert [domain.name for domain in source.domains] == ["package-0", "core", "dram"], source.domains
        ticks = open_counter()
        meter = Meter([source], ticks.read)
        library = open_pyrapl(root)
        sensor = library._sensor
        assert len(sensor.energy()) == 2 and min(sensor.energy()) > 0, sensor.energy()

        def ours() -> None:
            source.read()
            source.read()

        def ours_whole() -> None:
            before, edge = meter.open(align=False)
            meter.joules(meter.close(before, edge))

        def ours_clocks() -> None:
            before, edge = meter.open(align=False)
            meter.close(before, edge)

        def theirs() -> None:
            sensor.energy()
            sensor.energy()

        def theirs_whole() -> None:
            measurement = library.Measurement("work")
            measurement.begin()
            measurement.end()

        ways: dict[str, Callable[[], object]] = {
            "pair of readings, ours (3 domains)": ours,
            "pair of readings, pyRAPL (2 domains)": theirs,
            f"tick counter ({ticks.name})": ticks.read,
            "the pair with clocks and ticks, ours": ours_clocks,
            "the same and its joules, ours": ours_whole,
            "begin, end and result, pyRAPL": theirs_whole,
        }
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, work in ways.items():
                spent[name].append(timed(work, given.pairs))
        source.close()

    medians = {name: statistics.median(values) for name, values in spent.items()}
    print(f"{'':42}{'median':>10}{'least':>10}{'most':>10}")
    for name, values in spent.items():
        print(f"{name:42}{medians[name]:7.0f} ns{min(values):7.0f} ns{max(values):7.0f} ns")
    pair, other, tick, _, whole, other_whole = medians.values()
    print(f"pair against pyRAPL's: {pair / other:.2f}; the same with all that goes with it: {whole / other_whole:.2f}")
    met = pair <= 6000 and pair <= other / 2 and tick <= 100
    print(f"bars (pair at most 6000 ns, at most half of pyRAPL's; tick counter at most 100 ns): {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
