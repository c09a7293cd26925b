"""A powercap tree of plain files whose counters a test moves: the truth is known because the test wrote it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

#: What a package's counter of 61 µJ units holds, in microjoules.
RANGE = 262_143_328_850

Layout = Literal["sysfs", "flat", "nested"]


@dataclass
class Zone:
    """One zone to be built; ``energy``, ``range`` in microjoules, ``max_power`` and ``power_limit`` in microwatts.

    ``range=None`` leaves the range file out, ``energy=None`` the counter.
    """

    name: str
    energy: int | None = 1_000_000
    range: int | None = RANGE
    children: Sequence[Zone | str] = ()
    max_power: int | None = None
    power_limit: int | None = None


@dataclass
class Tree:
    """A built tree. A zone is named by its path of names, ``package-0/dram``, or by its bare name where that is unique."""

    root: Path
    directories: dict[str, Path] = field(default_factory=dict)
    zones: dict[str, Zone] = field(default_factory=dict)
    truth: dict[str, int] = field(default_factory=dict)
    """Microjoules by which each zone, named by its path, has been advanced since it was built."""

    def path(self, zone: str, file: str = "energy_uj") -> Path:
        return self.directories[self._key(zone)] / file

    def value(self, zone: str) -> int:
        """Microjoules that the counter shows."""
        return int(self.path(zone).read_bytes())

    def set(self, zone: str, microjoules: int) -> None:
        # of fixed width and in place: whoever keeps a descriptor never sees a half-written number
        self.write(zone, f"{microjoules:<24d}\n")

    def write(self, zone: str, content: str, file: str = "energy_uj") -> None:
        """Any content, in place (the same inode)."""
        data = content.encode()
        descriptor = os.open(self.path(zone, file), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, data, 0)
            os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)

    def advance(self, zone: str, microjoules: int) -> None:
        """Let the counter run on, wrapping at its range as the real one does."""
        key = self._key(zone)
        total = self.value(key) + microjoules
        span = self.zones[key].range
        self.truth[key] += microjoules
        self.set(key, total % span if span else total)

    def advance_all(self, microjoules: int) -> None:
        for key in self.directories:
            self.advance(key, microjoules)

    def remove(self, zone: str, file: str = "energy_uj") -> None:
        self.path(zone, file).unlink()

    @contextmanager
    def running(self, watts: Mapping[str, float], tick: float = 0.001) -> Iterator[None]:
        """Counters that run by themselves, ``watts`` by zone, updated about every ``tick`` seconds by a thread."""
        stop = threading.Event()

        def run() -> None:
            began = time.perf_counter()
            done = dict.fromkeys(watts, 0)
            while not stop.wait(tick):
                passed = time.perf_counter() - began
                for zone, power in watts.items():
                    due = int(power * passed * 1e6) - done[zone]
                    done[zone] += due
                    self.advance(zone, due)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _key(self, zone: str) -> str:
        if zone in self.directories:
            return zone
        matches = [key for key in self.directories if key.rpartition("/")[2] == zone]
        if len(matches) != 1:
            raise KeyError(f"{zone!r} names {len(matches)} zones of {list(self.directories)}")
        return matches[0]


def make_tree(
    root: Path,
    zones: Mapping[str, Sequence[Zone | str]] | Sequence[Zone | str],
    layout: Layout = "sysfs",
    control: str = "intel-rapl",
) -> Tree:
    """Build a powercap tree at ``root`` (which may exist: a second control type can be added to a tree).

    Args:
        root: what the user would give as ``--energy-powercap``
        zones: ``{"package-0": ["core", "dram"], "psys": []}``, or a list of names and :class:`Zone`
        layout: ``sysfs``, directories nested in a device tree beside ``root`` and symbolic links in it, as the kernel makes them;
            ``nested``, plain directories in one another; ``flat``, plain directories beside each other
        control: the control type, the first part of the directories' names
    """
    if isinstance(zones, Mapping):
        zones = [Zone(name, children=children) for name, children in zones.items()]
    root.mkdir(parents=True, exist_ok=True)
    tree = Tree(root)
    devices = root.parent / f"{root.name}-devices" if layout == "sysfs" else root
    home = root if layout == "flat" else devices / control
    home.mkdir(parents=True, exist_ok=True)
    if layout == "sysfs":
        (root / control).symlink_to(home, target_is_directory=True)

    def build(zone: Zone | str, key: str, inside: Path, above: str) -> None:
        zone = Zone(zone) if isinstance(zone, str) else zone
        directory = (root if layout == "flat" else inside) / key
        directory.mkdir()
        name = f"{above}/{zone.name}" if above else zone.name
        tree.directories[name], tree.zones[name], tree.truth[name] = directory, zone, 0
        (directory / "name").write_text(f"{zone.name}\n")
        (directory / "power").mkdir()
        for file, value in (
            ("max_energy_range_uj", zone.range),
            ("constraint_0_max_power_uw", zone.max_power),
            ("constraint_0_power_limit_uw", zone.power_limit),
        ):
            if value is not None:
                (directory / file).write_text(f"{value}\n")
        if zone.energy is not None:
            tree.set(name, zone.energy)
        if layout == "sysfs":
            (root / key).symlink_to(directory, target_is_directory=True)
            (directory / "subsystem").symlink_to(root, target_is_directory=True)
        for number, child in enumerate(zone.children):
            build(child, f"{key}:{number}", directory, name)

    for number, zone in enumerate(zones):
        build(zone, f"{control}:{number}", home, "")
    return tree
