"""Where measurements arrive: each is kept in the history as it comes, all of them go into the report at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from time import time
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_joules import machine
from pytest_joules.clock import CLOCKS
from pytest_joules.model import ComparisonRecord, Record, Report, ReportedPredicting, SourceRecord, empty_record
from pytest_joules.rounds.net import guarded, troubles
from pytest_joules.session import report_files
from pytest_joules.session.call_report import late_notes, outcome_of, status
from pytest_joules.session.history import History
from pytest_joules.session.messages import Messages
from pytest_joules.session.totals import Judged, Totals
from pytest_joules.session.unmatched import sentence, worth_saying
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from pytest_joules.judge.comparing import OtherSide
    from pytest_joules.session.workers import WorkerNode
    from pytest_joules.sources.tsc import TickCounter


class Follower(Protocol):
    """Follows what was predicted to what was measured (see :mod:`pytest_joules.session.forecast`)."""

    @property
    def writes_json(self) -> bool:
        """Whether the follower writes the report."""

    def outcome(self, record: Record, *, passed: bool, breach: str | None = None) -> None: ...
    def account(self, report: Report) -> ReportedPredicting | None: ...


class Judge(Protocol):
    """Says of the records of a report what is known only when all are there."""

    def settle(self, report: Report) -> None: ...


class Reporting:
    """Collects records and completes the report. What there is to say of it is in :attr:`messages`."""

    def __init__(self, config: pytest.Config, settings: Settings, sources: Sequence[SourceRecord], ticks: TickCounter) -> None:
        here = machine.fingerprint()
        report_files.check(config, settings, here["id"])
        self.config = config
        self.settings = settings
        self.messages = Messages()
        self.commands: list[str] = []
        """For the CI system, on lines of the standard output of their own."""
        self.ended = False
        """The report is complete: its verdicts are said."""
        self.other: OtherSide | None = None
        """What the tests are compared with."""
        self.follower: Follower | None = None
        self.variants: Judge | None = None
        self.report = Report(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            machine=here,
            commit=machine.commit(config.rootpath),
            settings=settings.as_record(),
            sources=list(sources),
        )
        self.history = History(config, settings, self.report, self.messages)
        if not config.option.collectonly:
            self.history.open()
        self.ticks = ticks
        self.begun, self.started = CLOCKS.wall(), time()
        self._drawn: float | None = 0.0
        self.unfinished: dict[str, Record] = {}
        """Tests that run."""
        self._early: set[str] = set()
        """Tests that the history has already."""
        self.functions: dict[str, Mapping[str, str]] = {}
        self.places: set[str] = set()
        """All functions and statements that tests executed."""
        self.accepting = settings.save is not None or settings.update
        self.collected: set[str] = set()
        self.comparisons: dict[str, ComparisonRecord] = {}
        self._breaches: dict[str, str] = {}
        """Tests that pass but for their joules, and what made them fail."""

    # What arrives

    def keep_early(self, record: Record, outcome: str = "passed") -> None:
        """Into the history at once: what is reported later must not be lost meanwhile.

        ``outcome``: the test's own. A verdict on its joules is none of the history's: they are what this code costs.
        """
        self._early.add(record["nodeid"])
        if self.follower is not None:
            self.follower.outcome(record, passed=outcome == "passed")
        self.history.keep({**record, "outcome": outcome})

    def _keep(self, record: Record) -> None:
        breach = self._breaches.get(record["nodeid"]) if record["outcome"] == "failed" else None
        try:
            if self.follower is not None:
                self.follower.outcome(record, passed=record["outcome"] == "passed" or breach is not None, breach=breach)
            if record["nodeid"] not in self._early:
                # Held back by a worker of xdist, say. Only tests that passed are compared.
                sound = breach in ("regression", "predicted")
                self.history.keep({**record, "outcome": "passed"} if sound else record)
        finally:
            self.report.tests.append(self._without_functions(record))

    def _without_functions(self, record: Record) -> Record:
        """The history and a baseline have what a test executes, function by function; for a report it is too much."""
        code = record["code"]
        if code is None:
            return record
        functions = code.get("functions", {})
        self.places.update(functions)
        if self.accepting:
            self.functions[record["nodeid"]] = functions
        return {**record, "code": {"fingerprint": code["fingerprint"], "unknown": code["unknown"]}}

    @guarded
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = self.unfinished.get(report.nodeid)
        if record is None:
            record = self.unfinished[report.nodeid] = empty_record(report.nodeid)
        record["notes"] += late_notes(report)
        if (code := getattr(report, "joules_code", None)) is not None:
            record["code"] = code
        if report.when != "call" and report.passed:
            return  # a passed setup or teardown says nothing
        measured = getattr(report, "joules", None)
        if measured is not None:
            measured["outcome"] = record["outcome"]
            record = self.unfinished[report.nodeid] = measured
        record["outcome"] = outcome_of(report, record["outcome"])
        if (budget := getattr(report, "joules_budget", None)) is not None:
            record["budget"] = budget
        if (breach := getattr(report, "joules_breach", None)) is not None:
            self._breaches[report.nodeid] = breach
        if measured is None and not record["notes"]:
            notes = [str(text) for name, text in report.user_properties if name == "energy_note"]
            record["notes"] += [note.removeprefix("not measured: ") for note in notes[:1]]

    @guarded
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        record = self.unfinished.pop(nodeid, None)
        if record is not None:
            self._keep(record)

    def add_interrupted(self, record: Record) -> None:
        """A test that did not come to its end."""
        record["outcome"] = "interrupted"
        self.unfinished.pop(record["nodeid"], None)
        self._keep(record)

    def add_totals(self, totals: Totals) -> None:
        """What a process that ran tests drew in all."""
        session = self.report.session
        # A part is no total.
        self._drawn = None if self._drawn is None or totals["joules"] is None else self._drawn + totals["joules"]
        session["joules"] = self._drawn or None
        for said in totals["mirrors"]:
            # What the first readings showed is said above.
            if not any(said in (source["why"] or "") for source in self.report.sources):
                self.messages.remark(said)
        if totals["lost"]:
            self.messages.remarks.append(f"what the session drew in all is not known: {totals['lost']}")
        if totals["idle_watts"] is not None:
            session["idle_watts"] = totals["idle_watts"]

    def add_not_cached(self, why: str | None, notices: Iterable[str]) -> None:
        """Why ``--energy-changed-only`` left no test out, and what there is to say of the history that it read."""
        if why is not None:
            self.messages.remark(f"--energy-changed-only: every test was measured: {why}")
        self.messages.add_notices(notices)

    def add_unmatched(self, found: Mapping[str, list[str]]) -> None:
        """Budgets whose pattern matches no test, and the tests that are nearest to it."""
        said = (sentence(pattern, near) for pattern, near in found.items() if worth_saying(self.config, pattern))
        self.messages.add_notices(said)

    def add_judged(self, judged: Judged) -> None:
        """The verdicts of a process that ran tests."""
        self.comparisons.update(judged["comparisons"])
        self.messages.add_notices(judged["troubles"])

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # Before others deselect some: those are not gone.
        self.collected.update(item.nodeid for item in items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.collected.update(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerNode) -> None:
        output: dict[str, Any] = getattr(node, "workeroutput", {})  # what workers of this plugin have put there
        if "joules_misuse" in output:
            raise pytest.UsageError(output["joules_misuse"])
        if "joules" in output:
            self.add_totals(output["joules"])
        if said := output.get("joules_turns"):
            self.messages.remark(said)
        self.add_unmatched(output.get("joules_unmatched", {}))
        if "joules_not_cached" in output:
            self.add_not_cached(*output["joules_not_cached"])
        if "joules_judged" in output:
            self.add_judged(json.loads(output["joules_judged"]))
        troubles(self.config).extend(output.get("joules_troubles", ()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport, config: pytest.Config
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        return status(report, config)
