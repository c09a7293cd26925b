"""What holds for each test that was collected: told once all of its markers are there, before anything is measured."""

from __future__ import annotations

import pytest

from pytest_joules.judge.comparing import OtherSide
from pytest_joules.rounds import body
from pytest_joules.settings.markers import SETTINGS, ItemSettings, item_settings
from pytest_joules.settings.options import Settings


class Collected:
    """Reads the settings of all tests; what is wrong with them ends the run."""

    def __init__(self, config: pytest.Config, settings: Settings, other: OtherSide | None) -> None:
        """``other``: what the tests are compared with."""
        self.config = config
        self.settings = settings
        self._other = other

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        # Only now all markers are there: pytest_collection_modifyitems of a conftest may add some.
        try:
            for item in session.items:
                item.stash[SETTINGS] = settings_of(item, self.settings)
            if self._other is not None:
                self._refuse_nothing_in_common(session, self._other)
        except pytest.UsageError as error:
            output: dict[str, object] | None = getattr(self.config, "workeroutput", None)
            if output is None:
                raise
            # A worker cannot end the run with a usage error: the controller does, see Reporting.
            output["joules_misuse"] = str(error)
            pytest.exit(str(error))

    def _refuse_nothing_in_common(self, session: pytest.Session, other: OtherSide) -> None:
        """A comparison of nothing is a mistake of whoever asked for it, and is told before anything is measured."""
        if session.testsfailed or self.settings.update or self.settings.predict_only:
            return
        if not session.items or self.config.option.collectonly or any(item.nodeid in other.tests for item in session.items):
            return
        there = f"such as {next(iter(other.tests))}" if other.tests else "which has none"
        raise pytest.UsageError(
            f"--energy-compare: no test in common with baseline {other.name}: this run has {len(session.items)}, such as "
            f"{session.items[0].nodeid}, the baseline {len(other.tests)}, {there}. Run the tests that it has, from the same "
            "rootdir, or save a new one with --energy-save"
        )


def settings_of(item: pytest.Item, settings: Settings) -> ItemSettings:
    """What holds for one test. Raises ``pytest.UsageError``, which names it, where its markers are wrong."""
    own = item_settings(item, settings)
    if own.effort.iterations > 1 and not body.can_iterate(item):
        raise pytest.UsageError(
            f"{item.nodeid}: @pytest.mark.energy: iterations= needs a test function; leave it out or use rounds="
        )
    return own
