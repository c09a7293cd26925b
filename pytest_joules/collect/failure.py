"""Why a package gave nothing: the reason in one word of a fixed list, and a sentence."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "no sdist",
    "bad archive",
    "does not build",
    "no tests found",
    "all tests fail",
    "tests do not start",
    "crashes",
    "hangs",
    "time",
    "disk",
    "memory",
    "processes",
    "compiled",
    "elsewhere",
    "nothing changed",
    "not written",
    "error",
]


class Failed(Exception):
    """A package cannot be measured; the others go on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


class Stopped(Exception):
    """The user ends the whole run."""
