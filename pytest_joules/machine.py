"""What machine, what code.

The machine's id is made of facts that stay the same until somebody changes the hardware: a baseline must not be lost because
a clock frequency, a host name or a Python version moved. Governor and turbo are conditions of a measurement, not another
machine: they are facts of the record, compared when two measurements are (:func:`differences`), and not part of the id.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.model.records import CommitRecord, MachineRecord, VersionsRecord

if TYPE_CHECKING:
    from importlib.metadata import Distribution

ROOT = Path("/")

#: Designs by ARM's ``MIDR_EL1`` implementer and part number, for kernels that name no model
#: (Linux ``arch/arm64/include/asm/cputype.h``).
ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x41", "0xd84"): "Neoverse-V3",
    ("0x41", "0xd8e"): "Neoverse-N3",
    ("0xc0", "0xac3"): "Ampere-1",
    ("0xc0", "0xac4"): "Ampere-1a",
}

#: What firmware of virtual machines calls itself. Makers who also sell real machines (Google, Microsoft) only by product.
VIRTUAL_FIRMWARE = re.compile(
    r"qemu|kvm|vmware|virtualbox|innotek|\bxen\b|bochs|bhyve|parallels|virtual machine|hyper-v|google compute engine"
    r"|openstack|droplet|vserver|alibaba cloud|amazon ec2|hvm domu|standard pc \(",
    re.IGNORECASE,
)


def _text(path: Path) -> str:
    """The file's text without padding, or an empty string."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\x00 \t\r\n")
    except OSError:
        return ""


def _cpuinfo(root: Path) -> list[tuple[str, str]]:
    """Keys and values of ``/proc/cpuinfo`` in its order, keys in lower case."""
    pairs = (line.partition(":") for line in _text(root / "proc/cpuinfo").splitlines())
    return [(key.strip().lower(), value.strip()) for key, colon, value in pairs if colon]


def _run(*command: str, env: dict[str, str] | None = None) -> str | None:
    """The command's output; ``None`` where it is missing, fails or takes more than 5 s."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=5, check=True, env=env, stdin=subprocess.DEVNULL)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def _sysctl(name: str) -> str:
    return (_run("/usr/sbin/sysctl", "-n", name) or "").strip()


def _registry(key: str, name: str) -> str:
    """A string of the machine's hive in the Windows registry, or an empty string."""
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                return str(winreg.QueryValueEx(opened, name)[0]).strip()
        except OSError:
            return ""
    return ""


def cpu_model(root: Path = ROOT) -> str:
    """The CPU's name as the system gives it; the design's name on ARM; the architecture where there is neither.

    Args:
        root: where the Linux pseudo file systems are found.
    """
    if sys.platform == "darwin":
        found = _sysctl("machdep.cpu.brand_string")
    elif sys.platform == "win32":
        found = _registry(r"HARDWARE\DESCRIPTION\System\CentralProcessor\0", "ProcessorNameString")
    else:
        found = _linux_cpu_model(root)
    return " ".join(found.split()) or platform.processor() or platform.machine() or "unknown"


def _linux_cpu_model(root: Path) -> str:
    facts: dict[str, str] = {}
    for key, value in _cpuinfo(root):
        facts.setdefault(key, value)
    model = facts.get("model name", "")
    # "ARMv8 Processor rev 0 (v8l)" names an instruction set, not a CPU.
    if model and not model.startswith("ARMv"):
        return model
    part = ARM_PARTS.get((facts.get("cpu implementer", "").lower(), facts.get("cpu part", "").lower()))
    if part:
        return part
    if facts.get("cpu"):  # POWER, older MIPS
        return facts["cpu"]
    return _text(root / "proc/device-tree/model") or model


