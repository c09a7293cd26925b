"""What a prediction takes: joules and CPU seconds, by this project's own meter, in blocks that all finalists have in turn."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pytest_joules import stats
from pytest_joules.measure.meter import Meter
from pytest_joules.model import Summary
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.tune.family import Fitted
from pytest_joules.tune.problem import Batch
from pytest_joules.tune.state import State

#: Blocks of each finalist, and at most; half the width of the 95 % interval that is wanted, relative.
LEAST, MOST, WANTED = 10, 40, 0.05
#: Seconds of a block at least, so that what others do for some milliseconds is no part of the scatter; and by what factor it is
#: longer than it must be: the first pass, which tells how many fit, may have been a slow one.
_SHORTEST, _LONGER = 0.2, 1.3
#: Seconds for which the idle power is measured, as in a run with --energy-idle=measure.
_IDLE = 2.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What a prediction of one finalist took."""

    joules: Summary | None
    """Of one prediction, idle power included; ``None``: no source has joules."""
    seconds: Summary | None
    """CPU seconds of one."""
    net: float | None
    """Median joules above idle, where the idle power could be measured."""
    blocks: Array
    """Joules, CPU seconds (of one prediction) and idle joules; a row a block."""

    @property
    def half_width(self) -> float:
        """Of the 95 % interval of the joules (of the CPU seconds, where there are none), relative; infinite: not known."""
        return _half_width(self.blocks)

    @property
    def reached(self) -> bool:
        """Whether it is known as well as wanted."""
        return len(self.blocks) >= LEAST and self.half_width <= WANTED


def measure(
    finalists: Sequence[Fitted],
    batches: Sequence[Batch],
    meter: Meter,
    state: State,
    *,
    over: Callable[[], bool] = lambda: False,
    told: Callable[[str], None] = lambda what: None,
) -> list[Taken]:
    """Measure all finalists in turn until each is known within 5 %, or the time is up (one block always). Blocks that ``state``
    has are not measured again, and it has them all in the end.

    A pass predicts each batch, with nothing remembered of code that was looked at before, as in a new process.
    """
    idle = _idle_watts(meter)
    turns = [_Turn(one, batches, meter, idle) for one in finalists]
    names = [one.configuration.text for one in finalists]
    done = min((len(state.blocks.get(name, ())) for name in names), default=0)
    blocks = [list(state.blocks.get(name, np.zeros((0, 3)))[:done]) for name in names]
    while done < MOST and not (done and over()):
        if done >= LEAST and all(_half_width(own) <= WANTED for own in blocks):
            break
        told(f"block {done + 1}, {len(finalists)} finalists in turn")
        # Each block begins with another one, so that what grows during a block meets all alike.
        for place in range(len(turns)):
            number = (place + done) % len(turns)
            blocks[number].append(turns[number].block())
        done += 1
        state.blocks = {name: np.array(own) for name, own in zip(names, blocks, strict=True)}
        state.save()
    return [_taken(np.array(own).reshape(-1, 3)) for own in blocks]


class _Turn:
    """One finalist's turns."""

    def __init__(self, fitted: Fitted, batches: Sequence[Batch], meter: Meter, idle: float | None) -> None:
        self._fitted = fitted
        self._batches = batches if fitted.configuration.ran else [batch.static() for batch in batches]
        self._meter = meter
        self._idle = math.nan if idle is None else idle
        self._caches: list[Callable[[], object]] = []
        self._passes = 0
        self._predictions = sum(len(batch.asked) for batch in batches)

    def block(self) -> Array:
        """Joules and CPU seconds of a prediction, and the joules that the idle machine draws meanwhile."""
        if not self._passes:
            self._warm_up()
        before, start = self._meter.open_block()
        for _ in range(self._passes):
            self._pass()
        window = self._meter.close_block(before, start)
        joules = self._meter.total(self._meter.joules(window)) if self._meter.counts else None
        count = self._passes * self._predictions
        taken = [math.nan if joules is None else joules, window.cpu_seconds, self._idle * window.seconds]
        return np.array(taken) / count

    def _warm_up(self) -> None:
        """Which caches this one fills, and how many passes make a block."""
        caches = _caches()
        for cache in caches:
            cache.cache_clear()
        self._pass()
        self._caches = [cache.cache_clear for cache in caches if cache.cache_info().currsize]
        begun = self._meter.clocks.wall()
        self._pass()
        spent = max(self._meter.clocks.wall() - begun, 1) / 1e9
        self._passes = max(1, math.ceil(_LONGER * max(self._meter.block_seconds, _SHORTEST) / spent))

    def _pass(self) -> None:
        for forget in self._caches:
            forget()
        for batch in self._batches:
            self._fitted.predict(batch.asked, batch.measured)


class _Cache(Protocol):
    def cache_clear(self) -> None: ...

    def cache_info(self) -> _Info: ...


class _Info(Protocol):
    @property
    def currsize(self) -> int: ...


def _caches() -> list[_Cache]:
    """What remembers code that was looked at."""
    return [
        value
        for name, module in list(sys.modules.items())
        if name.startswith(("pytest_joules.predict.facts.", "pytest_joules.code."))
        for value in vars(module).values()
        if hasattr(value, "cache_clear")
    ]


def _idle_watts(meter: Meter) -> float | None:
    if not meter.counts:
        return None
    return meter.total(meter.idle_watts(_IDLE))


def _known(values: Array) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]


def _half_width(blocks: Sequence[Array] | Array) -> float:
    values = _known(np.array(blocks)[:, 0]) or _known(np.array(blocks)[:, 1])
    return stats.relative_half_width(values)


def _taken(blocks: Array) -> Taken:
    joules, seconds = _known(blocks[:, 0]), _known(blocks[:, 1])
    above = _known(blocks[:, 0] - blocks[:, 2])
    return Taken(stats.summarise(joules), stats.summarise(seconds), stats.median(above) if above else None, blocks)
