"""NVML through a pynvml of our own making."""

from __future__ import annotations

import sys
import threading
import types

import pytest

from pytest_joules.sources import nvml as module
from pytest_joules.sources.base import Unavailable
from pytest_joules.sources.nvml import NoGpu, Nvml, synchronise, visible

MESSAGES = {
    3: "Not Supported",
    4: "Insufficient Permissions",
    9: "Driver Not Loaded",
    12: "NVML Shared Library Not Found",
    15: "GPU is lost",
}


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        self.value = value

    def __str__(self) -> str:
        return MESSAGES.get(self.value, "Unknown Error")


class Gpus(types.ModuleType):
    """A library with boards whose counters (millijoules) the test moves."""

    def __init__(self, count: int = 2) -> None:
        super().__init__("pynvml")
        self.NVMLError = NVMLError
        self.count = count
        self.millijoules = [1000 * (index + 1) for index in range(count)]
        self.names = ["Tesla"] * count
        self.errors: dict[str, int | dict[int, int]] = {}
        self.started = 0
        self.moving = 0

    def _check(self, function: str, index: int = 0) -> None:
        error = self.errors.get(function, 0)
        value = error.get(index, 0) if isinstance(error, dict) else error
        if value:
            raise NVMLError(value)

    def nvmlInit(self):
        self._check("init")
        self.started += 1

    def nvmlShutdown(self):
        self.started -= 1

    def nvmlDeviceGetCount(self):
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index):
        self._check("handle", index)
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self._check("energy", handle)
        self.millijoules[handle] += self.moving
        return self.millijoules[handle]

    def nvmlDeviceGetPowerUsage(self, handle):
        self._check("power", handle)
        return 50_000

    def nvmlDeviceGetName(self, handle):
        return self.names[handle]

    def nvmlDeviceGetUUID(self, handle):
        self._check("uuid", handle)
        return f"GPU-{handle}a{handle}a-0000"

    def nvmlDeviceGetIndex(self, handle):
        return handle

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid != "MIG-7":
            raise NVMLError(2)
        return "instance"

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, instance):
        return 1

    def nvmlSystemGetDriverVersion(self):
        self._check("driver")
        return b"570.1"


@pytest.fixture
def gpus(monkeypatch):
    library = Gpus()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "_WATCH", 0.01)
    return library


def opened() -> Nvml:
    source = Nvml()
    source.open()
    return source


def names(source: Nvml) -> list[str]:
    return [domain.name for domain in source.domains]


# ---- the boards' own counters --------------------------------------------------------------------------------------------------


def test_joules_of_every_board(gpus):
    source = opened()
    assert names(source) == ["gpu-0", "gpu-1"]
    assert all(domain.counts and domain.follows == "time" for domain in source.domains)
    assert "570.1" in source.why and source.uncertainty is None
    before = source.read()
    gpus.millijoules[0] += 2500
    assert source.joules(before, source.read(), 0.3) == (2.5, None)
    assert source.trouble == {"gpu-1": "the counter did not move in 0.3 s"}
    gpus.millijoules[1] += 1
    assert source.joules(before, source.read(), 0.3) == (2.5, 0.001)
    assert source.trouble == {}
    source.close()
    source.close()
    assert gpus.started == 0
    assert source.read() == (None, None)


def test_a_lost_board_costs_only_itself_and_may_come_back(gpus):
    source = opened()
    before = source.read()
    gpus.errors["energy"] = {1: 15}
    gpus.millijoules[0] += 1000
    assert source.joules(before, source.read(), 1.0) == (1.0, None)
    assert source.trouble == {"gpu-1": "GPU is lost"}
    gpus.errors.clear()
    gpus.millijoules[1] += 1000
    assert source.joules(before, source.read(), 1.0) == (1.0, 1.0)
    assert source.trouble == {}
    source.close()


def test_a_counter_that_went_backwards(gpus):
    source = opened()
    before = source.read()
    gpus.millijoules[:] = [5, 5]
    assert source.joules(before, source.read(), 1.0) == (None, None)
    assert "backwards" in source.trouble["gpu-0"]
    source.close()


def test_no_thread_and_no_process_for_boards_with_a_counter(gpus):
    threads = threading.active_count()
    source = opened()
    assert threading.active_count() == threads and source._sampler is None
    source.close()


def test_the_tick_is_measured_where_the_counter_moves(gpus, monkeypatch):
    now = [0]
    monkeypatch.setattr(module, "_WATCH", 0.25)
    monkeypatch.setattr(module, "CLOCKS", types.SimpleNamespace(wall=lambda: now[0], sleep=lambda seconds: None))

    def counter() -> int:
        now[0] += 1_000_000
        return now[0] // 20_000_000

    assert module._watch([counter]) == pytest.approx(0.02)
    now[0] = 0
    assert module._watch([lambda: now.__setitem__(0, now[0] + 1_000_000) or 5]) == 0.1
    assert module._watch([]) == 0.1


