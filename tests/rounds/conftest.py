"""Inner runs without the plugins of others."""

from __future__ import annotations

import loaded  # noqa: F401 - so that runs in this process need not import it all each time
import pytest


@pytest.fixture(autouse=True)
def _alone(alone):
    """Other plugins have their own tests, and take most of the time to start."""
