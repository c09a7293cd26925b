"""The events of a trace as columns of numbers: what each is, on which lane, when. It knows how the profilers write them."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from pytest_joules.account.trace_file import TraceFile

#: Events that are read at most.
MOST_EVENTS = 10_000_000
#: Microseconds beyond which a time is none.
_MOST_TIME = 9e15
#: Of our own around a reading of ``CLOCKS.wall()``, in nanoseconds: ``pytest-joules clock 123``.
CLOCK_MARK = re.compile(r"pytest-joules clock (\d{1,18})")
UNNAMED = "(unnamed)"
#: No number.
NONE = -1
_NO_DETAILS: Mapping[str, Any] = {}

#: Categories that repeat other events, or are no work of the program.
_SKIPPED = frozenset(
    ("Trace", "overhead", "ac2g", "gpu_user_annotation", "fwdbwd", "async_cpu_to_gpu", "cpu_instant_event", "DataFlow", "Tensor")
)
_ON_DEVICE = frozenset(("kernel", "gpu_memcpy", "gpu_memset"))
_MODULE = "nn.Module: "
#: Of the object whose method is called: another one in each run.
_ADDRESS = re.compile(r" of (?:\S+ )*object at 0x[0-9a-f]+| at 0x[0-9a-f]+")
_BACKWARD = "autograd::engine::evaluate_function"


class What(IntEnum):
    OPERATION = 0
    SCOPE = 1
    """A module, or a region that the program named: operations in it are qualified by it."""
    FUNCTION = 2
    PATH = 3
    """An operation whose name says what it is in: ``encoder/layer_0/MatMul``."""


class Rows:
    """One entry an event in each column, in the order of the file."""

    def __init__(self) -> None:
        self.begin, self.length = array("q"), array("q")
        """Nanoseconds of the trace's own clock."""
        self.thread = array("q")
        """Nanoseconds of thread time; :data:`NONE`: not known."""
        self.name, self.lane = array("i"), array("i")
        """Places in :attr:`names` and :attr:`lanes`."""
        self.launch, self.correlation, self.sequence = array("q"), array("q"), array("q")
        """torch: of the operation itself, or that launched it; of the call of the device's library; of the forward operation."""
        self.backward = bytearray()
        self.names: dict[tuple[What, str], int] = {}
        self.lanes: dict[tuple[str, ...], int] = {}
        """(process, thread); of torch's devices also ``gpu``, the board, the stream."""
        self.processes: dict[str, str] = {}
        self.threads: dict[tuple[str, str], str] = {}
        self.marks: list[int] = []
        """What ``CLOCKS.wall()`` was ahead of the trace's clock, nanoseconds, at each mark."""
        self.odd: Counter[str] = Counter()
        self._open: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._latest: dict[tuple[str, str], float] = {}

    def read(self, file: TraceFile) -> None:
        """Take in all events. Raises :class:`pytest_joules.account.trace_file.TraceError`."""
        for event in file.events():
            phase = event.get("ph")
            if phase == "X":
                self._take(file, event, self._time(file, event, "ts"), self._time(file, event, "dur", 0))
            elif phase == "M":
                self._named(event)
            elif phase in ("B", "E"):
                self._pair(file, event, phase)
            elif phase in ("i", "I", "R"):
                self._mark(event.get("name"), event.get("ts"))
            if len(self.begin) > MOST_EVENTS:
                raise file.wrong(f"it has more than {MOST_EVENTS:,} events", "Trace fewer steps.")
        for lane, waiting in self._open.items():
            for event in reversed(waiting):
                self.odd["begun and never ended: taken to last until the lane's last event"] += 1
                self._take(file, event, event["ts"], self._latest[lane] - event["ts"])

    def _take(self, file: TraceFile, event: Mapping[str, Any], begin: float, length: float) -> None:
        category = event.get("cat")
        if isinstance(category, str) and category in _SKIPPED:
            return
        if length < 0:
            raise file.wrong(f"event {self._shown(event)} ends before it begins: its dur is {length}")
        name = event.get("name")
        if not isinstance(name, str) or not name:
            self.odd["unnamed"] += 1
            name = UNNAMED
        elif self._mark(name, begin):
            return
        details = event.get("args")
        if not isinstance(details, dict):
            details = _NO_DETAILS
        lane: tuple[str, ...] = (str(event.get("pid", "")), str(event.get("tid", "")))
        sequence, backward = NONE, name.startswith(_BACKWARD)
        if isinstance(category, str) and category in _ON_DEVICE:
            lane = (*lane, "gpu", str(details.get("device", lane[0])), str(details.get("stream", lane[1])))
        elif details and "Sequence number" in details:
            sequence = _whole(details["Sequence number"])
            backward = backward or _whole(details.get("Fwd thread id")) > 0
        own = event.get("tdur")
        self.begin.append(round(begin * 1000))
        self.length.append(round(length * 1000))
        self.thread.append(round(own * 1000) if isinstance(own, (int, float)) and 0 <= own < _MOST_TIME else NONE)
        self.name.append(self.names.setdefault(_meaning(category, name, details), len(self.names)))
        self.lane.append(self.lanes.setdefault(lane, len(self.lanes)))
        self.launch.append(_whole(details.get("External id")))
        self.correlation.append(_whole(details.get("correlation")))
        self.sequence.append(sequence)
        self.backward.append(backward)

    def _time(self, file: TraceFile, event: Mapping[str, Any], key: str, other: object = None) -> float:
        value = event.get(key, other)
        if isinstance(value, (int, float)) and -_MOST_TIME < value < _MOST_TIME:
            return value
        raise file.wrong(f"event {self._shown(event)} has no time: its {key} is {str(value)[:30]!r}")

    def _pair(self, file: TraceFile, event: dict[str, Any], phase: str) -> None:
        lane = (str(event.get("pid", "")), str(event.get("tid", "")))
        at = self._time(file, event, "ts")
        self._latest[lane] = max(at, self._latest.get(lane, at))
        waiting = self._open.setdefault(lane, [])
        if phase == "B":
            waiting.append(event)
        elif not waiting:
            self.odd["ended and never begun: left out"] += 1
        else:
            begun = waiting.pop()
            own = {}
            if isinstance(since := begun.get("tts"), (int, float)) and isinstance(until := event.get("tts"), (int, float)):
                own = {"tdur": until - since}
            self._take(file, {**begun, **own}, begun["ts"], at - begun["ts"])

    def _named(self, event: Mapping[str, Any]) -> None:
        details = event.get("args")
        name = details.get("name") if isinstance(details, dict) else None
        process, thread = str(event.get("pid", "")), str(event.get("tid", ""))
        if isinstance(name, str) and event.get("name") == "process_name":
            self.processes[process] = name
        elif isinstance(name, str) and event.get("name") == "thread_name":
            self.threads[process, thread] = name

    def _mark(self, name: object, at: object) -> bool:
        """Whether it is one of our own around a reading of the clock."""
        if not isinstance(name, str) or not name.startswith("pytest-joules clock ") or not isinstance(at, (int, float)):
            return False
        if found := CLOCK_MARK.fullmatch(name):
            self.marks.append(int(found[1]) - round(at * 1000))
        return found is not None

    def _shown(self, event: Mapping[str, Any]) -> str:
        return f"{len(self.begin) + 1} ({str(event.get('name'))[:40]!r})"


def _meaning(category: object, name: str, details: Mapping[str, Any]) -> tuple[What, str]:
    """What an event is, and its name without what only says that."""
    if category == "user_annotation":
        # The steps of a training are not parts of a program.
        return (What.FUNCTION, "ProfilerStep") if name.startswith("ProfilerStep#") else (What.SCOPE, name)
    if category == "python_function":
        if name.startswith(_MODULE):
            return What.SCOPE, name[len(_MODULE) :]
        return What.FUNCTION, _ADDRESS.sub("", name) if " at 0x" in name else name
    if category in ("fee", "FEE"):  # VizTracer
        return What.FUNCTION, name
    if details:
        path = details.get("tf_op") or (details.get("name") if category == "Op" else None)
        if isinstance(path, str) and path:
            return What.PATH, path.rstrip(":")
    elif name.startswith("$"):  # JAX's tracer of Python
        return What.FUNCTION, name[1:]
    return What.OPERATION, name


def _whole(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**62 else NONE
