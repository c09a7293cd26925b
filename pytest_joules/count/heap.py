"""Room in the allocator of a process that counts: whether a body is the one that needs a new pool or arena of memory is chance,
and costs some thousand instructions."""

from __future__ import annotations

import sys

#: pymalloc serves objects up to so many bytes, in steps (Objects/obmalloc.c).
_LARGEST, _STEP = 512, 16
#: Bytes of a pool, which has objects of one size.
_POOL = 16384
#: Pools of each size with room in them.
_POOLS = 12
#: Of a bytes object, what is not its content.
_HEAD = sys.getsizeof(b"")


def make_room() -> list[bytes]:
    """Pools of all sizes, each held by one object: they stay as long as the list that is returned, nearly empty."""
    held: list[bytes] = []
    for size in range(_STEP, _LARGEST + 1, _STEP):
        if size < _HEAD:
            continue
        objects = [bytes(size - _HEAD) for _ in range(_POOLS * _POOL // size)]
        held += objects[:: max(1, _POOL // size)]
    return held
