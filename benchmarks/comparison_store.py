"""A history of 1,000,000 samples: what it weighs, and how long a session waits for it.

    python benchmarks/comparison_store.py [SESSIONS [ROUNDS [URL]]]

1,000 tests in 50 sessions of 20 rounds each unless told otherwise, on the machine and source that the comparison is for. A test
executes 10 to 300 of 3,000 functions, 10 of which change from each session to the next, so that a good part of the tests gets a
new fingerprint every time. Bars: all that a comparison reads in at most 1 s (the best of three), at most 200 bytes a sample. With
a URL, of an empty PostgreSQL database, the same there. Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from report_and_store import measurement

from pytest_joules.model import MachineRecord, Record, Report
from pytest_joules.store import open_for_run, open_store
from pytest_joules.store.address import Address
from pytest_joules.store.tables import number_of

TESTS = 1000
MACHINE = MachineRecord(id="0" * 16, cpu="synthetic", cores=8, os="Linux", python="3", virtual=False, facts={})


def suites(sessions: int, rounds: int) -> Iterator[list[Record]]:
    """The records of one session after the other."""
    draw = random.Random(1)
    names = [f"src/package/area_{place % 30}/module_{place % 300}.py::Class.method_{place}" for place in range(3000)]
    versions = [0] * 3000
    # Tests of one area have most of their functions in common.
    executed = [range(start, start + draw.randint(10, 300)) for start in (draw.randrange(0, 2700, 90) for _ in range(TESTS))]
    records: list[Record] = [{**measurement(number, rounds, draw).as_record(), "outcome": "passed"} for number in range(TESTS)]
    for _ in range(sessions):
        for number, record in enumerate(records):
            functions = {names[place]: f"{number_of(place, versions[place]):016x}" for place in executed[number]}
            functions[record["nodeid"]] = "0" * 16
            record["code"] = {"fingerprint": f"{number_of(*functions.values()):032x}", "functions": functions, "unknown": []}
        yield records
        for place in draw.sample(range(3000), 10):
            versions[place] += 1


def main() -> int:
    sessions, rounds = (int(value) for value in (sys.argv[1:3] + ["50", "20"][len(sys.argv[1:3]) :]))
    url = sys.argv[3] if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as folder:
        place = url or str(Path(folder) / "history.db")
        adding = 0.0
        codes = set()
        for number, records in enumerate(suites(sessions, rounds)):
            report = Report(
                f"2026-01-01T{number // 60:02}:{number % 60:02}:00+00:00", MACHINE, {"id": "0" * 40, "dirty": False}, {}, []
            )
            before = time.perf_counter()
            store = open_for_run(place, lambda: Path(folder))
            store.begin(report)
            for record in records:
                store.add(record)
            store.close()
            adding += time.perf_counter() - before
            codes |= {(record["nodeid"], record["code"]["fingerprint"]) for record in records if record["code"]}
        nodeids = [record["nodeid"] for record in records]

        machine = str(MACHINE["id"])
        times = []
        for _ in range(3):
            moments = [time.perf_counter()]
            reader = open_store(place, write=False)
            moments.append(time.perf_counter())
            found = reader.sessions_of(nodeids, machine, "rapl")
            moments.append(time.perf_counter())
            latest = reader.latest_code(machine, "rapl")
            moments.append(time.perf_counter())
            size = _size(reader, place)
            reader.close()
            times.append([moments[3] - moments[0], *(after - before for before, after in pairwise(moments))])
        seconds, opened, earlier, codes_read = min(times)
        assert len(found) == len(latest) == TESTS and all(len(entries) == min(20, sessions) for entries in found.values())
        kept, code = latest[nodeids[-1]]["code"], records[-1]["code"]
        assert kept and code and kept["functions"] == code["functions"]

    samples = TESTS * sessions * rounds
    print(f"{samples:,} samples in {sessions} sessions of {TESTS} tests, {len(codes)} versions of their code")
    print(f"{size / samples:.0f} bytes a sample; {1e6 * adding / TESTS / sessions:.0f} µs to keep a test")
    parts = f"open {opened:.2f}, sessions of each test {earlier:.2f}, latest code {codes_read:.2f}"
    print(f"read in {seconds:.2f} s: {parts}")
    return 0 if seconds <= 1 and size / samples <= 200 else 1


def _size(store: Any, place: str) -> int:  # noqa: ANN401 - an open history
    if Address(place).lite:
        return sum(path.stat().st_size for path in Path(place).parent.glob("history.db*"))
    import sqlalchemy as sa

    with store.written.transaction() as connection:
        return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())


if __name__ == "__main__":
    sys.exit(main())
