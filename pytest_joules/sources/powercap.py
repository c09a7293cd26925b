"""The zones of the powercap tree that hold an energy counter: found, named, and which of them add up to a total.

What the files mean: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_joules.files import reading
from pytest_joules.sources.base import Domain, Unavailable
from pytest_joules.sources.remedies import load_module, why_none

POWERCAP = Path("/sys/class/powercap")

#: A power that no package sustains, in watts; used where the tree states no limit.
_MOST_WATTS = 1000.0
_ZONE = re.compile(r"(?P<control>[^:]+)(?P<numbers>(?::\d+)+)")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_PACKAGE = re.compile(r"package-\d+(-die-\d+)?")


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
                label = text_of(directory / "name")
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
        raise Unavailable(f"{root}: {said(error)}") from None
    if not zones:
        raise Unavailable(f"{root} holds no zone with an energy_uj counter{_none(root)}", absent(root))
    return zones


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


def text_of(path: Path) -> str | None:
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


def said(error: OSError | ValueError) -> str:
    """What is wrong with a counter's file, in words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "holds no number"
