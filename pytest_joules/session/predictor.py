"""Which predictor a run asks: the model of ``joules train``, a file, or what another plugin offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_joules.predict.choices import MODEL_FILE
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.protocol import Predictor
from pytest_joules.predict.trusted import checked_predictor
from pytest_joules.session import history
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    import pytest

    from pytest_joules.predict.protocol import Predictor


class NoPredictor(Exception):
    """There is none to be asked: one sentence."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A predictor that is read when there is something to ask."""

    make: Callable[[Callable[[str], None]], Predictor]
    """Given what tells the user something before tests run. Raises :class:`NoPredictor`."""


def choose(config: pytest.Config, settings: Settings) -> Chosen:
    """The predictor that the settings name.

    Raises:
        NoPredictor: none was named, and none was trained.
        pytest.UsageError: the one that was named is not there.
    """
    text = settings.predict
    assert text is not None
    if not text:
        try:
            path = history.folder(config) / MODEL_FILE
        except history.NoCache as error:
            raise NoPredictor(f"there is no model: {error}") from None
        if not path.exists():
            raise NoPredictor("there is no model yet: joules train makes one from the history")
        return Chosen(lambda told: _from_file(path, None, told))
    offered = _offered(config)
    if (predictor := offered.get(text)) is not None:
        return Chosen(lambda told: predictor)
    path = config.invocation_params.dir / text
    if path.is_file() and path.suffix != ".py":
        return Chosen(lambda told: _from_file(path, settings.trust_model, told))
    known = f" and no predictor that a plugin offers ({', '.join(sorted(offered))})" if offered else ""
    remedy = ""
    if path.exists() or "::" in text:
        remedy = ": write --energy-predict=MODEL, or put --energy-predict last to use the model of joules train"
    raise pytest.UsageError(f"--energy-predict: {text!r} is no model file{known}{remedy}")


def _offered(config: pytest.Config) -> dict[str, Predictor]:
    if not config.hook.pytest_joules_predictors.get_hookimpls():
        return {}

    try:
        return offered(config)
    except pytest.UsageError:
        raise
    except Exception as error:  # another plugin's code, whatever it does
        raise pytest.UsageError(f"--energy-predict: a pytest_joules_predictors hook failed: {error}") from None


def _from_file(path: Path, trusted: str | None, told: Callable[[str], None]) -> Predictor:
    from pytest_joules.language_model import SCHEMA
    from pytest_joules.predict import model_file
    from pytest_joules.predict.model_predictor import ModelPredictor
    from pytest_joules.predict.scoring.number_file import schema_of
    from pytest_joules.predict.trusted import load_trusted

    try:
        if schema_of(path) == SCHEMA:
            from pytest_joules.language_model.predictor import LanguagePredictor

            return LanguagePredictor(path, told)
        if model_file.is_numbers(path):
            return ModelPredictor(model_file.load(path))
        return load_trusted(path, trusted)
    except ModelError as error:
        raise NoPredictor(str(error)) from None


def offered(config: pytest.Config) -> dict[str, Predictor]:
    """The predictors that plugins offer with ``pytest_joules_predictors``, by name; the first of a name counts.

    Raises:
        ModelError: what a plugin offers is no predictor.
    """
    found: dict[str, Predictor] = {}
    for several in config.hook.pytest_joules_predictors(config=config):
        if several is None:
            continue
        if not isinstance(several, Iterable) or isinstance(several, (str, bytes)):
            raise ModelError(f"pytest_joules_predictors returned a {type(several).__name__}, not a list of predictors")
        for one in several:
            predictor = checked_predictor(one, "what pytest_joules_predictors offers")
            found.setdefault(predictor.name, predictor)
    return found
