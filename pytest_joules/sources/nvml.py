"""NVIDIA GPUs through NVML (the module ``pynvml`` of nvidia-ml-py): each board's cumulative energy counter, in millijoules.

A board without that counter has its power sampled and integrated by a small process of its own. Not by a thread: one more
thread changes tests that fork or count threads. Not at the readings alone: two instants say little of what was drawn between.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal

from pytest_joules.clock import CLOCKS
from pytest_joules.model import Counters
from pytest_joules.sources.base import CounterPlace, Domain, RisingSource, Unavailable
from pytest_joules.sources.power_sampling import GAP, INTERVAL, Sampler
from pytest_joules.sources.remedies import in_container

#: Codes of ``nvmlReturn_t`` that mean: this board has no such counter.
_UNSUPPORTED = (3, 13)
_NO_PERMISSION, _DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND = 4, 9, 12

#: Seconds between two updates of the energy counter where they could not be seen; boards update every 10 to 100 ms.
_TICK = 0.1
#: Seconds to watch the counter for its updates.
_WATCH = 0.25
#: Relative uncertainty of integrated power samples: against an external meter, plain integration of this sensor was wrong by
#: 35 % and more on average, as some boards sample only a quarter of the time (arXiv 2312.02741).
_SAMPLED_UNCERTAINTY = 0.4


class NoGpu(Unavailable):
    """There is no NVIDIA GPU for this process: nothing is missing."""

    quiet = True


class Nvml(RisingSource):
    """Every GPU that ``CUDA_VISIBLE_DEVICES`` leaves visible, as ``gpu-N`` by its NVML index; taken beside a CPU source."""

    name: ClassVar[str] = "nvml"
    provenance: ClassVar[Literal["measured", "estimated"]] = "measured"
    rank: ClassVar[int | None] = 80
    beside: ClassVar[bool] = True
    backwards: ClassVar[str] = "the counter went backwards (was the driver loaded again?)"

    def __init__(self) -> None:
        super().__init__()
        self.tick = _TICK
        self._library: ModuleType | None = None
        self._readers: list[Callable[[], int]] = []
        self._sampler: Sampler | None = None

    def open(self) -> None:
        if self._library is not None:
            return
        library = _load()
        _initialise(library)
        self._library = library
        try:
            self._find(library)
        except Unavailable:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise Unavailable(f"NVML: {error}") from error

    def read(self) -> Counters:
        try:
            return tuple([reader() for reader in self._readers])
        except Exception:
            return self._read_each()

    def missing(self, difference: float) -> str | None:
        return "samples of the power are missing in between" if difference >= GAP else None

    def places(self) -> tuple[CounterPlace, ...]:
        return tuple(
            CounterPlace(domain.name, domain.name, None, int(domain.name.removeprefix("gpu-")), None, self.most_watts)
            for domain in self.domains
        )

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None
        library, self._library = self._library, None
        if library is not None:
            self._readers = [_closed] * len(self._readers)
            with contextlib.suppress(Exception):
                library.nvmlShutdown()

    def _read_each(self) -> Counters:
        return tuple([self._read_one(domain, reader) for domain, reader in zip(self.domains, self._readers, strict=True)])

    def _read_one(self, domain: Domain, reader: Callable[[], int]) -> int | None:
        try:
            return reader()
        except Exception as error:
            self.trouble[domain.name] = str(error) or type(error).__name__
            return None

    def _find(self, library: ModuleType) -> None:
        boards, notes = visible(library, os.environ)
        readers: dict[int, tuple[Callable[[], int], float]] = {}
        sampled: list[int] = []
        for index, handle in boards:
            means = _means(library, handle)
            if means == "counter":
                readers[index] = partial(library.nvmlDeviceGetTotalEnergyConsumption, handle), 1e-3
            elif means == "power":
                sampled.append(index)
            else:
                notes.append(f"gpu-{index} left out: {means}")
        why = [f"board energy counters through NVML, driver {_driver(library)}"] if readers else []
        ticks = [_watch([reader for reader, _ in readers.values()])] if readers else []
        if sampled:
            try:
                self._sampler = Sampler(sampled, library)
            except Unavailable as error:
                notes += [f"gpu-{index} left out: {error.reason}" for index in sampled]
            else:
                readers |= {index: (partial(self._sampler.microjoules, number), 1e-6) for number, index in enumerate(sampled)}
                ticks.append(INTERVAL)
                self.uncertainty = _SAMPLED_UNCERTAINTY
                boards_sampled = ", ".join(f"gpu-{index}" for index in sampled)
                why.append(
                    f"{boards_sampled} without an energy counter: power sampled every {INTERVAL * 1e3:.0f} ms and integrated, "
                    f"±{_SAMPLED_UNCERTAINTY:.0%}"
                )
        if not readers:
            raise Unavailable("; ".join(notes) or "no GPU answers")
        order = sorted(readers)
        self._readers = [readers[index][0] for index in order]
        self._scales = [readers[index][1] for index in order]
        self.domains = tuple(Domain(f"gpu-{index}", counts=True, follows="time") for index in order)
        self.tick = max(ticks)
        self.trouble = {}
        self.why = "; ".join(why + notes)


def synchronise() -> None:
    """Wait until the GPUs have done what was asked of them, so that its energy is in the next reading.

    Through torch or cupy where the program under test has imported them; imports nothing, raises nothing, and wakes no GPU
    that torch has not used.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        with contextlib.suppress(Exception):
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
                current = torch.cuda.current_device()
                for device in range(torch.cuda.device_count()):
                    if device != current and torch.cuda.memory_reserved(device):
                        torch.cuda.synchronize(device)
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        with contextlib.suppress(Exception):
            cupy.cuda.runtime.deviceSynchronize()


