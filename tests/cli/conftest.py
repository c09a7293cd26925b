"""A project that was measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bisected import shop  # noqa: F401 - a fixture
from inner import Inner, Make
from predictor_project import write


def _measured(inner: Inner) -> None:
    write(inner)
    for _ in range(2):
        inner.run("--energy-rounds=3", "--energy-warmup=1").assert_outcomes(passed=31)


@pytest.fixture
def project(inner: Inner, begin: Callable[[Inner, Make], None], monkeypatch: pytest.MonkeyPatch) -> Inner:
    """A project that was measured twice."""
    monkeypatch.setenv("COLUMNS", "80")
    begin(inner, _measured)
    return inner
