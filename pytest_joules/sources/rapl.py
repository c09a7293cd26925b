"""RAPL through the powercap tree, read directly: the processor's own energy counters, in microjoules.

What the files mean: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pytest_joules.clock import CLOCKS
from pytest_joules.files import reading
from pytest_joules.files.locks import identity
from pytest_joules.model import Counters
from pytest_joules.sources.base import Domain, Source, Unavailable
from pytest_joules.sources.dies import Dies
from pytest_joules.sources.remedies import grant, load_module, why_none

POWERCAP = Path("/sys/class/powercap")

#: Seconds between two updates of the counters: Hähnel et al., "Measuring energy consumption for short code paths
#: using RAPL", 2012.
TICK = 0.001
#: A power that no package sustains, in watts; used where the tree states no limit.
_MOST_WATTS = 1000.0
#: Below this many seconds no counter can wrap twice.
_WRAP_SECONDS = 60.0

_ZONE = re.compile(r"(?P<control>[^:]+)(?P<numbers>(?::\d+)+)")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_PACKAGE = re.compile(r"package-\d+(-die-\d+)?")
#: Nanoseconds between two looks whether a counter that does not move is still there.
_AGAIN = 50_000_000
_GONE = (errno.ENODEV, errno.EBADF, errno.ESTALE)


@dataclass(frozen=True, slots=True)
class Zone:
    """A powercap zone that holds a counter."""

    key: str
    """Its directory's name, such as ``intel-rapl:0:1``."""
    path: Path
    label: str
    """What its ``name`` file says, such as ``dram``."""

    @property
    def control(self) -> str:
        return self.key.partition(":")[0]

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(number) for number in self.key.split(":")[1:])

    @property
    def parent(self) -> str:
        """The key of the zone that contains it; empty at the top."""
        parent = self.key.rpartition(":")[0]
        return parent if ":" in parent else ""


@dataclass(frozen=True, slots=True)
class NamedZone:
    """A zone under the name it is reported by."""

    zone: Zone
    domain: Domain


def is_package(label: str) -> bool:
    """Whether a zone of this name is a processor package, or one die of it."""
    return _PACKAGE.fullmatch(label) is not None


def suffixed(part: str, package: str, packages: int) -> str:
    """The name of a part of a package: ``dram``, or ``dram-1`` and ``dram-0-die-1`` where there are several packages."""
    return part if packages < 2 or not package else f"{part}-{package.removeprefix('package-')}"


def counting(names: Sequence[str], parents: Sequence[str]) -> tuple[bool, ...]:
    """Which domains add up to the total, without counting a joule twice.

    The packages; where there are none, psys; where there is neither, whatever has no ancestor among the rest.

    Args:
        names: of the domains, each once
        parents: the name of the domain that contains each one, or ""
    """
    packages = [is_package(name) for name in names]
    if any(packages):
        return tuple(packages)
    platforms = [name == "psys" or name.startswith("psys-") for name in names]
    if any(platforms):
        return tuple(platforms)
    return tuple(parent not in names for parent in parents)


def find_zones(root: Path) -> list[Zone]:
    """Every zone below ``root`` that holds a counter, each once, parents before children.

    Both layouts are read: flat (``intel-rapl:0``, ``intel-rapl:0:0``) and nested (``intel-rapl/intel-rapl:0/intel-rapl:0:0``).

    Raises:
        OSError: ``root`` cannot be listed.
    """
    found: dict[str, Zone] = {}
    seen: set[str] = set()
    level = [Path(entry) for entry in sorted(_directories(root))]
    while level:
        below: list[Path] = []
        for directory in level:
            match = _ZONE.fullmatch(directory.name)
            if directory.parent != root and match is None:
                continue  # power, subsystem, device: not ours
            real = os.path.realpath(directory)
            if real in seen:
                continue
            seen.add(real)
            if match and directory.name not in found and (directory / "energy_uj").exists():
                label = _text(directory / "name")
                if label is not None:
                    found[directory.name] = Zone(directory.name, directory, label)
            try:
                below.extend(Path(entry) for entry in sorted(_directories(directory)))
            except OSError:
                continue
        level = below
    return _distinct(found.values())


