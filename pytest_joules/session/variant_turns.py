"""The variants of a test in turn: a companion each, blocks of rounds in an order that is turned round each time."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil
import pytest

from pytest_joules.companion.parent import BlockResult, Companion
from pytest_joules.companion.process import CompanionError
from pytest_joules.model import Effort
from pytest_joules.revision.pair import QUICK, QUICK_ROUNDS, ROUNDS, BothSides

#: Seconds that a block may take beyond ten times what the longest took, before its companion is given up.
_PATIENCE = 60.0
#: How much more than the largest companion holds must be free for one more to be loaded.
_SPARE = 1.25


@dataclass(slots=True)
class Variant:
    """One value of the parameter, as long as its test is measured."""

    name: str
    nodeid: str
    companion: Companion
    turns: BothSides = field(default_factory=BothSides)
    """Its blocks, as those of this tree's side: what reports are made of."""
    spent: float = 0.0
    """Seconds in its rounds."""
    block_seconds: float = 0.0
    """Of the latest block's rounds."""
    up: bool = False
    """Its fixtures wait for another block."""

    @property
    def out(self) -> bool:
        """No more blocks of it."""
        turns = self.turns
        return bool(turns.died) or turns.broken is not None or (bool(turns.here) and not _sound(turns.here[-1]))


@dataclass(slots=True)
class Turns:
    """What came of it."""

    variants: Sequence[Variant]
    reloaded: str = ""
    """Why fixtures were made anew for each block."""


def _sound(answer: BlockResult) -> bool:
    return answer.outcome == "passed" and answer.record is not None


class Companions:
    """A process for each variant, kept for the tests that come after. Use it in a ``with`` statement."""

    def __init__(self, config: pytest.Config, *, strict: bool) -> None:
        self._config = config
        self._strict = strict
        self._known: dict[str, Companion] = {}
        self._cpus = itertools.cycle(sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [None])
        self.told: Callable[[int, int, str], None] | None = None
        """Is told of every turn that is done, of how many."""

    def __enter__(self) -> Companions:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        known = list(self._known.values())
        stopped = kind is not None and not issubclass(kind, Exception)
        with contextlib.ExitStack() as stack:
            for one in known:
                stack.callback(one.interrupt if stopped else one.close)
            for one in known:
                one.tell_to_stop() if stopped else one.tell_to_end()

    def _ready(self, names: Sequence[str], parameter: str) -> None:
        """A companion that runs for each name. Raises :class:`CompanionError`."""
        new = []
        for name in names:
            one = self._known.get(name)
            if one is None:
                label = f"{parameter}={name}"
                one = self._known[name] = Companion(self._config, label=label, env={"PYTHONHASHSEED": "1"})
            if not one.running:
                one.launch()
                new.append(one)
        for one in new:
            one.wait()

    def measure(self, parameter: str, nodeids: Mapping[str, str], effort: Effort, blocks: int, *, load: bool) -> Turns:
        """Measure variants, by name, in as many blocks each, and as many rounds in a block.

        Args:
            load: make the fixtures anew for each block

        Raises:
            CompanionError: a companion cannot be started, or has not collected its test.
        """
        self._ready(list(nodeids), parameter)
        variants = [Variant(name, nodeid, self._known[name]) for name, nodeid in nodeids.items()]
        turns = Turns(variants, "load='block'" if load else "")
        rounds = effort.rounds or ROUNDS
        blocks = min(blocks, rounds)
        cpu = next(self._cpus)  # one for all: the work of others may hold another one for seconds
        number = 0
        while number < blocks and any(not one.out for one in variants):
            share = rounds // blocks + (number < rounds % blocks)
            # The same number of rounds for each: the slowest says when the time is up.
            late = any(one.spent + 2 * one.block_seconds > effort.max_time for one in variants if not one.out)
            last = late or number == blocks - 1
            for one in _order(variants, number):
                if not one.out:
                    self._make_room(turns, one)
                    self._block(one, share, effort, last=last or bool(turns.reloaded), cpu=cpu)
            number += 1
            if self.told is not None:
                self.told(number, blocks, "turn")
            if last or any(_ended(one) for one in variants):
                break
            if number == 1 and effort.rounds is None and all(one.block_seconds < QUICK for one in variants):
                rounds = blocks * QUICK_ROUNDS
        for one in variants:
            self._down(one)
        return turns

    def _block(self, one: Variant, rounds: int, effort: Effort, *, last: bool, cpu: int | None) -> None:
        turns = one.turns
        # What ran once has shown how long it takes; before, it may take as long as in any run of pytest.
        timeout = 10 * (one.block_seconds + _PATIENCE) if turns.here else None
        try:
            answer = one.companion.measure(
                one.nodeid, last=last, rounds=rounds, max_time=effort.max_time, timeout=timeout, cpu=cpu
            )
        except CompanionError as error:
            one.up, turns.died = False, str(error)
            return
        one.up = not last
        if turns.here and answer.outcome != "passed" and not self._strict:
            turns.broken = answer
            return
        turns.here.append(answer)
        if (record := answer.record) is not None and record["duration"] is not None:
            # Not the setup: of a model that loads slowly there would be no second block.
            one.block_seconds = record["duration"]["median"] * record["iterations"] * max(record["rounds"], 1)
            one.spent += one.block_seconds

    def _make_room(self, turns: Turns, coming: Variant) -> None:
        """Where the memory that is left may not hold one more variant, let go of the others, now and after each block."""
        up = [one for one in turns.variants if one.up]
        if turns.reloaded or coming.up or not up:
            return
        largest = max(held(one.companion.pid) for one in up)
        if free() < _SPARE * largest:
            turns.reloaded = f"{largest / 2**20:.0f} MiB a variant, {free() / 2**20:.0f} MiB free"
            for one in up:
                self._down(one)

    @staticmethod
    def _down(one: Variant) -> None:
        if not one.up:
            return
        one.up = False
        try:
            one.turns.late += one.companion.tear_down(one.nodeid)
        except CompanionError as error:
            one.turns.died = str(error)


def _ended(one: Variant) -> bool:
    """Whether its rounds had to end: nothing of it can be run again."""
    return any(report.get("joules_ended") for answer in one.turns.here[-1:] for report in answer.reports)


def _order(variants: Sequence[Variant], number: int) -> Sequence[Variant]:
    """Begun by another one each second time, and the other way round in between: what drifts hits all alike."""
    first = number // 2 % len(variants)
    order = [*variants[first:], *variants[:first]]
    return order if number % 2 == 0 else order[::-1]


def held(pid: int | None) -> int:
    """Bytes that a process and what it has started hold."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
    return total


def free() -> int:
    """Bytes that processes can have without others losing theirs."""
    return int(psutil.virtual_memory().available)
