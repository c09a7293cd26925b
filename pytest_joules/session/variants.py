"""``--energy-variants`` and the marker ``energy_variants``: the variants of a test are run by companions, in turn; all other
tests of the run are measured here, as usual.

Each variant's reports are those of its own test, so that the terminal, JUnit files, ``-x`` and ``--lf`` see ordinary ones.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from pytest_joules.model import Record, Report, empty_record, measured
from pytest_joules.rounds.net import net
from pytest_joules.rounds.parameters import parameters
from pytest_joules.rounds.phase import cause
from pytest_joules.rounds.plan import plan as plan_of
from pytest_joules.session.call_report import fail_if_predicted, hold_to_budget, properties_of, send
from pytest_joules.session.collected import settings_of
from pytest_joules.session.progress import ProgressLine
from pytest_joules.session.reporting import Reporting
from pytest_joules.settings.markers import SETTINGS, VariantsOf
from pytest_joules.settings.options import Settings
from pytest_joules.sources.choose import wrapped

if TYPE_CHECKING:
    from pytest_joules.judge.variants import Group
    from pytest_joules.session.variant_turns import Companions, Turns, Variant


@dataclass(slots=True)
class _Test:
    """The variants of a test."""

    name: str
    of: VariantsOf
    parameter: str
    """As the record has it: with those that share its ids."""
    items: dict[str, pytest.Item] = field(default_factory=dict)
    """By variant."""
    turns: Turns | None = None
    """Once they have been measured."""
    failed: str = ""
    """Why they could not be measured in turn."""
    disturbed: tuple[int, int] = (0, 0)
    """Blocks while others used the machine, of how many: where they are kept."""

    @property
    def reference(self) -> str:
        return self.of.reference if self.of.reference is not None else next(iter(self.items))


class Variants:
    """Takes over the tests that are variants of each other."""

    def __init__(self, config: pytest.Config, settings: Settings, reporting: Reporting) -> None:
        self.config = config
        self.settings = settings
        self._reporting = reporting
        self._tests: list[_Test] = []
        self._of: dict[str, tuple[_Test, str]] = {}
        """By node id, the test and the variant."""
        self._all: dict[tuple[object, ...], set[str]] = {}
        """The values before others deselected some."""
        self._companions: Companions | None = None
        self._why_not = _alone(settings)

    # What there is

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = self.settings.variants[0] if self.settings.variants is not None else None
        for item in items:
            marker = item.get_closest_marker("energy_variants")
            name = wanted if marker is None else (marker.args[0] if marker.args else marker.kwargs.get("parameter"))
            if isinstance(name, str) and (found := _key(item, name)) is not None:
                self._all.setdefault(found[0], set()).add(found[2])

    # Before the terminal says how many tests there are.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        found: dict[tuple[object, ...], _Test] = {}
        for item in session.items:
            if self.settings.variants is None and item.get_closest_marker("energy_variants") is None:
                continue
            # Others may not have read them yet.
            own = item.stash[SETTINGS] = settings_of(item, self.settings)
            if own.variants is None or (key := _key(item, own.variants.parameter)) is None:
                continue
            group, parameter, value = key
            test = found.setdefault(group, _Test(_name(item, parameter), own.variants, parameter))
            test.items[value] = item
        self._refuse(session, found)
        for test in found.values():
            for value, item in list(test.items.items()):
                if item.stash[SETTINGS].skip or not plan_of(item, recorded=False).measure:
                    del test.items[value]  # it runs as without us
            if len(test.items) > 1:
                self._tests.append(test)
                self._of.update({item.nodeid: (test, value) for value, item in test.items.items()})
            elif test.items:
                only = next(iter(test.items))
                self._reporting.messages.remark(
                    f"{test.name}: no variants to compare: of {test.of.parameter} this run has {only} alone"
                )

    def _refuse(self, session: pytest.Session, found: Mapping[tuple[object, ...], _Test]) -> None:
        """Raises ``pytest.UsageError`` for what is surely a mistake."""
        wanted = self.settings.variants
        missed = wanted is not None and not any(test.of.parameter == wanted[0] for test in found.values())
        if wanted is not None and missed and session.items and not session.testsfailed:
            known = sorted({name for item in session.items for key in parameters(item) for name in key.split(",")})
            has = f"they have {', '.join(known[:8])}" if known else "they have none"
            raise pytest.UsageError(f"--energy-variants={wanted[0]}: no test of this run has a parameter of this name; {has}")
        # Of a part of the tests others may have the reference.
        part = any("[" in argument for argument in self.config.args) or self.config.getoption("lf", False)
        for group, test in found.items():
            values = self._all.get(group, set()) | set(test.items)
            if test.of.reference is not None and test.of.reference not in values and not part:
                raise pytest.UsageError(
                    f"{test.name}: {test.of.where}: {test.of.reference!r} is no value of {test.of.parameter}, which has "
                    f"{', '.join(sorted(values))}"
                )

    def pytest_report_collectionfinish(self) -> list[str]:
        if not self._tests:
            return []
        count = sum(len(test.items) for test in self._tests)
        what = f"{count} variants of {len(self._tests)} test{'s' if len(self._tests) > 1 else ''}"
        if self._why_not:
            return wrapped(f"energy: {what}, not in turn: {self._why_not}", "  ")
        return wrapped(f"energy: {what}, measured in turn, each in a process of its own", "  ")

    # A test

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        if not self._tests or self._why_not or self.config.option.collectonly:
            return (yield)
        from pytest_joules.session.variant_turns import Companions

        with Companions(self.config, strict=self.settings.repeat_failures == "fail") as self._companions:
            waiting: ProgressLine | None = self.config.pluginmanager.get_plugin("joules-progress")
            self._companions.told = waiting.within if waiting is not None else None
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if self._companions is None or item.nodeid not in self._of:
            return None
        test, value = self._of[item.nodeid]
        if test.turns is None and not test.failed:
            self._measure(test)
        if test.turns is None:
            item.user_properties.append(("energy_note", f"not in turn: {test.failed}"))
            return None  # as any other test
        variant = next(one for one in test.turns.variants if one.name == value)
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item, test, variant):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _measure(self, test: _Test) -> None:
        from pytest_joules.companion.process import CompanionError
        from pytest_joules.judge.variants import needed, planned

        assert self._companions is not None
        first = next(iter(test.items.values()))
        effort = first.stash[SETTINGS].effort
        repeats = all(plan_of(item, recorded=False).repeat for item in test.items.values())
        blocks = planned(len(test.items)) if repeats else 1
        try:
            nodeids = {value: item.nodeid for value, item in test.items.items()}
            test.turns = self._companions.measure(test.of.parameter, nodeids, effort, blocks, load=test.of.load == "block")
        except CompanionError as error:
            test.failed = error.short
            return
        _drop_disturbed(test, test.turns, needed(len(test.items)))

    def _reports(self, item: pytest.Item, test: _Test, variant: Variant) -> Sequence[pytest.TestReport]:
        from pytest_joules.session import block_reports

        turns = variant.turns
        if turns.died:
            return [block_reports.crashed(item, turns.died)]
        reports = block_reports.reports(self.config, turns)
        call = next((report for report in reports if report.when == "call"), None)
        notes: list[str] = []
        with net(notes):
            record = _record(item, variant)
            if call is not None and record is not None:
                remarks = block_reports.remarks(self.config, turns, "")
                record["notes"] += [note for note in remarks if note not in record["notes"]]
                self._judge(item, reports, call, record)
        for report in reports if notes else ():
            report.user_properties.append(("energy_note", f"not measured: {notes[0]}"))
        return reports

    def _judge(self, item: pytest.Item, reports: Sequence[pytest.TestReport], call: pytest.TestReport, record: Record) -> None:
        for report in reports:
            # Those of a block.
            report.user_properties[:] = [entry for entry in report.user_properties if not entry[0].startswith("energy_")]
            if report.when == "teardown":
                report.user_properties += properties_of(record)
        random = plan_of(item, recorded=False).random
        if record["source"] is not None:
            hold_to_budget(measured(record), record, call, item.stash[SETTINGS], random=random, settings=self.settings)
        send(item, call, record)
        fail_if_predicted(item, call)

    # When all have run

    def settle(self, report: Report) -> None:
        """Hold the variants of each test against each other: the report's records are told."""
        from pytest_joules.judge.variants import compare

        records = {record["nodeid"]: record for record in report.tests}
        for test in self._tests:
            group = self._group(test, records)
            if group is None:
                continue
            for value, found in compare(group, self.settings.threshold).items():
                if (record := records.get(test.items[value].nodeid)) is not None:
                    record["variants"] = found

    def _group(self, test: _Test, records: Mapping[str, Record]) -> Group | None:
        from pytest_joules.judge.variants import Group
        from pytest_joules.report.variants import NOT_IN_TURN

        own = {value: records.get(item.nodeid) for value, item in test.items.items()}
        if not any(record is not None for record in own.values()):
            return None
        missing = {value: "was not run" for value, record in own.items() if record is None}
        remarks = [] if test.of.reference is not None else [f"no reference was named: {test.reference}, the first, is taken"]
        if test.reference not in test.items:
            remarks.append(f"the reference {test.reference} is not among the tests of this run")
        if test.turns is None:
            remarks.append(f"{NOT_IN_TURN}: {self._why_not or test.failed}")
        else:
            if test.turns.reloaded:
                remarks.append(f"loaded anew for each block ({test.turns.reloaded}): not all variants were up at a time")
            disturbed, blocks = test.disturbed
            if disturbed:
                remarks.append(f"others used the machine in {disturbed} of {blocks} blocks: their joules are in these")
            missing |= {one.name: why for one in test.turns.variants if (why := _why_out(self.config, one))}
        kept = {value: record if record is not None else empty_record(test.items[value].nodeid) for value, record in own.items()}
        return Group(test.name, test.of.parameter, test.reference, kept, test.turns is not None, missing, remarks)


