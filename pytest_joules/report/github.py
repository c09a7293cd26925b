"""Annotations of GitHub Actions: workflow commands on the standard output of a step.

Written after the public description of workflow commands: what would end a line or a property is percent-encoded, so that no
name of a test and no message can be a command of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_joules.report import quantity
from pytest_joules.report.findings import DEARER, Finding, Place
from pytest_joules.report.text import escaped

#: The site shows ten of a step.
MOST = 10


def commands(found: Sequence[Finding], place_of: Callable[[Finding], Place | None]) -> list[str]:
    """One line each for the worst that is dearer: an error where it failed its test, else a warning."""
    dearer = [one for one in found if one.kind in DEARER][:MOST]
    return [_line(one, place_of(one)) for one in dearer]


def _line(found: Finding, place: Place | None) -> str:
    kind = "error" if found.fails else "warning"
    at = f"file={_property(place.path)},line={place.line}," if place is not None else ""
    return f"::{kind} {at}title={_property(title(found))}::{_data(f'{escaped(found.nodeid)} {found.sentence()}')}"


def title(found: Finding) -> str:
    """``regressed 1.34×: tests/test_shop.py::test_total``."""
    ratio = f" {quantity.ratio(found.ratio)}×" if found.ratio is not None else ""
    return f"{found.kind}{ratio}: {escaped(found.nodeid)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
