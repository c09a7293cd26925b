"""From a history to a model: what ``joules train`` learns from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from pytest_joules.predict.choices import TARGETS
from pytest_joules.predict.facts.of_test import facts_of
from pytest_joules.predict.level.regressors import Additive, Boosted, Linear, Words
from pytest_joules.predict.model import ErrorRecord, LearnedFrom, Model, level_key
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.train.fitting import TrainingError, need_scikit_learn
from pytest_joules.predict.train.level import FEWEST_TESTS, Errors, Row, Trained, errors_of, train_level

if TYPE_CHECKING:
    from pytest_joules.predict.change.model import ChangeModel
    from pytest_joules.predict.train.change import Pair
    from pytest_joules.store.entries import VersionRecord

#: What is tried on tests of several projects; on those of one, trees take most of the time and are no better than straight lines.
_LEVELS = (Linear.kind, Words.kind, Boosted.kind, Additive.kind)
_OF_ONE_PROJECT = (Linear.kind, Additive.kind)

Sources = Callable[[set[tuple[str, str]]], Mapping[tuple[str, str], str]]


@dataclass(frozen=True, slots=True)
class History:
    """What one machine measured with one source."""

    versions: Sequence[VersionRecord]
    """The oldest first."""
    sources: Mapping[tuple[str, str], str]
    machine: str | None
    source: str

    @property
    def facts(self) -> LearnedFrom:
        """For the model's summary."""
        return {
            "tests": len({version["nodeid"] for version in self.versions}),
            "sessions": len({version["session"] for version in self.versions}),
            "machine": self.machine,
            "source": self.source,
        }


def history(versions: Sequence[VersionRecord], sources: Sources, machine: str | None) -> History:
    """The part of the history to learn from: of this machine where there is any, otherwise of the one that measured last; of the
    source that measured the most tests there. Joules of different ones are different things.

    Raises:
        TrainingError: there is nothing.
    """
    usable = [version for version in versions if (version["joules"] or 0) > 0 and version["source"]]
    if not usable:
        raise TrainingError("the history holds no measurements whose code is known: run pytest --energy first")
    if not any(version["machine_id"] == machine for version in usable):
        machine = usable[-1]["machine_id"]
    here = [version for version in usable if version["machine_id"] == machine]
    tests = Counter(source for source, _ in {(version["source"] or "", version["nodeid"]) for version in here})
    source = max(tests, key=lambda name: (tests[name], name))
    chosen = [version for version in here if version["source"] == source]
    pairs = {
        (place, digest)
        for version in chosen
        for place, digest in (version["code"].get("functions") or {}).items()
        if "::" in place
    }
    return History(chosen, sources(pairs), machine, source)


def rows(found: History) -> list[Row]:
    """One row for each test, with the code it had when it was measured last; its costs are the medians over all sessions that
    measured it with that code."""
    of_test: dict[str, list[VersionRecord]] = {}
    for version in found.versions:
        of_test.setdefault(version["nodeid"], []).append(version)
    result = []
    for nodeid, versions in of_test.items():
        code = versions[-1]["code"]
        same = [version for version in versions if _code(version) == _code(versions[-1])]
        facts = facts_of(nodeid, code, found.sources)
        if not facts.sources:
            continue
        costs = {target: [cost for version in same if (cost := _cost(version, target)) > 0] for target in TARGETS}
        log10 = {target: math.log10(median(values)) for target, values in costs.items() if values}
        result.append(Row(facts, "", log10))
    return result


def _cost(version: VersionRecord, target: str) -> float:
    """In the target's unit; 0 where it is not known."""
    return {"joules": version["joules"], "seconds": version["seconds"], "tsc": version["tsc"]}[target] or 0.0


def _code(version: VersionRecord) -> object:
    """What tells two versions of a test's code apart."""
    return version["code"].get("fingerprint") or tuple(sorted((version["code"].get("functions") or {}).items()))


def last(found: History, *, unchanged: bool, target: str = "joules") -> tuple[list[float], list[float], list[str]]:
    """For each measurement of a test that an earlier session had measured: log10 of that one, of this one, and the test.

    ``unchanged``: only where the code was the same.
    """
    before: dict[str, VersionRecord] = {}
    pairs: tuple[list[float], list[float], list[str]] = ([], [], [])
    for version in found.versions:
        then = before.get(version["nodeid"])
        before[version["nodeid"]] = version
        if then is None or then["session"] == version["session"] or (unchanged and _code(then) != _code(version)):
            continue
        old, new = _cost(then, target), _cost(version, target)
        if old > 0 and new > 0:
            pairs[0].append(math.log10(old))
            pairs[1].append(math.log10(new))
            pairs[2].append(version["nodeid"])
    return pairs


