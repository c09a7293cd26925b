"""The ``energy`` fixture while measuring: regions of a test, work done and scores reached."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from pytest_joules import stats
from pytest_joules.measure.meter import SLOW_TICKS, Meter, Window
from pytest_joules.measure.scores import Scores, number
from pytest_joules.model import Measurement


class Tracing(Protocol):
    """What records the parts of a traced round."""

    def trace(self, what: object) -> None: ...


class Energy:
    """What a test tells of itself. One for the session; the plugin empties it before each test and each round."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._regions: dict[str, list[tuple[float | None, float]]] = {}
        self._round_regions: dict[str, tuple[float | None, float]] = {}
        self._windows: dict[str, list[Window]] = {}
        """Of regions, where their joules are a share: what the interval is widened by."""
        self._work: dict[str, float] = {}
        self.scores = Scores()
        self._round_before = self._round_regions, self._work
        self._tracer: Tracing | None = None
        """Of a traced round."""

    def new_test(self) -> None:
        self.scores.new_test()
        self.new_round(measured=False)

    def new_round(self, *, measured: bool) -> None:
        """Forget the round before; what it measured is kept if it counted. If it did not, none before it did."""
        self._end_round(measured=measured)
        if not measured:
            self._regions.clear()
            self._windows.clear()
        self.scores.new_round(measured=measured)
        self._round_before = self._round_regions, self._work
        self._round_regions, self._work = {}, {}

    def cut_off(self) -> None:
        """The round that runs did not pass: what stands is what the one before told."""
        self._round_regions, self._work = self._round_before
        self.scores.cut_off()

    def set_aside(self, tracer: Tracing | None) -> Callable[[], None]:
        """Rounds follow which tell nothing but, where there is a ``tracer``, what it is to trace: the returned function ends that
        and puts back what there was."""
        regions = {name: list(entries) for name, entries in self._regions.items()}
        before = self._round_regions, self._work, copy.deepcopy(self.scores), self._round_before
        self._tracer = tracer

        def put_back() -> None:
            self._tracer = None
            self._regions = regions
            self._round_regions, self._work, self.scores, self._round_before = before

        return put_back

    @property
    def tracing(self) -> bool:
        """Whether this round is traced, so that a profiler of the test's own is worth its cost."""
        return self._tracer is not None

    def trace(self, what: object) -> None:
        """Account for the modules of a torch module, or for the events of a trace file that the test has written."""
        if not isinstance(what, str | os.PathLike) and not callable(getattr(what, "register_forward_hook", None)):
            raise TypeError(
                f"energy.trace() needs a torch module, or the path of a trace file, not {what!r:.80}: write energy.trace(model) "
                'before it runs, or energy.trace("trace.json") after the profiler has written it'
            )
        if self._tracer is not None:
            self._tracer.trace(what)

    def _end_round(self, *, measured: bool) -> None:
        if measured:
            for name, entry in self._round_regions.items():
                self._regions.setdefault(name, []).append(entry)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure a region of the test. Entered several times in a round, its parts add up."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"energy.measure() needs the region's name, a text, not {name!r}")
        before, _ = self._meter.open(align=False)
        try:
            yield
        finally:
            window = self._meter.close(before, None)
            joules, seconds = self._round_regions.get(name, (0.0, 0.0))
            more = self._joules(window)
            if self._meter.attributes and more is not None:
                self._windows.setdefault(name, []).append(window)
            total = None if joules is None or more is None else joules + more
            self._round_regions[name] = (total, seconds + window.seconds)

    def work(self, **units: float) -> None:
        """Work done in this round, by unit (``tokens=128``); calls add up. The report gives joules per unit."""
        for name, amount in units.items():
            self._work[name] = self._work.get(name, 0.0) + self._positive(name, amount)

    def score(self, *, higher_is_better: bool | None = None, **scores: object) -> None:
        """Scores reached (``pass_at_1=0.31``), kept beside the cost; of a list, with a value an item, the mean with its interval.

        Raises:
            TypeError: one is no number.
            ValueError: an empty list, or ``higher_is_better`` is not what the test said of this score before.
        """
        for name, value in scores.items():
            self.scores.add(name, value, higher_is_better)

    def add_to(self, measurement: Measurement, *, counted: bool) -> None:
        """Put regions, work and scores of the finished test into its measurement, per iteration as all of it is.

        ``counted`` says whether the last round is one of the measured ones.
        """
        self._end_round(measured=counted)
        iterations = measurement.iterations
        for name, parts in self._regions.items() or ((n, [e]) for n, e in self._round_regions.items()):
            bounds = self._meter.bounds(self._windows.get(name, ()))
            energy = stats.summarise([joules / iterations for joules, _ in parts if joules is not None])
            measurement.regions[name] = {
                "energy": stats.widened(energy, bounds.total),
                "duration": stats.summarise([seconds / iterations for _, seconds in parts]),
            }
        joules = measurement.energy["median"] if measurement.energy else None
        for name, total in self._work.items():
            amount = total / iterations
            measurement.work[name] = {"amount": amount, "joules_per_unit": joules / amount if joules is not None else None}
        self.scores.end_round(measured=counted)
        measurement.score_details.update(self.scores.records())
        measurement.scores.update({name: score["value"] for name, score in measurement.score_details.items()})

    def _joules(self, window: Window) -> float | None:
        # Not aligned: shorter than ten ticks a region's energy would be a guess.
        if window.seconds < SLOW_TICKS * self._meter.tick:
            return None
        return self._meter.total(self._meter.joules(window))

    def _positive(self, name: str, value: object) -> float:
        amount = number(name, value)
        if not 0 < amount < float("inf"):
            raise ValueError(f"energy.work({name}={value!r}): an amount of work must be above 0 and finite")
        return amount
