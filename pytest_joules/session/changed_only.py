"""``--energy-changed-only``: what was measured before stands for tests whose code is unchanged; they run once, as plain tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pytest_joules import machine
from pytest_joules.model import Record, empty_record
from pytest_joules.rounds.net import guarded
from pytest_joules.session import history
from pytest_joules.session.tracking import Tracking
from pytest_joules.settings.options import Settings
from pytest_joules.store import StoreError, open_store
from pytest_joules.store.entries import LatestCode


class ChangedOnly:
    """The measurements of earlier sessions that still hold.

    A measurement that is ``doubted`` does not: its test is measured.
    ``arrived`` is given the call report of each such test that passed, its record set, before anybody else sees it.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        tracking: Tracking,
        source: str,
        *,
        doubted: Callable[[Record], bool],
        arrived: Callable[[pytest.Item, pytest.TestReport, Record], None],
    ) -> None:
        self.config = config
        self.settings = settings
        self.tracking = tracking
        self.source = source
        self.why: str | None = None
        """Why all tests are measured."""
        self._doubted = doubted
        self._arrived = arrived
        self._records: dict[str, LatestCode] = {}
        self._notices: list[str] = []
        """What there is to say of the history."""
        self._items: dict[str, pytest.Item] = {}

    @pytest.hookimpl(trylast=True)
    @guarded
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self.config.option.collectonly or not session.items or self.why is not None:
            return
        known = self._history([item.nodeid for item in session.items])
        self._records = {
            item.nodeid: known[item.nodeid]
            for item in session.items
            if item.nodeid in known
            and (code := known[item.nodeid]["code"]) is not None
            and self.tracking.executed.is_unchanged(item, code)
            and not self._doubted(known[item.nodeid])
        }
        if not known and self.why is None:
            self.why = f"the history has no measurement by this machine and {self.source} whose code was recorded"

    def _history(self, nodeids: Sequence[str]) -> dict[str, LatestCode]:
        try:
            store = open_store(history.url(self.config, self.settings), write=False)
            try:
                return store.latest_code(machine.identity(), self.source, nodeids)
            finally:
                store.close()
                self._notices = store.notices
        except history.NoCache as error:
            self.why = f"there is no history: {error}"
        except StoreError as error:
            self.why = f"the history cannot be read: {error}"
        return {}

    def stands_for(self, item: pytest.Item) -> bool:
        """Whether an earlier measurement stands for this test, which now runs once, unmeasured."""
        if item.nodeid not in self._records:
            return False
        self._items[item.nodeid] = item
        self.tracking.opened.listen()  # nothing is measured
        return True

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        item = self._items.pop(report.nodeid, None) if report.when == "call" else None
        if item is None or not report.passed or hasattr(report, "wasxfail"):
            return
        known = self._records[report.nodeid]
        record = empty_record(report.nodeid)
        record.update({name: value for name, value in known.items() if name in record})  # type: ignore[typeddict-item]  # both are records
        record.update({"cached": known["created"], "outcome": None, "budget": None, "comparison": None, "prediction": None})
        self._arrived(item, report, record)

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_sessionfinish(self) -> None:
        output = getattr(self.config, "workeroutput", None)
        said = (self.why, self._notices)
        if output is not None:
            output["joules_not_cached"] = said
        elif (reporting := self.config.pluginmanager.get_plugin("joules-reporting")) is not None:
            reporting.add_not_cached(*said)
