"""The power PMU: a simulated sysfs, with pipes for counters; and the system call itself on a software event."""

from __future__ import annotations

import errno
import itertools
import os
import platform
import struct
import sys
from pathlib import Path

import pytest

from pytest_joules.sources import perf as module
from pytest_joules.sources.base import Unavailable
from pytest_joules.sources.perf import NoPmu, Perf

SCALE = 2.0**-32
CONFIGS = {"energy-cores": 1, "energy-pkg": 2, "energy-ram": 3, "energy-gpu": 4, "energy-psys": 5}


class Kernel:
    """A power PMU of type 21, and its counters by (event, processor)."""

    def __init__(
        self, root: Path, places: dict[int, tuple[int, int]], events=("energy-pkg", "energy-cores", "energy-ram")
    ) -> None:
        self.root = root
        self.pmu = root / "bus/event_source/devices/power"
        (self.pmu / "events").mkdir(parents=True)
        (self.pmu / "type").write_text("21\n")
        (self.pmu / "cpumask").write_text(",".join(map(str, places)) + "\n")
        for event in events:
            (self.pmu / "events" / event).write_text(f"event=0x{CONFIGS[event]:02x}\n")
            (self.pmu / "events" / f"{event}.scale").write_text("2.3283064365386962890625e-10\n")
            (self.pmu / "events" / f"{event}.unit").write_text("Joules\n")
        for cpu, (package, die) in places.items():
            topology = root / f"devices/system/cpu/cpu{cpu}/topology"
            topology.mkdir(parents=True)
            (topology / "physical_package_id").write_text(f"{package}\n")
            (topology / "die_id").write_text(f"{die}\n")
        self.errors: dict[int, int] = {}
        self.pipes: dict[tuple[str, int], tuple[int, int]] = {}

    def open_event(self, type: int, config: int, cpu: int) -> int:
        assert type == 21
        if config in self.errors:
            raise OSError(self.errors[config], os.strerror(self.errors[config]))
        event = next(event for event, number in CONFIGS.items() if number == config)
        reader, writer = self.pipes[event, cpu] = os.pipe()
        os.write(writer, struct.pack("=QQ", 0, 1))  # alive: it moves between two looks
        return reader

    def show(self, **joules: float) -> None:
        """What the next reading of every counter gives: by event, the same on every processor."""
        for (event, cpu), (_, writer) in self.pipes.items():
            value = joules.get(f"{event.removeprefix('energy-')}_{cpu}", joules.get(event.removeprefix("energy-"), 0.0))
            os.write(writer, struct.pack("=Q", round(value / SCALE)))

    def source(self) -> Perf:
        return Perf(self.root, self.open_event)


def names(source: Perf) -> list[str]:
    return [domain.name for domain in source.domains]


def total(source: Perf) -> list[str]:
    return [domain.name for domain in source.domains if domain.counts]


@pytest.fixture
def kernel(tmp_path):
    made: list[Kernel] = []

    def make(places=None, **kwargs) -> Kernel:
        made.append(Kernel(tmp_path / f"sys{len(made)}", places or {0: (0, 0)}, **kwargs))
        return made[-1]

    yield make
    for each in made:
        for _, writer in each.pipes.values():
            os.close(writer)


def test_joules_by_domain(kernel):
    here = kernel(events=tuple(CONFIGS))
    source = here.source()
    source.open()
    assert names(source) == ["package-0", "core", "uncore", "dram", "psys"]
    assert total(source) == ["package-0"]
    here.show(pkg=0.0, cores=5.0, gpu=1.0, ram=1.0, psys=0.5)
    before = source.read()
    here.show(pkg=3.0, cores=7.0, gpu=1.25, ram=1.0, psys=5.0)
    assert source.joules(before, source.read(), 0.5) == (3.0, 2.0, 0.25, None, 4.5)
    assert source.trouble == {"dram": "the counter did not move in 0.5 s"}
    source.close()
    source.close()


def test_one_counter_for_each_package(kernel):
    here = kernel({0: (0, 0), 18: (1, 0)}, events=("energy-pkg", "energy-ram", "energy-psys"))
    source = here.source()
    source.open()
    assert names(source) == ["package-0", "dram-0", "package-1", "dram-1", "psys-0", "psys-1"]
    assert total(source) == ["package-0", "package-1"]
    here.show(pkg=1.0, ram=1.0)
    before = source.read()
    here.show(pkg_0=3.0, pkg_18=5.0, ram=2.0)
    assert source.joules(before, source.read(), 1.0)[:4] == (2.0, 1.0, 4.0, 1.0)
    source.close()


def test_dies_have_the_names_of_the_powercap_tree(kernel):
    source = kernel({0: (0, 0), 8: (0, 1)}).source()
    looks = itertools.count()
    source._read = lambda descriptor, size: struct.pack("Q", next(looks) * (1 + descriptor))
    source.open()
    assert total(source) == ["package-0-die-0", "package-0-die-1"]
    assert "dram-0-die-1" in names(source)
    source.close()


def test_counters_that_stand_still_are_none(kernel):
    """A virtual machine can have a PMU with no counter behind it: an estimate says more."""
    source = kernel(events=("energy-pkg", "energy-psys")).source()
    source._read = lambda descriptor, size: bytes(size)
    with pytest.raises(NoPmu, match=r"stand still \(package-0\)"):
        source.open()
    assert set(source._descriptors) == {-1}