def cores() -> int:
    """Logical CPUs of the machine that are online: not the affinity mask, not a container's quota."""
    # os.cpu_count() can be overridden (PYTHON_CPU_COUNT, -X cpu_count) from Python 3.13 on.
    if sys.platform != "win32":
        try:
            online = os.sysconf("SC_NPROCESSORS_ONLN")
        except (ValueError, OSError):
            online = 0
        if online > 0:
            return online
    return os.cpu_count() or 1


def sockets(root: Path = ROOT) -> int:
    """CPU packages of the machine; 1 where that cannot be told (as on Windows)."""
    if sys.platform == "darwin":
        count = _sysctl("hw.packages")
        return int(count) if count.isdecimal() and int(count) else 1
    packages = {value for key, value in _cpuinfo(root) if key == "physical id"}
    if not packages:
        topology = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology/physical_package_id")
        packages = {_text(path) for path in topology} - {"", "-1"}
    return len(packages) or 1


def is_virtual(root: Path = ROOT) -> bool | None:
    """Whether this is a virtual machine; ``None`` where nothing tells.

    On x86 the CPU itself says it (the ``hypervisor`` flag: CPUID leaf 1, ECX bit 31); elsewhere the firmware's tables do.
    """
    if sys.platform == "darwin":
        return {"1": True, "0": False}.get(_sysctl("kern.hv_vmm_present"))
    if sys.platform == "win32":
        bios = r"HARDWARE\DESCRIPTION\System\BIOS"
        return _firmware_is_virtual(_registry(bios, "SystemManufacturer"), _registry(bios, "SystemProductName"))
    flags = next((value.split() for key, value in _cpuinfo(root) if key == "flags"), None)
    if flags and "hypervisor" in flags:
        return True
    if (root / "proc/device-tree/hypervisor").exists() or _text(root / "sys/hypervisor/type"):
        return True
    dmi = root / "sys/class/dmi/id"
    found = _firmware_is_virtual(_text(dmi / "sys_vendor"), _text(dmi / "product_name"))
    return False if found is None and flags else found


def _firmware_is_virtual(vendor: str, product: str) -> bool | None:
    if not (vendor or product):
        return None
    if "metal" in product.lower():  # Amazon's bare-metal instances carry the same vendor as its virtual ones
        return False
    return bool(VIRTUAL_FIRMWARE.search(f"{vendor} {product}"))


def _memory_class() -> int:
    """Memory as the nearest power of two GiB: firmware and kernel keep a part of it that changes from boot to boot."""
    import psutil

    try:
        gibibytes = psutil.virtual_memory().total / 2**30
    except (OSError, psutil.Error):
        return 0
    return 2 ** max(0, round(math.log2(gibibytes))) if gibibytes > 0 else 0


