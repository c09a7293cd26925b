"""Who ran when: what a recording of functions, of modules or of a trace file comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What parts are.
Kind = Literal["function", "module", "operation"]
#: Of a module or an operation; empty where that makes no sense.
Pass = Literal["", "forward", "backward"]
#: A stretch in which no part was on top.
NOBODY = -1
#: The part that is the recorder's own time: the measured rounds have none of it, so an account leaves it out.
RECORDING = "<recording>"
#: The part that lies between the bodies of traced rounds: fixtures, and what pytest does.
BETWEEN = "<between>"
#: Parts that are none of the test's: an account leaves them out.
NOT_OF_TEST = frozenset((RECORDING, BETWEEN))


@dataclass(frozen=True, slots=True)
class Part:
    """A node of the tree: what ran, below what. One function has as many parts as paths lead to it."""

    name: str
    """Qualified: ``shop/cart.py::Cart.total``, ``encoder.layer.0.attention``, ``aten::mm``."""
    parent: int | None
    """Index of the part that it ran below; it is smaller than this one's own. ``None``: it is a top one."""
    kind: Kind
    direction: Pass = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """A thread of a process, or a stream of a device: one thing at a time runs on it."""

    name: str
    device: str = "cpu"
    """``cpu``, or the domain of the device that it runs on, such as ``gpu-0``: its joules go to what ran there."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Stretches in which one part was on top of its lane, whatever it is below: exclusive, and apart within a lane.

    All arrays have one entry a stretch; times are nanoseconds of ``CLOCKS.wall()`` (``time.perf_counter_ns``), which is one
    clock for all processes of a machine.
    """

    parts: tuple[Part, ...]
    lanes: tuple[Lane, ...]
    calls: NDArray[np.int64]
    """By part: how often it was entered."""
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    busy: NDArray[np.float64]
    """CPU-seconds (of a device: seconds that it worked) within the stretch: less than ``end - begin`` where it slept."""
    part: NDArray[np.int32]
    """Index of the part on top, or :data:`NOBODY`."""
    lane: NDArray[np.int32]