def visible(library: ModuleType, environment: os._Environ[str] | dict[str, str]) -> tuple[list[tuple[int, object]], list[str]]:
    """The boards that ``CUDA_VISIBLE_DEVICES`` leaves visible, as (NVML index, handle), and what to note of them.

    As CUDA reads it: indices or (the beginnings of) UUIDs, and nothing from the first that does not exist on; ``MIG-`` names
    an instance, whose whole board is taken.

    Raises:
        NoGpu: none is visible.
    """
    count = library.nvmlDeviceGetCount()
    if not count:
        raise NoGpu("NVML finds no GPU")
    boards: list[tuple[int, object]] = []
    notes: list[str] = []
    for index in range(count):
        handle = _handle(library, index)
        if isinstance(handle, Exception):
            notes.append(f"gpu-{index} left out: {handle}")
        else:
            boards.append((index, handle))
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return boards, notes
    chosen: list[tuple[int, object]] = []
    for entry in (part.strip() for part in wanted.split(",")):
        found = _match(library, entry, boards)
        if len(found) != 1:
            break
        if found[0] not in chosen:
            chosen.append(found[0])
        if entry.startswith("MIG-"):
            notes.append(f"gpu-{found[0][0]}: the whole board, not the MIG instance alone")
    if not chosen:
        raise NoGpu(f"CUDA_VISIBLE_DEVICES={wanted} leaves no GPU visible", "unset CUDA_VISIBLE_DEVICES")
    by_number = wanted.strip()[:1].isdecimal() and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
    if by_number and len(chosen) < len(boards) and len({_name(library, handle) for _, handle in boards}) > 1:
        notes.append("boards differ and CUDA counts the fastest first: with CUDA_DEVICE_ORDER=PCI_BUS_ID both mean the same")
    return chosen, notes


def _load() -> ModuleType:
    if "pynvml" not in sys.modules and not _has_driver():  # it is large: a tenth of what a short run's process takes
        raise _no_driver()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the deprecated package of that name warns when imported
            import pynvml
    except ModuleNotFoundError as error:
        raise NoGpu(f"pynvml cannot be imported: {error}", f"{sys.executable} -m pip install nvidia-ml-py") from error
    except Exception as error:
        raise Unavailable(f"pynvml fails when imported: {type(error).__name__}: {error}") from error
    library: ModuleType = pynvml
    return library


def _initialise(library: ModuleType) -> None:
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        code = getattr(error, "value", None)
        if code == _LIBRARY_NOT_FOUND:
            raise _no_driver() from error
        remedy = ""
        if code == _DRIVER_NOT_LOADED:
            remedy = _GIVEN if in_container() else "sudo modprobe nvidia"
        elif code == _NO_PERMISSION and (group := _group_of_boards()):
            remedy = f"sudo usermod -aG {group} $USER\nthen log in again"
        raise Unavailable(f"NVML does not start: {error}", remedy) from error


