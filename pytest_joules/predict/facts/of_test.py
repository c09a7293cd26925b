"""What the predictor knows of a test: the source of everything in its path, and how often that ran the last time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pytest_joules.model import Code, Outside

#: What a record's hash says of code that is not there any more.
_GONE = "gone"


@dataclass(frozen=True, slots=True)
class TestFacts:
    """One test as the representations see it."""

    __test__: ClassVar[bool] = False

    nodeid: str
    sources: Mapping[str, str]
    """The source, without indentation, of every function (``path::qualname``) and every statement of a module
    (``path::<module> NAME``) in its path."""
    counts: Mapping[str, Sequence[float]]
    """By ``path::qualname``: how often it was called, then how often each of its statements ran, in the order of
    :func:`pytest_joules.code.statements.statements`; under :data:`pytest_joules.model.OTHER`, where known, the calls of
    functions that are not the project's. Empty for a test that never ran."""
    test: str | None
    """The place of the test function itself."""
    parameters: str
    """What stands in the brackets of the node id."""
    outside: Outside = field(default_factory=dict)
    """What calls out of the project cost in its last run."""

    def without_run(self) -> TestFacts:
        """As if it had never run."""
        return replace(self, counts={}, outside={})


def test_place(nodeid: str) -> str:
    """The place of the test function: ``tests/a.py::TestX::test_b[1]`` is ``tests/a.py::TestX.test_b``."""
    path, separator, name = nodeid.partition("::")
    return f"{path}{separator}{name.partition('[')[0].replace('::', '.')}"


test_place.__test__ = False  # type: ignore[attr-defined]  # pytest must not take it for a test


def parameters_of(nodeid: str) -> str:
    """What stands in the brackets of a node id, ``""`` where there are none."""
    _, opened, inside = nodeid.partition("::")[2].partition("[")
    return inside.removesuffix("]") if opened else ""


def facts_of(nodeid: str, code: Code, sources: Mapping[tuple[str, str], str]) -> TestFacts:
    """The facts of a test from a record of the history.

    ``code`` is the record's, ``sources`` the store's source texts by place and hash. What has no stored source (hooks, the
    environment, code of an older history) is left out.
    """
    functions: Mapping[str, str] = code.get("functions") or {}
    found = {
        place: text
        for place, hashed in functions.items()
        if "::" in place and hashed != _GONE and (text := sources.get((place, hashed))) is not None
    }
    counts: Mapping[str, Sequence[float]] = code.get("counts") or {}
    place = test_place(nodeid)
    own = place if place in functions or place in found else None
    return TestFacts(nodeid, found, counts, own, parameters_of(nodeid), code.get("outside") or {})
