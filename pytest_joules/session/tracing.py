"""``--energy-trace``: traced rounds after the measured ones of a test, and the account that they and its joules come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_joules.account.accounting import account
from pytest_joules.account.modules import Modules
from pytest_joules.account.power import Power
from pytest_joules.account.tracer import Tracer, functions
from pytest_joules.clock import CLOCKS
from pytest_joules.measure.course import Course
from pytest_joules.model import Effort, Record
from pytest_joules.rounds.limits import Limits
from pytest_joules.rounds.plan import Plan
from pytest_joules.rounds.running import Rounds
from pytest_joules.session.traced_course import TracedCourse
from pytest_joules.sources.base import Source
from pytest_joules.sources.estimate import Estimate

if TYPE_CHECKING:
    from pytest_joules.account.trace_events import Trace
    from pytest_joules.code.project import Project
    from pytest_joules.measure.regions import Energy
    from pytest_joules.sources.power_ring import PowerRing

#: Seconds after which what samples the counters has read them once more.
_NEXT_READING = 0.025


class Tracing:
    """Of a session."""

    def __init__(self, what: str, sources: Sequence[Source], project: Project, energy: Energy) -> None:
        self._what = what
        self._sources = sources
        self._project = project
        self._energy = energy
        self._tracer: Tracer | None = None
        self._ring: PowerRing | None = None

    def course(
        self, nodeid: str, plan: Plan, limits: Limits, *, effort: Effort, quiesce: Callable[[], object] | None, **named: object
    ) -> TracedCourse:
        """What goes with the rounds of a test that is to have an account."""
        why_not = ""
        if not plan.repeat:
            why_not = plan.why or "it cannot be repeated"
        elif effort.rounds == 1 and effort.warmup == 0:
            why_not = "one round, without a warm-up, is all that was asked for"
        return TracedCourse(
            nodeid,
            self._made(quiesce),
            self._energy,
            why_not=why_not,
            of_all=None if limits.restart else limits.seconds,
            effort=effort,
            quiesce=quiesce,
            **named,
        )

    def _made(self, quiesce: Callable[[], object] | None) -> Tracer:
        if self._tracer is None:
            devices = {domain.name for source in self._sources for domain in source.domains}
            recorder = functions(self._project.relative) if self._what == "functions" else Modules(devices, quiesce)
            self._tracer = Tracer(recorder, _load, quiesce)
        return self._tracer

    def goes_with(self, course: Course, rounds: Rounds) -> None:
        """These rounds are the course's."""
        if isinstance(course, TracedCourse):
            course.begins = rounds.forgive

    def begin(self) -> None:
        """Before any test: what samples the counters is the same to all of them, and none of them has started it."""
        from pytest_joules.sources.power_ring import PowerRing

        self._ring = PowerRing(self._sources)

    def account(self, course: Course, record: Record) -> None:
        """Of a test that has run, put into its record, or a note why there is none."""
        tracer, energy = self._tracer, record["energy"]
        if tracer is None or not isinstance(course, TracedCourse) or not course.complete:
            return
        try:
            CLOCKS.sleep(_NEXT_READING)
            rounds = tracer.rounds(self._powers)
        finally:
            tracer.forget()
        if not rounds or energy is None:
            why = ["its joules are not known"] if rounds else course.account_notes
            record["notes"] += [f"no account: {note}" for note in why]
            return
        counted = {domain.name for source in self._sources for domain in source.domains if domain.counts}
        domains = {
            name: summary["median"]
            for name, summary in record["domains"].items()
            if name in counted and summary is not None and summary["median"] >= 0
        }
        made = account(
            rounds,
            energy["median"],
            energy["ci95"],
            what=tracer.what,
            iterations=record["iterations"],
            seconds=record["duration"]["median"] if record["duration"] is not None else None,
            domains_joules=domains if len(domains) == len(counted) else None,
            idle_watts={
                domain.name: source.idle_watts
                for source in self._sources
                if isinstance(source, Estimate)
                for domain in source.domains
            },
        )
        made["notes"] += course.account_notes
        record["account"] = made

    def _powers(self, begin: int, end: int) -> list[Power]:
        """What the counters of the total showed."""
        return [
            Power(one.domain, one.device, np.array(one.at, np.int64), np.array(one.joules, np.float64))
            for one in (self._ring.readings(begin, end) if self._ring is not None else ())
        ]

    def close(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()


def _load(path: str) -> Trace:
    from pytest_joules.account import trace_events

    return trace_events.load(path)
