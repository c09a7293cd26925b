"""RAPL through the powercap tree, read directly: the processor's own energy counters, in microjoules.

What the files mean: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, Literal

from pytest_joules.clock import CLOCKS
from pytest_joules.files.locks import identity
from pytest_joules.model import Counters
from pytest_joules.sources.base import CounterPlace, Domain, Source, Unavailable
from pytest_joules.sources.mirrored_dies import Dies
from pytest_joules.sources.powercap import POWERCAP, NamedZone, Zone, most_watts, name_zones, range_of, said, text_of, zones_below
from pytest_joules.sources.remedies import grant, why_still

#: Seconds between two updates of the counters: Hähnel et al., "Measuring energy consumption for short code paths
#: using RAPL", 2012.
TICK = 0.001
#: Below this many seconds no counter can wrap twice.
_WRAP_SECONDS = 60.0

#: Nanoseconds between two looks whether a counter that does not move is still there.
_AGAIN = 50_000_000
_GONE = (errno.ENODEV, errno.EBADF, errno.ESTALE)


def corrected(before: float, after: float, span: int | None, seconds: float, watts: float) -> float | str:
    """Microjoules between two values of a counter that wraps at ``span``, or why that cannot be told.

    Args:
        before: microjoules at the start
        after: microjoules at the end
        span: ``max_energy_range_uj``; ``None`` where it is not known
        seconds: between the two
        watts: more than the zone can draw for long
    """
    if before < 0 or after < 0:
        return "the counter shows a negative value"
    if span is not None and seconds > _WRAP_SECONDS and seconds * watts * 1e6 > span:
        return f"two readings {seconds:.0f} s apart: the counter may have wrapped more than once (it holds {span / 1e6:.0f} J)"
    change = after - before
    if span is not None and change > span:
        return f"the counter rose by {change / 1e6:.3g} J, more than it holds ({span / 1e6:.3g} J)"
    if change > 0:
        return change
    if change == 0:
        return f"the counter did not move in {seconds:.3g} s"
    if span is None:
        return "the counter went down, and max_energy_range_uj does not say where it wraps"
    change += span
    if before > span or change <= 0:
        return f"the counter went down from {before:.0f} µJ, above its own maximum of {span} µJ"
    return change


class PowercapSource(Source):
    """Joules of powercap's counters, whoever reads them: wrap-around corrected, stand-stills told."""

    #: What belongs to the kernel's own file system, whose counters move by themselves.
    kernel: ClassVar[Path] = Path("/sys/kernel")

    def __init__(self) -> None:
        super().__init__()
        self._spans: list[int | None] = []
        self._watts: list[float] = []
        self._still: set[int] = set()
        """Counters that have not moved: perhaps what is read is not there any more."""

    def refuse_still(self, root: Path) -> None:
        """Refuse the counters of this tree if they are the kernel's and nothing is behind them.

        Raises:
            Unavailable: none of them moves; the source is closed.
        """
        try:
            of_kernel = root.stat().st_dev == self.kernel.stat().st_dev
        except OSError:
            return
        if of_kernel and (still := self.stand_still()):
            self.close()
            raise Unavailable(f"{root} has counters that stand still ({still}){why_still()}")

    def places_in(self, zones: Iterable[tuple[Domain, Zone | None]]) -> tuple[CounterPlace, ...]:
        """The files of those zones that are added to the total."""
        return tuple(
            CounterPlace(domain.name, "cpu", str(zone.path / "energy_uj"), None, span, self.most_watts)
            for (domain, zone), span in zip(zones, self._spans, strict=True)
            if zone is not None and self.in_total(domain)
        )

    def joules(self, before: Counters, after: Counters, seconds: float) -> Counters:
        result: list[float | None] = []
        each = zip(self.domains, before, after, self._spans, self._watts, strict=True)
        for index, (domain, first, last, span, watts) in enumerate(each):
            if first is None or last is None:
                self.trouble.setdefault(domain.name, "the counter could not be read")
                result.append(None)
                continue
            change = corrected(first, last, span, seconds, watts)
            if isinstance(change, str):
                self.trouble[domain.name] = change
                if last != first:
                    self.jumped.add(domain.name)
                else:
                    self._still.add(index)
                result.append(None)
            else:
                self.trouble.pop(domain.name, None)
                result.append(change / 1e6)
        return tuple(result)