def test_without_a_mask_the_first_processor_of_each_package(kernel):
    here = kernel({0: (0, 0), 1: (0, 0), 2: (1, 0), 3: (1, 0)})
    (here.pmu / "cpumask").unlink()
    source = here.source()
    source.open()
    assert {cpu for _, cpu in here.pipes} == {0, 2}
    source.close()


def test_a_mask_with_several_processors_of_a_package_counts_it_once(kernel):
    here = kernel({0: (0, 0), 1: (0, 0)})
    (here.pmu / "cpumask").write_text("0-1\n")
    source = here.source()
    source.open()
    assert total(source) == ["package-0"]
    source.close()


def test_a_counter_that_fails_or_goes_back(kernel):
    here = kernel(events=("energy-pkg",))
    source = here.source()
    source.open()
    here.show(pkg=9.0)
    before = source.read()
    here.show(pkg=4.0)
    assert source.joules(before, source.read(), 1.0) == (None,)
    assert "backwards" in source.trouble["package-0"]
    source._read = lambda descriptor, size: b""  # as where its processor went offline
    assert source.read() == (None,)
    assert "no count" in source.trouble["package-0"]
    source._read = os.read
    source.close()
    assert source.read() == (None,)
    assert os.strerror(errno.EBADF) in source.trouble["package-0"]


def test_an_event_whose_driver_was_loaded_anew_is_opened_again(kernel):
    here = kernel(events=("energy-pkg",))
    source = here.source()
    source.open()
    (old,) = source._descriptors
    source._read = lambda descriptor, size: b"" if descriptor == old else os.read(descriptor, size)
    assert source.read() == (None,)
    assert source._descriptors != [old]
    source.read()
    source.read()  # of its first two counts
    here.show(pkg=1.0)
    before = source.read()
    here.show(pkg=4.0)
    assert source.joules(before, source.read(), 1.0) == (pytest.approx(3.0),)
    source.close()


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM])
def test_no_permission(kernel, monkeypatch, tmp_path, error):
    here = kernel({0: (0, 0)})
    here.errors[CONFIGS["energy-pkg"]] = error
    real = Path
    for level, contained, expected in (
        (2, False, "sudo sysctl kernel.perf_event_paranoid=0"),
        (2, True, "docker run --cap-add=PERFMON"),
        (0, False, ""),
    ):
        monkeypatch.setattr(module, "in_container", lambda contained=contained: contained)
        (tmp_path / "paranoid").write_text(f"{level}\n")
        monkeypatch.setattr(
            module, "Path", lambda path: tmp_path / "paranoid" if str(path).endswith("perf_event_paranoid") else real(path)
        )
        with pytest.raises(Unavailable, match=f"perf_event_paranoid is {level}") as caught:
            here.source().open()
        assert not isinstance(caught.value, NoPmu)
        assert caught.value.remedy.startswith(expected) and bool(caught.value.remedy) == bool(expected)


def test_an_event_that_does_not_open_is_left_out(kernel):
    here = kernel()
    here.errors[CONFIGS["energy-ram"]] = errno.ENODEV
    source = here.source()
    source.open()
    assert names(source) == ["package-0", "core"]
    assert "energy-ram left out" in source.why
    source.close()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("energy-pkg", "event=0x02,period=1"),
        ("energy-pkg.unit", "Watts"),
        ("energy-pkg.scale", "nan-sense"),
        ("energy-pkg.scale", "0"),
    ],
)
def test_an_event_in_terms_that_are_not_known_is_left_out(kernel, file, content):
    here = kernel(events=("energy-pkg",))
    (here.pmu / "events" / file).write_text(content)
    with pytest.raises(Unavailable, match="offers no energy event"):
        here.source().open()


def test_no_pmu(tmp_path):
    with pytest.raises(NoPmu, match="no power PMU"):
        Perf(tmp_path).open()


def test_another_system(monkeypatch):
    monkeypatch.setattr(module.sys, "platform", "darwin")
    with pytest.raises(NoPmu, match="Linux only"):
        Perf().open()


def test_no_pmu_and_no_permission_leave_no_descriptor(kernel):
    here = kernel({0: (0, 0), 1: (1, 0)})
    here.errors[CONFIGS["energy-ram"]] = errno.EPERM
    with pytest.raises(Unavailable):
        here.source().open()
    for reader, _ in here.pipes.values():
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.fstat(reader)


@pytest.mark.parametrize(
    ("terms", "config"), [("event=0x02", 2), ("event=0x02,umask=0x01", 0x102), ("config=7", 7), ("frequency=1", None), ("", None)]
)
def test_terms(terms, config):
    assert module._config(terms) == config


def test_the_system_call_itself():
    try:
        descriptor = module.open_event(1, 0, 0)  # the software PMU's cpu-clock on processor 0, system-wide as the power PMU is
    except OSError as error:
        pytest.skip(f"perf_event_open is not permitted here: {error.strerror}")
    try:
        first, second = (struct.unpack("=Q", os.read(descriptor, 8))[0] for _ in range(2))
        assert 0 < first < second
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_the_system_call_refused():
    if platform.machine() not in module._PERF_EVENT_OPEN or sys.platform != "linux":
        pytest.skip("perf_event_open is not known here")
    with pytest.raises(OSError, match=r".+"):
        module.open_event(0x7FFFFFFF, 0, 0)


def test_an_unknown_machine(monkeypatch):
    monkeypatch.setattr(module.platform, "machine", lambda: "vax")
    with pytest.raises(OSError, match="not known on vax"):
        module.open_event(1, 0, 0)
