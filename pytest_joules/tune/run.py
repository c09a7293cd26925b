"""A tuning from end to end: search, teach, measure, judge."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from pytest_joules import __version__, machine
from pytest_joules.clock import CLOCKS
from pytest_joules.collect import dataset
from pytest_joules.measure.meter import Meter
from pytest_joules.measure.other_load import LIMIT, OtherLoad
from pytest_joules.model import SourceFacts
from pytest_joules.predict.facts.features import SCHEMA as FEATURES
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.train.fitting import need_scikit_learn
from pytest_joules.tune import front_record
from pytest_joules.tune.configurations import CALLS, CONSTANT, Configuration
from pytest_joules.tune.distilling import Taught, parts, students, teachers
from pytest_joules.tune.errors import errors
from pytest_joules.tune.family import Family, Fitted, MakesFamily
from pytest_joules.tune.front import Point, judge
from pytest_joules.tune.front_file import FrontRecord
from pytest_joules.tune.halving import Search, Survivors
from pytest_joules.tune.levels import Levels
from pytest_joules.tune.measuring import MOST, measure
from pytest_joules.tune.problem import Problem, problem, sample
from pytest_joules.tune.state import State

#: The shares of its budget after which nothing more is searched, taught, and moved by measured tests: measuring has the rest.
_SEARCHING, _TEACHING, _MOVING = 0.55, 0.65, 0.75


class TuneError(ValueError):
    """Nothing came of it: one sentence with the reason and what to do."""


@dataclass(frozen=True, slots=True)
class Metering:
    """What measures finalists."""

    meter: Meter
    sources: Sequence[SourceFacts]
    load: OtherLoad | None = None
    """Tells what others use of the machine; ``None``: nothing does."""


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """What is to be tuned, and how long."""

    dataset: Path
    budget: float
    """Seconds."""
    targets: Sequence[str]
    state: Path
    seed: int = 0
    families: Sequence[MakesFamily] = (Levels,)
    clock: Callable[[], int] = CLOCKS.wall
    """Monotonic, nanoseconds."""


def tune(
    settings: TuneSettings,
    metering: Callable[[], AbstractContextManager[Metering]],
    told: Callable[[float, str], None] = lambda spent, what: None,
) -> FrontRecord:
    """The front. What was found out is in ``settings.state`` at any time, and is gone on with; once the search is complete, the
    caller removes that file when the front is kept.

    ``told``: of the seconds of the budget that are spent, and what comes next.

    Raises:
        TrainingError: there is no data set, or too little in it.
        TuneError: the budget is too short for anything.
        pytest_joules.files.atomic.ReportPathError: the state cannot be written.
    """
    need_scikit_learn()
    begun = settings.clock()
    told(0.0, "reading the data set")
    digest = dataset.digest(settings.dataset)
    given = problem(list(dataset.rows(settings.dataset)), settings.seed)
    unlabelled = [*dataset.unlabelled(settings.dataset), *parts(given)]
    families = [make(given) for make in settings.families]
    run = _Run(settings, given, families, *State.load(settings.state, _key(digest, settings, families)), begun=begun, told=told)
    run.state.check()
    survivors = run.search(_SEARCHING).halve([unit for family in families for unit in family.units()])
    if not any(unit != CONSTANT for unit in survivors.units):
        raise TuneError(
            f"the budget of {settings.budget:g} s ended before one configuration was tried on {len(given.rows)} tests: "
            "the same command with a longer --budget goes on"
        )
    taught = run.teach(survivors, unlabelled)
    points = run.finalists(survivors, taught)
    facts, others = run.measured(points, metering)
    points.sort(key=lambda point: _cost(point, settings.targets))
    judge(points, settings.targets)
    run.note(points, survivors, facts, others)
    run.state.spent = run.spent()
    run.state.save()
    record = front_record.record(points, settings.targets, given, survivors.folds)
    record["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record["plugin"] = __version__
    record["dataset"] = {
        "path": str(settings.dataset.resolve()),
        "digest": digest,
        "tests": len(given.rows),
        "packages": len(given.packages),
        "unlabelled": len(unlabelled),
    }
    record["machine"] = machine.identity() or ""
    record["budget"], record["spent"] = settings.budget, run.spent()
    record["complete"] = not run.ended
    record["sources"] = [one.as_record() for one in facts.sources] if facts is not None else []
    record["provenance"] = _provenance(facts, others)
    record["notes"] = run.notes
    return record


@dataclass(slots=True)
class _Run:
    settings: TuneSettings
    problem: Problem
    families: Sequence[Family]
    state: State
    note_of_state: str
    begun: int
    told: Callable[[float, str], None]
    notes: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """What the budget ended."""
    _before: float = 0.0
    _fitted: dict[Configuration, Fitted] = field(default_factory=dict)
    _family_of: dict[Configuration, Family] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = self.state.spent
        self.notes += [self.note_of_state] if self.note_of_state else []
        for family in self.families:
            self._family_of |= dict.fromkeys(family.units(), family)

    def spent(self) -> float:
        """Seconds of the budget, those of earlier runs of the same search too."""
        return self._before + (self.settings.clock() - self.begun) / 1e9

    def over(self, share: float) -> bool:
        """Whether so much of the budget is spent."""
        self.state.spent = self.spent()
        return self.state.spent > share * self.settings.budget

    def say(self, what: str) -> None:
        """What comes next."""
        self.told(self.spent(), what)

    def search(self, share: float) -> Search:
        """Ends at this share of the budget."""
        return Search(self.problem, self.state, self._family_of.__getitem__, lambda: self.over(share), self.say)

    def teach(self, survivors: Survivors, unlabelled: Sequence[tuple[str, TestFacts]]) -> list[Configuration]:
        """The students of the most exact of those that are large, the better one of each teacher's."""
        search = self.search(_TEACHING)
        large = teachers(survivors.units, lambda unit: search.error(unit, survivors.folds))
        wanted = [student for teacher in large for student in students(teacher)]
        if not wanted:
            return []
        family = Taught(self.problem, unlabelled, wanted)
        self._family_of |= dict.fromkeys(wanted, family)
        done = search.tried(wanted, survivors.folds, "teaching")
        chosen: dict[Configuration | None, Configuration] = {}
        for unit in done:
            known = chosen.get(unit.teacher)
            if known is None or search.error(unit, survivors.folds) < search.error(known, survivors.folds):
                chosen[unit.teacher] = unit
        self.ended += ["teaching"] if len(done) < len(wanted) else []
        return list(chosen.values())

    def finalists(self, survivors: Survivors, taught: Sequence[Configuration]) -> list[Point]:
        """Of each sort the most exact, as it is and moved by measured tests; trained on all tests."""
        search = self.search(1.0)
        judged = self.problem.judged(survivors.folds)
        off: dict[Configuration, Array] = {}
        values: dict[Configuration, Array] = {}
        known = np.flatnonzero(self.problem.fold < survivors.folds)
        best = _best(survivors.units, lambda unit: search.error(unit, survivors.folds))
        for unit in [*best, *taught]:
            values[unit] = search.predicted(unit)
            off[unit] = self.problem.truth[judged] - values[unit][judged]
            if self.over(_MOVING):
                self.ended.append("moving by measured tests")
                continue
            self.say(f"moving {unit.label} by measured tests")
            moved = self._family_of[unit].corrected(unit, values[unit], known)
            if moved is not None:
                whole = values[unit].copy()
                whole[known] = moved
                off[replace(unit, adapted=True)] = self.problem.truth[judged] - whole[judged]
        found = errors({one.text: own for one, own in off.items()}, self.problem.groups[judged], self.problem.seed)
        points = []
        for one in off:
            self.say(f"training {one.label} on all tests")
            fitted = self._family_of[one.unit].whole(one, values[one.unit], known)
            self._fitted[one] = fitted
            points.append(Point(one, found[one.text], fitted.stored, None, fitted.description))
        return points

    def measured(
        self, points: Sequence[Point], metering: Callable[[], AbstractContextManager[Metering]]
    ) -> tuple[Metering | None, float]:
        """Measure each, where a target asks for it; and how many processors others used meanwhile."""
        if not {"joules", "seconds"} & {*self.settings.targets}:
            return None, 0.0
        self.say(f"measuring {len(points)} finalists")
        with metering() as given:
            before = given.load.look() if given.load is not None else None
            measures = " ".join((machine.identity() or "", *(one.name for one in given.sources)))
            if self.state.sources != measures:  # what another one measured is another thing
                self.state.sources, self.state.blocks = measures, {}
            fitted = [self._fitted[point.configuration] for point in points]
            over = partial(self.over, 1.0)
            found = measure(fitted, sample(self.problem), given.meter, self.state, over=over, told=self.say)
            for point, taken in zip(points, found, strict=True):
                point.taken = taken
            if any(not taken.reached and len(taken.blocks) < MOST for taken in found):
                self.ended.append("measuring")
            others = 0.0
            if given.load is not None and before is not None:
                wall, busy, own = (now - then for now, then in zip(given.load.look(), before, strict=True))
                others = max(0.0, busy - own) / max(wall / 1e9, 1e-9)
            return given, others

    def note(self, points: Sequence[Point], survivors: Survivors, facts: Metering | None, others: float) -> None:
        """What a reader must know."""
        if not survivors.complete:
            self.ended.insert(0, f"the search (all were tried on {survivors.folds} of {self.problem.folds} folds)")
        if self.ended:
            ended = ", ".join(dict.fromkeys(self.ended))
            self.notes.append(f"the budget ended {ended}: the same command with a longer --budget goes on")
        if facts is None:
            return
        if facts.meter.estimates:
            doubt = max((one.uncertainty or 0.0 for one in facts.sources), default=0.0)
            self.notes.append(
                f"joules are estimated by a model from CPU time, no counter was read (±{100 * doubt:.0f} %, the same for all "
                "points: ratios do not have it)"
            )
        elif not facts.meter.counts:
            self.notes.append("joules are unavailable: no source of energy works here (joules doctor says why)")
        wide = [point for point in points if point.taken is not None and point.taken.joules and not point.taken.reached]
        if wide:
            blocks = min(len(point.taken.blocks) for point in wide if point.taken is not None)
            worst = max(point.taken.half_width for point in wide if point.taken is not None)
            why = "the budget ended" if "measuring" in self.ended else "no more are made"
            busy = (
                f"; others used {others:.1f} processors meanwhile"
                if facts.load and others > LIMIT * facts.load.processors
                else ""
            )
            shown = f"±{100 * worst:.1f} %" if math.isfinite(worst) else "not at all"
            self.notes.append(
                f"the joules of {len(wide)} of {len(points)} points are not known within ±5 %, the worst {shown}: after {blocks} "
                f"blocks {why}{busy}"
            )


