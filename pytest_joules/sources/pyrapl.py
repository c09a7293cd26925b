"""RAPL through the pyRAPL library: packages and DRAM, with what the library leaves out put right.

The library never looks at ``max_energy_range_uj``, so a wrap is corrected here; it configures the root logger when imported,
and its failures carry no message.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal, Protocol

from pytest_joules.model import Counters
from pytest_joules.sources.base import CounterPlace, Domain, Unavailable
from pytest_joules.sources.powercap import (
    POWERCAP,
    NamedZone,
    Zone,
    counting,
    is_package,
    most_watts,
    name_zones,
    range_of,
    suffixed,
    zones_below,
)
from pytest_joules.sources.rapl import TICK, PowercapSource
from pytest_joules.sources.remedies import grant


class _Sensors(Protocol):
    """Of one kind, as pyRAPL has them."""

    def energy(self) -> Sequence[float]:
        """Microjoules, one value a socket; -1 where it has no such counter."""


class PyRapl(PowercapSource):
    """Packages and DRAM as pyRAPL reads them; taken only when named, because the ``rapl`` source reads the same and more.

    Args:
        powercap: root of the powercap tree; pyRAPL reads the system's own and no other
    """

    name: ClassVar[str] = "pyrapl"
    provenance: ClassVar[Literal["measured", "estimated"]] = "measured"
    rank: ClassVar[int | None] = None

    #: The path that pyRAPL has as a literal.
    reads: ClassVar[Path] = POWERCAP

    def __init__(self, powercap: Path = POWERCAP) -> None:
        super().__init__()
        self.tick = TICK
        self._root = powercap
        # one sensor is not safe in threads: it seeks and reads
        self._lock = threading.Lock()
        self._apis: list[_Sensors] = []
        self._sockets: list[tuple[int, int]] = []
        self._files: list[Zone | None] = []

    def open(self) -> None:
        if self._apis:
            return
        if self._root != self.reads and not _same(self._root, self.reads):
            raise Unavailable(f"pyRAPL reads {self.reads} only, not {self._root}", "--energy-source=rapl reads any powercap tree")
        named = name_zones(zones_below(self._root))
        library = _load()
        with _explained(self._root, named):
            package_api = library.DeviceAPIFactory.create_device_api(library.Device.PKG, None)
        apis = [(package_api, "package")]
        try:
            with _explained(self._root, named):
                apis.append((library.DeviceAPIFactory.create_device_api(library.Device.DRAM, None), "dram"))
        except Unavailable as error:
            # no DRAM counter, as on most client processors, or one that may not be read
            if isinstance(error.__cause__, PermissionError):
                _release([package_api])
                raise
        self._attach(apis, named)
        self.why = f"the processor's counters, read from {self._root} by pyRAPL"
        self.trouble = {}
        self.refuse_still(self._root)

    def read(self) -> Counters:
        try:
            with self._lock:
                values = [api.energy() for api in self._apis]
            return tuple([values[api][socket] for api, socket in self._sockets])
        except (OSError, ValueError, IndexError) as error:
            said = error.strerror if isinstance(error, OSError) else "pyRAPL read no number"
            for domain in self.domains:
                self.trouble[domain.name] = said or type(error).__name__
            return (None,) * len(self._sockets)

    def places(self) -> tuple[CounterPlace, ...]:
        return self.places_in(zip(self.domains, self._files, strict=True))

    def close(self) -> None:
        _release(self._apis)
        self._apis = []

    def _attach(self, apis: list[tuple[_Sensors, str]], named: list[NamedZone]) -> None:
        """Give every value of pyRAPL's tuples a name, and the range and power limit of the zone it comes from."""
        packages = {each.domain.name: each for each in named if is_package(each.zone.label)}
        found: list[tuple[int, int, str, str, NamedZone | None]] = []
        for index, (api, what) in enumerate(apis):
            for socket, value in enumerate(api.energy()):
                if value == -1:
                    continue  # pyRAPL's filler for a socket without this counter
                package = next((name for name in packages if name.split("-")[1] == str(socket)), f"package-{socket}")
                name = package if what == "package" else suffixed(what, package, len(packages))
                zone = next((each for each in named if each.domain.name == name), None)
                found.append((index, socket, name, package if what != "package" else "", zone))
        names = [name for _, _, name, _, _ in found]
        counts = counting(names, [parent for _, _, _, parent, _ in found])
        self._apis = [api for api, _ in apis]
        self._sockets = [(index, socket) for index, socket, _, _, _ in found]
        self._spans = [range_of(zone.zone) if zone else None for _, _, _, _, zone in found]
        self._watts = [most_watts(zone.zone) if zone else 1000.0 for _, _, _, _, zone in found]
        self._files = [zone.zone if zone else None for _, _, _, _, zone in found]
        self.domains = tuple(Domain(name, count) for name, count in zip(names, counts, strict=True))


def _load() -> ModuleType:
    """The library, imported without its warnings: two on the root logger (which would configure it) and a SyntaxWarning.

    Raises:
        Unavailable: it is not installed, or cannot be imported.
    """
    warn: Callable[..., None] = logging.warning

    def others_only(message: object, *args: object, **kwargs: object) -> None:
        if not str(sys._getframe(1).f_globals.get("__name__", "")).startswith("pyRAPL"):
            warn(message, *args, **kwargs)

    vars(logging)["warning"] = others_only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pyRAPL
    except ModuleNotFoundError as error:
        raise Unavailable(f"pyRAPL cannot be imported: {error}", f"{sys.executable} -m pip install pyRAPL") from error
    except Exception as error:
        raise Unavailable(f"pyRAPL fails when imported: {type(error).__name__}: {error}") from error
    finally:
        vars(logging)["warning"] = warn
    library: ModuleType = pyRAPL
    return library


@contextmanager
def _explained(root: Path, named: list[NamedZone]) -> Iterator[None]:
    """Say what pyRAPL's bare failures mean."""
    labels = [each.zone.label for each in named]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves every file to the collector
            try:
                yield
            except Exception as error:
                traceback.clear_frames(error.__traceback__)  # now, not when the message has been shown
                raise
    except PermissionError as error:
        read = [each.zone.path / "energy_uj" for each in named if is_package(each.zone.label) or each.zone.label == "dram"]
        files = [file for file in read if not os.access(file, os.R_OK)] or [Path(error.filename or root)]
        raise Unavailable(f"no permission to read {error.filename}", grant(root, files)) from error
    except OSError as error:
        raise Unavailable(f"pyRAPL: {error.filename or root}: {error.strerror}") from error
    except Exception as error:
        if any("-die-" in label for label in labels):
            reason = f"pyRAPL cannot read packages of several dies ({', '.join(label for label in labels if '-die-' in label)})"
        elif type(error).__name__ == "PyRAPLCantInitDeviceAPI":
            packages = [label for label in labels if is_package(label)]
            shown = ", ".join(packages) or "none"
            reason = f"pyRAPL did not find one package below {root}/intel-rapl for every processor socket (there: {shown})"
        else:
            reason = f"pyRAPL failed: {type(error).__name__}: {error}"
        raise Unavailable(reason, "--energy-source=rapl reads this tree itself") from error


def _release(apis: list[_Sensors]) -> None:
    for api in apis:
        for file in getattr(api, "_sys_files", ()):
            close: Callable[[], None] = file.close
            close()


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
