"""Files that GitLab shows on a merge request: Code Quality, as its documentation asks for it. Metrics are OpenMetrics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypedDict

from pytest_joules.report.findings import DEARER, Finding, Place
from pytest_joules.report.text import escaped


class _Lines(TypedDict):
    begin: int


class _Location(TypedDict):
    path: str
    lines: _Lines


class Issue(TypedDict):
    """An entry of the file."""

    description: str
    check_name: str
    fingerprint: str
    severity: str
    location: _Location


def code_quality(found: Sequence[Finding], place_of: Callable[[Finding], Place | None]) -> list[Issue]:
    """One entry for each test that is dearer and has a place; the same test in the same kind has the same fingerprint always."""
    issues: list[Issue] = []
    for one in found:
        place = place_of(one) if one.kind in DEARER else None
        if place is None:
            continue
        check = f"energy-{one.kind.replace(' ', '-')}" + ("" if one.unit == "J" else "-instructions")
        issues.append(
            {
                "description": f"{escaped(one.nodeid)} {one.sentence()}",
                "check_name": check,
                "fingerprint": hashlib.sha256(f"{check}\0{one.nodeid}".encode("utf-8", "backslashreplace")).hexdigest(),
                "severity": "major" if one.fails else "minor",
                "location": {"path": place.path, "lines": {"begin": place.line}},
            }
        )
    return issues