def governor(root: Path = ROOT) -> str | None:
    """What steers the clock frequency (``performance``, ``powersave``, …; several joined by ``+``); ``None`` where unreadable."""
    # One policy holds for several CPUs; before Linux 4.3 the files of the CPUs are all there is.
    cpus = root / "sys/devices/system/cpu"
    paths = [*cpus.glob("cpufreq/policy*/scaling_governor")] or [*cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")]
    return "+".join(sorted({_text(path) for path in paths} - {""})) or None


def turbo(root: Path = ROOT) -> str | None:
    """``on``, ``off`` or, where the CPUs differ, ``mixed``: frequencies above the nominal one; ``None`` where unreadable."""
    cpus = root / "sys/devices/system/cpu"
    disabled = _text(cpus / "intel_pstate/no_turbo")
    if disabled in ("0", "1"):
        return "off" if disabled == "1" else "on"
    paths = [path for path in (cpus / "cpufreq/boost", *cpus.glob("cpufreq/policy*/boost")) if path.exists()]
    states = {_text(path) for path in paths} & {"0", "1"}
    if not states:
        return None
    return "mixed" if len(states) > 1 else "on" if states == {"1"} else "off"


def fingerprint() -> MachineRecord:
    """The ``machine`` entry of the report: ``id``, ``cpu``, ``cores``, ``os``, ``python``, ``virtual``, ``facts``.

    ``facts`` are what a comparison asks about, readable, in the order in which they are said; ``None`` where unknown. The id
    is a hash of CPU model, logical CPUs, architecture, memory class and virtual or not. Governor and turbo are facts beside
    it; the system's and Python's versions are reported only.
    """
    model, count, virtual, memory = cpu_model(), cores(), is_virtual(), _memory_class()
    identity = (model, str(count), platform.machine(), str(memory), str(virtual))
    return {
        "id": hashlib.sha256("\n".join(identity).encode()).hexdigest()[:12],
        "cpu": model,
        "cores": count,
        "os": f"{platform.system()} {platform.release()}".strip(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "virtual": virtual,
        "facts": {
            "CPU": model,
            "logical CPUs": str(count),
            "architecture": platform.machine() or None,
            "memory": f"about {memory} GiB" if memory else None,
            "virtual": None if virtual is None else "yes" if virtual else "no",
            "governor": governor(),
            "turbo": turbo(),
        },
    }


def identity() -> str:
    """The id of this machine."""
    return fingerprint()["id"] or "unknown"


def differences(before: MachineRecord, now: MachineRecord) -> list[str]:
    """What differs between two ``machine`` entries so that their joules cannot be compared: ``turbo: on, now off``.

    Empty for the same machine in the same condition. A condition that only one of the two knows is no difference: it may
    have become readable in between.
    """
    known, seen = before.get("facts") or {}, now.get("facts") or {}
    found = [
        f"{name}: {known[name]}, now {seen[name]}"
        for name in known
        if known[name] is not None and seen.get(name) is not None and known[name] != seen[name]
    ]
    if not found and before.get("id") != now.get("id"):
        return [f"machine: {before.get('id') or 'unknown'}, now {now.get('id') or 'unknown'}"]
    return found


def commit(root: Path) -> CommitRecord | None:
    """``{"id", "dirty"}`` of the revision checked out at ``root``; dirty when a tracked file differs from it.

    ``None`` without git, outside a repository, before the first commit, or when git does not answer within 5 s.
    """
    # The variables that git sets for its hooks would point at the hook's repository instead of root.
    env = {key: value for key, value in os.environ.items() if key not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    env.update(GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    options = ("-c", "core.fsmonitor=false", "-C", str(root))
    status = _run("git", *options, "status", "--porcelain=v2", "--branch", "--untracked-files=no", env=env)
    if status is None:
        return None
    lines = status.splitlines()
    revision = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if revision == "(initial)":
        return None
    return {"id": revision, "dirty": any(not line.startswith("#") for line in lines)}


def versions() -> VersionsRecord:
    """What measured: versions of this plugin, of pytest and of Python, and of every distribution that is installed, by name."""
    from importlib import metadata

    from pytest_joules import __version__

    installed: dict[str, str] = {}
    for found in metadata.distributions():
        with contextlib.suppress(Exception):  # what is broken has no version
            installed.setdefault(*_name_and_version(found))
    return {
        "pytest-joules": __version__,
        "pytest": installed.get("pytest"),
        "python": platform.python_version(),
        "installed": dict(sorted(installed.items(), key=lambda entry: entry[0].lower())),
    }


def _name_and_version(found: Distribution) -> tuple[str, str]:
    # What Python parses for it is the whole description, as a mail: most of the time that a short run takes to end.
    head = (found.read_text("METADATA") or found.read_text("PKG-INFO") or "").partition("\n\n")[0]
    name, version = (re.search(rf"^{key}: *(.*\S)", head, re.MULTILINE) for key in ("Name", "Version"))
    return (name[1], version[1]) if name and version else (str(found.metadata["Name"]), str(found.version))


# In 3.14 a collection of the middle generation is a step of the incremental collector, of open length: there the young one it is.
YOUNG = 0 if sys.version_info >= (3, 14) else 1
