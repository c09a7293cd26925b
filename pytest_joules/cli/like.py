"""``joules train --like``: a model with the configuration of a point of ``joules tune``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli import locate, train_language
from pytest_joules.cli.output import print_json, refuse, say
from pytest_joules.cli.predictor import figure, many, model_beside, opened
from pytest_joules.cli.progress import Waiting
from pytest_joules.predict.choices import LANGUAGE_MODEL

if TYPE_CHECKING:
    from pytest_joules.predict.model import LearnedFrom
    from pytest_joules.predict.train.level import Row
    from pytest_joules.tune.front_file import Chosen

#: What a point says already.
_NOT_WITH = {"explore": None, "target": None, "representation": None, "model": "change"}


def train(given: argparse.Namespace) -> int:
    """Do what ``joules train --like`` asks for."""
    from pytest_joules.collect import dataset
    from pytest_joules.predict.model import ModelError
    from pytest_joules.predict.model_file import save
    from pytest_joules.predict.train.fitting import TrainingError
    from pytest_joules.predict.train.level import MEASURED
    from pytest_joules.predict.train.parallel import running
    from pytest_joules.store import StoreError
    from pytest_joules.tune.front_file import FrontError
    from pytest_joules.tune.like import train_like

    for name, plain in _NOT_WITH.items():
        if getattr(given, name) != plain:
            return refuse(f"--{name} does not go with --like: the point of the front says what is trained", 2)
    try:
        point = _point(given.like)
        folder = given.dataset or point.dataset
        if point.configuration.kind == LANGUAGE_MODEL:
            return _language(given, point, folder)
        rows, summary = list(dataset.rows(folder)), _measured_by(folder)
        own, of_history = _history(given)
        unlabelled = list(dataset.unlabelled(folder)) if point.configuration.teacher is not None else []
        with running(given.backend, given.jobs), Waiting("training"):
            model = train_like(point.configuration, [*own, *rows], unlabelled, {**summary, **of_history}, point.seed)
        out = given.out or model_beside(given)
        save(out, model, () if given.out else (out.parents[2],))  # the cache: DIR/d/joules/model.npz
    except FrontError as error:
        return refuse(str(error), 2)
    except (StoreError, TrainingError, ModelError) as error:
        return refuse(str(error))
    (key,) = model.level
    if given.json:
        told = {
            "name": model.name,
            "summary": model.summary,
            "error": model.error,
            "configuration": point.configuration.as_record(),
        }
        print_json({"file": str(out), **told})
        return 0
    say(f"trained like point {point.number} of {given.like.partition('#')[0]}: {point.label}")
    tests, projects = model.summary["tests"], model.summary["projects"]
    say(f"learned from {many(tests, 'test')} in {many(projects, 'project')} ({folder}{', and this history' if own else ''})")
    for name, scored in model.error[key]["models"].items():
        how = "as it is" if name == model.name else f"moved by {MEASURED} measured tests"
        figures = f"R² {figure(scored['r2'])}, rank {figure(scored['spearman'])}, off by {10 ** scored['median_error']:.2f}×"
        say(f"{how}, projects held out: {figures}")
    if point.configuration.ran:
        say("it needs the counts of a run: a test that never ran is answered unknown")
    named = "" if given.out is None else f"={out}"
    say(f"written: {out}\nnext: pytest --energy-predict{named}")
    return 0


def _language(given: argparse.Namespace, point: Chosen, folder: Path) -> int:
    """As ``joules train --model=lora`` with the point's sizes."""
    for name, value in point.configuration.given.items():
        setattr(given, "epochs" if name == "epochs" else f"lora_{name}", value)
    given.model, given.dataset, given.seed = LANGUAGE_MODEL, folder, point.seed
    given.representation = list(point.configuration.representations)
    refuse(f"training like point {point.number} of {given.like.partition('#')[0]}: {point.label}")
    return train_language.train(given, lambda: ((), []))


def _point(text: str) -> Chosen:
    """Raises :class:`~pytest_joules.tune.front_file.FrontError`."""
    from pytest_joules.tune.front_file import FrontError, load

    name, sign, number = text.rpartition("#") if "#" in text else (text, "", "")
    if sign and not (number.isascii() and number.isdigit() and 0 < len(number) < 6):
        raise FrontError(f"--like={text}: {number!r} is no number of a point: write --like={name}#3")
    return load(Path(name)).point(int(number) if sign else None, Path(name))


def _history(given: argparse.Namespace) -> tuple[list[Row], LearnedFrom]:
    """This project's own tests, where there is a history."""
    from pytest_joules import machine
    from pytest_joules.predict.train import learning
    from pytest_joules.predict.train.fitting import TrainingError

    if locate.place(given) is None:
        return [], {}
    with opened(given) as store:
        try:
            found = learning.history(store.versions(), store.sources, machine.identity())
        except TrainingError:
            return [], {}  # nothing was measured here yet
    return learning.rows(found), found.facts


def _measured_by(folder: Path) -> LearnedFrom:
    from pytest_joules.collect import dataset

    machine, source = dataset.machine_of(folder)
    return {"sessions": 0, "machine": machine, "source": source}
