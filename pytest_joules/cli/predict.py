"""``joules predict``: what tests will cost, without running them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pytest_joules.cli.output import print_json, print_table, refuse, say
from pytest_joules.cli.parsing import Commands
from pytest_joules.cli.predictor import NoHistoryError, add_options, many, model_beside, opened, root_of
from pytest_joules.predict.choices import TARGETS

if TYPE_CHECKING:
    from pytest_joules.predict.protocol import Answer, Predictor, Question
    from pytest_joules.store import Store


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    parser = commands.add_parser("predict", help="what tests will cost whose code is not as it was when they were measured")
    parser.add_argument("nodeid", nargs="?", metavar="NODEID", help="a test, or a part of its name; without: all that changed")
    parser.add_argument("--model", type=Path, metavar="FILE", help="the model (default: model.npz beside the history)")
    parser.add_argument(
        "--trust-model",
        metavar="SHA256",
        help="run the code in this MODEL, a joblib or pickle file, as pytest --energy-trust-model",
    )
    parser.add_argument("--target", choices=TARGETS, default="joules", help="what to predict (default %(default)s)")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="the project (default: the folder of pytest's cache, or this one)"
    )
    parser.set_defaults(command=_predict)
    add_options(parser)


def _predict(given: argparse.Namespace) -> int:
    from pytest_joules.code.graph import Graph
    from pytest_joules.code.project import Project
    from pytest_joules.predict import questions
    from pytest_joules.predict.model import ModelError
    from pytest_joules.predict.widening import SESSIONS, stretches_of, widened, widening
    from pytest_joules.store import StoreError

    try:
        with opened(given) as store:
            predictor, machine, source = _predictor(given, store)
            held = widening(stretches_of(store.predictings(SESSIONS), predictor.name))
            latest = store.latest(machine, source) if machine is not None else {}
            wanted = {nodeid: one for nodeid, one in latest.items() if given.nodeid is None or given.nodeid in nodeid}
            if not wanted:
                what = given.nodeid or f"machine {machine} with source {source}"
                return refuse(f"nothing was measured of {what} whose code is known: run pytest --energy first")
            texts = store.sources(
                {pair for one in wanted.values() for pair in one["code"]["functions"].items() if "::" in pair[0]}
            )
            asked = questions.questions_on_disk(wanted, texts, Graph(Project(root_of(given))))
            ticks = _ticks(store, machine, source) if given.target == "tsc" else {}
        answers = [widened(answer, held.factor) for answer in questions.answers(predictor, asked)]
    except (NoHistoryError, StoreError, ModelError, questions.PredictorError) as error:
        return refuse(str(error))
    entries = [
        _entry(question, answer, _last(question, given.target, ticks)) for question, answer in zip(asked, answers, strict=True)
    ]
    entries.sort(key=lambda entry: -(entry["ratio"] or 0))
    if given.json:
        print_json(
            {
                "model": predictor.name,
                "target": given.target,
                "measured": len(wanted),
                "widened": held.factor,
                "tests": entries,
            }
        )
        return 0
    _say_predicted(entries, given.target)
    say(f"{many(len(wanted) - len(entries), 'other test')} of {len(wanted)}: the code in the path is as it was measured")
    if (sentence := held.sentence()) is not None:
        say(sentence)
    say("not seen here: other parameters, fixtures, options, installed packages")
    return 0


def _predictor(given: argparse.Namespace, store: Store) -> tuple[Predictor, str | None, str]:
    """The model that is meant, and what machine and source it is of.

    Raises:
        ModelError: it cannot be used.
    """
    from pytest_joules import machine
    from pytest_joules.language_model import SCHEMA
    from pytest_joules.predict import model_file
    from pytest_joules.predict.model import ModelError
    from pytest_joules.predict.model_predictor import ModelPredictor
    from pytest_joules.predict.scoring.number_file import schema_of
    from pytest_joules.predict.train import learning
    from pytest_joules.predict.train.fitting import TrainingError
    from pytest_joules.predict.trusted import load_trusted

    path = given.model or model_beside(given)
    if given.model is None and not path.exists():
        raise ModelError("there is no model yet: joules train makes one from the history")
    if model_file.is_numbers(path):
        if schema_of(path) == SCHEMA:
            from pytest_joules.language_model.model import load

            model = load(path).others  # whatever was measured is a question of changes: its network is not asked
        else:
            model = model_file.load(path)
        machine_id, source = model.summary.get("machine"), model.summary.get("source")
        if isinstance(machine_id, str) and isinstance(source, str):
            return ModelPredictor(model), machine_id, source
        predictor: Predictor = ModelPredictor(model)
    else:
        predictor = load_trusted(path, given.trust_model, "--trust-model")
    try:
        found = learning.history(store.versions(), lambda pairs: {}, machine.identity())
    except TrainingError as error:
        raise ModelError(str(error)) from None
    return predictor, found.machine, found.source


def _ticks(store: Store, machine: str | None, source: str) -> dict[str, float]:
    """TSC ticks of each test's last measurement."""
    return {version["nodeid"]: version["tsc"] for version in store.versions(machine, source) if version["tsc"]}


def _last(question: Question, target: str, ticks: Mapping[str, float]) -> float | None:
    before = question.before
    assert before is not None
    return {"joules": before.joules, "seconds": before.seconds, "tsc": ticks.get(question.facts.nodeid)}[target]


class _Entry(TypedDict):
    """A test whose code is not as it was."""

    nodeid: str
    last: float | None
    """In the target's unit, as what is expected."""
    since: str
    """When that was measured, ISO 8601."""
    expected: float | None
    interval: list[float] | None
    """80 %."""
    ratio: float | None
    because: list[str]
    changed: list[str]
    why: str


def _entry(question: Question, answer: Answer, last: float | None) -> _Entry:
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


def _say_predicted(entries: Sequence[_Entry], target: str) -> None:
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


def _between(interval: Sequence[float] | None, amount: Callable[[float | None], str]) -> str:
    return f"{amount(interval[0])}–{amount(interval[1])}" if interval else "-"


def _reason(entry: _Entry) -> str:
    place = (entry["because"] or entry["changed"])[0].rpartition("::")[2] if entry["because"] or entry["changed"] else ""
    return f"{place}: {entry['why']}" if entry["why"] and entry["ratio"] is None else place
