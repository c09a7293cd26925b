"""The plugin objects of a process that reports: a plain run, or the controller."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_joules.model import SourceRecord
from pytest_joules.session.ending import Ending
from pytest_joules.session.progress import ProgressLine
from pytest_joules.session.reporting import Reporting
from pytest_joules.session.summary import Summary
from pytest_joules.settings.options import Settings
from pytest_joules.sources.tsc import TickCounter


def register(
    config: pytest.Config,
    settings: Settings,
    sources: Sequence[SourceRecord],
    ticks: TickCounter,
    said: list[str],
    *,
    controller: bool,
) -> Reporting:
    """Register them. ``said``: lines of the header. Raises as :class:`Reporting`."""
    manager = config.pluginmanager
    reporting = Reporting(config, settings, sources, ticks)
    manager.register(Summary(config, reporting, said), "joules-summary")
    manager.register(reporting, "joules-reporting")
    manager.register(Ending(config, reporting), "joules-ending")
    if not controller:
        manager.register(ProgressLine(config), "joules-progress")
    return reporting