def name_zones(zones: Sequence[Zone]) -> list[NamedZone]:
    """The zones with the names and the total rule that reports use.

    Raises:
        Unavailable: two packages of one name, so that a total might count one twice.
    """
    by_key = {zone.key: zone for zone in zones}
    packages = Counter(zone.label for zone in zones if is_package(zone.label))
    twice = [label for label, number in packages.items() if number > 1]
    if twice:
        paths = ", ".join(str(zone.path) for zone in zones if zone.label == twice[0])
        raise Unavailable(f"{paths} are all named {twice[0]}: it cannot be told whether they are one counter")
    platforms = sum(zone.label == "psys" for zone in zones)
    names: list[str] = []
    for zone in zones:
        name = zone.label
        if name == "psys" and platforms > 1:
            name = f"psys-{sum(other == 'psys' or other.startswith('psys-') for other in names)}"
        elif not is_package(name):
            name = suffixed(name, _package_of(zone, by_key), len(packages))
        if name in names:
            name = f"{name}-{'-'.join(map(str, zone.numbers))}"
        names.append(name)
    name_of = {zone.key: name for zone, name in zip(zones, names, strict=True)}
    parents = [next((name_of[key] for key in _ancestors(zone.key) if key in name_of), "") for zone in zones]
    counts = counting(names, parents)
    return [NamedZone(zone, Domain(name, count)) for zone, name, count in zip(zones, names, counts, strict=True)]


def range_of(zone: Zone) -> int | None:
    """The highest value of the zone's counter (``max_energy_range_uj``) in microjoules; ``None`` where the tree does not say."""
    value = _number(zone.path / "max_energy_range_uj")
    return value if value and value > 0 else None


def most_watts(zone: Zone) -> float:
    """A power in watts that the zone does not exceed for long: twice its own or its parent's long-term limit, at most 1 kW.

    Boards that state no limit write one in the kilowatts; what is above 1 kW is therefore believed for psys only.
    """
    for path in (zone.path, zone.path.parent / zone.parent if zone.parent else None, zone.path.resolve().parent):
        if path is None:
            continue
        limits = [_number(path / f"constraint_0_{what}_uw") or 0 for what in ("max_power", "power_limit")]
        if max(limits) > 0:
            watts = 2e-6 * max(limits)
            return watts if zone.label.startswith("psys") else min(watts, _MOST_WATTS)
    return _MOST_WATTS


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

    def __init__(self) -> None:
        super().__init__()
        self._spans: list[int | None] = []
        self._watts: list[float] = []
        self._still: set[int] = set()
        """Counters that have not moved: perhaps what is read is not there any more."""

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
        notes = [f"{name} left out: {_said(error)}" for name, (_, error) in refused.items()]
        self.why = "; ".join([f"the processor's counters, read from {self._root}", *notes])
        self._opened = True
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
                self.trouble[domain.name] = f"{self._zones[index].path / 'energy_uj'}: {_said(error)}"
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
        if _text(zone.path / "name") != zone.label:
            raise OSError(errno.ENODEV, f"no longer the counter of {zone.label}")
        self._descriptors[index] = os.open(zone.path / "energy_uj", os.O_RDONLY | os.O_NONBLOCK)
        self._identities[index] = identity(self._descriptors[index])