def learn(
    found: History,
    name: str = "change",
    *,
    targets: Sequence[str] = TARGETS[:1],
    representations: Sequence[str] | None = None,
    explored: Sequence[Pair] = (),
    others: Sequence[Row] = (),
    jobs: int = 1,
    seed: int = 0,
    told: Callable[[float, str], None] = lambda share, what: None,
) -> tuple[Model, list[str]]:
    """The model, and what there was too little for.

    ``name``: one of :data:`pytest_joules.predict.choices.MODELS`. ``explored``: pairs besides those of the history and those
    that ship with the package. ``others``: tests of other projects, for what new tests cost. ``told``: of the share that is done,
    and what comes next.

    Raises:
        TrainingError: nothing can be trained.
    """
    need_scikit_learn()
    notes: list[str] = []
    tests = [*rows(found), *others]
    error: dict[str, ErrorRecord] = {}
    level = {}
    kinds = (name,) if name not in ("change", "last") else _LEVELS if others else _OF_ONE_PROJECT
    if name != "last":
        for number, target in enumerate(targets):
            for ran in (False, True):
                told((2 * number + ran) / (2 * len(targets) + 1), f"{target} of new tests")
                key = level_key(target, ran=ran)
                try:
                    trained = train_level(tests, target, ran=ran, kinds=kinds, representations=representations, seed=seed)
                except TrainingError as failure:
                    notes.append(_too_little(target, len(tests), failure, name))
                    break
                level[key] = trained.model
                error[key] = _record(trained, found, target)
    if name not in ("change", "last") and not level:
        raise TrainingError(notes[0])
    change: ChangeModel | None = None
    pairs: dict[str, int] = {}
    if name == "change":
        told(2 * len(targets) / (2 * len(targets) + 1), "what changes cost")
        change, pairs = _change(found, explored, jobs, seed)
        if change is not None:
            error["change"] = dict(change.error)
        else:
            notes.append("no model of changes: no code has changed between measurements yet; joules train --explore tries some")
    then, now, nodeids = last(found, unchanged=True)
    conformal = None
    if len(then) >= FEWEST_TESTS:
        conformal = Conformal.fit(np.array(then), np.array(now) - np.array(then), nodeids)
    elif name == "last":
        raise TrainingError(
            f"{len(then)} tests were measured twice with the same code, and {FEWEST_TESTS} are needed: measure again"
        )
    summary: LearnedFrom = {**found.facts, "projects": len({row.project for row in tests}), "pairs": pairs}
    if change is None and not level and conformal is None:
        raise TrainingError(notes[0] if notes else "there is nothing to learn from: run pytest --energy first")
    return Model(name, level, change, conformal, summary, error), list(dict.fromkeys(notes))


def _too_little(target: str, tests: int, failure: TrainingError, name: str) -> str:
    if tests and target == "tsc":
        return "no model for TSC ticks: this machine's were not read"
    return f"no model for tests that were never measured: {failure}" if name == "change" else str(failure)


def _record(trained: Trained, found: History, target: str) -> ErrorRecord:
    then, now, _ = last(found, unchanged=False, target=target)
    errors: dict[str, Errors] = dict(trained.errors)
    if then:
        errors["last"] = errors_of(np.array(then), np.array(now))
    return {
        "split": trained.split,
        "chosen": trained.model.regressor.kind,
        "representations": list(trained.model.representations),
        "models": {kind: one.as_record() for kind, one in errors.items()},
    }


def _change(found: History, explored: Sequence[Pair], jobs: int, seed: int) -> tuple[ChangeModel | None, dict[str, int]]:
    from pytest_joules.predict.train.change import RELEASED, history_pairs, shipped_pairs, train_change

    own = history_pairs(found.versions, found.sources)
    # Planted ones are there to be judged by: they are simpler than what people write.
    shipped = [pair for pair in shipped_pairs() if pair.kind == RELEASED]
    counts = {"history": len(own), "explored": len(explored), "shipped": len(shipped)}
    together = [*own, *explored, *shipped]
    if not together:
        return None, counts
    return train_change(together), counts
