"""``joules train``, ``joules predict`` and ``joules evaluate``: the predictor without a test run."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_joules.cli import locate
from pytest_joules.cli.output import print_json, print_table, refuse, say
from pytest_joules.cli.progress import Waiting
from pytest_joules.clock import CLOCKS

if TYPE_CHECKING:
    from pytest_joules.model import Record
    from pytest_joules.predict.model import Model
    from pytest_joules.predict.protocol import Answer, Predictor, Question
    from pytest_joules.predict.train.change import Pair
    from pytest_joules.store import Store

_MODEL = "model.npz"
_TARGETS = ("joules", "seconds", "tsc")
_MODELS = ("change", "last", "constant", "linear", "bow", "boosted", "additive")


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse's private type
    """Add the three to the command's parser."""
    train = commands.add_parser("train", help="learn from the history what changes of code cost, for pytest --energy-predict")
    train.add_argument("--out", type=Path, metavar="FILE", help="the model (default: model.npz beside the history)")
    train.add_argument(
        "--explore",
        nargs="?",
        type=_seconds,
        const=300.0,
        metavar="SECONDS",
        help="make variants of the project's functions in a copy and measure them, for about so long (default 300)",
    )
    train.add_argument("--model", choices=_MODELS, default="change", help="(default %(default)s)")
    train.add_argument("--target", choices=_TARGETS, action="append", help="what new tests cost in (default: all three)")
    train.add_argument("--dataset", type=Path, metavar="DIR", help="of joules collect: other projects, for what new tests cost")
    train.add_argument("--representation", metavar="NAME", action="append", help="what level models look at; can be repeated")
    train.add_argument("--backend", metavar="NAME", default="loky", help="loky, threading, dask or dask=SCHEDULER")
    train.add_argument("--jobs", type=_jobs, metavar="N", default=-1, help="processor cores to use (default: all)")
    train.set_defaults(command=_train)

    predict = commands.add_parser("predict", help="what tests will cost whose code is not as it was when they were measured")
    predict.add_argument("nodeid", nargs="?", metavar="NODEID", help="a test, or a part of its name; without: all that changed")
    predict.add_argument("--model", type=Path, metavar="FILE", help="(default: model.npz beside the history)")
    predict.add_argument("--trust-model", metavar="SHA256", help="as pytest --energy-trust-model")
    predict.add_argument("--target", choices=_TARGETS, default="joules", help="(default %(default)s)")
    predict.add_argument(
        "--root", type=Path, metavar="DIR", help="the project (default: the folder of pytest's cache, or this one)"
    )
    predict.set_defaults(command=_predict)

    evaluate = commands.add_parser("evaluate", help="how good the predictions in the history have been")
    evaluate.set_defaults(command=_evaluate)

    for parser in (train, predict, evaluate):
        locate.add_options(parser)
        parser.add_argument("--json", action="store_true", help="as JSON")


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cores")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 7 * 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds up to a week")
    return seconds


class _NoHistoryError(Exception):
    """What to say where there is none."""


@contextlib.contextmanager
def _opened(given: argparse.Namespace) -> Iterator[Store]:
    place = locate.place(given)
    if place is None:
        raise _NoHistoryError(locate.NO_HISTORY)
    with locate.opened(place) as store:
        yield store


def _beside(given: argparse.Namespace) -> Path:
    """Where the model is if nobody says: where ``pytest --energy-predict`` looks."""
    cache = locate.cache(given) or Path.cwd() / ".pytest_cache"
    return cache / locate.HISTORY.parent / _MODEL


def _root(given: argparse.Namespace) -> Path:
    """The project's root folder: that of the paths in the history."""
    if getattr(given, "root", None) is not None:
        return Path(given.root)
    cache = locate.cache(given)
    return cache.parent if cache is not None and cache.name == ".pytest_cache" else Path.cwd()


# Training


def _train(given: argparse.Namespace) -> int:
    from pytest_joules import machine
    from pytest_joules.predict.facts.features import REPRESENTATIONS
    from pytest_joules.predict.model import ModelError
    from pytest_joules.predict.model_file import save
    from pytest_joules.predict.train import dataset, learning
    from pytest_joules.predict.train.fitting import TrainingError, need_scikit_learn
    from pytest_joules.predict.train.parallel import running
    from pytest_joules.store import StoreError

    for name in given.representation or ():
        if name not in REPRESENTATIONS:
            return refuse(f"--representation {name}: there are {', '.join(REPRESENTATIONS)}", 2)
    try:
        need_scikit_learn()
        with _opened(given) as store:
            found = learning.history(store.versions(), store.sources, machine.fingerprint()["id"])
        others = list(dataset.rows(given.dataset)) if given.dataset else []
        explored = _explored(_root(given), given.explore) if given.explore else []
        with running(given.backend, given.jobs), Waiting("training", 100, " %") as waiting:
            model, notes = learning.learn(
                found,
                given.model,
                targets=given.target or _TARGETS,
                representations=given.representation,
                explored=explored,
                others=others,
                jobs=given.jobs,
                told=lambda share, what: waiting.step(100 * share, what),
            )
        out = given.out or _beside(given)
        save(out, model, () if given.out else (out.parents[2],))  # the cache: DIR/d/joules/model.npz
    except (_NoHistoryError, StoreError, TrainingError, ModelError) as error:
        return refuse(str(error))
    if given.json:
        print_json({"file": str(out), "name": model.name, "summary": model.summary, "error": model.error, "notes": notes})
        return 0
    _say_trained(model, notes)
    named = "" if given.out is None else f"={out}"
    say(
        f"written: {out}\nnext: pytest --energy-predict{named}, or joules predict{'' if given.out is None else f' --model {out}'}"
    )
    return 0


def _explored(root: Path, seconds: float) -> list[Pair]:
    """Pairs of versions made now.

    Raises:
        TrainingError: the project's tests cannot be run.
    """
    from pytest_joules.predict.train.fitting import TrainingError
    from pytest_joules.predict.variants.explore import explore
    from pytest_joules.predict.variants.laboratory import ExploringError

    begun = CLOCKS.wall()
    try:
        with Waiting("exploring", round(seconds), " s") as waiting:
            return explore(root, seconds=seconds, progress=lambda line: waiting.step((CLOCKS.wall() - begun) / 1e9, line))
    except ExploringError as error:
        raise TrainingError(str(error)) from None


def _say_trained(model: Model, notes: Sequence[str]) -> None:
    summary = model.summary
    pairs = summary.get("pairs") or {}
    say(
        f"learned from {_many(summary['tests'], 'test')} in {_many(summary['sessions'], 'session')} "
        f"({summary['source']} on machine {summary['machine']})"
    )
    if summary["projects"] > 1:
        say(f"and from {_many(summary['projects'] - 1, 'other project')}")
    if pairs:
        kinds = {"history": "of this history", "explored": "made and measured now", "shipped": "shipped with pytest-joules"}
        say(
            f"and from {_many(sum(pairs.values()), 'pair')} of versions: "
            + ", ".join(f"{pairs[k]} {v}" for k, v in kinds.items())
        )
    for key in [key for key in model.level if key.endswith("-static")]:
        _say_errors(key.partition("-")[0], model.error[key], model.error.get(key.replace("-static", "-ran")))
    change = model.error.get("change")
    if change:
        say("")
        say("changed code, cross-validated: " + ", ".join(f"{name.replace('_', ' ')} {_figure(v)}" for name, v in change.items()))
    say("")
    for note in notes:
        say(note)


def _say_errors(target: str, static: Record, ran: Record | None) -> None:
    """The table of one target: every model on tests whose function, or project, it had not seen."""
    from pytest_joules.report.table import Column

    say(f"\n{target} of a test never measured, cross-validated by {static['split']} (log10)")
    found = [(name, one, "") for name, one in static["models"].items()]
    if ran is not None:
        found += [(name, one, " *") for name, one in ran["models"].items() if name not in ("constant", "last")]
    print_table(
        Column("model", [("> " if _is_chosen(name, mark, static, ran) else "  ") + name + mark for name, _, mark in found]),
        Column("R²", [_figure(one["r2"]) for _, one, _ in found], "right"),
        Column("rank", [_figure(one["spearman"]) for _, one, _ in found], "right"),
        Column("off by", [f"{10 ** one['median_error']:.2f}×" for _, one, _ in found], "right"),
        Column("in 80 %", [_percent(one["coverage"]) for _, one, _ in found], "right", drop=2),
        Column("tests", [str(one["tests"]) for _, one, _ in found], "right", drop=1),
    )
    if ran is not None:
        say("* with what ran the last time; >: kept")


