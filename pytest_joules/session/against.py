"""``--energy-against``: this process collects and reports as usual, but what runs the tests are two companions, in turn.

One runs this tree as it is, the other a revision of it in a temporary worktree. The reports of this tree's companion are those of
the run, so that the terminal, JUnit files, ``-x`` and ``--lf`` see an ordinary one; its measurement is the test's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from pytest_joules.code.installed_copies import INSTALLED
from pytest_joules.code.inventory import OnDisk
from pytest_joules.code.source_file import File, read
from pytest_joules.companion.process import CompanionError
from pytest_joules.files import scratch
from pytest_joules.judge.comparing import Block, Comparing, OtherSide, OtherTest, joules_of
from pytest_joules.measure.joining import joined, numbered, undisturbed
from pytest_joules.model import Code, Record, kept, measured
from pytest_joules.revision.imports import Paths, other, prepare
from pytest_joules.revision.pair import BLOCKS, BothSides, Pair
from pytest_joules.revision.worktree import Revision, RevisionError, Worktree, repository, resolve
from pytest_joules.rounds.net import net
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.plan import plan as plan_of
from pytest_joules.session import block_reports
from pytest_joules.session.call_report import fail_if_predicted, hold_to_budget, properties_of, send
from pytest_joules.session.judging import Judging
from pytest_joules.session.progress import ProgressLine
from pytest_joules.session.reporting import Reporting
from pytest_joules.settings.markers import SETTINGS, ItemSettings, item_settings
from pytest_joules.settings.options import Settings
from pytest_joules.sources.choose import wrapped


def begin(config: pytest.Config, settings: Settings, reporting: Reporting) -> None:
    """Let two companions run the tests of this run.

    Raises:
        pytest.UsageError: there is no such revision, or the run is of a kind that cannot be interleaved.
    """
    name = settings.against
    assert name is not None
    if getattr(config.option, "dist", "no") != "no" or hasattr(config, "workerinput"):
        raise pytest.UsageError("--energy-against measures in two processes of its own, in turn: leave -n out, or add -n0")
    try:
        root = repository(config.rootpath)
        revision = resolve(root, name)
    except RevisionError as error:
        raise pytest.UsageError(f"--energy-against: {error}") from None
    interleaving = Against(config, settings, reporting, root, revision)
    reporting.other = interleaving.comparing.other
    config.pluginmanager.register(interleaving.judging, "joules-judging")
    config.pluginmanager.register(interleaving, "joules-against")


class Against:
    """Runs every test on both sides in turn."""

    def __init__(self, config: pytest.Config, settings: Settings, reporting: Reporting, root: Path, revision: Revision) -> None:
        self.config = config
        self.settings = settings
        self.reporting = reporting
        self._root = root
        self._revision = revision
        self._tests: dict[str, OtherTest] = {}
        self._remarks: list[str] = []
        compared = OtherSide(
            name=str(revision),
            tests=self._tests,
            commit=revision.id,
            paired=True,
            remarks=self._remarks,
            texts=OnDisk(lambda path: self._file(path, there=True)),
        )
        self.comparing = Comparing(compared, settings.threshold, OnDisk(lambda path: self._file(path, there=False)))
        self.judging = Judging(config, settings, self.comparing, again=self.again)
        self._renamed: dict[str, str] = {}
        self._seen = (0, 0)
        self._seed = 0
        self._items: Sequence[pytest.Item] = ()
        self._worktree: Worktree
        self._paths: Paths
        self._pair: Pair

    # The session

    def pytest_report_header(self) -> list[str]:
        return wrapped(f"energy: against {self._revision}: measured in turn, each in a process of its own", "  ")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._items = session.items
        for item in session.items:
            item.stash[SETTINGS] = item_settings(item, self.settings)

    # Outermost: the verdicts, at the end of the loop, still need the worktree.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        option = session.config.option
        if not session.items or (session.testsfailed and not option.continue_on_collection_errors):
            return (yield)
        with ExitStack() as stack:
            try:
                self._worktree = Worktree(self._root, self._revision)
                stack.callback(self._worktree.remove)
                folder = scratch.folder("against")
                stack.callback(scratch.remove, folder)
                self._paths = prepare(self._worktree, folder)
                self._remarks += self._worktree.notes
                with self._fresh_pair() as self._pair:
                    self._list(session)
                    waiting: ProgressLine | None = self.config.pluginmanager.get_plugin("joules-progress")
                    self._pair.told = waiting.within if waiting is not None else None
                    idle_watts = self._pair.here.idle_watts
                    self.reporting.add_totals({"joules": None, "idle_watts": idle_watts, "lost": "", "mirrors": []})
                    return (yield)
            except (CompanionError, RevisionError) as error:
                raise pytest.UsageError(f"--energy-against: {error}") from None
            finally:
                self.reporting.other = self.comparing.other
                self.reporting.add_judged({"comparisons": self.comparing.comparisons, "troubles": self.comparing.troubles})

    @property
    def modules(self) -> dict[str, str]:
        """The files of the modules that both sides have imported, by name."""
        pair = getattr(self, "_pair", None)
        return {**pair.here.modules, **pair.there.modules} if pair is not None else {}

    def _file(self, path: str, *, there: bool) -> File | None:
        """What is in a file of the project on one side, by the path that a record's keys have."""
        copied = path.removeprefix(f"{INSTALLED}/")
        root: Path | str | None = self.config.rootpath
        if copied != path:
            root = self._paths.built[there] if self._paths.built else None
        elif there:
            root = other(self.config.rootpath, self._worktree)
        return read(Path(root, copied)) if root is not None else None

    def _fresh_pair(self) -> Pair:
        self._seed += 1
        strict = self.settings.repeat_failures == "fail"
        return Pair(self.config, self._worktree, self._paths, self._seed, strict=strict)

    def _list(self, session: pytest.Session) -> None:
        """Which tests are new, gone or renamed."""
        here, there = self._pair.here, self._pair.there
        known = set(here.nodeids) | {item.nodeid for item in session.items}
        new = [item.nodeid for item in session.items if item.nodeid not in there and not self._not_collected(item.nodeid)]
        gone = [nodeid for nodeid in there.nodeids if nodeid not in known and nodeid in self._pair.selected]
        bodies = _unique(here.bodies, new)
        self._renamed = {bodies[text]: nodeid for text, nodeid in _unique(there.bodies, gone).items() if text in bodies}
        self.comparing.other.listed.update(
            {
                "new": [nodeid for nodeid in new if nodeid not in self._renamed],
                "gone": [nodeid for nodeid in gone if nodeid not in self._renamed.values()],
                "renamed": {before: now for now, before in self._renamed.items()},
            }
        )
        known_there = [item.nodeid for item in session.items if self._renamed.get(item.nodeid, item.nodeid) in there]
        if not known_there and not self.settings.predict_only:
            first = session.items[0].nodeid
            why = self._not_collected(first)
            raise pytest.UsageError(
                f"--energy-against: no test in common with {self._revision}: "
                + (why or f"it has none of this run's, such as {first}: name a revision that has them")
            )

    def _not_collected(self, nodeid: str) -> str:
        """Why the other revision's tests of this file are not known, if that is so."""
        text = self._pair.there.errors.get(nodeid.partition("::")[0])
        if text is None:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"its file cannot be collected at {self._revision}: {lines[-1] if lines else 'no reason given'}"

    # A test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if not self._run(item, nextitem):
            hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test on both sides; whether its reports are held back for now."""
        own, plan = item.stash[SETTINGS], plan_of(item, recorded=False)
        if item.nodeid not in self._pair.here:
            # It runs here, as in a plain run: nothing that it shares with others stays up.
            why = "its node id differs from one process to the next: give its parameters ids that stay"
            item.user_properties.append(("energy_note", f"not measured: {why}"))
            runtestprotocol(item, nextitem=None)
            return False
        turns = self._turns(item.nodeid, own, plan, nextitem.nodeid if nextitem is not None else None)
        self._check_imports()
        if turns.died:
            self._log(item, [block_reports.crashed(item, turns.died)])
            try:
                self._pair.here.start()
            except CompanionError as error:
                item.session.shouldstop = f"no more tests can be run: {error}"
            return False
        reports = block_reports.reports(self.config, turns)
        notes: list[str] = []
        held = False
        with net(notes):
            held = self._take(item, reports, turns)
        for report in reports if notes else ():
            report.user_properties.append(("energy_note", f"not measured: {notes[0]}"))
        if not held:
            self._log(item, reports)
        return held

    def _take(self, item: pytest.Item, reports: list[pytest.TestReport], turns: BothSides) -> bool:
        """What both sides came to; whether the reports are held back for now."""
        call = next((report for report in reports if report.when == "call"), None)
        record = self._record(item.nodeid, turns)
        if call is None or record is None:
            return False
        record["notes"] += [
            note for note in block_reports.remarks(self.config, turns, str(self._revision)) if note not in record["notes"]
        ]
        return self._judge(item, reports, call, record)

    def _judge(self, item: pytest.Item, reports: list[pytest.TestReport], call: pytest.TestReport, record: Record) -> bool:
        random = plan_of(item, recorded=False).random
        for report in reports:
            # Those of a block.
            report.user_properties[:] = [entry for entry in report.user_properties if not entry[0].startswith("energy_")]
            if report.when == "teardown":
                report.user_properties += properties_of(record)
        hold_to_budget(measured(record), record, call, item.stash[SETTINGS], random=random, settings=self.settings)
        send(item, call, record)
        suspect = call.passed and self.judging.suspects(record, random=random)
        if not suspect or any(report.failed for report in reports):
            fail_if_predicted(item, call)
            return False

        def release() -> None:
            fail_if_predicted(item, call)
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            self._log(item, reports)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

        self.judging.hold(call, record, release)
        self.reporting.keep_early(record)
        return True

    def _turns(self, nodeid: str, own: ItemSettings, plan: Plan, following: str | None) -> BothSides:
        there: tuple[str, str | None] | None = None
        if (name := self._renamed.get(nodeid, nodeid)) in self._pair.there and not own.skip and plan.measure:
            there = name, self._renamed.get(following, following) if following is not None else None
        return self._pair.measure((nodeid, following), there, own.effort, BLOCKS if plan.repeat else 1)

    def _record(self, nodeid: str, turns: BothSides) -> Record | None:
        """What this side came to; what the other did is noted, where there is anything to compare."""
        here = numbered([answer.record for answer in turns.here if answer.record is not None])
        there = [answer.record for answer in turns.there if answer.record is not None]
        passed = all(answer.outcome == "passed" for answer in turns.here)
        if not here or not passed:
            return here[-1] if here else None
        why = turns.why or self._not_collected(nodeid)
        if self._pair.gone is not None:
            why = why or f"{self._revision} cannot be run any more: {self._pair.gone}"
        if why:
            self._tests[nodeid] = OtherTest(why=why)
        elif there:
            pairs = undisturbed(list(zip(here, there, strict=False)))
            here = [mine for mine, _ in pairs]
            before = joined([theirs for _, theirs in pairs])
            code: Code = before["code"] or {"fingerprint": None, "unknown": []}
            self._tests[nodeid] = OtherTest(
                (joules_of(before),),
                before,
                functions=code.get("functions", {}),
                fingerprint=code.get("fingerprint"),
                interval=before["energy"]["ci95"] if before["energy"] is not None else None,
                account=kept(before["account"]) if before["account"] is not None else None,
            )
        return joined(here)

    def _check_imports(self) -> None:
        seen = (len(self._pair.here.modules), len(self._pair.there.modules))
        if seen != self._seen and self.comparing.other.why is None:
            self._seen = seen
            if (wrong := self._pair.wrong_imports()) is not None:
                self.comparing.distrust(wrong)

    @staticmethod
    def _log(item: pytest.Item, reports: Sequence[pytest.TestReport]) -> None:
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)

    # Suspects

    def again(self, nodeids: Sequence[str]) -> Mapping[str, Block]:
        """One more block of both sides for each test, in a fresh pair with another hash seed."""
        self.judging.tell_again(len(nodeids), "on both sides, in fresh processes")
        self._pair.close()
        found: dict[str, Block] = {}
        items = {item.nodeid: item for item in self._items}
        try:
            with self._fresh_pair() as self._pair:
                for nodeid in nodeids:
                    item = items[nodeid]
                    turns = self._turns(nodeid, item.stash[SETTINGS], plan_of(item, recorded=False), None)
                    if turns.died:
                        self._pair.here.start()
                    pairs = [
                        (mine.record, theirs.record)
                        for mine, theirs in zip(turns.here, turns.there, strict=False)
                        if mine.record is not None and theirs.record is not None
                    ]
                    if pairs and not turns.died and not turns.why:
                        pairs = undisturbed(pairs)
                        found[nodeid] = joules_of(joined([b for _, b in pairs])), joules_of(joined([a for a, _ in pairs]))
        except CompanionError as error:
            self.comparing.troubles.append(f"not everything could be measured again: {error}")
        return found


def _unique(bodies: Mapping[str, str], nodeids: Sequence[str]) -> dict[str, str]:
    """Node ids by the hash of their code, where only one of them has it."""
    texts = [text for nodeid in nodeids if (text := bodies.get(nodeid))]
    counts = Counter(texts)
    return {text: nodeid for nodeid in nodeids if (text := bodies.get(nodeid)) and counts[text] == 1}
