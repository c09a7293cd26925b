"""Verdicts inside a pytest run: suspects are held back, measured again in fresh processes, and then reported.

A test is reported once. One that looks dearer than before is therefore not reported when it has run, but at the end of the run,
when it has been measured again and all tests have been judged together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import pytest

from pytest_joules.clock import CLOCKS
from pytest_joules.companion.parent import Companion
from pytest_joules.companion.process import CompanionError
from pytest_joules.judge.comparing import Block, Comparing, joules_of, refusal
from pytest_joules.model import Record
from pytest_joules.rounds.net import net
from pytest_joules.session.call_report import fail_regressed
from pytest_joules.session.quick_imports import quick_imports
from pytest_joules.session.terminal import say
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from pytest_joules.judge.comparing import Again


#: A suspect's rounds are measured again in so many passes over all suspects, begun so many seconds apart at least.
_PASSES = 4
_APART = 0.4


class Judging:
    """Compares what this process measures.

    Suspects are measured ``again`` (default: in a fresh process, or where there can be none, ``here``), while ``turn`` is held.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        comparing: Comparing,
        *,
        again: Again | None = None,
        here: Callable[[pytest.Item], Record | None] | None = None,
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.config = config
        self.settings = settings
        self.comparing = comparing
        self._again = again or self._in_fresh_process
        self._here = here
        self._turn = turn
        self._rounds: dict[str, int] = {}
        self._items: Sequence[pytest.Item] = ()
        self._held: list[tuple[pytest.TestReport, Record, Callable[[], None]]] = []

    def suspects(self, record: Record, *, random: bool) -> bool:
        """Take the measurement of a test that passed; whether its reports are to be held back."""
        looks_dearer = self.comparing.add(record, random=random)
        self._rounds[record["nodeid"]] = record["rounds"]
        return looks_dearer and not self.settings.update

    def hold(self, report: pytest.TestReport, record: Record, release: Callable[[], None]) -> None:
        """Keep a call report that is not logged yet; ``release`` logs it, and what comes after it."""
        self._held.append((report, record, release))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        self._items = session.items
        try:
            result = yield
        except BaseException:
            # Stopped (Ctrl-C, -x): there is no time to measure again, and what was measured once fails nobody.
            self._settle(None)
            raise
        self._settle(self._again)
        return result

    def _settle(self, again: Again | None) -> None:
        comparing = self.comparing
        with quick_imports(self.config):
            from pytest_joules.judge import evidence, verdict  # noqa: F401 - with what they import: 0.5 s
        try:
            with self._turn() if again is not None and self._held else nullcontext(), net(comparing.troubles, "judged"):
                update = self.settings.update
                comparing.settle(None if update else again, confirm=not update)
        except BaseException:
            comparing.settle(None)
            raise
        finally:
            held, self._held = self._held, []
            for report, record, release in held:
                comparison = comparing.comparisons.get(report.nodeid)
                record["comparison"] = comparison
                if comparison is not None and comparison["verdict"] == "regressed" and "regression" in self.settings.fail_on:
                    fail_regressed(report, comparison)
                release()

    def _in_fresh_process(self, nodeids: Sequence[str]) -> Mapping[str, Block]:
        """One more block of each test, in one fresh process.

        Its rounds are spread over some seconds: a moment in which others hold the machine is not to cover all of them.
        """
        self.tell_again(len(nodeids), "in a fresh process")
        found: dict[str, Block] = {}
        try:
            with Companion(self.config, label="measuring again") as companion:
                for number in range(_PASSES):
                    begun = CLOCKS.wall()
                    for nodeid in nodeids:
                        rounds = math.ceil(self._rounds[nodeid] / _PASSES)
                        answer = companion.measure(nodeid, rounds=rounds)
                        # That a repeat does not pass is told by the run itself.
                        self._take(nodeid, answer.record if answer.outcome == "passed" else None, found)
                    if number < _PASSES - 1:
                        CLOCKS.sleep(max(0.0, _APART - (CLOCKS.wall() - begun) / 1e9))
        except CompanionError as error:
            self._note(f"measured again in this process, not in a fresh one: {error}")
            items = {item.nodeid: item for item in self._items}
            for nodeid in nodeids:
                if self._here is not None and nodeid not in found and nodeid in items:
                    self._take(nodeid, self._here(items[nodeid]), found)
        return found

    def _take(self, nodeid: str, record: Record | None, found: dict[str, Block]) -> None:
        """Add what was measured again, if it can be compared."""
        before = self.comparing.other.tests[nodeid].record
        if record is not None and refusal(before, record, random=False) is None and (block := joules_of(record)):
            found[nodeid] = (None, [*found.get(nodeid, (None, ()))[1], *block])

    def _note(self, text: str) -> None:
        if text not in self.comparing.troubles:
            self.comparing.troubles.append(text)

    def tell_again(self, number: int, how: str) -> None:
        """For a person who waits."""
        if (
            hasattr(self.config, "workerinput")
            or self.config.option.verbose < 0
            or not self.config.pluginmanager.hasplugin("terminalreporter")
        ):
            return
        say(self.config, [f"energy: {'1 test looks' if number == 1 else f'{number} tests look'} dearer, measured again {how}"])