def zones_below(root: Path) -> list[Zone]:
    """The zones of the powercap tree at ``root``.

    Raises:
        Unavailable: there is no such tree, it may not be listed, or it holds no counter.
    """
    try:
        zones = find_zones(root)
    except FileNotFoundError:
        raise Unavailable(f"no powercap tree at {root}{_none(root)}", absent(root)) from None
    except NotADirectoryError:
        raise Unavailable(f"{root} is not a directory", "give the directory that holds intel-rapl:0") from None
    except PermissionError:
        raise Unavailable(f"{root} may not be listed", f"sudo chmod a+rx {shlex.quote(str(root))}") from None
    except OSError as error:
        raise Unavailable(f"{root}: {_said(error)}") from None
    if not zones:
        raise Unavailable(f"{root} holds no zone with an energy_uj counter{_none(root)}", absent(root))
    return zones


def _refusal(root: Path, refused: list[tuple[NamedZone, OSError | ValueError]]) -> Unavailable:
    denied = [each.zone for each, error in refused if isinstance(error, PermissionError)]
    if denied:
        names = ", ".join(str(zone.path / "energy_uj") for zone in denied[:3]) + (", ..." if len(denied) > 3 else "")
        return Unavailable(f"no permission to read {names}", grant(root, [zone.path / "energy_uj" for zone in denied]))
    each, error = refused[0]
    return Unavailable(f"{each.zone.path / 'energy_uj'}: {_said(error)}")


def absent(root: Path) -> str:
    """What can be done where a powercap tree has no counters."""
    return (
        load_module("intel_rapl_msr") if root == POWERCAP else f"name the directory that holds intel-rapl:0 (as {POWERCAP} does)"
    )


def _none(root: Path) -> str:
    return why_none() if root == POWERCAP else ""


def _distinct(zones: Iterable[Zone]) -> list[Zone]:
    """Without what a second control type (intel-rapl-mmio) shows again, in the order of packages and then psys."""

    def preference(zone: Zone) -> tuple[object, ...]:
        return ("-mmio" in zone.control, zone.control != "intel-rapl", zone.control, len(zone.numbers), zone.numbers)

    ordered = sorted(zones, key=preference)
    by_key = {zone.key: zone for zone in ordered}
    owners: dict[tuple[str, ...], str] = {}
    kept: list[Zone] = []
    for zone in ordered:
        # one control type may show a package as a whole, the other its dies
        place = tuple(
            by_key[key].label.partition("-die-")[0] for key in (*reversed(_ancestors(zone.key)), zone.key) if key in by_key
        )
        if owners.setdefault(place, zone.control) == zone.control:
            kept.append(zone)
    tops = {zone.key: zone.label for zone in kept if not zone.parent}

    def order(zone: Zone) -> tuple[object, ...]:
        top = tops.get(":".join(zone.key.split(":")[:2]), zone.label)
        numbers = tuple(int(number) for number in re.findall(r"\d+", top))
        return (top.startswith("psys"), not is_package(top), numbers, "-mmio" in zone.control, zone.control, zone.numbers)

    return sorted(kept, key=order)


def _ancestors(key: str) -> list[str]:
    """Keys of the zones that contain this one, nearest first."""
    parts = key.split(":")
    return [":".join(parts[:length]) for length in range(len(parts) - 1, 1, -1)]


def _package_of(zone: Zone, zones: dict[str, Zone]) -> str:
    for key in _ancestors(zone.key):
        if key in zones and is_package(zones[key].label):
            return zones[key].label
    return ""


def _directories(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return [entry.path for entry in entries if entry.is_dir()]


def _text(path: Path) -> str | None:
    """The file's one word; ``None`` where it cannot be read or is no name."""
    try:
        text = reading.read_text(path, 2**20, "ascii").strip()
    except (OSError, ValueError):
        return None
    return text if _PLAIN.fullmatch(text) else None


def _number(path: Path) -> int | None:
    try:
        return int(reading.read_bytes(path, 2**20))
    except (OSError, ValueError):
        return None


def _said(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "holds no number"


def _close(descriptor: int, known: tuple[int, int]) -> None:
    if descriptor >= 0 and identity(descriptor) == known:
        os.close(descriptor)
