"""The end of a run that reports: the report is completed, judged, written, and the history closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_joules.clock import CLOCKS
from pytest_joules.model import SourceFacts
from pytest_joules.report.account_growth import grown
from pytest_joules.rounds.net import in_short, net, troubles
from pytest_joules.session import report_files
from pytest_joules.session.ci import Publishing
from pytest_joules.session.reporting import Reporting

#: Said of a session in which no test named anything.
NOTHING_TRACED = (
    "--energy-trace=modules: no account: a test says what to trace, by energy.trace(model) before the model runs, or by "
    "energy.trace(FILE) of a trace that it writes where energy.tracing is true"
)

if TYPE_CHECKING:
    from pytest_joules.code.project import Project
    from pytest_joules.session.tracking import Tracking


class Ending:
    """Does so once all tests are reported."""

    def __init__(self, config: pytest.Config, reporting: Reporting) -> None:
        self.config = config
        self._reporting = reporting

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        reporting = self._reporting
        if self.config.option.collectonly or exitstatus == pytest.ExitCode.USAGE_ERROR:
            # Nothing was run: an older report stays.
            reporting.history.close_unused()
            if exitstatus != pytest.ExitCode.USAGE_ERROR:
                self._say_what_is_not_made()
            return
        for nodeid in list(reporting.unfinished):
            reporting.pytest_runtest_logfinish(nodeid)
        report, messages = reporting.report, reporting.messages
        report.session["seconds"] = (CLOCKS.wall() - reporting.begun) / 1e9
        if report.sources:  # else nothing was measured
            ticks = SourceFacts("tsc", "measured", (), 1 / reporting.ticks.frequency(), None, reporting.ticks.describe())
            report.sources.append(ticks.as_record())
        with net(troubles(self.config)):
            self._compare()
            if reporting.variants is not None:
                reporting.variants.settle(report)
            if reporting.follower is not None and (account := reporting.follower.account(report)) is not None:
                report.session["predicting"] = account
                reporting.history.keep_account(account)
        if reporting.settings.trace == "modules" and not any(record["account"] for record in report.tests):
            messages.remark(NOTHING_TRACED)
        with net(messages.unwritten):
            self._accept(exitstatus)
        report_files.write(self.config, reporting.settings, report, messages, reporting.history.past)
        publishing = Publishing(self.config, reporting.settings.ci, report, messages, self._project)
        with net(troubles(self.config), "told to the CI system"):
            publishing.publish()
            reporting.commands = publishing.commands
        reporting.history.end(reporting.places, self._project)
        messages.troubles += in_short(troubles(self.config))
        reporting.history.say_what_is_not_kept()
        messages.troubles += messages.unwritten
        reporting.ended = True
        if messages.unwritten and session.exitstatus == pytest.ExitCode.OK:
            # Whoever asked for it goes on with what is not there.
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            messages.troubles.append("exit status 1: all tests passed, but what was asked for could not be written")

    def _say_what_is_not_made(self) -> None:
        """Of a run that only collects."""
        reporting = self._reporting
        files = ("json", "csv", "html", "markdown", "save")
        asked = [option for option in files if self.config.getoption(f"energy_{option}", None) is not None]
        if reporting.follower is not None and reporting.follower.writes_json:
            asked = [option for option in asked if option != "json"]
        if asked:
            options = " and ".join(f"--energy-{option}" for option in asked)
            reporting.messages.troubles.append(f"{options}: nothing is written, as --collect-only runs no test")

    def _project(self) -> Project:
        from pytest_joules.code import project

        tracking: Tracking | None = self.config.pluginmanager.get_plugin("joules-tracking")
        return tracking.project if tracking is not None else project.Project(self.config.rootpath)

    def _compare(self) -> None:
        reporting = self._reporting
        if reporting.other is None:
            return
        from pytest_joules.session import baselines

        for record in reporting.report.tests:
            record["comparison"] = reporting.comparisons.get(record["nodeid"], record["comparison"])
            before = reporting.other.tests.get(record["nodeid"])
            if record["account"] is not None and before is not None and before.account is not None:
                record["account"]["grown"] = grown(record["account"], before.account)
        whole = not any("::" in argument for argument in self.config.args)
        reporting.report.comparison = baselines.overview(
            reporting.other,
            reporting.report,
            reporting.settings.threshold,
            reporting.collected if whole else set(reporting.other.tests),
        )

    def _accept(self, exitstatus: int) -> None:
        """Write or mend the baseline."""
        reporting = self._reporting
        if not reporting.accepting:
            return
        from pytest_joules.code import inventory
        from pytest_joules.session import baselines

        try:
            if exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR):
                reporting.messages.troubles.append("no baseline was written: the run did not come to its end")
            else:
                texts = inventory.take(self._project(), reporting.places, reporting.started)
                said = baselines.accept(self.config, reporting.settings, reporting.report, reporting.functions, texts)
                reporting.messages.remarks += said
        except baselines.BaselineError as error:
            reporting.messages.unwritten.append(str(error))
