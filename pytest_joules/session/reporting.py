"""Where measurements arrive: each is kept in the history as it comes, all of them go into the report at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_joules import machine
from pytest_joules.clock import CLOCKS
from pytest_joules.files import atomic, strict_json
from pytest_joules.model import Record, Report, SourceFacts, empty_record
from pytest_joules.report import csv_file, json_file
from pytest_joules.rounds.net import described, guarded, in_short, net, troubles
from pytest_joules.session import history
from pytest_joules.session.call_report import late_notes, outcome_of, status
from pytest_joules.session.closing import Closing
from pytest_joules.session.unmatched import sentence, worth_saying
from pytest_joules.settings.options import Settings
from pytest_joules.sources import choose
from pytest_joules.store import Spooled, Store, StoreError, open_for_run

if TYPE_CHECKING:
    from pytest_joules.code.project import Project
    from pytest_joules.judge.comparing import OtherSide
    from pytest_joules.session.forecast import Saying
    from pytest_joules.sources.tsc import TickCounter


class Reporting:
    """Collects records, keeps them, prints and writes the report."""

    def __init__(
        self, config: pytest.Config, settings: Settings, choice: choose.Choice, ticks: TickCounter, *, turns: bool
    ) -> None:
        here = machine.fingerprint()
        baseline = None
        if settings.save is not None:
            baseline = config.rootpath / ".joules" / str(here["id"] or "unknown") / f"{settings.save or 'baseline'}.json"
        for path, option, inside in (
            (settings.json, "--energy-json", ()),
            (settings.csv, "--energy-csv", ()),
            (baseline, "--energy-save", (config.rootpath,)),
        ):
            if path is not None:
                try:
                    atomic.check(path, option, inside)
                except atomic.ReportPathError as error:
                    raise pytest.UsageError(str(error)) from None
        self.config = config
        self.settings = settings
        self.ticks = ticks
        self.messages: list[str] = []
        self.troubles: list[str] = []
        """What went wrong: said even with ``-q``."""
        self.ended = False
        """The report is complete: its verdicts are said."""
        self._unwritten: list[str] = []
        """Of what went wrong: reports and baselines that were asked for and are not there."""
        self._begun = CLOCKS.wall()
        self._drawn: float | None = 0.0
        self._open: dict[str, Record] = {}
        self.store: Store | Spooled | None = None
        self._unkept = 0
        self._trouble = ""
        self._early: set[str] = set()
        self._functions: dict[str, Mapping[str, str]] = {}
        self._places: set[str] = set()
        """All functions and statements that tests executed."""
        self._started = time()
        self._accepting = settings.save is not None or settings.update
        self._collected: set[str] = set()
        self._comparisons: dict[str, Record] = {}
        self.other: OtherSide | None = None
        """What the tests are compared with."""
        self.saying: Saying | None = None
        """What was predicted."""
        self._breaches: dict[str, str] = {}
        """Tests that pass but for their joules, and what made them fail."""
        self._header = choose.header_lines(choice)
        if settings.quick:
            self._header.append("energy: quick: three rounds, and what tests execute is not recorded: a first look")
        for line in (*_cautions(config, turns), *_no_idle(settings, choice)):
            self._header += choose.wrapped(f"energy: {line}", "  ")
        refused = "; ".join(f"{entry.name} not taken: {entry.reason}" for entry in choice.refused if not entry.quiet)
        facts = [source.facts(refused if number == 0 else "") for number, source in enumerate(choice.sources)]
        self.report = Report(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            machine=here,
            commit=machine.commit(config.rootpath),
            settings=settings.as_record(),
            sources=[entry.as_record() for entry in facts],
            session={"seconds": None, "joules": None, "idle_watts": None},
        )
        if not config.option.collectonly:
            self._open_store()
        config.pluginmanager.register(Closing(config, self), "joules-closing")

    # The history

    def _open_store(self) -> None:
        try:
            url = self._store_url()
            if url is None:
                return
            self.store = open_for_run(url, self._spool_folder)
            self.store.begin(self.report)
        except StoreError as error:
            self.store = None
            if self.settings.store is not None:
                raise pytest.UsageError(f"--energy-store: {error}") from None
            self.troubles.append(f"history is not kept: {error}")

    def _store_url(self) -> str | None:
        if self.settings.store is not None:
            return self.settings.store
        try:
            return history.path(self.config)
        except history.NoCache as error:
            said = self.messages if getattr(self.config, "cache", None) is None else self.troubles
            said.append(f"history is not kept: {error}")
            return None

    def _spool_folder(self) -> Path | None:
        """Where measurements wait for a server that does not answer."""
        try:
            return history.folder(self.config)
        except history.NoCache:
            return None

    def keep_early(self, record: Record, outcome: str = "passed") -> None:
        """Into the history at once: what is reported later must not be lost meanwhile.

        ``outcome``: the test's own. A verdict on its joules is none of the history's: they are what this code costs.
        """
        self._early.add(record["nodeid"])
        if self.saying is not None:
            self.saying.outcome(record, passed=outcome == "passed")
        self._store_it({**record, "outcome": outcome})

    def _keep(self, record: Record) -> None:
        self.report.tests.append(record)
        breach = self._breaches.get(record["nodeid"]) if record["outcome"] == "failed" else None
        if self.saying is not None:
            self.saying.outcome(record, passed=record["outcome"] == "passed" or breach is not None, breach=breach)
        if record["nodeid"] not in self._early:
            # Held back by a worker of xdist, say. Only tests that passed are compared.
            sound = breach in ("regression", "predicted")
            self._store_it({**record, "outcome": "passed"} if sound else record)
        if record["code"] is not None:
            # The history and a baseline have what a test executes, function by function; for a report it is too much.
            record["code"].pop("counts", None)
            functions = record["code"].pop("functions", {})
            self._places.update(functions)
            if self._accepting:
                self._functions[record["nodeid"]] = functions

    def _store_it(self, record: Record) -> None:
        if self.store is None or not record["samples"] or record["cached"] is not None:
            return
        try:
            self.store.add(record)
        except StoreError as error:
            # The next one may go through again: a lock is passed on, room is made.
            self._unkept += 1
            self._trouble = str(error)

    def _keep_code(self) -> None:
        """What the history keeps of the code that was measured: a change is told from it, and what it comes to."""
        from pytest_joules.code import sources

        if self.store is None or not self._places:
            return
        project = self._project()
        plugins = [getattr(plugin, "__file__", None) for plugin in self.config.pluginmanager.get_plugins()]
        hooks = {path for file in plugins if isinstance(file, str) and (path := project.relative(file)) is not None}
        executed = {key.partition("::")[0] for key in self._places if "::" in key}
        paths = sources.unchanged_since(project, executed | hooks, self._started)
        try:
            self.store.add_sources(sources.sources(project, self.store.without_source(), paths))
            self.store.add_files(sources.digests(project, paths))
        except StoreError as error:
            self.troubles.append(f"history: the source of what was measured could not be kept: {error}")

    def _compact(self) -> None:
        """Of a file; a server is others' as well, and is compacted by hand."""
        from pytest_joules.store import pruning

        keep, machine_id = self.settings.history_sessions, self.report.machine.get("id")
        if not isinstance(self.store, Store) or machine_id is None:
            return
        with suppress(StoreError):  # the next run does it
            removed = pruning.step(self.store, machine_id, keep, self.report.session["seconds"])
            if removed.sessions > 1:  # one goes with each that comes
                self.messages.append(f"history: {removed.sentence()} removed: {keep} sessions are kept (energy_history_sessions)")

    def _project(self) -> Project:
        from pytest_joules.code import project

        tracking: Any = self.config.pluginmanager.get_plugin("joules-tracking")
        return tracking.project if tracking is not None else project.Project(self.config.rootpath)

    def _keep_account(self, account: Record) -> None:
        """What predicting drew and saved: the balance is drawn over several sessions."""
        try:
            if self.store is not None:
                self.store.add_predicting(account)
        except StoreError as error:
            self.troubles.append(f"history: what predicting drew could not be kept: {error}")

    # What arrives

    def pytest_report_header(self) -> list[str]:
        return self._header

    @guarded
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = self._open.get(report.nodeid)
        if record is None:
            record = self._open[report.nodeid] = empty_record(report.nodeid)
        record["notes"] += late_notes(report)
        if (code := getattr(report, "joules_code", None)) is not None:
            record["code"] = code
        if report.when != "call" and report.passed:
            return  # a passed setup or teardown says nothing
        measured = getattr(report, "joules", None)
        if measured is not None:
            measured["outcome"] = record["outcome"]
            record = self._open[report.nodeid] = measured
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
        record = self._open.pop(nodeid, None)
        if record is not None:
            self._keep(record)

    def add_interrupted(self, record: Record) -> None:
        """A test that did not come to its end."""
        record["outcome"] = "interrupted"
        self._open.pop(record["nodeid"], None)
        self._keep(record)

    def add_totals(self, totals: Record) -> None:
        """What a process that ran tests drew in all."""
        session = self.report.session
        # A part is no total.
        self._drawn = None if self._drawn is None or totals["joules"] is None else self._drawn + totals["joules"]
        session["joules"] = self._drawn or None
        for said in totals.get("mirrors", ()):
            # What the first readings showed is said above.
            if said not in self.messages and not any(said in source["why"] for source in self.report.sources):
                self.messages.append(said)
        if totals.get("lost"):
            self.messages.append(f"what the session drew in all is not known: {totals['lost']}")
        if totals["idle_watts"] is not None:
            session["idle_watts"] = totals["idle_watts"]

    def add_not_cached(self, said: Record) -> None:
        """Why ``--energy-changed-only`` left no test out, and what there is to say of the history that it read."""
        message = f"--energy-changed-only: every test was measured: {said['why']}"
        if said["why"] is not None and message not in self.messages:
            self.messages.append(message)
        self.add_notices(said["notices"])

    def add_notices(self, notices: Iterable[str]) -> None:
        """What there is to say of the history: each sentence once, whoever read it."""
        self.troubles += [text for text in notices if text not in self.troubles]

    def add_unmatched(self, found: Mapping[str, list[str]]) -> None:
        """Budgets whose pattern matches no test, and the tests that are nearest to it."""
        for pattern, near in found.items():
            if worth_saying(self.config, pattern) and (text := sentence(pattern, near)) not in self.troubles:
                self.troubles.append(text)

    def add_judged(self, judged: Record) -> None:
        """The verdicts of a process that ran tests."""
        self._comparisons.update(judged.get("comparisons", {}))
        self.troubles += [text for text in judged.get("troubles", ()) if text not in self.troubles]

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # Before others deselect some: those are not gone.
        self._collected.update(item.nodeid for item in items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._collected.update(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 - xdist's
        output = getattr(node, "workeroutput", {})
        if "joules_misuse" in output:
            raise pytest.UsageError(output["joules_misuse"])
        if "joules" in output:
            self.add_totals(output["joules"])
        if (said := output.get("joules_turns")) and said not in self.messages:
            self.messages.append(said)
        self.add_unmatched(output.get("joules_unmatched", {}))
        if "joules_not_cached" in output:
            self.add_not_cached(output["joules_not_cached"])
        if "joules_judged" in output:
            self.add_judged(json.loads(output["joules_judged"]))
        troubles(self.config).extend(output.get("joules_troubles", ()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport, config: pytest.Config
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        return status(report, config)

    # The end

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.config.option.collectonly or exitstatus == pytest.ExitCode.USAGE_ERROR:
            # Nothing was run: an older report stays.
            if self.store is not None:
                self.store.close()
            if exitstatus != pytest.ExitCode.USAGE_ERROR:
                self._say_what_is_not_made()
            return
        for nodeid in list(self._open):
            self.pytest_runtest_logfinish(nodeid)
        self.report.session["seconds"] = (CLOCKS.wall() - self._begun) / 1e9
        self.report.sources.append(
            SourceFacts("tsc", "measured", (), 1 / self.ticks.frequency(), None, self.ticks.describe()).as_record()
        )
        with net(troubles(self.config)):
            self._compare()
            if self.saying is not None and (account := self.saying.account(self.report)) is not None:
                self.report.session["predicting"] = account
                self._keep_account(account)
            if self.settings.json is not None or self.config.hook.pytest_joules_update_report.get_hookimpls():
                self.report.versions = machine.versions()
        with net(self._unwritten):
            self._accept(exitstatus)
        with net(troubles(self.config)):
            self._let_others_change_it()
        self._write_files()
        if self.store is not None:
            with net(troubles(self.config)):
                self._keep_code()
            with net(troubles(self.config)):
                self._compact()
            with net(troubles(self.config)):
                self.store.close()
                self.add_notices(self.store.notices)
        self.troubles += in_short(troubles(self.config))
        if self._unkept:
            self.troubles.append(f"history: {self._unkept} of {len(self.report.tests)} tests could not be kept: {self._trouble}")
        self.troubles += self._unwritten
        self.ended = True
        if self._unwritten and session.exitstatus == pytest.ExitCode.OK:
            # Whoever asked for it goes on with what is not there.
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self.troubles.append("exit status 1: all tests passed, but what was asked for could not be written")

    def _say_what_is_not_made(self) -> None:
        """Of a run that only collects."""
        asked = [option for option in ("json", "csv", "save") if self.config.getoption(f"energy_{option}", None) is not None]
        if self.saying is not None and self.saying.writes_json:
            asked = [option for option in asked if option != "json"]
        if asked:
            options = " and ".join(f"--energy-{option}" for option in asked)
            self.troubles.append(f"{options}: nothing is written, as --collect-only runs no test")

    def _compare(self) -> None:
        if self.other is None:
            return
        from pytest_joules.session import baselines

        for record in self.report.tests:
            record["comparison"] = self._comparisons.get(record["nodeid"], record["comparison"])
        whole = not any("::" in argument for argument in self.config.args)
        self.report.comparison = baselines.overview(
            self.other, self.report, self.settings.threshold, self._collected if whole else set(self.other.tests)
        )

    def _accept(self, exitstatus: int) -> None:
        """Write or mend the baseline."""
        if not self._accepting:
            return
        from pytest_joules.code import inventory
        from pytest_joules.session import baselines

        try:
            if exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR):
                self.troubles.append("no baseline was written: the run did not come to its end")
            else:
                texts = inventory.take(self._project(), self._places, self._started)
                self.messages += baselines.accept(self.config, self.settings, self.report, self._functions, texts)
        except baselines.BaselineError as error:
            self._unwritten.append(str(error))

    def _let_others_change_it(self) -> None:
        hook = self.config.hook.pytest_joules_update_report
        if not hook.get_hookimpls():
            return

        # A copy: what a hook does before it fails is not to stay.
        record = json.loads(strict_json.text(self.report.as_record()))
        try:
            hook(config=self.config, report=record)
            self.report.replace(json.loads(strict_json.text(record)))
        except Exception as error:
            self.troubles.append(
                "a pytest_joules_update_report hook failed, and the report is without its changes: "
                f"{type(error).__name__}: {error}"
            )

    def _write_files(self) -> None:
        for path, option, writer in (
            (self.settings.json, "--energy-json", json_file.write),
            (self.settings.csv, "--energy-csv", csv_file.write),
        ):
            if path is None:
                continue
            try:
                writer(self.report, path)
            except atomic.ReportPathError as error:
                self._unwritten.append(f"{option}: {error}")
            except Exception as error:
                self._unwritten.append(f"{option}: {described(error)}")
            else:
                self.messages.append(f"written: {path}")


def _cautions(config: pytest.Config, turns: bool) -> list[str]:
    """What changes the numbers of the whole session."""
    import sys

    found = []
    if turns:
        found.append("workers on one machine take turns, so that each test is measured alone")
    if sys.gettrace() is not None or config.pluginmanager.hasplugin("_cov"):
        found.append("a tracer (coverage or a debugger) is active: its joules are in every number")
    if getattr(config.option, "reruns", None):
        found.append("with --reruns no test is measured")
    return found


def _no_idle(settings: Settings, choice: choose.Choice) -> list[str]:
    """Why ``--energy-idle=measure`` measures nothing."""
    models = [source for source in choice.sources if source.provenance == "estimated" and source.domains]
    if not settings.measure_idle or not models:
        return []
    watts = getattr(models[0], "idle_watts", None)
    takes = f" ({watts:.3g} W when idle)" if isinstance(watts, float) else ""
    return [f"idle power cannot be measured: {models[0].name} is a model{takes}"]
