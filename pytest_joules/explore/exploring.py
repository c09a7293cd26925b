"""Pairs of versions for a project that has no history of changes yet: functions are rewritten in a scratch copy, and their tests
timed before and after. The project itself is only read.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_joules.explore.drawing import Explorer
from pytest_joules.explore.explored import Explored, digests_of
from pytest_joules.explore.laboratory import Laboratory, Trial
from pytest_joules.predict.train.change import Pair, pairs_of

#: The share of the time in which the tests are measured as they are.
_MEASURING = 1 / 3


def explore(
    root: Path,
    file: Path,
    found: Explored,
    *,
    seconds: float = 300.0,
    seed: int = 0,
    tests: Sequence[str] = (),
    python: str = sys.executable,
    told: Callable[[float, str], None] = lambda spent, what: None,
) -> None:
    """Explore the project at ``root`` for ``seconds``, all in all, and go on from what was ``found`` before; after each batch of
    functions it has what came of it, and ``file`` has it too. Ctrl-C ends it early.

    ``tests``: what to give to pytest. ``told``: of the seconds spent, and what comes next.

    Raises:
        ExploringError: the tests cannot be run, or the file cannot be written.
    """
    begun = time.monotonic()
    end = begun + seconds

    def tell(what: str) -> None:
        told(time.monotonic() - begun, what)

    with _interrupts() as pressed, contextlib.suppress(KeyboardInterrupt):
        tell("copying the project")
        with Laboratory(root.resolve(), tests=tests, python=python, end=end) as lab:
            tell("measuring the tests as they are")
            lab.record(limit=seconds * _MEASURING)
            explorer = Explorer(lab, seed, found.tried)
            before = len(found.pairs)
            drawn = explorer.batches(until=lambda: bool(pressed) or time.monotonic() > end)
            for number, (batch, trials) in enumerate(drawn, 1):
                for attempt in batch:
                    _, _, qualname = attempt.place.partition("::")
                    digest = digests_of(lab.text(attempt.path)).get(qualname, "")
                    taught = [pairs_of_trial(trial, lab, root.name) for trial in trials if trial.place == attempt.place]
                    found.add(attempt.place, attempt.variant.kind, digest, [pair for pairs in taught for pair in pairs])
                found.save(file)
                tell(f"{len(lab.records)} tests, {number} batches, {len(found.pairs) - before} new pairs")


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Ctrl-C, as often as it was pressed: what it raises is lost where a callback of the garbage collector runs just then."""
    pressed: list[int] = []

    def press(number: int, frame: object) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    if (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield pressed
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pairs_of_trial(trial: Trial, lab: Laboratory, project: str) -> list[Pair]:
    """What a trial teaches."""
    questions = [trial.question(lab.records[test], lab.sources) for test in trial.seconds]
    ratios = [after / before for before, after in trial.seconds.values()]
    change = f"{trial.place} {trial.variant.kind} {trial.variant.amount}"
    return pairs_of(questions, ratios, project=project, change=change, kind=trial.variant.kind, neutral=trial.variant.neutral)
