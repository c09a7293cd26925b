"""``joules bisect``: which commit made a test dearer."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_joules.cli.output import print_json, refuse, say
from pytest_joules.cli.parsing import Commands, seconds, threshold, whole

if TYPE_CHECKING:
    from types import FrameType

    from pytest_joules.revision.bisecting import Result
    from pytest_joules.revision.commits import Commit, Line
    from pytest_joules.revision.holding import Effort
    from pytest_joules.revision.kept_verdicts import Judged, Verdicts

_CACHE = ".pytest_cache"
#: Commits that are listed at most.
_FEW = 12
#: Exit codes; 2 is misuse.
_NONE, _FOUND, _UNTOLD = 0, 1, 3


def add_command(commands: Commands) -> None:
    """Add it to the command's parser."""
    parser = commands.add_parser(
        "bisect",
        usage="joules bisect [-h] [options] NODEID GOOD [BAD] [-- PYTEST-OPTION ...]",
        help="which commit made a test dearer; exit 1 where it is found, 0 where no difference is, 3 where it cannot be told",
        description="Hold commits between GOOD and BAD against GOOD, in worktrees of their own, until it is known which of them "
        "made a test dearer. Your working tree, index and branch are not touched. Stopped, the same command goes on from there.",
    )
    parser.add_argument("nodeid", metavar="NODEID", help="the test, as pytest is told of it")
    parser.add_argument("good", metavar="GOOD", help="a commit where it was not dearer yet")
    parser.add_argument("bad", metavar="BAD", nargs="?", default="HEAD", help="a later one where it is (default HEAD)")
    parser.add_argument(
        "--by",
        choices=("auto", "joules", "instructions"),
        default="auto",
        help="by what they are judged; auto (default): instructions, where they can be counted and the ends differ in them",
    )
    parser.add_argument("--rounds", type=whole(1), metavar="N", help="as --energy-rounds")
    parser.add_argument("--max-time", type=seconds, metavar="SECONDS", default=10.0, help="as --energy-max-time (default 10)")
    parser.add_argument(
        "--threshold", type=threshold, metavar="PERCENT", help="smallest change that counts (default 5%%; of instructions 1%%)"
    )
    parser.add_argument("--restart", action="store_true", help="forget what earlier runs of this command found out")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="pytest's cache (default: the nearest .pytest_cache)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(command=_bisect)


def separated(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line, and what stands behind ``--`` in it, where that is for pytest."""
    if "bisect" not in words[:1] or "--" not in words:
        return list(words), []
    place = list(words).index("--")
    return list(words[:place]), list(words[place + 1 :])


def _bisect(given: argparse.Namespace) -> int:
    from pytest_joules.files.atomic import ReportPathError
    from pytest_joules.revision import commits
    from pytest_joules.revision.bisecting import Bisecting, Refused
    from pytest_joules.revision.candidate import Project
    from pytest_joules.revision.holding import Effort
    from pytest_joules.revision.worktree import RevisionError

    here = Path.cwd().resolve()
    try:
        line = commits.between(here, given.good, given.bad)
        effort = Effort(given.by, given.rounds, given.max_time, given.threshold)
        verdicts = _verdicts(given, line, here, effort)
        if changed := commits.changes(line.root):
            _tell(f"{_number(changed, 'file')} of your tree with uncommitted changes: no part of this")
        project = Project(line.root, here, given.nodeid, tuple(given.behind))
        with _stopped_in_order():
            result = Bisecting(project, line, effort, verdicts, _tell).run()
    except (RevisionError, Refused, ReportPathError) as error:
        return refuse(str(error), 2)
    except KeyboardInterrupt:
        return refuse("stopped; what was judged is kept, and the same command goes on from there", 130)
    if given.json:
        print_json(_record(given.nodeid, line, result))
    else:
        say("\n".join(_lines(given.nodeid, line, result)))
    return {"no difference": _NONE, "found": _FOUND, "range": _FOUND}.get(result.verdict, _UNTOLD)


def _verdicts(given: argparse.Namespace, line: Line, here: Path, effort: Effort) -> Verdicts:
    """What earlier runs of the same command have found out."""
    from dataclasses import astuple

    from pytest_joules import __version__, machine
    from pytest_joules.revision.kept_verdicts import Verdicts

    places = [folder / _CACHE for folder in (here, *here.parents) if folder.is_relative_to(line.root)]
    cache = given.cache_dir or next((place for place in places if place.is_dir()), line.root / _CACHE)
    ends = (line.good.revision.id, line.commits[-1].revision.id)
    key = (str(line.root), str(here), given.nodeid, *ends, *astuple(effort), *given.behind)
    found = Verdicts(cache, (*key, machine.identity(), sys.executable, sys.version, __version__), restart=given.restart)
    if found.trouble is not None:
        _tell(found.trouble)
    if found.found:
        _tell(f"goes on from what an earlier run found out ({_number(found.found, 'verdict')}; --restart forgets it)")
    return found


@contextlib.contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Told to end (a CI job that is cancelled), it leaves nothing behind, as on Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.signal(number, stop) for number in numbers if signal.getsignal(number) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(text: str) -> None:
    """What goes on, on the standard error: the standard output has the answer."""
    refuse(text)


# What is said


def _lines(nodeid: str, line: Line, result: Result) -> list[str]:
    bad = line.commits[-1]
    span = f"{line.good.revision.short}..{bad.revision.short}"
    what = "joules" if result.by == "joules" else "instructions"
    ends = f"{nodeid}: {_times(result.ends)} in {what} over {span}"
    if result.verdict == "no difference":
        said = [f"{ends}: no commit made it dearer"]
    elif result.narrowed is None:
        said = [f"{ends}: whether it is dearer cannot be told: {result.ends['why']}: try --rounds=N with more of them"]
    elif result.confirmed is None:
        first, last = line[result.narrowed.good + 1], line[result.narrowed.bad]
        said = [
            f"{ends}: made dearer by one of {result.narrowed.bad - result.narrowed.good} commits, "
            f"from {first.revision.short} to {last.revision.short}: those between them cannot be judged",
            *_listed(line, range(result.narrowed.good + 1, result.narrowed.bad + 1)),
            f"to look closer: git log -p {line[result.narrowed.good].revision.short}..{last.revision.short}",
        ]
    else:
        said = [ends, *_found(nodeid, line, result, result.narrowed.bad, result.confirmed)]
    if result.by_why:
        said.append(f"by joules: {result.by_why}")
    skipped = sorted(result.skipped.items())
    said += [f"skipped {line[number].revision.short}: {why}" for number, why in skipped[:_FEW]]
    if len(skipped) > _FEW:
        said.append(f"skipped {len(skipped) - _FEW} more: --json has all")
    said.append(_account(line, result))
    return said


def _listed(line: Line, numbers: range) -> list[str]:
    said = [f"  {_named(line[number])}" for number in numbers[:_FEW]]
    return said if len(numbers) <= _FEW else [*said, f"  and {len(numbers) - _FEW} more"]


def _found(nodeid: str, line: Line, result: Result, number: int, confirmed: Judged) -> list[str]:
    commit, before = line[number], line[number - 1]
    sure = result.verdict == "found"
    said = [
        f"{'made dearer by' if sure else 'perhaps made dearer by'} {_named(commit)}",
        f"  {_times(confirmed)} against {before.revision.short}, the commit before it"
        + ("" if sure else f": not confirmed: {confirmed['why']}"),
        *(f"  changed: {place}" for place in confirmed["changed"]),
    ]
    if commit.merged is not None:
        from pytest_joules.revision.commits import part

        base = part(line.root, before.revision.id, commit.merged)
        return [*said, f"to look into what it merges: joules bisect '{nodeid}' {base[:10]} {commit.merged[:10]}"]
    return [*said, f"to look closer: git show {commit.revision.short}"]


def _account(line: Line, result: Result) -> str:
    parts = [f"{_number(result.comparisons, 'comparison')} among {_number(len(line.commits), 'commit')}"]
    if result.earlier:
        parts.append(f"{result.earlier} of them by earlier runs")
    if result.same:
        parts.append(f"{_number(len(result.same), 'commit')} not run, whose code in the test's path was judged already")
    return "; ".join(parts)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _named(commit: Commit) -> str:
    return f"{commit.revision.short} {commit.date[:10]} {commit.author}: {commit.subject}"


def _times(judged: Judged) -> str:
    from pytest_joules.report import quantity

    if judged["ratio"] is None:
        return "not compared"
    ends = judged["ci95"]
    interval = f" (95 % interval {quantity.ratio(ends[0])} to {quantity.ratio(ends[1])})" if ends is not None else ""
    # A count tells parts of a per cent.
    return f"{judged['ratio']:.4g}×" if ends is None else f"{quantity.ratio(judged['ratio'])}×{interval}"


def _record(nodeid: str, line: Line, result: Result) -> dict[str, object]:
    """For programs."""

    def commit(one: Commit) -> dict[str, object]:
        return {"id": one.revision.id, "date": one.date, "author": one.author, "subject": one.subject}

    def judged(one: Judged | None) -> dict[str, object] | None:
        return {key: one[key] for key in ("verdict", "ratio", "ci95", "why", "changed")} if one is not None else None

    narrowed = result.narrowed
    return {
        "nodeid": nodeid,
        "result": result.verdict,
        "by": result.by,
        "good": commit(line.good),
        "bad": commit(line.commits[-1]),
        "ends": judged(result.ends),
        "commits": [commit(line[number]) for number in range(narrowed.good + 1, narrowed.bad + 1)]
        if narrowed is not None
        else [],
        "confirmed": judged(result.confirmed),
        "comparisons": result.comparisons,
        "earlier": result.earlier,
        "of": len(line.commits),
        "skipped": [{**commit(line[number]), "why": why} for number, why in sorted(result.skipped.items())],
        "same": [{**commit(line[number]), "as": other} for number, other in sorted(result.same.items())],
    }