def _alone(settings: Settings) -> str:
    """With what option each test is measured by itself; empty where there is none."""
    others = {
        "--energy-compare": settings.compare is not None,
        "--energy-changed-only": settings.changed_only,
        "--energy-count": settings.count is not None,
        "--energy-trace": settings.trace is not None,
        "--energy-share=own": settings.own_share,
    }
    return next((f"{option} has each test measured by itself" for option, given in others.items() if given), "")


def _key(item: pytest.Item, name: str) -> tuple[tuple[object, ...], str, str] | None:
    """What a test has in common with its variants, the parameter as the record has it, and this one's value."""
    found = parameters(item)
    for parameter, value in found.items():
        if name in parameter.split(","):
            others = tuple(entry for entry in found.items() if entry[0] != parameter)
            return (item.nodeid.partition("[")[0], parameter, others), parameter, value
    return None


def _name(item: pytest.Item, parameter: str) -> str:
    others = [f"{name}={value}" for name, value in parameters(item).items() if name != parameter]
    return item.nodeid.partition("[")[0] + (f"[{', '.join(others)}]" if others else "")


def _record(item: pytest.Item, variant: Variant) -> Record | None:
    """All blocks of a variant that passed."""
    from pytest_joules.measure.joining import joined

    records = [answer.record for answer in variant.turns.here if answer.record is not None]
    passed = all(answer.outcome == "passed" for answer in variant.turns.here)
    if not records:
        return None
    return {**(joined(records) if passed else records[-1]), "parameters": parameters(item)}


