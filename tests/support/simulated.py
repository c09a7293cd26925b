"""A machine whose energy is known: virtual time, known watts, counters that tick, wrap, stand still or fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pytest_joules.clock import Clocks
from pytest_joules.model import Counters
from pytest_joules.sources.base import Domain, Source


class Machine:
    """Time passes only by what is done on it: looking at a clock, reading a counter, working, sleeping.

    Power is ``idle`` watts always, and ``busy`` watts more while the process runs.
    """

    def __init__(self, idle: float = 10.0, busy: float = 20.0, look: float = 5e-6, start: float = 0.0) -> None:
        self.idle, self.busy, self.look = idle, busy, look
        self.now = start
        self.cpu = 0.0
        self.joules = 0.0
        self.counters: list[Counter] = []
        self.clocks = Clocks(wall=self._wall, cpu=lambda: round(self.cpu * 1e9), sleep=self.sleep)

    def _wall(self) -> int:
        self.work(50e-9)
        return round(self.now * 1e9)

    def tsc(self) -> int:
        return round(self.now * 2.5e9)

    def work(self, seconds: float, watts: float | None = None) -> None:
        """Run for so long; ``watts`` above idle where it is not ``busy``."""
        self._pass(seconds, self.busy if watts is None else watts)
        self.cpu += seconds

    def sleep(self, seconds: float) -> None:
        self._pass(seconds, 0.0)

    def _pass(self, seconds: float, watts: float) -> None:
        power = self.idle + watts
        for counter in self.counters:
            counter.follow(self.now, self.now + seconds, self.joules, power)
        self.now += seconds
        self.joules += power * seconds


class Counter(Source):
    """The machine's energy as a counter shows it: the value of its last tick."""

    name: ClassVar[str] = "simulated"

    def __init__(
        self, machine: Machine, tick: float = 0.001, span: float | None = None, follows: str = "cpu", domain: str = "package-0"
    ) -> None:
        super().__init__()
        self.machine = machine
        self.tick = tick
        self.span = span
        self.domains = (Domain(domain, counts=True, follows=follows),)  # type: ignore[arg-type]  # one of the two words
        self.shown = 0.0
        self.stuck = False
        self.fails: Callable[[], bool] = lambda: False
        machine.counters.append(self)

    def follow(self, begin: float, end: float, joules: float, power: float) -> None:
        edge = int(end / self.tick + 1e-9) * self.tick
        if edge > begin + 1e-12 and not self.stuck:
            self.shown = joules + power * (edge - begin)

    def open(self) -> None:
        pass

    def read(self) -> Counters:
        self.machine.work(self.machine.look)
        if self.fails():
            self.trouble["package-0"] = "it failed"
            return (None,)
        return (self.shown % self.span if self.span else self.shown,)

    def joules(self, before: Counters, after: Counters, seconds: float) -> Counters:
        if before[0] is None or after[0] is None:
            return (None,)
        difference = after[0] - before[0]
        if difference < 0 and self.span:
            difference += self.span
        return (difference if difference > 0 else None,)


class Continuous(Source):
    """The machine's energy without ticks, as a model shows it."""

    name: ClassVar[str] = "model"
    provenance = "estimated"

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self.tick = 0.0
        self.domains = (Domain("cpu", counts=True),)

    def open(self) -> None:
        pass

    def read(self) -> Counters:
        return (self.machine.joules,)

    def joules(self, before: Counters, after: Counters, seconds: float) -> Counters:
        assert before[0] is not None and after[0] is not None
        return (after[0] - before[0],)