class Rapl(PowercapSource):
    """Packages, ``core``, ``uncore``, ``dram`` and ``psys`` as the powercap tree shows them; wrap-around corrected.

    Args:
        powercap: root of the powercap tree
    """

    name: ClassVar[str] = "rapl"
    provenance: ClassVar[Literal["measured", "estimated"]] = "measured"
    rank: ClassVar[int | None] = 100

    def __init__(self, powercap: Path = POWERCAP) -> None:
        super().__init__()
        self.tick = TICK
        self._root = powercap
        self._zones: list[Zone] = []
        self._descriptors: list[int] = []
        self._identities: list[tuple[int, int]] = []
        self._opened = False
        self._pread: Callable[[int, int, int], bytes]
        self._dies = Dies((), self.mirrors)
        self._looked = 0
        self._replaced: set[int] = set()

    def open(self) -> None:
        if self._opened:
            return
        if sys.platform != "linux":
            raise Unavailable(f"RAPL's powercap tree exists on Linux only, this is {sys.platform}")
        self._pread = pread = os.pread
        self._descriptors, self._identities = [], []
        named = name_zones(zones_below(self._root))
        refused: dict[str, tuple[NamedZone, OSError | ValueError]] = {}
        kept: list[NamedZone] = []
        for each in named:
            try:
                descriptor = os.open(each.zone.path / "energy_uj", os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                refused[each.domain.name] = each, error
                continue
            try:
                int(pread(descriptor, 32, 0))
            except (OSError, ValueError) as error:
                os.close(descriptor)
                refused[each.domain.name] = each, error
                continue
            kept.append(each)
            self._descriptors.append(descriptor)
            self._identities.append(identity(descriptor))
        if not kept or any(each.domain.counts for each, _ in refused.values()):
            self.close()
            raise _refusal(self._root, [each for each in refused.values() if each[0].domain.counts or not kept])
        self._zones = [each.zone for each in kept]
        self._spans = [range_of(zone) for zone in self._zones]
        self._watts = [most_watts(zone) for zone in self._zones]
        self.domains = tuple(each.domain for each in kept)
        self.trouble = {}
        notes = [f"{name} left out: {said(error)}" for name, (_, error) in refused.items()]
        self.why = "; ".join([f"the processor's counters, read from {self._root}", *notes])
        self._opened = True
        self.refuse_still(self._root)
        self._dies = Dies([domain.name for domain in self.domains], self.mirrors)
        self._dies.watch(self.read)

    def read(self) -> Counters:
        if self._still:
            self._look_for_others()
        pread = self._pread
        try:
            counters: Counters = tuple([int(pread(descriptor, 32, 0)) for descriptor in self._descriptors])
        except (OSError, ValueError):
            counters = self._read_each()
        if self._replaced:
            counters = tuple(None if index in self._replaced else value for index, value in enumerate(counters))
            self.trouble.update((self.domains[index].name, "the counter's file was replaced") for index in self._replaced)
            self._replaced.clear()
        if self._dies.watching:
            self._dies.note(counters)
        return counters

    def places(self) -> tuple[CounterPlace, ...]:
        return self.places_in(zip(self.domains, self._zones, strict=True))

    def close(self) -> None:
        for descriptor, known in zip(self._descriptors, self._identities, strict=True):
            _close(descriptor, known)
        # whoever reads on gets EBADF, not somebody else's file
        self._descriptors = [-1] * len(self._descriptors)
        self._identities = [(-1, -1)] * len(self._descriptors)
        self._opened = False

    def _read_each(self) -> Counters:
        """Read domain by domain: one that fails costs only itself."""
        values: list[float | None] = []
        for index, domain in enumerate(self.domains):
            value: int | None = None
            try:
                try:
                    value = int(self._pread(self._descriptors[index], 32, 0))
                except (OSError, ValueError) as error:
                    if not self._opened or not self._lost(index, error):
                        raise
                    self._reopen(index)
                    value = int(self._pread(self._descriptors[index], 32, 0))
            except OSError as error:
                self.trouble[domain.name] = f"{self._zones[index].path / 'energy_uj'}: {said(error)}"
            except ValueError:
                self.trouble[domain.name] = f"{self._zones[index].path / 'energy_uj'}: holds no number"
            values.append(value)
        return tuple(values)

    def _lost(self, index: int, error: OSError | ValueError) -> bool:
        """Whether the descriptor no longer leads to the counter: the device went, or somebody closed it."""
        if isinstance(error, OSError) and error.errno in _GONE:
            return True
        return identity(self._descriptors[index]) != self._identities[index]

    def _look_for_others(self) -> None:
        """A file that was replaced (the driver was loaded anew, another tree mounted) would be read for ever as it was."""
        now = CLOCKS.wall()
        still, self._still = self._still, set()
        if not self._opened or now - self._looked < _AGAIN:
            return
        self._looked = now
        for index in still:
            with contextlib.suppress(OSError):
                status = (self._zones[index].path / "energy_uj").stat()
                if (status.st_dev, status.st_ino) != self._identities[index]:
                    self._reopen(index)
                    # No difference between the two files' values is anybody's energy.
                    self._replaced.add(index)

    def _reopen(self, index: int) -> None:
        _close(self._descriptors[index], self._identities[index])
        self._descriptors[index], self._identities[index] = -1, (-1, -1)
        zone = self._zones[index]
        if text_of(zone.path / "name") != zone.label:
            raise OSError(errno.ENODEV, f"no longer the counter of {zone.label}")
        self._descriptors[index] = os.open(zone.path / "energy_uj", os.O_RDONLY | os.O_NONBLOCK)
        self._identities[index] = identity(self._descriptors[index])


def _refusal(root: Path, refused: list[tuple[NamedZone, OSError | ValueError]]) -> Unavailable:
    denied = [each.zone for each, error in refused if isinstance(error, PermissionError)]
    if denied:
        names = ", ".join(str(zone.path / "energy_uj") for zone in denied[:3]) + (", ..." if len(denied) > 3 else "")
        return Unavailable(f"no permission to read {names}", grant(root, [zone.path / "energy_uj" for zone in denied]))
    each, error = refused[0]
    return Unavailable(f"{each.zone.path / 'energy_uj'}: {said(error)}")


def _close(descriptor: int, known: tuple[int, int]) -> None:
    if descriptor >= 0 and identity(descriptor) == known:
        os.close(descriptor)
