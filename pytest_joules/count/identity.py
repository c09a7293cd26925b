"""What decides a count besides the code that is counted. It is not the machine: two runners with the same of these have the same
counts."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_joules.model import CountingRecord

#: Goes up whenever the same code has other counts than before by this plugin's own doing.
VERSION = 1

#: Distributions that no test runs.
_NOT_RUN = frozenset(("pip", "wheel", "pytest-joules"))
#: Differences that are named.
_NAMED = 3


def identity(counter: str, cpu: str, project: Path) -> CountingRecord:
    """Of this interpreter, counted by ``counter`` on the CPU that it sees."""
    facts = {
        "counter": counter,
        "counting": str(VERSION),
        "architecture": platform.machine(),
        "Python": " ".join((platform.python_implementation(), platform.python_version(), *platform.python_build())),
        "compiler of Python": platform.python_compiler(),
        "C library": " ".join(platform.libc_ver()).strip() or sys.platform,
        "CPU": cpu,
    }
    return {"facts": facts, "packages": _packages(project), "folder": len(bytes(project))}


def _packages(project: Path) -> dict[str, str]:
    """Versions of what is installed, without the project itself, whose version says what its code says."""
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"] if distribution.metadata is not None else None
        if (
            name
            and name.lower().replace("_", "-") not in _NOT_RUN
            and not _is_of(distribution.read_text("direct_url.json"), project)
        ):
            found.setdefault(name.lower().replace("_", "-"), distribution.version or "")
    return dict(sorted(found.items()))


def _is_of(direct_url: str | None, project: Path) -> bool:
    """Whether a distribution was installed from the project's folder (PEP 610)."""
    return direct_url is not None and project.resolve().as_uri() in direct_url


def differences(before: CountingRecord, now: CountingRecord) -> list[str]:
    """What differs, in words; empty where counts of both can be compared."""
    found = list(_different(before["facts"], now["facts"]))
    packages = list(_different(before["packages"], now["packages"]))
    found += packages[:_NAMED]
    if len(packages) > _NAMED:
        found.append(f"{len(packages) - _NAMED} more packages")
    return found


def elsewhere(before: CountingRecord | None, now: CountingRecord | None) -> bool:
    """Whether the paths of the project's files have another length, which shows in tests that handle many of them."""
    lengths = {side["folder"] if side is not None else None for side in (before, now)}
    return None not in lengths and len(lengths) > 1


def _different(before: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    for name in [*before, *(name for name in now if name not in before)]:
        was, is_ = before.get(name), now.get(name)
        if was != is_:
            yield f"{name} {was or 'not there'} then, {is_ or 'not there'} now"
