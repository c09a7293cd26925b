"""What counts instructions in a process, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypedDict


class NoCounter(Exception):
    """Instructions cannot be counted here; the message says why, and ``remedy`` what to do."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}: {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class Count(NamedTuple):
    """Of one run of a body."""

    instructions: int
    account: str
    """The file that says where they went; empty where there is none."""


class Counts(TypedDict):
    """What a process that counts says of a test."""

    counts: list[int]
    """Instructions of each counted round."""
    warm: int
    """Rounds before those, which were not counted."""
    settled: int
    """The last so many of them stand for the test: the least is its count. What others have more are rare events, such as memory
    taken from the system or a table that grows."""
    doubts: list[str]
    """What of the test's work is no instruction of its own thread."""
    account: str
    """The file that says where those of the count went; empty where there is none."""


class Counter(Protocol):
    """Counts in the process that it is in."""

    @property
    def begin(self) -> Callable[[], object]:
        """What comes next is counted. A function without a frame of ours around it, as is the next one."""

    @property
    def finish(self) -> Callable[[], object]:
        """No more is."""

    @property
    def slow(self) -> bool:
        """Counting takes many times as long as not counting: :meth:`switch` it off where nothing is to be counted."""

    def switch(self, *, on: bool) -> None: ...

    def read(self) -> Count:
        """What was counted between the last :attr:`begin` and :attr:`finish`. Raises :class:`NoCounter`."""

    def forget(self, count: Count) -> None:
        """Nobody will ask for its account."""
