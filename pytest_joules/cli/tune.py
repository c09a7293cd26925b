"""``joules tune``: which configuration of a predictor is worth its own energy."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.cli.output import print_table, refuse, say
from pytest_joules.cli.parsing import Commands, jobs, seconds, whole
from pytest_joules.cli.predictor import many
from pytest_joules.cli.progress import Waiting
from pytest_joules.settings.values import POWERCAP

if TYPE_CHECKING:
    from pytest_joules.tune.family import MakesFamily
    from pytest_joules.tune.front_file import FrontRecord, PointRecord, Quantity
    from pytest_joules.tune.run import Metering

#: Seconds in one of each unit of a budget.
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_MOST = 30 * 86_400.0
_TARGETS = ("error", "bytes", "seconds", "joules")


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    tune = commands.add_parser(
        "tune",
        help="search for the predictor that is worth its own energy: error, size, seconds and measured joules",
        description="Try what a predictor can look at, how it can learn and whether measured tests move it, on packages that are "
        "held out; measure what a prediction of the best takes; teach small ones by large ones; and say which are dominated, and "
        "which is the knee. Ctrl-C loses nothing: the same command goes on.",
    )
    tune.add_argument("--dataset", type=Path, metavar="DIR", required=True, help="of joules collect")
    tune.add_argument(
        "--budget", type=_budget, metavar="TIME", default=7200.0, help="seconds, or a number with s, m or h (default 2h)"
    )
    tune.add_argument(
        "--targets", type=_targets, metavar="NAMES", default=_TARGETS, help=f"what counts (default {','.join(_TARGETS)})"
    )
    tune.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=Path("front.json"),
        help="the front, for joules train --like (default %(default)s)",
    )
    tune.add_argument("--svg", type=Path, metavar="FILE", help="a picture of it")
    tune.add_argument(
        "--with", dest="families", choices=("lora",), action="append", help="search the language model too: it takes hours"
    )
    tune.add_argument("--seed", type=whole(0), metavar="N", default=0, help="of folds and draws (default 0)")
    tune.add_argument("--backend", metavar="NAME", default="loky", help="loky, threading, dask or dask=SCHEDULER")
    tune.add_argument("--jobs", type=jobs, metavar="N", default=-1, help="processor cores to use (default: all)")
    tune.add_argument(
        "--powercap", type=Path, metavar="DIR", default=POWERCAP, help="root of the powercap tree (default %(default)s)"
    )
    tune.set_defaults(command=_tune)


def _budget(text: str) -> float:
    match = re.fullmatch(r"(.*?)\s*([smh]?)", text.strip())
    assert match is not None
    value = seconds(match[1]) * _UNITS[match[2]]
    if not value <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 30 days")
    return value


def _targets(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in _TARGETS:
            raise argparse.ArgumentTypeError(f"there is no target {name!r}: name some of {','.join(_TARGETS)}")
    if "error" not in names or len(names) < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: a front is of error and a cost: name error and one or more of the others")
    return tuple(name for name in _TARGETS if name in names)


def _tune(given: argparse.Namespace) -> int:
    from pytest_joules.files import atomic
    from pytest_joules.predict.model import ModelError
    from pytest_joules.predict.train.fitting import TrainingError
    from pytest_joules.predict.train.parallel import running
    from pytest_joules.sources.base import Unavailable
    from pytest_joules.tune import front_file, picture
    from pytest_joules.tune.levels import Levels
    from pytest_joules.tune.run import TuneError, TuneSettings, tune

    state = given.json.with_name(f"{given.json.name}.state")
    families: list[MakesFamily] = [Levels]
    if given.families:
        from pytest_joules.tune.language import Language

        families.append(Language)
    settings = TuneSettings(given.dataset, given.budget, given.targets, state, given.seed, families)
    try:
        atomic.check(given.json, "--json")
        if given.svg is not None:
            atomic.check(given.svg, "--svg")
        with running(given.backend, given.jobs), Waiting("tuning", every=30.0) as waiting:

            def told(spent: float, what: str) -> None:
                waiting.step(spent, f"{spent:.0f} of {given.budget:.0f} s: {what}")

            found = tune(settings, lambda: _metering(given.powercap), told)
        front_file.write(given.json, found)
        if given.svg is not None:
            picture.write(given.svg, found)
    except (TrainingError, TuneError, ModelError, Unavailable) as error:
        return refuse(str(error))
    except atomic.ReportPathError as error:
        return refuse(str(error), 2)
    except KeyboardInterrupt:
        return refuse(f"stopped; what was tried is kept in {state}, and the same command goes on from there", 130)
    if found["complete"]:
        state.unlink(missing_ok=True)
    _say(found)
    for path in (given.json, given.svg):
        if path is not None:
            say(f"written: {path}")
    if found["knee"] is not None:
        say(f"next: joules train --like={given.json}#{found['knee']['number']}")
    return 0


@contextlib.contextmanager
def _metering(powercap: Path) -> Iterator[Metering]:
    """The sources that a run would take, calibrated."""
    from pytest_joules.measure.meter import Meter
    from pytest_joules.measure.other_load import OtherLoad
    from pytest_joules.sources import choose
    from pytest_joules.sources.process_tree import ProcessTree
    from pytest_joules.sources.tsc import open_counter
    from pytest_joules.tune.run import Metering

    choice = choose.choose(choose.builtin(powercap, None, None), ("auto",))
    try:
        meter = Meter(choice.sources, open_counter().read)
        meter.calibrate()
        refused = "; ".join(f"{one.name} not taken: {one.reason}" for one in choice.refused if not one.quiet)
        facts = [source.facts(refused) for source in choice.sources if source.domains]
        yield Metering(meter, facts, OtherLoad(ProcessTree().seconds))
    finally:
        for source in choice.sources:
            source.close()


# What is said


def _say(found: FrontRecord) -> None:
    data, points = found["dataset"], found["points"]
    say(
        f"{many(data['tests'], 'test')} of {many(data['packages'], 'package')}, {found['held_out']} of them held out in "
        f"{many(found['folds'], 'fold')}; joules: {found['provenance']}"
    )
    for source in found["sources"]:
        say(f"  {source['name']}: {source['why']}")
    _table(found, points)
    say("*: on the front; <N: dominated by N; =N: N is better by one target, and not known to be worse by any")
    say("off by: the median error, as a factor; intervals of 95 %")
    if any(one["configuration"]["adapted"] for one in points):
        say("+20: moved by 20 measured tests of the package, whose measuring is not in the joules")
    for lesson in found["distilled"]:
        say(_lesson(found, lesson["student"], lesson["teacher"]))
    knee = found["knee"]
    if knee is not None:
        say(f"knee: {knee['number']} {points[knee['number'] - 1]['label']}: {knee['why']}")
        if knee["tied"]:
            tied = ", ".join(map(str, knee["tied"]))
            say(f"  a tie: {tied} cannot be told from it as the knee; it is the cheapest of them")
    for note in found["notes"]:
        say(f"note: {note}")


def _table(found: FrontRecord, points: Sequence[PointRecord]) -> None:
    from pytest_joules.report import quantity
    from pytest_joules.report.table import Column

    def spread(one: PointRecord) -> str:
        return "" if one["half_width"] is None else quantity.plus_minus(one["half_width"]).removeprefix("±").removesuffix(" %")

    columns = [Column("", [f"{one['number']:>2} {one['label']}" for one in points]), Column("", list(map(_mark, points)))]
    columns.append(Column("off by", [f"{10 ** one['error']['median']:.2f}×" for one in points], "right"))
    columns.append(Column("between", [_factors(one["error"]) for one in points], "right", drop=1))
    if "bytes" in found["targets"]:
        columns.append(Column("KB", [f"{one['bytes'] / 1000:.1f}" for one in points], "right", drop=3))
    if "seconds" in found["targets"]:
        columns.append(Column("CPU", [quantity.seconds(_median(one["seconds"])) for one in points], "right", drop=4))
    if "joules" in found["targets"]:
        columns.append(Column("joules", [quantity.joules(_median(one["joules"])) for one in points], "right"))
        columns.append(Column("±%", list(map(spread, points)), "right", drop=2))
    print_table(*columns)


def _median(value: Quantity | None) -> float | None:
    return value["median"] if value is not None else None


def _mark(one: PointRecord) -> str:
    sign = {"front": "*", "dominated": "<", "tied": "="}[one["verdict"]]
    return sign + (f"{one['by'][0]}" + ("…" if one["by"][1:] else "") if one["by"] else "")


def _factors(error: Quantity) -> str:
    low, high = error["ci95"] or (error["median"], error["median"])
    return f"{10**low:.2f}–{10**high:.2f}"


def _lesson(found: FrontRecord, student: int, teacher: int) -> str:
    from pytest_joules.tune.distilling import LEAST_GAIN, MOST_JOULES

    one = next(each for each in found["distilled"] if (each["student"], each["teacher"]) == (student, teacher))
    gain = "no gain" if one["gain"] is None else f"{100 * one['gain']:.0f} % of its teacher's gain over the constant"
    if one["gain_ci95"] is not None:
        gain += f" ({100 * one['gain_ci95'][0]:.0f} to {100 * one['gain_ci95'][1]:.0f} %)"
    joules = "joules unavailable" if one["joules"] is None else f"{100 * one['joules']:.2g} % of its joules"
    bar = f"at least {100 * LEAST_GAIN:.0f} % at no more than {100 * MOST_JOULES:.0f} %"
    return f"student {student}, taught by {teacher}: {gain} at {joules}: {'met' if one['met'] else 'MISSED'} ({bar})"
