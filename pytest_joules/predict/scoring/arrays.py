"""Arrays out of a model file that may hold anything, and names as arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_joules.files.checked import Bad

Array: TypeAlias = NDArray[Any]

#: Bytes of a list of names, and how many there are: ten times those of our largest models.
_MOST_BYTES = 8 * 2**20
_MOST_NAMES = 500_000


def pack(names: Sequence[str]) -> Array:
    """Names as bytes: a fixed width would be that of the longest."""
    return np.frombuffer(json.dumps(list(names)).encode(), dtype=np.uint8)


def unpack(arrays: Mapping[str, Array], key: str) -> list[str]:
    """What :func:`pack` made of names, each there once.

    Raises:
        Bad: it is something else.
    """
    packed = _of(arrays, key)
    if packed.dtype != np.uint8 or packed.ndim != 1:
        raise Bad(f"{key!r} is no list of names")
    text = packed.tobytes()
    if len(text) > _MOST_BYTES or text.count(b",") + text.count(b"[") > _MOST_NAMES:
        raise Bad(f"{key!r} has more names than any of ours")
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        raise Bad(f"{key!r} is no list of names") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise Bad(f"{key!r} is no list of names")
    return names


def floats(arrays: Mapping[str, Array], key: str, dimensions: int, length: int | None = None) -> Array:
    """An array of finite numbers, as float64; the first dimension has ``length`` where that is given.

    Raises:
        Bad: it is missing, of another shape, or holds what is no number.
    """
    array = _of(arrays, key)
    if array.ndim != dimensions or array.dtype.kind not in "fiu" or (length is not None and len(array) != length):
        raise Bad(f"{key!r} has the wrong shape: {array.dtype} {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise Bad(f"{key!r} holds what is no number")
    return array


def one_float(arrays: Mapping[str, Array], key: str) -> float:
    """A single finite number.

    Raises:
        Bad: it is missing, or is something else.
    """
    return float(floats(arrays, key, 0))


def indices(arrays: Mapping[str, Array], key: str, below: int, length: int | None = None) -> Array:
    """An array of places in something that has ``below`` of them, as int64.

    Raises:
        Bad: it is missing, of another shape, or points outside.
    """
    array = _of(arrays, key)
    if array.ndim != 1 or array.dtype.kind not in "iu" or (length is not None and len(array) != length):
        raise Bad(f"{key!r} has the wrong shape: {array.dtype} {array.shape}")
    if len(array) and (array.min() < 0 or array.max() >= below):
        raise Bad(f"{key!r} points to what is not there")
    return array.astype(np.int64)


def _of(arrays: Mapping[str, Array], key: str) -> Array:
    if key not in arrays:
        raise Bad(f"{key!r} is missing")
    return arrays[key]
