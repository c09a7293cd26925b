"""What machine, what code."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys

import psutil
import pytest

from pytest_joules import machine

linux = pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="reads Linux's pseudo file systems")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

X86 = (
    "processor\t: {n}\nvendor_id\t: GenuineIntel\nmodel name\t: {model}\nphysical id\t: {package}\nflags\t\t: fpu tsc {flag}\n\n"
)
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: {implementer}\nCPU architecture: 8\nCPU part\t: {part}\n\n"


def tree(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def dmi(root, vendor, product):
    return tree(root, sys__class__dmi__id__sys_vendor=vendor + "\n", sys__class__dmi__id__product_name=product + "\n")


@linux
class TestLinux:
    def test_x86(self, tmp_path):
        model = "Intel(R) Xeon(R) CPU           E5620  @ 2.40GHz"
        cpus = "".join(X86.format(n=n, model=model, package=n // 2, flag="sse") for n in range(4))
        root = tree(tmp_path, proc__cpuinfo=cpus)
        assert machine.cpu_model(root) == "Intel(R) Xeon(R) CPU E5620 @ 2.40GHz"
        assert machine.sockets(root) == 2
        assert machine.is_virtual(root) is False

    def test_the_hypervisor_flag(self, tmp_path):
        root = tree(tmp_path, proc__cpuinfo=X86.format(n=0, model="AMD EPYC", package=0, flag="hypervisor"))
        assert machine.is_virtual(root) is True

    @pytest.mark.parametrize(
        ("implementer", "part", "name"),
        [("0x41", "0xd0c", "Neoverse-N1"), ("0x41", "0xd40", "Neoverse-V1"), ("0x41", "0xd4f", "Neoverse-V2")],
    )
    def test_arm_parts(self, tmp_path, implementer, part, name):
        assert machine.cpu_model(tree(tmp_path, proc__cpuinfo=ARM.format(implementer=implementer, part=part))) == name

    def test_a_board_that_names_itself(self, tmp_path):
        root = tree(
            tmp_path,
            proc__cpuinfo="model name\t: ARMv7 Processor rev 4 (v7l)\n",
            **{"proc__device-tree__model": "Raspberry Pi 3\0"},
        )
        assert machine.cpu_model(root) == "Raspberry Pi 3"
        assert machine.sockets(root) == 1

    @pytest.mark.parametrize(
        ("vendor", "product", "virtual"),
        [
            ("Amazon EC2", "m6g.large", True),
            ("Amazon EC2", "m6g.metal", False),
            ("QEMU", "KVM Virtual Machine", True),
            ("Microsoft Corporation", "Virtual Machine", True),
            ("Microsoft Corporation", "Surface Pro 9", False),
            ("Google", "Google Compute Engine", True),
            ("Google", "Coral", False),
            ("Dell Inc.", "PowerEdge R640", False),
        ],
    )
    def test_firmware(self, tmp_path, vendor, product, virtual):
        assert machine.is_virtual(dmi(tmp_path, vendor, product)) is virtual

    def test_nothing_known(self, tmp_path):
        assert machine.cpu_model(tmp_path)
        assert machine.sockets(tmp_path) == 1
        assert machine.is_virtual(tmp_path) is None

    @pytest.mark.parametrize(
        ("files", "governor"),
        [
            ({"cpufreq__policy0": "performance", "cpufreq__policy1": "performance"}, "performance"),
            ({"cpufreq__policy0": "powersave", "cpufreq__policy4": "performance"}, "performance+powersave"),
            ({"cpu0__cpufreq": "schedutil", "cpu1__cpufreq": "schedutil"}, "schedutil"),
            ({"cpufreq__policy0": ""}, None),
            ({}, None),
        ],
    )
    def test_governor(self, tmp_path, files, governor):
        tree(tmp_path, **{f"sys__devices__system__cpu__{name}__scaling_governor": f"{text}\n" for name, text in files.items()})
        assert machine.governor(tmp_path) == governor

    @pytest.mark.parametrize(
        ("files", "turbo"),
        [
            ({"intel_pstate__no_turbo": "0"}, "on"),
            ({"intel_pstate__no_turbo": "1"}, "off"),
            ({"cpufreq__boost": "1"}, "on"),
            ({"cpufreq__boost": "0"}, "off"),
            ({"intel_pstate__no_turbo": "1", "cpufreq__boost": "1"}, "off"),
            ({"cpufreq__policy0__boost": "1", "cpufreq__policy1__boost": "0"}, "mixed"),
            ({"cpufreq__boost": "rubbish"}, None),
            ({}, None),
        ],
    )
    def test_turbo(self, tmp_path, files, turbo):
        tree(tmp_path, **{f"sys__devices__system__cpu__{name}": f"{text}\n" for name, text in files.items()})
        assert machine.turbo(tmp_path) == turbo

    def test_sockets_from_the_topology(self, tmp_path):
        for number, package in enumerate(("0", "0", "1", "-1")):
            tree(tmp_path, **{f"sys__devices__system__cpu__cpu{number}__topology__physical_package_id": package})
        assert machine.sockets(tmp_path) == 2


def test_machine_has_the_reports_fields():
    found = machine.fingerprint()
    assert list(found) == ["id", "cpu", "cores", "os", "python", "virtual", "facts"]
    assert all(value is None or isinstance(value, str) for value in found["facts"].values())
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] >= 1
    assert found["cpu"]
    assert platform.python_version() in found["python"]


@pytest.fixture
def pretend(monkeypatch):
    """The machine with some facts replaced."""

    def pretended(memory=16.0, model="CPU", cores=8, virtual=False, **others):
        total = psutil.virtual_memory()._replace(total=int(memory * 2**30))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: total)
        monkeypatch.setattr(machine, "cpu_model", lambda: model)
        monkeypatch.setattr(machine, "cores", lambda: cores)
        monkeypatch.setattr(machine, "is_virtual", lambda: virtual)
        for name, value in others.items():
            monkeypatch.setattr(platform, name, lambda value=value: value)
        return machine.fingerprint()

    return pretended


@pytest.mark.parametrize("change", [{"memory": 15.4}, {"python_version": "9.9"}, {"node": "elsewhere"}, {"release": "99"}])
def test_nothing_twitches(pretend, change):
    before, now = pretend(), pretend(**change)
    assert (before["id"], before["facts"]) == (now["id"], now["facts"])
    assert machine.differences(before, now) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"memory": 32}, "memory: about 16 GiB, now about 32 GiB"),
        ({"model": "other"}, "CPU: CPU, now other"),
        ({"cores": 16}, "logical CPUs: 8, now 16"),
        ({"virtual": True}, "virtual: no, now yes"),
        ({"machine": "riscv64"}, "architecture: x86_64, now riscv64"),
    ],
)
def test_another_machine_has_another_id_and_says_what_differs(pretend, change, says):
    before = pretend(**{"machine": "x86_64"})
    now = pretend(**{"machine": "x86_64"} | change)
    assert before["id"] != now["id"]
    assert machine.differences(before, now) == [says]


def test_governor_and_turbo_are_conditions_of_the_same_machine(monkeypatch):
    found = []
    for governor, turbo in (("performance", "on"), ("powersave", "off"), (None, None)):
        monkeypatch.setattr(machine, "governor", lambda governor=governor: governor)
        monkeypatch.setattr(machine, "turbo", lambda turbo=turbo: turbo)
        found.append(machine.fingerprint())
    fixed, saving, unreadable = found
    assert fixed["id"] == saving["id"] == unreadable["id"], "its baselines stay in one folder"
    assert machine.differences(fixed, saving) == ["governor: performance, now powersave", "turbo: on, now off"]
    assert machine.differences(fixed, unreadable) == machine.differences(unreadable, fixed) == []


def test_machines_of_which_no_facts_are_known():
    assert machine.differences({"id": "a"}, {"id": "a", "facts": {"CPU": "x"}}) == []
    assert machine.differences({"id": "a"}, {"id": "b", "facts": {"CPU": "x"}}) == ["machine: a, now b"]
    assert machine.differences({"id": None}, {"id": "b", "facts": {}}) == ["machine: unknown, now b"]


def test_cores_ignores_python_cpu_count():
    script = "from pytest_joules import machine; print(machine.cores())"
    seen = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHON_CPU_COUNT": "77"}, capture_output=True, text=True, check=True
    )
    assert int(seen.stdout) == machine.cores() or sys.platform == "win32"


def git(root, *command):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, "-C", str(root), *command], check=True, capture_output=True)


@needs_git
class TestCommit:
    def test_no_repository(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert machine.commit(tmp_path) is None
        assert machine.commit(tmp_path / "missing") is None

    def test_no_commit_yet(self, tmp_path):
        git(tmp_path, "init")
        assert machine.commit(tmp_path) is None

    def test_clean_dirty_and_untracked(self, tmp_path):
        git(tmp_path, "init")
        (tmp_path / "a").write_text("1")
        git(tmp_path, "add", "a")
        git(tmp_path, "commit", "-m", "one")
        head = subprocess.run(
            ["git", "-C", str(tmp_path), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
        assert machine.commit(tmp_path) == {"id": head, "dirty": False}
        (tmp_path / "untracked").write_text("1")
        assert machine.commit(tmp_path) == {"id": head, "dirty": False}
        (tmp_path / "a").write_text("2")
        assert machine.commit(tmp_path) == {"id": head, "dirty": True}

    def test_a_hooks_variables_do_not_lead_astray(self, tmp_path, monkeypatch):
        git(tmp_path, "init")
        (tmp_path / "a").write_text("1")
        git(tmp_path, "add", "a")
        git(tmp_path, "commit", "-m", "one")
        here = machine.commit(tmp_path)
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
        assert here is not None
        assert machine.commit(tmp_path) == here


def test_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.commit(tmp_path) is None
