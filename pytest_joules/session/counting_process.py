"""The process that counts, as the run sees it: started early, asked about one test after another."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_joules.companion.parent import BlockResult, Companion
from pytest_joules.companion.process import CompanionError
from pytest_joules.count import callgrind
from pytest_joules.count.choose import Kind
from pytest_joules.count.identity import identity
from pytest_joules.count.record import record_of
from pytest_joules.count.world import World
from pytest_joules.model import CountingRecord, CountRecord
from pytest_joules.rounds.net import net


class CountingProcess:
    """A companion under a counter."""

    def __init__(self, config: pytest.Config, label: str, counter: Kind) -> None:
        self.why = ""
        """Why it does not count (any more)."""
        self._config = config
        self._name = counter.name
        self._companion = Companion(config, label=label, world=World(counter))
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

    def count(self, nodeid: str, seconds: float) -> CountRecord | str:
        """What was counted of a test, or why nothing was; ``seconds``: that a plain run of it took."""
        if not self.ready():
            return self.why
        try:
            return self._read(self._companion.count(nodeid, seconds))
        except CompanionError as error:
            if not self._companion.running:
                self.why = str(error)
            return error.short

    def _read(self, answer: BlockResult) -> CountRecord | str:
        for report in answer.reports:
            counts = report.get("joules_counts")
            if counts is not None and answer.outcome == "passed":
                functions: dict[str, int] = {}
                if counts["account"]:
                    with net([]):  # a verdict can do without
                        functions = callgrind.functions_of(counts["account"])
                        Path(counts["account"]).unlink()
                return record_of(self._name, counts, functions)
        return _why_not(answer)


def _why_not(answer: BlockResult) -> str:
    """Why nothing was counted of a test that passed here."""
    properties = [entry for report in answer.reports for entry in report.get("user_properties", ())]
    notes = [str(text) for name, text in properties if name == "energy_note"]
    if notes:
        return notes[0].removeprefix("not counted: ")
    if not answer.reports:
        return "the process that counted it died"
    if answer.outcome == "passed":
        return "its body was not seen to begin and end"
    return f"it {answer.outcome} in the process that counts, which runs some 50 times as slowly"
