"""The predictor that a model file is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_joules.predict.choices import TARGETS
from pytest_joules.predict.level.model import LevelModel, Levels
from pytest_joules.predict.model import Model, level_key
from pytest_joules.predict.protocol import Answer, Before, Question

if TYPE_CHECKING:
    from pytest_joules.predict.facts.of_test import TestFacts

#: Measured tests that a level model is corrected by, at most: a matrix of so many rows is inverted.
_MOST_MEASURED = 200


class ModelPredictor:
    """Answers with a model: ``change`` asks its level model only about tests that were never measured, ``last`` says what was
    measured last, and the level models look at the code alone."""

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.model = model

    def predict(self, questions: Sequence[Question]) -> list[Answer]:
        """Joules now; one answer for each question."""
        if self.name == "last":
            return [self._last(question) for question in questions]
        answers: dict[int, Answer] = {}
        if self.name == "change":
            known = [place for place, question in enumerate(questions) if question.before is not None]
            answers = dict(zip(known, self._changed([questions[place] for place in known]), strict=True))
        rest = [place for place in range(len(questions)) if place not in answers]
        measured = [(then, math.log10(before.joules)) for then, before in map(_then, questions) if before and before.joules > 0]
        answers |= dict(zip(rest, self.levels([questions[place].facts for place in rest], measured=measured), strict=True))
        return [answers[place] for place in range(len(questions))]

    def _changed(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Of tests that were measured before."""
        if self.model.change is None:
            return [Answer(None, None, why="what a change costs was never measured: joules train --explore")] * len(questions)
        return self.model.change.predict(questions)

    def levels(
        self, facts: Sequence[TestFacts], target: str = "joules", measured: Sequence[tuple[TestFacts, float]] = ()
    ) -> list[Answer]:
        """What the level model expects of tests; ``joules`` of an answer is the target: joules, seconds, or TSC ticks.

        ``measured``: tests of this project with the log10 of what they cost, which a model of several projects is corrected by.

        Raises:
            ValueError: there is no such target.
        """
        if target not in TARGETS:
            raise ValueError(f"no such target: {target}")
        answers: dict[int, Answer] = {}
        for ran in (True, False):
            places = [place for place, one in enumerate(facts) if bool(one.counts) == ran]
            if not places:
                continue
            asked, known = [facts[place] for place in places], measured[:_MOST_MEASURED]
            level = self.model.level.get(level_key(target, ran=ran))
            if level is None and ran:
                # What never runs in training cannot be told apart: what is known of the last run is not looked at.
                level = self.model.level.get(level_key(target, ran=False))
                asked = [one.without_run() for one in asked]
            if level is not self.model.level.get(level_key(target, ran=True)):
                known = [(one.without_run(), cost) for one, cost in known]
            answers |= dict(zip(places, self._answers(level, asked, known), strict=True))
        return [answers[place] for place in range(len(facts))]

    @staticmethod
    def _answers(
        level: LevelModel | None, facts: Sequence[TestFacts], measured: Sequence[tuple[TestFacts, float]]
    ) -> list[Answer]:
        if level is None:
            return [Answer(None, None, why="too little history to say what a new test costs")] * len(facts)
        return answers_of(level.predict(facts, measured))

    def _last(self, question: Question) -> Answer:
        if question.before is None:
            return Answer(None, None, why="never measured")
        joules = question.before.joules
        if self.model.last is None or joules <= 0:
            return Answer(joules, None, why="its last measurement")
        low, high = self.model.last.interval(np.log10([joules]))
        return Answer(joules, (float(10 ** low[0]), float(10 ** high[0])), why="its last measurement")


def _then(question: Question) -> tuple[TestFacts, Before | None]:
    """The test as it was when it was measured."""
    before = question.before
    if before is None:
        return question.facts, None
    return dataclasses.replace(question.facts, sources=before.sources, counts=before.counts), before


def answers_of(levels: Levels) -> list[Answer]:
    """Levels as answers."""
    values, low, high = (10**part for part in levels[:3])
    return [
        Answer(None, None, why=why)
        if why
        else Answer(float(values[place]), (float(low[place]), float(high[place])), why="by what its code looks like")
        for place, why in enumerate(levels.why)
    ]