def _best(units: Sequence[Configuration], error: Callable[[Configuration], float]) -> list[Configuration]:
    """Of each sort the most exact, and what all are compared with; in their order."""
    best: dict[object, Configuration] = {}
    for unit in units:
        sort = unit if unit in (CONSTANT, CALLS) else unit.rivals
        if sort not in best or error(unit) < error(best[sort]):
            best[sort] = unit
    return list(best.values())


def _cost(point: Point, targets: Sequence[str]) -> float:
    """What points are sorted by."""
    taken = point.taken
    if taken is not None and taken.joules is not None and "joules" in targets:
        return taken.joules["median"]
    if taken is not None and taken.seconds is not None:
        return taken.seconds["median"]
    return float(point.bytes)


def _key(digest: str, settings: TuneSettings, families: Sequence[Family]) -> str:
    """Tells this search from all others."""
    texts = [unit.text for family in families for unit in family.units()]
    parts_ = (digest, str(settings.seed), __version__, FEATURES, *texts)
    return hashlib.blake2b("\n".join(parts_).encode(), digest_size=16).hexdigest()


def _provenance(facts: Metering | None, others: float) -> str:
    if facts is None or not facts.meter.counts:
        return "unavailable"
    if facts.meter.estimates:
        return "estimated"
    return "shared" if facts.load is not None and others > LIMIT * facts.load.processors else "measured"
