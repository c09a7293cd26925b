"""Inner runs without the plugins of others."""

from __future__ import annotations

import loaded  # noqa: F401 - so that runs in this process need not import it all each time
import pytest


@pytest.fixture(autouse=True)
def alone(pytester, monkeypatch):
    """Other plugins have their own tests, and take most of the time to start."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "own_counters")
