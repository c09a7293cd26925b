"""The course of a training: folds by project for the errors and the intervals, then one model of all tests."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from pytest_joules.language_model.base import Base
from pytest_joules.language_model.checkpoint import Checkpoint, Progress, key_of
from pytest_joules.language_model.extra import libraries
from pytest_joules.language_model.model import NAME, LanguageModel
from pytest_joules.language_model.network import Network, device_errors
from pytest_joules.language_model.settings import Settings
from pytest_joules.language_model.texts import text_of
from pytest_joules.language_model.training import Teacher
from pytest_joules.predict.choices import TARGETS
from pytest_joules.predict.model import ErrorRecord, LearnedFrom, Model, level_key
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.train import splits
from pytest_joules.predict.train.fitting import TrainingError
from pytest_joules.predict.train.level import FEWEST_TESTS, Row, errors_of, without_twins

#: Projects are held out in so many parts: each costs a training.
FOLDS = 3

#: Tests that a prediction's cost is measured on, at most.
_TIMED = 64

Told = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Where:
    """What the training runs on, and where it is kept."""

    device: str = "cpu"
    threads: int = 1
    checkpoint: Path | None = None
    inside: Sequence[Path] = ()
    """Folders that nothing is written out of."""


@dataclass(frozen=True, slots=True)
class TestTexts:
    """What is learned from, ready for a network."""

    __test__: ClassVar[bool] = False

    rows: Sequence[Row]
    representation: str
    texts: Sequence[str]
    targets: tuple[str, ...]
    truth: Array
    """Tests x targets, log10; NaN where one was not measured."""
    groups: Array
    """A number for each test: that of its project."""
    fold: Array

    @classmethod
    def of(
        cls,
        rows: Sequence[Row],
        targets: Sequence[str],
        representation: str,
        settings: Settings,
        *,
        ran: bool = False,
        folds: int = FOLDS,
    ) -> TestTexts:
        """The tests without twins. ``ran``: with what their last run counted; otherwise as if they had never run.

        Raises:
            TrainingError: there are too few tests, or too few projects.
        """
        wanted = tuple(name for name in TARGETS if name in targets)
        rows = without_twins([row for row in rows if set(wanted) & row.log10.keys()])
        if len(rows) < FEWEST_TESTS:
            raise TrainingError(f"{len(rows)} tests with a known cost are too few to train on: measure {FEWEST_TESTS} or more")
        projects = [row.project for row in rows]
        if (many := len(set(projects))) < splits.FEWEST_PROJECTS:
            raise TrainingError(
                f"the tests are of {many} packages, and a language model is judged on packages that it has not seen: "
                f"collect {splits.FEWEST_PROJECTS} or more (joules collect), or train another model"
            )
        kept = tuple(name for name in wanted if sum(name in row.log10 for row in rows) >= FEWEST_TESTS)
        groups = np.asarray(splits.by_project(projects))
        facts = [row.facts if ran else row.facts.without_run() for row in rows]
        return cls(
            rows,
            representation,
            [text_of(one, representation, settings.tokens) for one in facts],
            kept,
            np.array([[row.log10.get(name, np.nan) for name in kept] for row in rows]),
            groups,
            splits.folds(groups, folds, settings.seed),
        )


class Course:
    """Trains parts of the tests one after the other, each epoch kept."""

    def __init__(self, tests: TestTexts, base: Base, settings: Settings, where: Where, told: Told) -> None:
        self.tests, self._base, self._settings, self._where, self._told = tests, base, settings, where, told
        key = key_of(settings.as_record(), base.sha256, list(tests.texts), list(tests.targets), tests.truth, tests.fold)
        self._checkpoint = Checkpoint(where.checkpoint, key, where.inside)
        self._progress = self._checkpoint.load()
        self._ids: list[Array] | None = None

    def held_out(self) -> Array:
        """What networks say of the tests of the projects that they did not see: tests x targets, log10."""
        result = np.full(self.tests.truth.shape, np.nan)
        for number, out in enumerate(self._folds()):
            if number >= self._progress.part:
                network, centre, scale = self.trained(number, ~out)
                with device_errors(self._where.device):
                    said = network.score([self._tokens(network)[row] for row in np.flatnonzero(out)]) * scale + centre
                known = {**self._progress.held_out, str(number): said}
                self._progress = Progress(number + 1, held_out=known)
                self._checkpoint.save(self._progress)
            low, high = np.nanmin(self.tests.truth[~out], 0), np.nanmax(self.tests.truth[~out], 0)
            result[out] = np.clip(self._progress.held_out[str(number)], low, high)
        return result

    def trained(self, number: int, rows: Array) -> tuple[Network, Array, Array]:
        """The network of part ``number``, of these tests (booleans), and its targets' centre and scale."""
        truth = self.tests.truth[rows]
        centre, scale = np.nanmean(truth, 0), np.maximum(np.nanstd(truth, 0), 1e-3)
        with device_errors(self._where.device):
            network = Network(self._base, self._settings, len(centre), self._where.device, self._where.threads)
            ids = [self._tokens(network)[row] for row in np.flatnonzero(rows)]
            teacher = Teacher(network, ids, (truth - centre) / scale, number)
            if self._progress.state:
                teacher.resume(dict(self._progress.state))
            for epoch in range(self._progress.epochs, self._settings.epochs):
                teacher.epoch(epoch, lambda share, epoch=epoch: self._tell(number, epoch + share))  # type: ignore[misc]  # of a lambda's default
                self._progress = dataclasses.replace(self._progress, epochs=epoch + 1, state=teacher.state())
                self._checkpoint.save(self._progress)
        return network, centre, scale

    def _folds(self) -> Iterator[Array]:
        for number in range(int(self.tests.fold.max()) + 1):
            yield self.tests.fold == number

    def _tokens(self, network: Network) -> list[Array]:
        if self._ids is None:
            self._ids = network.tokens(self.tests.texts)
        return self._ids

    def _tell(self, part: int, epochs: float) -> None:
        parts = int(self.tests.fold.max()) + 2
        what = "all tests" if part == parts - 1 else f"part {part + 1} of {parts - 1} held out"
        self._told(
            (part + epochs / self._settings.epochs) / parts, f"epoch {int(epochs - 1e-9) + 1} of {self._settings.epochs}, {what}"
        )