# ---- which boards --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", ["gpu-0"]),
        ("1,0", ["gpu-0", "gpu-1"]),
        ("1", ["gpu-1"]),
        ("0,0", ["gpu-0"]),
        ("1,7,0", ["gpu-1"]),  # CUDA reads no further than the first that does not exist
        ("1,-1,0", ["gpu-1"]),
        ("GPU-1a1a-0000", ["gpu-1"]),
        ("GPU-1a", ["gpu-1"]),
        ("MIG-7", ["gpu-1"]),
    ],
)
def test_cuda_visible_devices(gpus, monkeypatch, value, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    source = opened()
    assert names(source) == expected
    assert ("MIG" in source.why) == value.startswith("MIG")
    source.close()


@pytest.mark.parametrize("value", ["", "-1", "9", "GPU-", "GPU-ff", "MIG-9", "none"])
def test_no_board_is_visible(gpus, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    with pytest.raises(NoGpu, match="leaves no GPU visible"):
        opened()
    assert gpus.started == 0


def test_boards_that_differ_are_numbered_otherwise_by_cuda(gpus):
    gpus.names = ["Quadro", "Tesla"]
    assert "PCI_BUS_ID" in visible(gpus, {"CUDA_VISIBLE_DEVICES": "0"})[1][0]
    assert visible(gpus, {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})[1] == []
    assert visible(gpus, {"CUDA_VISIBLE_DEVICES": "0,1"})[1] == []
    assert visible(gpus, {})[1] == []


# ---- what cannot be opened -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text", "remedies"),
    [
        (12, "no NVIDIA driver", ("install NVIDIA's driver", "docker run --gpus all")),
        (9, "Driver Not Loaded", ("sudo modprobe nvidia", "docker run --gpus all")),
        (4, "Permission", ("sudo usermod -aG boards $USER",) * 2),
        (999, "Unknown", ("", "")),
    ],
)
def test_a_library_that_does_not_start(gpus, monkeypatch, error, text, remedies):
    gpus.errors["init"] = error
    monkeypatch.setattr(module, "_has_board", lambda: True)
    monkeypatch.setattr(module, "_group_of_boards", lambda: "boards")
    for contained, remedy in zip((False, True), remedies, strict=True):
        monkeypatch.setattr(module, "in_container", lambda contained=contained: contained)
        with pytest.raises(Unavailable, match=text) as caught:
            opened()
        assert getattr(caught.value, "quiet", False) is (error == 12)
        assert caught.value.remedy.startswith(remedy) and bool(caught.value.remedy) == bool(remedy)


def test_without_a_board_there_is_nothing_to_install(gpus, monkeypatch):
    gpus.errors["init"] = 12
    monkeypatch.setattr(module, "_has_board", lambda: False)
    with pytest.raises(Unavailable, match="no NVIDIA GPU") as caught:
        opened()
    assert not caught.value.remedy


def test_no_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NoGpu, match="cannot be imported") as caught:
        opened()
    assert caught.value.remedy.endswith("pip install nvidia-ml-py")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, only pynvml knows where the library is")
def test_without_a_driver_pynvml_is_not_imported(monkeypatch):
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setattr("ctypes.CDLL", absent)
    monkeypatch.setattr(module, "_has_board", lambda: True)
    with pytest.raises(NoGpu, match=r"no NVIDIA driver here \(libnvidia-ml\.so\.1"):
        opened()
    assert "pynvml" not in sys.modules


def test_no_board(gpus):
    gpus.count = 0
    with pytest.raises(NoGpu, match="finds no GPU"):
        opened()


def test_a_board_that_is_lost_is_left_out(gpus):
    gpus.errors = {"energy": {0: 15}, "driver": 3}
    source = opened()
    assert names(source) == ["gpu-1"]
    assert "gpu-0 left out: GPU is lost" in source.why
    source.close()
    gpus.errors = {"handle": {1: 15}}
    source = opened()
    assert names(source) == ["gpu-0"]
    assert "gpu-1 left out: GPU is lost" in source.why
    source.close()


@pytest.mark.parametrize("errors", [{"energy": 15}, {"energy": 4}, {"energy": 3, "power": 3}])
def test_no_board_that_can_be_read(gpus, errors):
    gpus.errors = errors
    with pytest.raises(Unavailable, match="gpu-0 left out") as caught:
        opened()
    assert not isinstance(caught.value, NoGpu)
    assert gpus.started == 0


# ---- before the closing reading ------------------------------------------------------------------------------------------------


class Cuda:
    def __init__(self, initialised: bool = True, reserved: tuple[int, ...] = (1, 0, 1)) -> None:
        self.waited: list[int | None] = []
        self.initialised, self.reserved = initialised, reserved

    def is_initialized(self):
        return self.initialised

    def current_device(self):
        return 0

    def device_count(self):
        return len(self.reserved)

    def memory_reserved(self, device):
        return self.reserved[device]

    def synchronize(self, device=None):
        self.waited.append(device)


def test_synchronise_waits_for_the_boards_that_torch_uses(monkeypatch):
    torch = types.ModuleType("torch")
    torch.cuda = Cuda()
    monkeypatch.setitem(sys.modules, "torch", torch)
    synchronise()
    assert torch.cuda.waited == [None, 2], "not gpu 1: that would wake it"
    torch.cuda = Cuda(initialised=False)
    synchronise()
    assert torch.cuda.waited == []


def test_synchronise_through_cupy(monkeypatch):
    calls: list[str] = []
    cupy = types.ModuleType("cupy")
    runtime = types.SimpleNamespace(deviceSynchronize=lambda: calls.append("cupy"))
    cupy.cuda = types.SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    synchronise()
    assert calls == ["cupy"]


def test_synchronise_never_raises_and_imports_nothing(monkeypatch):
    for name in ("torch", "cupy"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))  # half imported: it has nothing yet
    synchronise()
    for name in ("torch", "cupy"):
        monkeypatch.delitem(sys.modules, name)
    synchronise()
    assert "torch" not in sys.modules and "cupy" not in sys.modules
