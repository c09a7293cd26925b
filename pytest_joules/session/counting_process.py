"""The process that counts, as the run sees it: started early, asked about one test after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_joules.companion.messages import CountTest, Tally
from pytest_joules.companion.parent import Companion
from pytest_joules.companion.process import CompanionError
from pytest_joules.count import callgrind
from pytest_joules.count.choose import Kind
from pytest_joules.count.identity import identity
from pytest_joules.count.record import record_of
from pytest_joules.count.rounds import is_switched, warm_rounds
from pytest_joules.count.world import World
from pytest_joules.model import CountingRecord, CountRecord
from pytest_joules.rounds.net import net


class Wanted(NamedTuple):
    """A test that is to be counted."""

    nodeid: str
    seconds: float
    """That a plain run of it took, with setup and teardown."""
    body: float
    """That its body did."""
    warm: int
    """The rounds that went before when it was counted then; 0: it was not."""


class CountingProcess:
    """A companion under a counter."""

    def __init__(self, config: pytest.Config, label: str, counter: Kind, layout: int = 0) -> None:
        self.why = ""
        """Why it does not count (any more)."""
        self._config = config
        self._name = counter.name
        self._companion = Companion(config, label=label, world=World(counter, layout))
        self._waiting = False

    def launch(self) -> None:
        """Start it; what it says is heard when it is asked for something."""
        try:
            self._companion.launch()
            self._waiting = True
        except CompanionError as error:
            self.why = str(error)

    @property
    def running(self) -> bool:
        """Whether it was launched and has not ended."""
        return self._companion.running

    def end(self) -> None:
        """It counts no more."""
        self._companion.kill()

    def ready(self) -> bool:
        """Wait until it has collected; whether it counts."""
        if self._waiting:
            self._waiting = False
            try:
                self._companion.wait()
            except CompanionError as error:
                self.why = str(error)
        return not self.why

    @property
    def identity(self) -> CountingRecord:
        """What decides its counts."""
        return identity(self._name, self._companion.cpu, self._config.rootpath)

    def count(self, tests: Sequence[Wanted], at_once: int = 1) -> list[CountRecord | str]:
        """What was counted of each test, or why nothing was; ``at_once`` are counted at a time."""
        if not self.ready():
            return [self.why for _ in tests]
        nodeids = [test.nodeid for test in tests]
        found = [test for test in tests if test.nodeid in self._companion]
        asked = [
            CountTest(nodeid=test.nodeid, warm=test.warm or warm_rounds(test.body), switched=is_switched(test.body))
            for test in found
        ]
        try:
            answers = self._companion.count(asked, [test.seconds for test in found], at_once)
        except CompanionError as error:
            if not self._companion.running:
                self.why = str(error)
            return [error.short for _ in tests]
        tallies = {test.nodeid: answer for test, answer in zip(found, answers, strict=True)}
        return [self._read(tallies[nodeid]) if nodeid in tallies else self._companion.missing(nodeid) for nodeid in nodeids]

    def _read(self, tally: Tally) -> CountRecord | str:
        counts = tally["counts"]
        if counts is None or tally["outcome"] != "passed":
            return _why_not(tally)
        account = callgrind.Account({}, None)
        if counts["account"]:
            with net([]):  # a verdict can do without
                account = callgrind.account_of(counts["account"])
                Path(counts["account"]).unlink()
        return record_of(self._name, counts, account.functions, account.misses)


def _why_not(tally: Tally) -> str:
    """Why nothing was counted of a test that passed here."""
    if tally["why"]:
        return tally["why"].removeprefix("not counted: ")
    if not tally["outcome"]:
        return "the process that counted it died, or did not end in time"
    if tally["outcome"] == "passed":
        return "its body was not seen to begin and end"
    return f"it {tally['outcome']} in the process that counts, which runs some 50 times as slowly"