def learn(tests: TestTexts, base: Base, settings: Settings, where: Where, *, others: Model, told: Told) -> LanguageModel:
    """The model of all tests, with its errors on projects that it had not seen. What is kept of an unfinished training stays:
    who has written the model removes it (:func:`pytest_joules.language_model.checkpoint.beside`).

    ``others``: what it shall say of changed tests. ``told``: of the share that is done, and what comes next.

    Raises:
        ModelError: what is needed is not installed, the base model cannot be used, or the device failed.
        TrainingError: there is too little to train on.
    """
    spent = libraries().seconds
    course = Course(tests, base, settings, where, told)
    predicted = course.held_out()
    network, centre, scale = course.trained(int(tests.fold.max()) + 1, np.ones(len(tests.rows), dtype=bool))
    conformal, error = {}, dict(others.error)
    for at, target in enumerate(tests.targets):
        known = ~np.isnan(tests.truth[:, at])
        truth, said, groups = tests.truth[known, at], predicted[known, at], tests.groups[known]
        conformal[target] = Conformal.fit(said, truth - said, groups)
        error[level_key(target, ran=False)] = _record(truth, said, tests.fold[known], groups, tests.representation)
    costs = np.stack((np.nanmin(tests.truth, 0), np.nanmax(tests.truth, 0)), 1)
    summary: LearnedFrom = {**others.summary, "projects": int(tests.groups.max()) + 1, "tests": len(tests.rows)}
    return LanguageModel(
        settings,
        base.as_record(),
        tests.representation,
        tests.targets,
        network.numbers(),
        centre,
        scale,
        costs,
        conformal,
        _cost(network, tests, base, spent),
        dataclasses.replace(others, summary=summary, error=error),
    )


def _record(truth: Array, said: Array, fold: Array, groups: Array, representation: str) -> ErrorRecord:
    constant = np.array([np.median(truth[fold != number]) for number in fold])
    models = {"constant": errors_of(constant, truth, fold, groups), NAME: errors_of(said, truth, fold, groups)}
    return {
        "split": "project",
        "chosen": NAME,
        "representations": [representation],
        "models": {kind: one.as_record() for kind, one in models.items()},
    }


def _cost(network: Network, tests: TestTexts, base: Base, imports: float) -> dict[str, float]:
    """CPU seconds of a prediction, its text included, and of loading what is needed: both as scoring does it, on a processor."""
    begun = time.process_time()
    fresh = Network(base, network.settings, len(tests.targets))
    fresh.take(network.numbers())
    start = imports + time.process_time() - begun
    chance = np.random.default_rng(0)
    rows = chance.permutation(len(tests.rows))[:_TIMED]
    facts = [tests.rows[row].facts.without_run() for row in rows]
    fresh.score(fresh.tokens([tests.texts[row] for row in rows[:4]]))  # the first time is slower
    begun = time.process_time()
    fresh.score(fresh.tokens([text_of(one, tests.representation, network.settings.tokens) for one in facts]))
    return {"prediction": (time.process_time() - begun) / len(rows), "start": start}
