"""Which of a trace's lanes are work, and which device's: by the names that the profilers give to processes and threads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_joules.account.timeline import Lane
from pytest_joules.account.trace_rows import Rows

#: TensorFlow's ``/job:localhost/replica:0/task:0/device:GPU:0/stream:all Compute``, JAX's ``/device:TPU:0``.
_DEVICE = re.compile(r"/device:(?P<kind>\w+):(?P<number>\d+)(?:/stream:(?P<stream>\w+))?(?P<what> \w+)?")
#: Threads of a JAX device that say again what its operations were part of.
_DERIVED = frozenset(
    (
        *("steps", "xla modules", "xla traceme", "async xla ops", "framework name scope", "framework ops", "source code"),
        *("tensorflow name scope", "tensorflow ops", "launch stats"),
    )
)


def lanes(rows: Rows) -> list[Lane | None]:
    """A lane for each of :attr:`~pytest_joules.account.trace_rows.Rows.lanes`; ``None``: what it shows is no work, or another
    lane has it too."""
    streams = [found for name in rows.processes.values() if (found := _DEVICE.search(name)) is not None and found["stream"]]
    return [_lane(rows, raw, streams) for raw in rows.lanes]


def _lane(rows: Rows, raw: tuple[str, ...], streams: Iterable[re.Match[str]]) -> Lane | None:
    process, thread, *device = raw
    if device:
        _, board, stream = device
        return Lane(f"gpu {board} stream {stream}", f"gpu-{board}")
    program, called = rows.processes.get(process, ""), rows.threads.get((process, thread), "")
    name = f"{program or process} {called or thread}"
    found = _DEVICE.search(program)
    if program.endswith((" Tensors", "Allocators")):
        return None
    if found is None or found["kind"].upper() in ("CPU", "XLA_CPU"):
        return Lane(name)
    beside = {one["stream"] for one in streams if (one["kind"], one["number"]) == (found["kind"], found["number"])}
    if called.lower() in _DERIVED or (found["stream"] not in (None, "all") and "all" in beside):
        return None
    if beside and found["stream"] is None:
        return Lane(name)  # the host's side: it starts what the streams do
    return Lane(name, f"{found['kind'].lower()}-{found['number']}")
