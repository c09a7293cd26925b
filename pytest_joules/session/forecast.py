"""Predicting inside pytest, in a process that reports: says what was predicted, and keeps what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_joules.files import scratch
from pytest_joules.model import PredictingRecord, PredictionRecord, Record, Report, ReportedPredicting, empty_record
from pytest_joules.rounds.net import guarded
from pytest_joules.session.call_report import status
from pytest_joules.session.quick_imports import quick_imports
from pytest_joules.session.terminal import encoding, say
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from pytest_joules.session.reporting import Reporting
    from pytest_joules.session.workers import WorkerNode
    from pytest_joules.store.entries import PastPredicting


@dataclass(frozen=True, slots=True)
class Foretold:
    """What asking came to. Plain JSON types only, so that it crosses process borders."""

    predictions: Mapping[str, PredictionRecord] = field(default_factory=dict)
    """``record["prediction"]`` by node id; empty where nothing could be predicted."""
    account: PredictingRecord | None = None
    """How many of what, and what predicting drew and saved."""
    earlier: list[PastPredicting] = field(default_factory=list)
    """The accounts of earlier sessions, the newest first."""
    left_out: list[str] = field(default_factory=list)
    """Node ids that are not run."""
    trouble: str | None = None
    """Why nothing could be predicted."""
    notices: list[str] = field(default_factory=list)
    """What there is to say of the history."""


class Forecast:
    """Prints the section before tests run; at the end, holds what was predicted against what was measured."""

    def __init__(self, config: pytest.Config, settings: Settings, reporting: Reporting | None) -> None:
        self.config = config
        self.settings = settings
        self.reporting = reporting
        """``None`` in a run that does not measure."""
        self.foretold: Foretold | None = None
        self._said = False
        self._folder: Path | None = None
        self._records: dict[str, Record] = {}
        self._collected: Sequence[str] = ()
        self._passed: dict[str, bool] = {}
        """By node id, whether the test's own code did, of those that were predicted."""
        if self.writes_json and settings.json is not None:
            from pytest_joules.files import atomic

            try:
                atomic.check(settings.json, "--energy-json")
            except atomic.ReportPathError as error:
                raise pytest.UsageError(str(error)) from None

    @property
    def writes_json(self) -> bool:
        """Whether the report is written here: nobody measures, or nobody will."""
        alone = self.reporting is None or self.config.option.collectonly
        return alone and self.settings.json is not None

    def take(self, foretold: Foretold) -> None:
        """What was found in the process that collected."""
        from pytest_joules.predict.outcomes import SESSIONS, balance

        account = foretold.account
        if account is not None:
            accounts = [account, *foretold.earlier]
            account["balance"], account["sessions"] = balance(accounts), min(len(accounts), SESSIONS)
        self.foretold = foretold

    # Workers

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerNode) -> None:
        if self._folder is None:
            self._folder = scratch.folder("predicted")
        node.workerinput["joules_predicting"] = str(self._folder)

    @pytest.hookimpl(optionalhook=True)
    @guarded
    def pytest_xdist_node_collection_finished(self) -> None:
        if self.foretold is None and self._folder is not None and (found := sorted(self._folder.glob("*.json"))):
            self.take(Foretold(**json.loads(found[0].read_text("utf-8"))))
            self._say()

    # Before tests run

    @pytest.hookimpl(trylast=True)
    @guarded
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected = [item.nodeid for item in session.items]
        self._say()

    def _say(self) -> None:
        terminal: pytest.TerminalReporter | None = self.config.pluginmanager.get_plugin("terminalreporter")
        if self._said or self.foretold is None or terminal is None:
            return
        self._said = True
        quiet = self.config.option.verbose < 0
        writer = self.config.get_terminal_writer()
        for notice in self.foretold.notices:
            self._tell(notice)
        if self.foretold.trouble is not None:
            self._tell(self.foretold.trouble)
        elif self.foretold.account is not None and not quiet:
            with quick_imports(self.config):
                from pytest_joules.report import prediction
            terminal.section("energy: predicted")
            account = self.foretold.account
            for line in prediction.lines(
                self.foretold.predictions, account, writer.fullwidth, self.settings.top, encoding(self.config)
            ):
                terminal.write_line(line)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport, config: pytest.Config
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        return status(report, config)

    # The end

    @guarded
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.reporting is None and self.settings.json is not None:
            from pytest_joules.session.call_report import outcome_of

            record = self._records.setdefault(report.nodeid, empty_record(report.nodeid))
            record["outcome"] = outcome_of(report, record["outcome"])

    def outcome(self, record: Record, *, passed: bool, breach: str | None = None) -> None:
        """Complete a test's record by what was predicted of it, and by what came of that. ``breach``: what made it fail."""
        from pytest_joules.predict.outcomes import hold

        if record["prediction"] is None and self.foretold is not None:
            record["prediction"] = self.foretold.predictions.get(record["nodeid"])
        if record["prediction"] is not None:
            self._passed[record["nodeid"]] = passed
            held = hold(record["prediction"], record, passed=passed)
            record["prediction"] = {**held, "failed": breach == "predicted"}

    def account(self, report: Report) -> ReportedPredicting | None:
        """The predictor's account of this session, complete; ``None`` where nothing was predicted."""
        from pytest_joules.predict.outcomes import counts

        if self.foretold is None or self.foretold.account is None:
            return None
        stretches = self._hold(report) if self.reporting is not None and not self.config.option.collectonly else []
        outcomes = counts(record["prediction"] for record in report.tests)
        account: PredictingRecord = {**self.foretold.account, "outcomes": outcomes}
        for said in ("balance", "sessions", "intervals"):
            account.pop(said, None)  # type: ignore[misc]  # each is a key of its type
        if stretches:
            account["stretches"] = stretches
        return account

    def _hold(self, report: Report) -> list[float]:
        """Say of all tests what came of what was predicted of them; by how much intervals should have been wider."""
        from pytest_joules.store import StoreError

        if self.reporting is None or (store := self.reporting.history.store) is None or not self._passed:
            return []
        with quick_imports(self.config):
            from pytest_joules.session import held
        try:
            kept = held.hold_all(report, self._passed, store, self.settings.threshold)
        except StoreError as error:
            self._tell(f"predictions are not held against what was measured: {error}")
            return []
        self.reporting.history.keep_predictions(kept)
        account = self.foretold.account if self.foretold is not None else None
        return held.stretches(kept.values(), account.get("widened", 1.0) if account is not None else 1.0)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._folder is not None:
            scratch.remove(self._folder)
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.foretold is not None and self.foretold.left_out:
            session.exitstatus = pytest.ExitCode.OK
        alone = self.reporting is None or self.config.option.collectonly
        if alone and exitstatus != pytest.ExitCode.USAGE_ERROR:
            with quick_imports(self.config):
                troubles = self._finish_alone()
            if troubles and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _finish_alone(self) -> bool:
        """The report and the account of a run that measured nothing; whether the report could not be written."""
        from pytest_joules import machine
        from pytest_joules.files import atomic
        from pytest_joules.report import json_file
        from pytest_joules.session.past import history_url, keep
        from pytest_joules.session.predictor import NoPredictor
        from pytest_joules.store import StoreError

        foretold = self.foretold or Foretold()
        collecting = self.config.option.collectonly
        if foretold.account is None and self.settings.json is None:
            return False
        report = Report(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            machine=machine.fingerprint(),
            versions=machine.versions(),
            commit=machine.commit(self.config.rootpath),
            settings=self.settings.as_record(),
            sources=[],
            session={"seconds": None, "joules": None, "idle_watts": None},
        )
        if collecting:
            self._records = {nodeid: empty_record(nodeid) for nodeid in foretold.predictions or self._collected}
        for nodeid, record in self._records.items():
            record["prediction"] = foretold.predictions.get(nodeid)
            report.tests.append(record)
        account = self.account(report)
        if account is not None:
            report.session["predicting"] = account
        try:
            if account is not None and not collecting:
                keep(history_url(self.config, self.settings), report, account)
        except (NoPredictor, StoreError) as error:
            self._tell(str(error))
        try:
            if self.settings.json is not None:
                json_file.write(report, self.settings.json)
        except atomic.ReportPathError as error:
            self._tell(f"--energy-json: {error}")
            return True
        return False

    def _tell(self, text: str) -> None:
        say(self.config, [f"energy: {text}"])
