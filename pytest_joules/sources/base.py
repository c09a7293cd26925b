"""The protocol that every source fulfils. A source knows no pytest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from pytest_joules.clock import CLOCKS
from pytest_joules.model import Counters, SourceFacts

#: More watts than anything that is one domain draws: eight processors under full load stay below half of it.
MOST_WATTS = 10_000.0
#: So few joules are believed however short the time: a process that stands still for a tenth of a second between its look at the
#: counter and its look at the clock sees what a kilowatt draws meanwhile.
_BELIEVED = 100.0
#: Seconds of work in which a counter that is alive moves about fifty times.
_ALIVE = 0.05


class Unavailable(Exception):
    """A source cannot work here.

    ``reason`` says what was found and where; ``remedy`` is what the user can do, as an exact command where there is one.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Domain:
    """A thing with its own counter."""

    name: str
    counts: bool
    """Whether it is added to the total: never a parent and its child, never psys and packages."""
    follows: Literal["cpu", "time"] = "cpu"
    """What its energy above idle is shared out by when rounds are too short for the counter."""


@dataclass(frozen=True, slots=True)
class CounterPlace:
    """Where another process reads a domain's counter."""

    domain: str
    device: str
    """``cpu``, or the domain of the device that it is the counter of."""
    path: str | None
    """A file that holds microjoules."""
    index: int | None
    """Of an NVIDIA board, NVML's."""
    span: int | None
    """Microjoules at which it wraps."""
    most_watts: float


class Source(ABC):
    """One way to read energy. Made unopened and cheaply; :meth:`open` does the work or raises :class:`Unavailable`.

    Attributes a subclass sets (``domains``, ``tick``, ``uncertainty`` and ``why`` at the latest in :meth:`open`):

    ``name``         what the user calls it (``--energy-source=NAME``)
    ``provenance``   ``measured`` for a counter, ``estimated`` for a model
    ``rank``         preference under ``auto``, the highest that works is taken; ``None``: only when named
    ``beside``       taken in addition to the best source, not instead of it (a GPU beside the CPU)
    ``domains``      one :class:`Domain` for each value of :meth:`read`
    ``tick``         seconds between two updates of the counters; 0 where they are continuous
    ``uncertainty``  relative, or ``None`` where none is declared
    ``why``          one short line: how it measures
    ``most_watts``   what none of its domains can draw: more than that is unavailable (10 kW; a meter of a whole rack says more)
    ``trouble``      by domain name, why its last reading failed (emptied when it succeeds again)
    ``jumped``       names of the domains that went back or leapt between the two readings last compared
    ``mirrors``      by domain name, the domain whose very counter it shows: not added to the total
    """

    name: ClassVar[str]
    provenance: ClassVar[Literal["measured", "estimated"]] = "measured"
    rank: ClassVar[int | None] = 50
    beside: ClassVar[bool] = False

    def __init__(self) -> None:
        self.domains: tuple[Domain, ...] = ()
        self.tick: float = 0.001
        self.uncertainty: float | None = None
        self.why: str = ""
        self.most_watts: float = MOST_WATTS
        self.trouble: dict[str, str] = {}
        self.jumped: set[str] = set()
        self.mirrors: dict[str, str] = {}

    @abstractmethod
    def open(self) -> None:
        """Find and open the counters.

        Raises:
            Unavailable: they do not exist, may not be read, or do not work.
        """

    @abstractmethod
    def read(self) -> Counters:
        """The raw counters now, one a domain. Called around every round: it must be quick and must not raise;
        a counter that fails yields ``None`` and an entry in ``trouble``."""

    @abstractmethod
    def joules(self, before: Counters, after: Counters, seconds: float) -> Counters:
        """Joules by domain between two readings ``seconds`` apart, wrap-around corrected; ``None`` where that cannot be told."""

    def between(self, before: Counters, after: Counters, seconds: float) -> Counters:
        """:meth:`joules`, without what no machine can draw. Whoever needs joules asks here."""
        self.jumped.clear()
        values = self.joules(before, after, seconds)
        return tuple([self._possible(domain.name, value, seconds) for domain, value in zip(self.domains, values, strict=True)])

    def _possible(self, name: str, joules: float | None, seconds: float) -> float | None:
        # The counters may be as old as their last tick, at either end.
        if joules is None or 0 <= joules <= max(_BELIEVED, self.most_watts * (seconds + 2 * self.tick)):
            return joules
        self.jumped.add(name)
        what = f"it went back by {-joules:.3g} J" if joules < 0 else f"{joules:.3g} J at once, more than anything draws"
        self.trouble[name] = f"{what}: the counter was reset or misread"
        return None

    def stand_still(self) -> str:
        """The counters of the total, if none of them moves while this processor works; else empty, told as soon as one does.

        For counters that the kernel shows: a virtual machine can have them without anything behind them.
        """
        counted = [index for index, domain in enumerate(self.domains) if domain.counts]
        first, until = self.read(), CLOCKS.wall() + int(_ALIVE * 1e9)
        while CLOCKS.wall() < until:
            now = self.read()
            # What cannot be read is not what this is about.
            if any(first[index] is None or now[index] != first[index] for index in counted):
                return ""
        return ", ".join(self.domains[index].name for index in counted)

    def in_total(self, domain: Domain) -> bool:
        """Whether a domain's joules are added to the total."""
        return domain.counts and domain.name not in self.mirrors

    def mirrored(self) -> str:
        """What to say of the domains that are counted once, with the one that they mirror; empty where there are none."""
        return "; ".join(f"{name} shows the counter of {other}: counted once" for name, other in self.mirrors.items())

    def places(self) -> tuple[CounterPlace, ...]:
        """Where another process reads the counters that are added to the total; none where it cannot."""
        return ()

    def close(self) -> None:  # noqa: B027 - nothing to close is a fine default
        """Release what :meth:`open` took. May be called twice."""

    def facts(self, why: str = "") -> SourceFacts:
        """What the report says of this source; ``why`` is added to its own line."""
        return SourceFacts(
            name=self.name,
            provenance=self.provenance,
            domains=tuple(domain.name for domain in self.domains),
            resolution_s=self.tick,
            uncertainty=self.uncertainty,
            why="; ".join(part for part in (self.why, self.mirrored(), why) if part),
        )


class RisingSource(Source):
    """Counters that only rise, and whose maker handles the wrap: joules are a difference times a scale."""

    backwards: ClassVar[str] = "the counter went backwards"

    def __init__(self) -> None:
        super().__init__()
        self._scales: list[float] = []

    def missing(self, difference: float) -> str | None:
        """Why so large a difference means that something was missed in between; ``None`` where it does not."""
        return None

    def joules(self, before: Counters, after: Counters, seconds: float) -> Counters:
        result: list[float | None] = []
        for domain, first, last, scale in zip(self.domains, before, after, self._scales, strict=True):
            joules = None
            if first is None or last is None:
                self.trouble.setdefault(domain.name, "the counter could not be read")
            elif (jump := self.backwards if last < first else self.missing(last - first)) is not None:
                self.jumped.add(domain.name)
                self.trouble[domain.name] = jump
            elif last == first:
                self.trouble[domain.name] = f"the counter did not move in {seconds:.3g} s"
            else:
                joules = (last - first) * scale
                self.trouble.pop(domain.name, None)
            result.append(joules)
        return tuple(result)
