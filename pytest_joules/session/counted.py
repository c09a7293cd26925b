"""The plugin of a process that counts instructions (see :mod:`pytest_joules.companion.child`, which names it): it runs a test in
rounds, some of them counted, and its call report carries what they come to."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import cast

import pytest

from pytest_joules.companion import child
from pytest_joules.companion.messages import CountTest
from pytest_joules.count import callgrind, heap, perf, sample
from pytest_joules.count.counter import Counter, NoCounter
from pytest_joules.count.rounds import CountedRounds, WarmRounds
from pytest_joules.rounds import body, running
from pytest_joules.rounds.net import described, net
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.plan import plan as plan_of
from pytest_joules.rounds.quiet import Deaf
from pytest_joules.session.body import Body


def pytest_configure(config: pytest.Config) -> None:
    stepper = cast(child.Stepper | None, config.pluginmanager.get_plugin(child.NAME))
    if stepper is not None:
        counts = CountsTests(config, stepper)
        config.pluginmanager.register(counts.body, "joules-body")
        config.pluginmanager.register(counts, "joules-counted")
        config.pluginmanager.register(Deaf(), "joules-deaf")


def _said(error: Exception) -> str:
    return f"not counted: {error}" if isinstance(error, NoCounter) else described(error, "counted")


class CountsTests:
    """Runs tests in rounds and counts their bodies."""

    def __init__(self, config: pytest.Config, stepper: child.Stepper) -> None:
        self.body = Body(config)
        self._temp = stepper.temp
        self._room: list[bytes] = []
        if callgrind.running():
            stepper.cpu = callgrind.cpu()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._room = heap.make_room()
        if callgrind.running():
            # Valgrind translates code when it first runs: what runs for every test, forks find translated.
            callgrind.Requests(self._temp, os.getpid()).switch(on=True)
            with net([]):  # without, it is only slower
                for item in pytest.Module.from_parent(session, path=Path(sample.__file__)).collect():
                    if isinstance(item, pytest.Item):
                        item.stash[child.TEST] = CountTest(nodeid=item.nodeid, warm=2, switched=False)
                        self.pytest_runtest_protocol(item)

    def _counter(self) -> Counter:
        """Of this process."""
        if callgrind.running():
            return callgrind.Requests(self._temp, os.getpid(), on=True)
        counter = perf.Instructions()
        counter.open()
        return counter

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool:
        plan, test = plan_of(item, recorded=False), item.stash[child.TEST]
        rounds = test["warm"] if plan.repeat else 0
        around_runtest = body.body_hook(item) == "runtest"
        counter = self._counter()
        counter.switch(on=not test["switched"])
        warm = WarmRounds(rounds, around_runtest=around_runtest)
        if rounds:
            # Wider fixtures stay up: the same test follows.
            self._run(item, copy(item), warm, plan, lambda report, rounds: None)
            if not warm.passed:
                return True
        course = CountedRounds(
            counter,
            rounds,
            warm.doubts,
            switched=test["switched"],
            repeatable=plan.repeat,
            around_runtest=around_runtest,
        )

        def tell(report: pytest.TestReport, rounds: running.Rounds) -> None:
            if report.passed and (counts := course.counted()) is not None:
                more = {plan.why: not plan.repeat, "draws random examples": plan.random, rounds.ended: bool(rounds.ended)}
                counts["doubts"] += [text for text, holds in more.items() if holds]
                report.joules_counts = counts  # type: ignore[attr-defined]  # a report takes attributes
            elif course.broken is not None:
                report.user_properties.append(("energy_note", _said(course.broken)))

        self._run(item, None, course, plan, tell)
        return True

    def _run(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        course: WarmRounds | CountedRounds,
        plan: Plan,
        tell: Callable[[pytest.TestReport, running.Rounds], None],
    ) -> None:
        """Run the test in rounds; ``tell`` is given the call report before it is logged."""
        rounds = running.Rounds(item, nextitem, course, repeat=plan.repeat)

        def decide(report: pytest.TestReport) -> bool:
            tell(report, rounds)
            return False

        with self.body.of(course, rounds):
            rounds.run(decide)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self) -> bool:
        """No clock of pytest-timeout: a test that is counted is slow."""
        return True
