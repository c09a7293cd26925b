"""RAPL through the kernel's ``power`` PMU: system-wide energy counters of ``perf_event_open``, in 2⁻³² J.

For machines where these are permitted and the powercap tree is not. The kernel handles the wrap-around of the hardware.
See perf_event_open(2) and ``arch/x86/events/rapl.c``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pytest_joules.model import Counters
from pytest_joules.sources.base import Domain, RisingSource, Unavailable
from pytest_joules.sources.mirrored_dies import Dies
from pytest_joules.sources.powercap import counting, suffixed
from pytest_joules.sources.rapl import TICK
from pytest_joules.sources.remedies import in_container, load_module, why_none, why_still

#: The PMU's events and the names of their domains; that of a package is made from its number.
_EVENTS = {"energy-pkg": "package", "energy-cores": "core", "energy-gpu": "uncore", "energy-ram": "dram", "energy-psys": "psys"}
#: Number of the system call by machine.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_CLOEXEC = 8
_ATTR_SIZE = 64
_COUNT = struct.Struct("=Q")


class NoPmu(Unavailable):
    """This kernel has no such counters: nothing that the user could grant."""

    quiet = True


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the PMU."""

    name: str
    config: int
    joules: float
    """Joules a count."""


def open_event(type: int, config: int, cpu: int, pid: int = -1, flags: int = 0) -> int:
    """Open a counter, system-wide on one processor or of one process, and return its descriptor.

    Args:
        type: of the PMU, from its ``type`` file
        config: of the event
        cpu: the processor to count on; -1 for all
        pid: the process to count, 0 for this one; -1 for all
        flags: bits of the attributes

    Raises:
        OSError: the kernel refused.
    """
    import ctypes

    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"perf_event_open is not known on {platform.machine()}")
    attributes = struct.pack("=IIQQQQQIIQ", type, _ATTR_SIZE, config, 0, 0, 0, flags, 0, 0, 0)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    descriptor: int = call(
        ctypes.c_long(number),
        ctypes.create_string_buffer(attributes, _ATTR_SIZE),
        ctypes.c_long(pid),
        ctypes.c_long(cpu),
        ctypes.c_long(-1),
        ctypes.c_ulong(_CLOEXEC),
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor


class Perf(RisingSource):
    """The same domains as ``rapl``, by the same names, from the kernel's ``power`` PMU.

    Args:
        sysfs: where sysfs is mounted
        open_event: opens a counter: (type, config, cpu) to a descriptor that gives 8 bytes a read
    """

    name: ClassVar[str] = "perf"
    provenance: ClassVar[Literal["measured", "estimated"]] = "measured"
    rank: ClassVar[int | None] = 90

    def __init__(self, sysfs: Path = Path("/sys"), open_event: Callable[[int, int, int], int] = open_event) -> None:
        super().__init__()
        self.tick = TICK
        self._pmu = sysfs / "bus/event_source/devices/power"
        self._cpus = sysfs / "devices/system/cpu"
        self._open_event = open_event
        self._descriptors: list[int] = []
        self._events: list[tuple[int, int]] = []
        """What was opened: an event's configuration and the processor that it is counted on."""
        self._read = os.read
        self._dies = Dies((), self.mirrors)

    def open(self) -> None:
        if any(descriptor >= 0 for descriptor in self._descriptors):
            return
        if sys.platform != "linux":
            raise NoPmu(f"the power PMU exists on Linux only, this is {sys.platform}")
        type_, events = self._describe()
        processors = self._processors()
        opened: list[tuple[int, str, str, float, tuple[int, int]]] = []
        notes: list[str] = []
        try:
            packages = set(processors.values())
            for cpu, package in processors.items():
                for event in events:
                    try:
                        descriptor = self._open_event(type_, event.config, cpu)
                    except OSError as error:
                        if event.name == "energy-pkg" or error.errno in (errno.EACCES, errno.EPERM):
                            raise self._refused(event, error) from error
                        notes.append(f"{event.name} left out: {error.strerror}")
                        continue
                    part = _EVENTS[event.name]
                    name = package if part == "package" else suffixed(part, package, len(packages))
                    opened.append(
                        (descriptor, name, "" if part in ("package", "psys") else package, event.joules, (event.config, cpu))
                    )
        except Unavailable:
            for descriptor, *_ in opened:
                os.close(descriptor)
            raise
        if not opened:
            raise NoPmu(f"{self._pmu} offers no energy event that opens ({'; '.join(notes)})")
        opened.sort(key=lambda each: each[1].startswith("psys"))
        names = [name for _, name, *_ in opened]
        counts = counting(names, [parent for _, _, parent, *_ in opened])
        self._descriptors = [descriptor for descriptor, *_ in opened]
        self._scales = [joules for *_, joules, _ in opened]
        self._events = [event for *_, event in opened]
        self.domains = tuple(Domain(name, count) for name, count in zip(names, counts, strict=True))
        self.trouble = {}
        self.why = "; ".join(["the processor's counters, read through the kernel's power PMU", *dict.fromkeys(notes)])
        if still := self.stand_still():
            self.close()
            raise NoPmu(f"{self._pmu} has counters that stand still ({still}){why_still()}")
        # Each counts from the moment it was opened.
        self._dies = Dies(names, self.mirrors, relative=True)
        self._dies.watch(self.read)

    def read(self) -> Counters:
        read, value = self._read, _COUNT.unpack
        try:
            counters: Counters = tuple([value(read(descriptor, 8))[0] for descriptor in self._descriptors])
        except (OSError, struct.error):
            counters = self._read_each()
        if self._dies.watching:
            self._dies.note(counters)
        return counters

    def close(self) -> None:
        for descriptor in self._descriptors:
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptors = [-1] * len(self._descriptors)

    def _read_each(self) -> Counters:
        values: list[float | None] = []
        for index, domain in enumerate(self.domains):
            value: int | None = None
            try:
                value = _COUNT.unpack(self._read(self._descriptors[index], 8))[0]
            except OSError as error:
                self.trouble[domain.name] = f"perf event: {error.strerror}"
            except struct.error:
                self.trouble[domain.name] = "perf event: no count (its processor is offline?)"
            if value is None and self._descriptors[index] >= 0:
                self._reopen(index)
            values.append(value)
        return tuple(values)

    def _reopen(self, index: int) -> None:
        """For the next reading: the driver was loaded anew, perhaps. It counts from there, so this reading has no value."""
        with contextlib.suppress(OSError, ValueError):
            descriptor = self._open_event(int((self._pmu / "type").read_text()), *self._events[index])
            with contextlib.suppress(OSError):
                os.close(self._descriptors[index])
            self._descriptors[index] = descriptor

    def _describe(self) -> tuple[int, list[Event]]:
        """The PMU's type and the energy events that it offers."""
        try:
            type_ = int((self._pmu / "type").read_text())
        except FileNotFoundError:
            raise NoPmu(f"no power PMU at {self._pmu}{why_none()}", load_module("rapl")) from None
        except (OSError, ValueError) as error:
            raise Unavailable(f"{self._pmu / 'type'}: {error}") from None
        events = []
        for name in _EVENTS:
            file = self._pmu / "events" / name
            try:
                terms, unit = file.read_text().strip(), file.with_name(f"{name}.unit").read_text().strip()
                scale = float(file.with_name(f"{name}.scale").read_text())
            except (OSError, ValueError):
                continue  # this processor has no such counter
            config = _config(terms)
            if config is not None and unit == "Joules" and scale > 0:
                events.append(Event(name, config, scale))
        if not events:
            raise NoPmu(f"{self._pmu} offers no energy event")
        return type_, events

    def _processors(self) -> dict[int, str]:
        """The processors to count on, one a package or die, each with its package's name."""
        topology: dict[int, tuple[int, int]] = {}
        for file in self._cpus.glob("cpu[0-9]*/topology/physical_package_id"):
            try:
                package = int(file.read_text())
            except (OSError, ValueError):
                continue
            try:
                die = int(file.with_name("die_id").read_text())
            except (OSError, ValueError):
                die = 0
            topology[int(file.parent.parent.name[3:])] = package, die
        try:
            cpus = _cpu_list((self._pmu / "cpumask").read_text())
        except (OSError, ValueError):
            # no mask: the first processor of every die
            cpus = sorted({place: cpu for cpu, place in sorted(topology.items(), reverse=True)}.values())
        places = {cpu: topology.get(cpu, (0, 0)) for cpu in cpus or [0]}
        distinct = set(places.values())
        several = len({package for package, _ in distinct}) < len(distinct)
        names: dict[int, str] = {}
        for cpu, (package, die) in sorted(places.items(), key=lambda item: (item[1], item[0])):
            name = f"package-{package}" + (f"-die-{die}" if several else "")
            if name not in names.values():
                names[cpu] = name
        return names

    def _refused(self, event: Event, error: OSError) -> Unavailable:
        if error.errno not in (errno.EACCES, errno.EPERM):
            return NoPmu(f"perf event {event.name}: {error.strerror}")
        try:
            paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
        except (OSError, ValueError):
            paranoid = 2
        reason = f"no permission for perf event {event.name}: kernel.perf_event_paranoid is {paranoid}"
        if in_container():
            remedy = "docker run --cap-add=PERFMON --security-opt seccomp=unconfined ..."
            return Unavailable(f"{reason}, and this is a container", f"{remedy}\nor what your container's tool has for that")
        if paranoid <= 0:
            return Unavailable(f"{reason}, so something else forbids it")
        return Unavailable(
            f"{reason}, system-wide counters need 0",
            "sudo sysctl kernel.perf_event_paranoid=0\n"
            f"until the next reboot; or for this Python alone: sudo setcap cap_perfmon=ep {os.path.realpath(sys.executable)}",
        )


def _config(terms: str) -> int | None:
    """The ``config`` word of terms such as ``event=0x02,umask=0x01``; ``None`` for terms that are not known."""
    config = 0
    for term in terms.split(","):
        match = re.fullmatch(r"(event|umask|config)=(0x[0-9a-fA-F]+|\d+)", term.strip())
        if match is None:
            return None
        config |= int(match[2], 0) << (8 if match[1] == "umask" else 0)
    return config


def _cpu_list(text: str) -> list[int]:
    """``0,18`` or ``0-3,8`` as numbers.

    Raises:
        ValueError: it is no list of processors.
    """
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus
