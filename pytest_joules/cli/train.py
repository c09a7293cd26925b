"""``joules train``: a model from the history."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli import like, train_language
from pytest_joules.cli.level_errors import say_errors
from pytest_joules.cli.output import print_json, refuse, say
from pytest_joules.cli.parsing import Commands, jobs
from pytest_joules.cli.predictor import NoHistoryError, add_options, figure, many, model_beside, opened, root_of
from pytest_joules.cli.progress import Waiting
from pytest_joules.predict.choices import EXPLORED_FILE, LANGUAGE_MODEL, MODELS, TARGETS

if TYPE_CHECKING:
    from pytest_joules.predict.model import Model
    from pytest_joules.predict.train.change import Pair


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    parser = commands.add_parser("train", help="learn from the history what changes of code cost, for pytest --energy-predict")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the model (default: model.npz beside the history)")
    parser.add_argument(
        "--explore",
        nargs="?",
        type=_seconds,
        const=300.0,
        metavar="SECONDS",
        help="rewrite functions in a copy and time their tests, for so long (default 300), from where it stopped the last time",
    )
    parser.add_argument("--model", choices=(*MODELS, LANGUAGE_MODEL), default="change", help="what learns (default %(default)s)")
    parser.add_argument(
        "--target", choices=TARGETS, action="append", help="what new tests cost in; can be repeated (default: joules)"
    )
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="of joules collect: other projects, for what new tests cost")
    parser.add_argument(
        "--like",
        metavar="FRONT.json#N",
        help="with the configuration of this point of joules tune (without #N: its knee), on its own data set or on --dataset",
    )
    parser.add_argument("--representation", metavar="NAME", action="append", help="what level models look at; can be repeated")
    parser.add_argument("--backend", metavar="NAME", default="loky", help="loky, threading, dask or dask=SCHEDULER")
    parser.add_argument("--jobs", type=jobs, metavar="N", default=-1, help="processor cores to use (default: all)")
    parser.set_defaults(command=_train)
    add_options(parser)
    train_language.add_options(parser)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 7 * 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds up to a week")
    return seconds


def _train(given: argparse.Namespace) -> int:
    if given.like is not None:
        return like.train(given)
    from pytest_joules import machine
    from pytest_joules.collect import dataset
    from pytest_joules.predict.facts.features import REPRESENTATIONS
    from pytest_joules.predict.model import ModelError
    from pytest_joules.predict.model_file import save
    from pytest_joules.predict.train import learning
    from pytest_joules.predict.train.fitting import TrainingError, need_scikit_learn
    from pytest_joules.predict.train.parallel import running
    from pytest_joules.store import StoreError

    if (wrong := train_language.meaningless(given)) is not None:
        return refuse(wrong, 2)
    for name in given.representation or ():
        if name not in REPRESENTATIONS:
            return refuse(f"--representation {name}: there are {', '.join(REPRESENTATIONS)}", 2)
    if given.model == LANGUAGE_MODEL:
        return train_language.train(given, lambda: _explored(given))
    try:
        need_scikit_learn()
        with opened(given) as store:
            found = learning.history(store.versions(), store.sources, machine.identity())
        others = list(dataset.rows(given.dataset)) if given.dataset else []
        explored, notes = _explored(given)
        with running(given.backend, given.jobs), Waiting("training", 100, " %") as waiting:
            model, more = learning.learn(
                found,
                given.model,
                targets=given.target or TARGETS[:1],
                representations=given.representation,
                explored=explored,
                others=others,
                jobs=given.jobs,
                told=lambda share, what: waiting.step(100 * share, what),
            )
        out = given.out or model_beside(given)
        save(out, model, () if given.out else (out.parents[2],))  # the cache: DIR/d/joules/model.npz
    except (NoHistoryError, StoreError, TrainingError, ModelError) as error:
        return refuse(str(error))
    if given.json:
        told = {"name": model.name, "summary": model.summary, "error": model.error, "notes": [*notes, *more]}
        print_json({"file": str(out), **told})
        return 0
    _say_trained(model, [*notes, *more])
    named = "" if given.out is None else f"={out}"
    say(
        f"written: {out}\nnext: pytest --energy-predict{named}, or joules predict{'' if given.out is None else f' --model {out}'}"
    )
    return 0


def _explored(given: argparse.Namespace) -> tuple[Sequence[Pair], list[str]]:
    """Pairs of versions made now, and made before; and what to say of them.

    Raises:
        TrainingError: the project's tests cannot be run.
    """
    file = model_beside(given).with_name(EXPLORED_FILE)
    if not given.explore and not file.exists():
        return (), []
    from pytest_joules.explore.explored import Explored, ExploringError
    from pytest_joules.predict.train.fitting import TrainingError

    root, notes = root_of(given), []
    try:
        found = Explored.load(file, root)
    except ExploringError as error:
        notes.append(f"what was explored before is lost: {error}")
        found = Explored()
    if given.explore:
        from pytest_joules.explore.exploring import explore

        try:
            with Waiting("exploring", round(given.explore), " s", every=30.0) as waiting:
                explore(root, file, found, seconds=given.explore, told=waiting.step)
        except ExploringError as error:
            raise TrainingError(f"exploring: {error}") from None
    return found.pairs, notes


def _say_trained(model: Model, notes: Sequence[str]) -> None:
    summary = model.summary
    pairs = summary.get("pairs") or {}
    say(
        f"learned from {many(summary['tests'], 'test')} in {many(summary['sessions'], 'session')} "
        f"({summary['source']} on machine {summary['machine']})"
    )
    if summary["projects"] > 1:
        say(f"and from {many(summary['projects'] - 1, 'other project')}")
    if pairs:
        kinds = {"history": "of this history", "explored": "explored", "shipped": "shipped with pytest-joules"}
        say(
            f"and from {many(sum(pairs.values()), 'pair')} of versions: " + ", ".join(f"{pairs[k]} {v}" for k, v in kinds.items())
        )
    for key in [key for key in model.level if key.endswith("-static")]:
        say_errors(key.partition("-")[0], model.error[key], model.error.get(key.replace("-static", "-ran")))
    change = model.error.get("change")
    if change:
        say("")
        say("changed code, cross-validated: " + ", ".join(f"{name.replace('_', ' ')} {figure(v)}" for name, v in change.items()))
    say("")
    for note in notes:
        say(note)
