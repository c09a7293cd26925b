"""JSON as the report, baselines and the history write it: what it has no word for becomes a text or null, never an error."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Set
from numbers import Integral, Real

_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def text(value: object) -> str:
    """A value as strict JSON on one line; what JSON does not know becomes null (NaN, infinities), a number or a string."""
    try:
        return _STRICT.encode(value)
    except (TypeError, ValueError):
        return _STRICT.encode(_plain(value))


def _plain(value: object) -> object:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (bytes, bytearray)):
        return [_plain(entry) for entry in value]
    return str(value)
