"""10,000 tests x 20 rounds through the terminal table, JSON, CSV and the history. Bar: at most 60 s and 300 MB at the peak.

    python benchmarks/report_and_store.py [TESTS [ROUNDS]]

Also says how many bytes of the history a sample takes (bar: 200). Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pytest_joules import stats
from pytest_joules.model import MachineRecord, Measurement, Report, Sample
from pytest_joules.report import csv_file, json_file, terminal
from pytest_joules.store import open_store


def measurement(number: int, rounds: int, draw: random.Random) -> Measurement:
    """One test as the meter would hand it over: a package, core and dram domain, 3 % noise."""
    joules = 10 ** draw.gauss(-3, 1)
    samples = []
    for _ in range(rounds):
        package, seconds = joules * draw.lognormvariate(0, 0.03), joules / 25
        domains = {"package-0": package, "core": package * 0.7, "dram": package * 0.1}
        samples.append(Sample(package * 1.1, seconds, seconds * 2.6e9, domains))

    energies = [sample.energy for sample in samples if sample.energy is not None]
    return Measurement(
        nodeid=f"tests/area_{number % 40}/test_module_{number % 400}.py::TestSomething::test_case[parameter-{number}]",
        source="rapl",
        provenance="measured",
        resolution="ok",
        rounds=rounds,
        iterations=1,
        samples=samples,
        energy=stats.summarise(energies),
        duration=stats.summarise([sample.duration for sample in samples]),
        power=stats.summarise([joules / sample.duration for joules, sample in zip(energies, samples, strict=True)]),
        tsc=stats.summarise([sample.tsc for sample in samples if sample.tsc is not None]),
        domains={name: stats.summarise([sample.domains[name] or 0.0 for sample in samples]) for name in samples[0].domains},
    )


def main() -> int:
    tests, rounds = (int(value) for value in (sys.argv[1:] + ["10000", "20"][len(sys.argv) - 1 :]))
    draw = random.Random(1)
    machine = MachineRecord(id="0" * 16, cpu="synthetic", cores=8, os="Linux", python="3", virtual=False, facts={})
    report = Report("2026-01-01T00:00:00+00:00", machine, {"id": "0" * 40, "dirty": False}, {}, [])
    started = time.perf_counter()
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        before = time.perf_counter()
        work()
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - before

    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        store = open_store(here / "history.db")
        store.begin(report)

        def summarise(number: int) -> None:
            report.tests.append({**measurement(number, rounds, draw).as_record(), "outcome": "passed"})

        for number in range(tests):
            timed("summaries", partial(summarise, number))
            timed("store", lambda: store.add(report.tests[-1]))
        timed("store", store.close)
        timed("json", lambda: json_file.write(report, here / "report.json"))
        timed("csv", lambda: csv_file.write(report, here / "report.csv"))
        timed("terminal", lambda: terminal.lines(report, 80))
        sizes = {path.name: path.stat().st_size for path in sorted(here.iterdir())}

    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    each = sizes["history.db"] / (tests * rounds)
    print(f"{tests} tests x {rounds} rounds: {seconds:.1f} s, {peak:.0f} MB peak, {each:.0f} bytes a sample in the history")
    print("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in spent.items()))
    print("bytes: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))
    return 0 if seconds <= 60 and peak <= 300 and each <= 200 else 1


if __name__ == "__main__":
    sys.exit(main())
