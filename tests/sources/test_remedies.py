"""A remedy is named only where it can work."""

import platform

import pytest

from pytest_joules.sources import nvml, remedies


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Bare metal with a kernel that has the modules, as the root of a file system."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "release", lambda: "6.1")
    for path, text in {
        "lib/modules/6.1/modules.dep": "kernel/drivers/powercap/intel_rapl_msr.ko.xz: kernel/x.ko\n",
        "proc/cpuinfo": "flags : fpu msr\n",
        "proc/1/environ": "PATH=/bin\0",
        "proc/1/cgroup": "0::/init.scope\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_a_module_that_can_be_loaded(machine):
    assert remedies.load_module("intel_rapl_msr", machine) == "sudo modprobe intel_rapl_msr"
    assert remedies.why_none(machine) == ""


@pytest.mark.parametrize(
    ("path", "text", "because"),
    [
        ("proc/cpuinfo", "flags : fpu hypervisor\n", ": virtual machines"),
        (".dockerenv", "", ": a container"),
        ("run/.containerenv", "", ": a container"),
        ("proc/1/environ", "container=lxc\0", ": a container"),
        ("proc/1/cgroup", "0::/kubepods/besteffort\n", ": a container"),
        ("lib/modules/6.1/modules.dep", "kernel/other.ko:\n", ""),
        ("sys/module/intel_rapl_msr/initstate", "live\n", ""),
    ],
)
def test_there_is_none_to_load(machine, path, text, because):
    (machine / path).parent.mkdir(parents=True, exist_ok=True)
    (machine / path).write_text(text)
    assert remedies.load_module("intel_rapl_msr", machine) == ""
    assert remedies.why_none(machine).startswith(because) and bool(remedies.why_none(machine)) == bool(because)


@pytest.mark.parametrize(("system", "processor"), [("Linux", "aarch64"), ("Windows", "AMD64"), ("Darwin", "arm64")])
def test_other_processors_and_systems_have_no_such_module(machine, monkeypatch, system, processor):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    assert remedies.load_module("intel_rapl_msr", machine) == ""


@pytest.mark.parametrize("contained", [True, False])
def test_files_are_made_readable_where_they_are(tmp_path, monkeypatch, contained):
    monkeypatch.setattr(remedies, "in_container", lambda: contained)
    command, note = remedies.grant(tmp_path, [tmp_path / "x" / "energy_uj"]).splitlines()
    assert command == f"sudo chmod a+r {tmp_path / 'x' / 'energy_uj'}"
    assert ("on its host" in note) == contained


def test_a_driver_is_for_a_board(tmp_path):
    assert not nvml._has_board(tmp_path)
    for name, vendor in (("a", "0x8086\n"), ("b", "nonsense"), ("c", "0x10de\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor)
    assert nvml._has_board(tmp_path)
    assert nvml._group_of_boards(tmp_path / "missing") == ""
