"""The world of a process that counts: what else would make two runs of the same code differ is the same in every run, on every
machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

#: Bytes that the environment comes to, since where the stack begins depends on it, and variables: a test may walk through them.
_SIZE, _VARIABLES = 32768, 256
_PADDING = "PYTEST_JOULES_PADDING"

#: Settings that decide what runs: the order of sets, the code that the C library and BLAS choose, threads of theirs.
_PINNED = {
    "PYTHONHASHSEED": "0",
    # Whatever the shell says of the C library's choices, nobody says anything.
    "GLIBC_TUNABLES": "",
    "LD_BIND_NOW": "1",
    # The C library asks the system for memory in large pieces, and gives none back.
    **{"MALLOC_ARENA_MAX": "1", "MALLOC_TOP_PAD_": "67108864", "MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_MAX_": "0"},
    **dict.fromkeys(
        (
            *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
            *("NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"),
        ),
        "1",
    ),
}
#: Other ways to say the same, and what makes Python do more than it does without.
_LEFT_OUT = frozenset(
    (
        *("OPENBLAS_CORETYPE", "MKL_DEBUG_CPU_TYPE", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES"),
        *("PYTHONMALLOC", "PYTHONMALLOCSTATS", "PYTHONTRACEMALLOC", "PYTHONFAULTHANDLER", "PYTHONPROFILEIMPORTTIME"),
        *("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "MALLOC_PERTURB_", "MALLOC_CHECK_", "LD_PRELOAD"),
    )
)


class Kind(Protocol):
    """A counter, as the process is started that it counts."""

    def command(self, folder: Path) -> list[str]: ...


class World:
    """How the process is run. Where things are in memory decides some instructions (which names share a place in the cache of
    attributes that the interpreter has, say): processes of another ``layout``, a whole number, have them elsewhere."""

    def __init__(self, counter: Kind, layout: int = 0) -> None:
        self.command = counter.command
        #: Objects of all small sizes, before anything is imported.
        self.prelude = f"layout = [bytes(size) for size in range(1, 480, 16) for _ in range({7 * layout})]\n"

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """The environment of the process: pinned, in one order, brought to one size."""
        kept = {name: value for name, value in given.items() if name not in _LEFT_OUT and not name.startswith(_PADDING)}
        kept.update(_PINNED)
        found = dict(sorted((name, value) for name, value in kept.items() if value))
        found |= {f"{_PADDING}_{number:03}": "x" for number in range(-(len(found) + 1) % _VARIABLES)}
        size = sum(len(f"{name}={value}".encode("utf-8", "surrogateescape")) + 1 for name, value in found.items())
        size += len(_PADDING) + 2
        return {**found, _PADDING: "x" * (-size % _SIZE)}
