"""What can be done about a source that does not work: a command only where it can work."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterable
from pathlib import Path

from pytest_joules.machine import ROOT, is_virtual


def in_container(root: Path = ROOT) -> bool:
    """Whether this process is in a container: it sees of the machine what its host shows it, and can change none of it."""
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    try:
        variables = (root / "proc/1/environ").read_bytes().split(b"\0")
    except OSError:
        variables = []
    if any(variable.startswith(b"container=") for variable in variables):
        return True
    try:
        groups = (root / "proc/1/cgroup").read_text()
    except (OSError, ValueError):
        return False
    return any(word in groups for word in ("/docker", "/kubepods", "/lxc", "/libpod"))


def load_module(name: str, root: Path = ROOT) -> str:
    """The command that loads a kernel module for a counter of this processor; empty where there is none to load."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "i686", "AMD64"):
        return ""
    if is_virtual(root) or in_container(root) or (root / "sys/module" / name).exists():
        return ""
    try:
        known = (root / "lib/modules" / platform.release() / "modules.dep").read_text("utf-8", "replace")
    except OSError:
        return ""
    # Built into the kernel it is in another list, and loading it changes nothing.
    return f"sudo modprobe {name}" if f"/{name}.ko" in known else ""


def why_none(root: Path = ROOT) -> str:
    """Why a counter that the processor may have is not to be seen, as far as that is known: an addition to a reason."""
    if in_container(root):
        return ": a container sees what its host shows it"
    return ": virtual machines have none, unless their host shares its own" if is_virtual(root) else ""


def why_still(root: Path = ROOT) -> str:
    """Why a counter of the kernel does not move, as far as that is known: an addition to a reason."""
    return ": this virtual machine has nothing behind them" if is_virtual(root) else ""


def grant(root: Path, files: Iterable[Path]) -> str:
    """The command that makes these files of a powercap tree readable, and what to know of it on a second line."""
    wanted = {os.path.realpath(file) for file in files}
    patterns: list[str] = []
    for depth in ("*", "*/*", "*/*/*"):
        reached = {os.path.realpath(file) for file in root.glob(f"{depth}/energy_uj")}
        if wanted & reached:
            patterns.append(f"{shlex.quote(str(root))}/{depth}/energy_uj")
            wanted -= reached
    patterns += [shlex.quote(file) for file in sorted(wanted)]
    command = f"sudo chmod a+r {' '.join(patterns)}"
    where = "on its host, as this is a container; " if in_container() else ""
    note = f"{where}until the next reboot; root-only by default: other users could spy through it (PLATYPUS, CVE-2020-8694)"
    return f"{command}\n{note}"