def _drop_disturbed(test: _Test, turns: Turns, needed: int) -> None:
    """Number the blocks, and leave out those in which the counter told nothing of one, or others used the machine, where enough
    are left without."""
    from pytest_joules.measure.joining import numbered

    below: set[int] = set()
    shared: set[int] = set()
    for one in turns.variants:
        answers = one.turns.here
        records = numbered([answer.record for answer in answers if answer.record is not None])
        if len(records) == len(answers):
            below |= {number for number, record in enumerate(records) if record["resolution"] == "below"}
            shared |= {number for number, record in enumerate(records) if record["provenance"] == "shared"}
            one.turns.here = [replace(answer, record=record) for answer, record in zip(answers, records, strict=True)]
    blocks = max(len(one.turns.here) for one in turns.variants)
    dropped: set[int] = set()
    for numbers in (below, shared):
        if blocks - len(dropped | numbers) >= needed:
            dropped |= numbers
    test.disturbed = len(shared - dropped), blocks - len(dropped)
    for one in turns.variants:
        if not one.out and len(one.turns.here) == blocks:
            one.turns.here = [
                replace(answer, record=None) if number in dropped else answer for number, answer in enumerate(one.turns.here)
            ]


def _why_out(config: pytest.Config, variant: Variant) -> str:
    """Why a variant has no measurement to compare."""
    turns = variant.turns
    if turns.died:
        return f"its process died: {turns.died.splitlines()[0]}"
    answer = turns.here[-1] if turns.here else None
    if answer is None:
        return "was not run"
    if answer.outcome != "passed":
        from pytest_joules.companion.parent import reports_of

        failed = [report for report in reports_of(config, answer.reports) if report.failed]
        return f"{answer.outcome} ({cause(failed[0])})" if failed else answer.outcome
    return ""
