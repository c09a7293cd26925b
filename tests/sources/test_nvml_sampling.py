"""Boards without a counter: the process that samples them, with a pynvml on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from pytest_joules.sources import nvml as module
from pytest_joules.sources import power_sampling
from pytest_joules.sources.nvml import Nvml
from pytest_joules.sources.power_sampling import Sampler


def opened() -> Nvml:
    source = Nvml()
    source.open()
    return source


def names(source: Nvml) -> list[str]:
    return [domain.name for domain in source.domains]


# ---- power, integrated by another process --------------------------------------------------------------------------------------

ON_DISK = """
from pathlib import Path
here = Path(__file__).parent
class NVMLError(Exception):
    def __init__(self, value): self.value = value
    def __str__(self): return f"error {self.value}"
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return "Old"
def nvmlSystemGetDriverVersion(): return "1"
def nvmlDeviceGetTotalEnergyConsumption(handle):
    if handle == 1: raise NVMLError(3)
    return 7
def nvmlDeviceGetPowerUsage(handle):
    with (here / "samples").open("a") as file: file.write(".")
    text = (here / "milliwatts").read_text()
    if text.startswith("error"): raise NVMLError(int(text.split()[1]))
    return int(text)
"""


@pytest.fixture
def old_boards(tmp_path, monkeypatch):
    """gpu-0 has an energy counter, gpu-1 only its power, which the file ``milliwatts`` gives."""
    (tmp_path / "pynvml.py").write_text(ON_DISK)
    (tmp_path / "milliwatts").write_text("80000")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "_WATCH", 0.01)
    monkeypatch.setattr(module, "_has_driver", lambda: True)
    yield tmp_path
    sys.modules.pop("pynvml", None)


def samples(folder: Path, more: int) -> None:
    """Wait until the other process has taken so many samples more."""
    file = folder / "samples"
    enough = (file.stat().st_size if file.exists() else 0) + more
    until = time.monotonic() + 60
    while (file.stat().st_size if file.exists() else 0) < enough:
        assert time.monotonic() < until, "the sampling process has stopped"
        time.sleep(0.005)


def ended(folder: Path) -> bool:
    """Whether nobody samples any more."""
    file = folder / "samples"
    for _ in range(200):
        size = file.stat().st_size
        time.sleep(0.3)
        if file.stat().st_size == size:
            return True
    return False


def test_a_board_without_a_counter_is_sampled_and_says_so(old_boards):
    threads = threading.active_count()
    source = opened()
    assert names(source) == ["gpu-0", "gpu-1"]
    assert source.uncertainty == 0.4 and "gpu-1 without an energy counter: power sampled" in source.why
    assert threading.active_count() == threads
    began, before = time.perf_counter(), source.read()
    samples(old_boards, 6)
    after, seconds = source.read(), time.perf_counter() - began
    joules = source.joules(before, after, seconds)[1]
    # each reading shows the integral until the last sample, which is never older than what counts as stopped
    assert joules is not None
    assert 0 < joules <= 80 * (seconds + power_sampling._STALE)
    source.close()
    assert ended(old_boards)


def test_the_sampling_process_is_nobodys_child(old_boards):
    before = psutil.Process().children(recursive=True)
    source = opened()
    assert psutil.Process().children(recursive=True) == before
    source.close()


def test_missing_samples_are_seen(old_boards):
    source = opened()
    samples(old_boards, 3)
    before = source.read()
    (old_boards / "milliwatts").write_text("error 15")
    samples(old_boards, 3)
    assert source.read()[1] is None
    assert "15" in source.trouble["gpu-1"]
    (old_boards / "milliwatts").write_text("80000")
    samples(old_boards, 3)
    after = source.read()
    assert after[1] is not None and source.joules(before, after, 1.0)[1] is None
    assert "missing in between" in source.trouble["gpu-1"]
    samples(old_boards, 3)
    assert source.joules(after, source.read(), 1.0)[1] > 0
    source.close()


def test_a_sampling_process_that_stopped_is_seen(old_boards, monkeypatch):
    source = opened()
    monkeypatch.setattr(power_sampling, "_STALE", -1.0)
    assert source.read()[1] is None
    assert "stopped" in source.trouble["gpu-1"]
    source.close()


def test_it_ends_with_the_process_it_serves(old_boards):
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import pynvml; from pytest_joules.sources.nvml import Nvml; "
        "s = Nvml(); s.open(); os.fork() or os.execvp('sleep', ['sleep', '1']); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(old_boards)], check=True, cwd=Path(__file__).parents[2])
    assert ended(old_boards)


def test_a_fork_that_closes_leaves_it_running(old_boards):
    source = opened()
    child = os.fork()
    if not child:
        source.close()
        os._exit(0)
    os.waitpid(child, 0)
    samples(old_boards, 3)
    assert source.read()[1] is not None
    source.close()


def test_it_does_not_start(old_boards, monkeypatch):
    monkeypatch.setattr(module.sys, "executable", "/nonexistent/python")
    source = opened()
    assert names(source) == ["gpu-0"]
    assert "gpu-1 left out: the process that samples the power does not start" in source.why
    assert source.uncertainty is None
    source.close()


def test_its_file_is_gone_once_it_runs(old_boards):
    import pynvml

    sampler = Sampler([1], pynvml)
    assert not Path(sampler._file).exists()
    sampler.close()
    sampler.close()
