"""Time and memory of reading a large trace file: 200 MB of torch's events, plain and compressed.

Bars: at most 20 s of CPU time and 300 MB of memory each (the process whole, with numpy).

    .venv/bin/python benchmarks/account_trace.py [--megabytes 200]
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MOST_SECONDS, MOST_MEGABYTES = 20.0, 300.0
_READ = """
import resource, sys, time
from pytest_joules.account import trace_events
timeline = trace_events.read(sys.argv[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, len(timeline.begin), len(timeline.parts))
"""


def events() -> Iterator[dict[str, object]]:
    """Steps of a network of 12 layers: modules, operations in operations, kernels that they launch."""
    now, number = 0.0, 0
    while True:
        begin = now
        for layer in range(12):
            opened = now
            for name in ("aten::linear", "aten::addmm", "aten::gelu"):
                number += 1
                known: dict[str, object] = {
                    "External id": number,
                    "Record function id": 0,
                    "Ev Idx": number,
                    "Input Dims": [[8, 64], [64, 64]],
                }
                launch: dict[str, object] = {"External id": number, "cbid": 211, "correlation": number}
                yield _event("cpu_op", name, now, 9.5, known)
                yield _event("cuda_runtime", "cudaLaunchKernel", now + 3, 4.25, launch)
                known = {"External id": number, "correlation": number, "device": 0, "stream": 7, "grid": [1, 8, 1]}
                yield _event("kernel", f"void sgemm_{name[6:]}<float, 128>(float*)", now + 20, 8, known)
                now += 10
            yield _event("python_function", f"nn.Module: Layer_{layer}", opened, now - opened, {"Python id": layer})
        yield _event("user_annotation", "train", begin, now - begin, {})
        now += 5


def _event(category: str, name: str, at: float, length: float, details: dict[str, object]) -> dict[str, object]:
    return {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": 7, "ts": round(at, 3), "dur": length, "args": details}


def write(path: Path, size: int) -> int:
    """A trace of ``size`` bytes; how many events."""
    written = count = 0
    with path.open("w") as file:
        file.write('{"schemaVersion": 1, "traceEvents": [')
        for event in events():
            text = json.dumps(event)
            written += file.write((",\n" if count else "") + text)
            count += 1
            if written > size:
                break
        file.write('], "baseTimeNanoseconds": 1700000000000000000}')
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    given = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "trace.json")
        count = write(plain, given.megabytes * 10**6)
        packed = plain.with_suffix(".json.gz")
        with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target)
        for path in (plain, packed):
            said = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True).stdout
            seconds, megabytes, stretches, parts = map(float, said.split())
            print(
                f"{path.name}: {path.stat().st_size / 1e6:.0f} MB, {count:,} events: {seconds:.1f} s of CPU, "
                f"{megabytes:.0f} MB of memory; {stretches:,.0f} stretches of {parts:.0f} parts"
            )
            missed |= seconds > MOST_SECONDS or megabytes > MOST_MEGABYTES
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