def _is_chosen(name: str, mark: str, static: Record, ran: Record | None) -> bool:
    return bool(name == (ran if mark and ran is not None else static)["chosen"])


# Predicting


def _predict(given: argparse.Namespace) -> int:
    from pytest_joules.code.graph import Graph
    from pytest_joules.code.project import Project
    from pytest_joules.predict import questions
    from pytest_joules.predict.model import ModelError
    from pytest_joules.store import StoreError

    try:
        with _opened(given) as store:
            predictor, machine, source = _predictor(given, store)
            latest = store.latest(machine, source)
            wanted = {nodeid: one for nodeid, one in latest.items() if given.nodeid is None or given.nodeid in nodeid}
            if not wanted:
                what = given.nodeid or f"machine {machine} with source {source}"
                return refuse(f"nothing was measured of {what} whose code is known: run pytest --energy first")
            texts = store.sources(
                {pair for one in wanted.values() for pair in one["code"]["functions"].items() if "::" in pair[0]}
            )
            asked = questions.questions_on_disk(wanted, texts, Graph(Project(_root(given))))
            ticks = _ticks(store, machine, source) if given.target == "tsc" else {}
        answers = questions.answers(predictor, asked)
    except (_NoHistoryError, StoreError, ModelError, questions.PredictorError) as error:
        return refuse(str(error))
    entries = [
        _entry(question, answer, _last(question, given.target, ticks)) for question, answer in zip(asked, answers, strict=True)
    ]
    entries.sort(key=lambda entry: -(entry["ratio"] or 0))
    if given.json:
        print_json({"model": predictor.name, "target": given.target, "measured": len(wanted), "tests": entries})
        return 0
    _say_predicted(entries, given.target)
    say(f"{_many(len(wanted) - len(entries), 'other test')} of {len(wanted)}: the code in the path is as it was measured")
    say("not seen here: other parameters, fixtures, options, installed packages")
    return 0


def _predictor(given: argparse.Namespace, store: Store) -> tuple[Predictor, str, str]:
    """The model that is meant, and what machine and source it is of.

    Raises:
        ModelError: it cannot be used.
    """
    from pytest_joules import machine
    from pytest_joules.predict import model_file
    from pytest_joules.predict.model import ModelError
    from pytest_joules.predict.model_predictor import ModelPredictor
    from pytest_joules.predict.train import learning
    from pytest_joules.predict.train.fitting import TrainingError
    from pytest_joules.predict.trusted import load_trusted

    path = given.model or _beside(given)
    if given.model is None and not path.exists():
        raise ModelError("there is no model yet: joules train makes one from the history")
    if model_file.is_numbers(path):
        model = model_file.load(path)
        machine_id, source = model.summary.get("machine"), model.summary.get("source")
        if isinstance(machine_id, str) and isinstance(source, str):
            return ModelPredictor(model), machine_id, source
        predictor: Predictor = ModelPredictor(model)
    else:
        predictor = load_trusted(path, given.trust_model, "--trust-model")
    try:
        found = learning.history(store.versions(), lambda pairs: {}, machine.fingerprint()["id"])
    except TrainingError as error:
        raise ModelError(str(error)) from None
    return predictor, found.machine, found.source


def _ticks(store: Store, machine: str, source: str) -> dict[str, float]:
    """TSC ticks of each test's last measurement."""
    return {version["nodeid"]: version["tsc"] for version in store.versions(machine, source) if version["tsc"]}


def _last(question: Question, target: str, ticks: Mapping[str, float]) -> float | None:
    before = question.before
    assert before is not None
    return {"joules": before.joules, "seconds": before.seconds, "tsc": ticks.get(question.facts.nodeid)}[target]


def _entry(question: Question, answer: Answer, last: float | None) -> Record:
    """``expected`` and ``interval`` in the target's unit: the code changes how much is done, so joules, seconds and ticks change
    by the same factor."""
    before = question.before
    assert before is not None
    ratio = answer.joules / before.joules if answer.joules is not None and before.joules > 0 else None
    scale = last / before.joules if last is not None and before.joules > 0 else None
    known = ratio is not None and scale is not None
    return {
        "nodeid": question.facts.nodeid,
        "last": last,
        "since": before.created,
        "expected": ratio * last if ratio is not None and last is not None else None,
        "interval": [end * scale for end in answer.interval] if known and scale is not None and answer.interval else None,
        "ratio": ratio,
        "because": list(answer.because),
        "changed": list(question.changed),
        "why": answer.why,
    }


