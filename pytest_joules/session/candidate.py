"""The plugin in a run that ``joules bisect`` has started: what the test came to there, and whether it is to be run at all.

Loaded with ``-p pytest_joules.session.candidate``; in the companions of such a run it does nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_joules.companion.child import NAME as COMPANION
from pytest_joules.files import scratch, strict_json
from pytest_joules.model import Code
from pytest_joules.revision.candidate import Answer, Request
from pytest_joules.revision.imports import belongs
from pytest_joules.rounds.net import guarded
from pytest_joules.session.call_report import outcome_of

if TYPE_CHECKING:
    from pytest_joules.session.against import Against
    from pytest_joules.session.reporting import Reporting


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("joules-bisect").addoption("--joules-candidate", metavar="FILE", help="what joules bisect asks")


# After the face to pytest, whose plugin objects this one asks.
@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    asked = config.getoption("joules_candidate")
    if asked and not config.pluginmanager.hasplugin(COMPANION):
        config.pluginmanager.register(Candidate(config, json.loads(Path(asked).read_text("utf-8"))), "joules-candidate")


class Candidate:
    """Answers a request."""

    def __init__(self, config: pytest.Config, request: Request) -> None:
        self.config = config
        self._request = request
        self._answer: Answer = {
            "collected": [],
            "errors": [],
            "same": None,
            "outcome": None,
            "why": "",
            "record": None,
            "before": None,
            "leak": None,
            "troubles": [],
            "root": str(config.rootpath),
        }

    # Collecting

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._answer["errors"].append(f"{report.nodeid or 'collecting'}: {_last_line(report.longreprtext)}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        self._look(session)
        return result

    @guarded
    def _look(self, session: pytest.Session) -> None:
        """A test whose code was judged elsewhere is not run; nor is more than one."""
        self._answer["collected"] = [item.nodeid for item in session.items]
        if len(session.items) == 1 and self._request["known"]:
            self._answer["same"] = self._same(session.items[0])
        if len(session.items) != 1 or self._answer["same"] is not None:
            session.items.clear()

    def _same(self, item: pytest.Item) -> str | None:
        from pytest_joules.session.tracking import Tracking
        from pytest_joules.settings.options import read_settings

        tracking = Tracking(self.config, read_settings(self.config))
        try:
            tracking.pytest_collection_finish()
            known = self._request["known"].items()
            return next((commit for commit, code in known if tracking.executed.is_unchanged(item, code)), None)
        finally:
            tracking.close()

    # The test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        answer = self._answer
        if not report.passed:
            # A verdict on its joules is no failure of the test's.
            answer["why"] = answer["why"] or _last_line(report.longreprtext)
        answer["outcome"] = outcome_of(report, answer["outcome"])
        answer["record"] = getattr(report, "joules", None) or answer["record"]

    # The end

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        answer, manager = self._answer, self.config.pluginmanager
        against: Against | None = manager.get_plugin("joules-against")
        reporting: Reporting | None = manager.get_plugin("joules-reporting")
        record = answer["record"]
        if reporting is not None:
            answer["troubles"] = [*reporting.messages.troubles]
        if against is not None and record is not None:
            other = against.comparing.other
            record["comparison"] = against.comparing.comparisons.get(record["nodeid"])
            if (test := other.tests.get(record["nodeid"])) is not None:
                code: Code = {"fingerprint": test.fingerprint, "functions": dict(test.functions), "unknown": []}
                answer["before"] = code
        answer["leak"] = self._leak(against.modules if against is not None else {})
        Path(self._request["answer"]).write_text(strict_json.text(answer), "utf-8")

    def _leak(self, more: Mapping[str, str]) -> str | None:
        """A module of the user's tree: what was measured is not the commit's."""
        here: dict[str, Any] = {name: getattr(module, "__file__", None) for name, module in sys.modules.copy().items()}
        tree = Path(self._request["tree"])
        for name, file in {**here, **more}.items():
            if not isinstance(file, str) or not belongs(path := Path(file), tree):
                continue
            # The folder for temporary files may lie in the tree.
            if not any(map(scratch.is_one, path.parts)):
                return f"{name} from {file}"
        return None


def _last_line(text: str) -> str:
    """What went wrong, of a traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    complaints = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
    return next(iter((*complaints[:1], *reversed(lines))), "no reason given")
