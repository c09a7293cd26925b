"""The built-in way to quiesce."""

from __future__ import annotations

from typing import Any


class _Synchronise:
    """The built-in way to quiesce: wait for the GPU, whose work is asynchronous."""

    def __init__(self, synchronise: Any) -> None:  # noqa: ANN401 - a function without arguments
        self._synchronise = synchronise

    def pytest_joules_quiesce(self) -> None:
        self._synchronise()