def _has_driver() -> bool:
    """Whether what pynvml would open is here; elsewhere than on Linux, only itself can tell."""
    if sys.platform == "linux":
        import ctypes

        try:
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return False
    return True


def _no_driver() -> NoGpu:
    reason = "no NVIDIA driver here (libnvidia-ml.so.1 was not found)"
    if not _has_board():
        return NoGpu(f"{reason}, and no NVIDIA GPU on this machine's buses")
    return NoGpu(reason, _GIVEN if in_container() else "install NVIDIA's driver")


#: Of a container whose host has a GPU.
_GIVEN = "docker run --gpus all ...\nor what your container's tool has for that"


def _has_board(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether a device of NVIDIA's is on a bus."""
    for file in devices.glob("*/vendor"):
        with contextlib.suppress(OSError, ValueError):
            if int(file.read_text(), 16) == 0x10DE:
                return True
    return False


def _group_of_boards(device: Path = Path("/dev/nvidiactl")) -> str:
    """The group that may use the boards; empty where there is none but root's."""
    try:
        group = device.group()
    except (OSError, KeyError, NotImplementedError):
        return ""
    return "" if group == "root" else group


def _watch(readers: Sequence[Callable[[], int]]) -> float:
    """Seconds between two updates of the slowest of these counters, as seen within a quarter of a second."""
    wall, until = CLOCKS.wall, CLOCKS.wall() + int(_WATCH * 1e9)
    last: list[int | None] = [None] * len(readers)
    changes: list[list[int]] = [[] for _ in readers]
    while wall() < until and any(len(seen) < 5 for seen in changes):
        for number, reader in enumerate(readers):
            try:
                value = reader()
            except Exception:
                continue  # the readings will say so
            if last[number] is not None and value != last[number]:
                changes[number].append(wall())
            last[number] = value
        CLOCKS.sleep(0.001)
    ticks = [max(later - sooner for sooner, later in pairwise(seen)) / 1e9 if len(seen) > 1 else _TICK for seen in changes]
    return max(ticks, default=_TICK)


def _means(library: ModuleType, handle: object) -> str:
    """``counter``, ``power``, or why neither can be read."""
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
        return "counter"
    except library.NVMLError as error:
        if getattr(error, "value", None) not in _UNSUPPORTED:
            return str(error)
    try:
        library.nvmlDeviceGetPowerUsage(handle)
        return "power"
    except library.NVMLError as error:
        return f"neither an energy counter nor its power: {error}"


def _handle(library: ModuleType, index: int) -> object:
    try:
        return library.nvmlDeviceGetHandleByIndex(index)
    except library.NVMLError as error:
        return error


def _match(library: ModuleType, entry: str, boards: list[tuple[int, object]]) -> list[tuple[int, object]]:
    """The boards that one entry of ``CUDA_VISIBLE_DEVICES`` means."""
    if entry.isdecimal():
        return [board for board in boards if board[0] == int(entry)]
    if entry.startswith("MIG-"):
        index = _board_of(library, entry)
        return [board for board in boards if board[0] == index]
    return [board for board in boards if entry and _uuid(library, board[1]).startswith(entry)]


def _board_of(library: ModuleType, uuid: str) -> int | None:
    """NVML index of the board that holds this MIG instance."""
    try:
        instance = library.nvmlDeviceGetHandleByUUID(uuid)
        index: int = library.nvmlDeviceGetIndex(library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance))
    except (library.NVMLError, AttributeError):
        return None
    return index


def _name(library: ModuleType, handle: object) -> str:
    try:
        return _text(library.nvmlDeviceGetName(handle))
    except library.NVMLError:
        return ""


def _uuid(library: ModuleType, handle: object) -> str:
    try:
        return _text(library.nvmlDeviceGetUUID(handle))
    except library.NVMLError:
        return ""


def _driver(library: ModuleType) -> str:
    try:
        return _text(library.nvmlSystemGetDriverVersion())
    except library.NVMLError:
        return "of unknown version"


def _text(value: str | bytes) -> str:
    """Older releases of pynvml give bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _closed() -> int:
    raise RuntimeError("the source is closed")
