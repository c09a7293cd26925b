"""The predictor that the file of a language model is: it is asked about tests that were never measured, its model of changes
about those that changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pytest_joules.language_model import extra, model
from pytest_joules.language_model.model import NAME
from pytest_joules.language_model.texts import text_of
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.model_predictor import ModelPredictor, answers_of
from pytest_joules.predict.protocol import Answer, Question


class LanguagePredictor:
    """Answers with the model in a file; ``told`` what asking costs, before that is spent, and why nobody could be asked.

    Raises:
        ModelError: the file is no model of ours.
    """

    name = NAME

    def __init__(self, path: str | os.PathLike[str], told: Callable[[str], None]) -> None:
        self._path, self._told = Path(path).absolute(), told
        self.model = model.load(self._path)
        self._changes = ModelPredictor(self.model.others)

    def predict(self, questions: Sequence[Question]) -> list[Answer]:
        """Joules now; one answer for each question."""
        new = [place for place, question in enumerate(questions) if question.before is None]
        known = [place for place, question in enumerate(questions) if question.before is not None]
        answers = dict(zip(known, self._changes.predict([questions[place] for place in known]), strict=True)) if known else {}
        if new:
            answers |= dict(zip(new, self._levels([questions[place] for place in new]), strict=True))
        return [answers[place] for place in range(len(questions))]

    def _levels(self, questions: Sequence[Question]) -> list[Answer]:
        """Of tests that were never measured."""
        found = self.model
        if "joules" not in found.targets:
            return [Answer(None, None, why="its language model learned no joules")] * len(questions)
        texts = [text_of(question.facts, found.representation, found.settings.tokens) for question in questions]
        try:
            extra.need()
            each, start = found.cost["prediction"], found.cost["start"]
            self._told(
                f"a language model is asked about {len(texts)} new test{'s' if len(texts) > 1 else ''}: about "
                f"{start + each * len(texts):.1f} CPU s ({start:.1f} to load it, {1000 * each:.0f} ms a test)"
            )
            from pytest_joules.language_model.scoring import asked

            said = asked(self._path, texts)
        except ModelError as error:
            self._told(f"no predictions for new tests: {error}")
            return [Answer(None, None, why="its language model could not be asked")] * len(questions)
        return answers_of(found.levels("joules", np.asarray(said), [bool(text) for text in texts]))