def _say_predicted(entries: Sequence[Record], target: str) -> None:
    from pytest_joules.report import quantity
    from pytest_joules.report.table import Column
    from pytest_joules.report.text import last_part, shorten_nodeid

    def amount(value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:.3g}" if target == "tsc" else {"joules": quantity.joules, "seconds": quantity.seconds}[target](value)

    if not entries:
        return
    print_table(
        Column("test", [entry["nodeid"] for entry in entries], shorten=shorten_nodeid, least=last_part),
        Column("last", [amount(entry["last"]) for entry in entries], "right", drop=3),
        Column("expected", [amount(entry["expected"]) if entry["ratio"] else "unknown" for entry in entries], "right"),
        Column("80 %", [_between(entry["interval"], amount) for entry in entries], drop=2),
        Column("ratio", [f"{quantity.ratio(entry['ratio'])}×" if entry["ratio"] else "-" for entry in entries], "right"),
        Column("because of", [_reason(entry) for entry in entries], drop=1),
    )


def _between(interval: Sequence[float] | None, amount: Any) -> str:  # noqa: ANN401 - a function
    return f"{amount(interval[0])}–{amount(interval[1])}" if interval else "-"


def _reason(entry: Record) -> str:
    place = (entry["because"] or entry["changed"])[0].rpartition("::")[2] if entry["because"] or entry["changed"] else ""
    return f"{place}: {entry['why']}" if entry["why"] and entry["ratio"] is None else place


# Evaluating


def _evaluate(given: argparse.Namespace) -> int:
    from pytest_joules.predict import evaluation
    from pytest_joules.store import StoreError

    try:
        with _opened(given) as store, Waiting("evaluating: session") as waiting:
            found = evaluation.predictions(store, waiting.of)
            accounts = store.predictings(10)
    except (_NoHistoryError, StoreError) as error:
        return refuse(str(error))
    if not found:
        return refuse(
            "nothing to evaluate yet: the history has no prediction with its measurement. Run pytest --energy --energy-predict."
        )
    result = evaluation.evaluate(found)
    if given.json:
        print_json(result | {"accounts": accounts})
        return 0
    _say_evaluated(result)
    return 0


def _say_evaluated(result: Record) -> None:
    from pytest_joules.report.table import Column

    whole = result["all"]
    dearer = whole["hits"] + whole["missed"]
    say(
        f"{_many(whole['tests'], 'prediction')} held against measurements\n"
        f"dearer: {dearer}, of which {whole['hits']} were flagged and {whole['missed']} missed\n"
        f"not dearer: {whole['false'] + whole['right']}, of which {whole['false']} were flagged\n"
        f"cannot be told: {whole['unclear']}\n"
    )
    parts = [(name, figures) for name, figures in result["models"].items()] + [("all", whole)]
    print_table(
        Column("model", [name or "-" for name, _ in parts]),
        Column("tests", [str(one["tests"]) for _, one in parts], "right", drop=1),
        Column("recall", [_percent(one["recall"]) for _, one in parts], "right"),
        Column("precision", [_percent(one["precision"]) for _, one in parts], "right", drop=2),
        Column("false flags", [_percent(one["false_flags"]) for _, one in parts], "right"),
        Column("in 80 %", [_percent(one["coverage"]) for _, one in parts], "right"),
        Column("off by", [_factor(one["median_error"]) for _, one in parts], "right"),
        Column("last", [_factor(one["last_error"]) for _, one in parts], "right", drop=3),
    )
    say("off by: half of the predictions were within this factor; last: had the last measurement been expected again\n")
    sessions = result["sessions"]
    print_table(
        Column("session", [one["created"][:16].replace("T", " ") for one in sessions]),
        Column("tests", [str(one["tests"]) for one in sessions], "right", drop=1),
        *(
            Column(name, [str(one[key]) for one in sessions], "right")
            for name, key in (("hit", "hits"), ("missed", "missed"), ("false flag", "false"), ("right", "right"))
        ),
        Column("unclear", [str(one["unclear"]) for one in sessions], "right", drop=2),
    )


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _figure(value: object) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _factor(error: float | None) -> str:
    return "-" if error is None else f"{10**error:.2f}×"
