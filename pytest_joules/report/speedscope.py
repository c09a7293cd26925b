"""An account as a file for speedscope (https://www.speedscope.app): a sampled profile whose weights are joules.

The form is its file format's schema: https://www.speedscope.app/file-format-schema.json
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from pytest_joules import __version__
from pytest_joules.files import atomic
from pytest_joules.files.strict_json import text
from pytest_joules.model import AccountRecord, NodeRecord
from pytest_joules.report.account import UNATTRIBUTED

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
#: speedscope has no unit of energy: its numbers are microjoules, as the profile's name says.
_MICRO = 1e6


def write(accounts: Mapping[str, AccountRecord], path: str | os.PathLike[str]) -> None:
    """Write a profile for each account, by its name. Raises :class:`pytest_joules.files.atomic.ReportPathError`."""
    atomic.atomically(path, lambda file: file.writelines((text(contents(accounts)), "\n")), "speedscope file")


def contents(accounts: Mapping[str, AccountRecord]) -> dict[str, object]:
    """The file's object; weights are microjoules."""
    frames: dict[str, int] = {}
    return {
        "$schema": _SCHEMA,
        "name": next(iter(accounts)) if len(accounts) == 1 else f"{len(accounts)} tests",
        "exporter": f"pytest-joules {__version__}",
        "activeProfileIndex": 0,
        "profiles": [_profile(name, record, frames) for name, record in accounts.items()],
        "shared": {"frames": [{"name": name} for name in frames]},
    }


def _profile(name: str, record: AccountRecord, frames: dict[str, int]) -> dict[str, object]:
    stacks = list(_stacks(record["tree"], ()))
    stacks.append(((UNATTRIBUTED,), record["unattributed"]["joules"]))
    # What noise made negative has no width.
    stacks = [(stack, joules) for stack, joules in stacks if joules > 0]
    weights = [joules * _MICRO for _, joules in stacks]
    return {
        "type": "sampled",
        "name": f"{name} (microjoules)",
        "unit": "none",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": [[frames.setdefault(frame, len(frames)) for frame in stack] for stack, _ in stacks],
        "weights": weights,
    }


def _stacks(nodes: Sequence[NodeRecord], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Each node with what it is in, and its own joules."""
    for node in nodes:
        stack = (*above, node["name"] + (f" ({node['direction']})" if node["direction"] == "backward" else ""))
        yield stack, node["own"]
        yield from _stacks(node["children"], stack)
