"""Pairs of versions for a project that has no history of changes yet: functions are rewritten in a scratch copy, and their tests
timed before and after. The project itself is only read.
"""

from __future__ import annotations

import contextlib
import math
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_joules.predict.train.change import Pair, pairs_of
from pytest_joules.predict.variants.dearer import DEARER
from pytest_joules.predict.variants.laboratory import Attempt, ExploringError, Laboratory, Trial
from pytest_joules.predict.variants.neutral import NEUTRAL
from pytest_joules.predict.variants.rewriting import Rewrite, Variant, variants

#: Seconds of a test's body that make it worth timing.
_SHORTEST, _LONGEST = 2e-5, 0.2
#: Tests that are timed for one variant.
_TESTS = 4
#: Functions that are rewritten at a time.
_BATCH = 6
#: What is added to a test, in parts of its time: drawn between these, evenly in its logarithm.
_SMALLEST, _LARGEST = 0.1, 8.0
#: Seconds that a turn of an added loop takes, roughly, and the most turns.
_TURN, _MOST_TURNS = 2e-8, 3000
#: Batches without a result, one after the other, before giving up.
_PATIENCE = 30


@dataclass(slots=True)
class Explorer:
    """Draws functions and what to do with them, the same ones for the same seed."""

    lab: Laboratory
    seed: int = 0
    dearer: Sequence[tuple[str, bool, Rewrite]] = DEARER
    neutral: Sequence[tuple[str, bool, Rewrite]] = NEUTRAL
    counts: Counter[tuple[bool, str]] = field(default_factory=Counter)
    """Attempts by whether they were meant to be neutral, and by kind."""
    given: Counter[bool] = field(default_factory=Counter)
    """Trials by whether they were meant to be neutral: of what is tried, some changes nothing that counts."""
    tried: set[tuple[str, str]] = field(default_factory=set)
    """Functions and kinds."""

    def trials(self, *, spent: float = 0.03, until: Callable[[], bool] = lambda: False) -> Iterator[Trial]:
        """One trial after the other, dearer ones and neutral ones in turn, until ``until()`` or nothing more can be tried. Trials
        whose tests do not pass, or in which nothing changed, are not given."""
        draw = random.Random(self.seed)
        users = self._users()
        fruitless = 0
        while users and fruitless < _PATIENCE and not until():
            batch = self._batch(users, draw)
            found = self.lab.attempt(batch, seconds=spent) if batch else []
            fruitless = 0 if found else fruitless + 1
            self.given.update(trial.variant.neutral for trial in found)
            yield from found

    def _batch(self, users: Mapping[str, Sequence[tuple[str, float]]], draw: random.Random) -> list[Attempt]:
        """Attempts whose tests have nothing to do with each other's functions: running them at once saves loading the project
        for each."""
        batch: list[Attempt] = []
        texts: dict[str, str] = {}
        taken: set[str] = set()
        places: list[str] = []
        for place in draw.sample(sorted(users), min(4 * _BATCH, len(users))):
            callers = {test for test, _ in users[place]}
            if len(batch) == _BATCH or callers & taken:
                continue
            free = [(test, calls) for test, calls in users[place] if not any(other in self._counts(test) for other in places)]
            path, _, qualname = place.partition("::")
            if not free:
                continue
            nodeid, calls = draw.choice(free)
            share = math.exp(draw.uniform(math.log(_SMALLEST), math.log(_LARGEST)))
            amount = max(2, min(_MOST_TURNS, round(share * (self.lab.records[nodeid]["seconds"] or 0.0) / calls / _TURN)))
            text = texts.get(path) or self.lab.text(path)
            variant = self._variant(text, qualname, amount, draw)
            if variant is None or (place, variant.kind) in self.tried:
                continue
            self.tried.add((place, variant.kind))
            self.counts[variant.neutral, variant.kind] += 1
            others = [test for test, _ in free if test != nodeid]
            tests = [nodeid, *draw.sample(others, min(_TESTS - 1, len(others)))]
            texts[path] = variant.source
            taken |= set(tests)
            places.append(place)
            batch.append(Attempt(path, place, variant, tests))
        return batch

    def _counts(self, test: str) -> Mapping[str, Sequence[float]]:
        counts: Mapping[str, Sequence[float]] = self.lab.records[test]["code"]["counts"]
        return counts

    def _users(self) -> dict[str, list[tuple[str, float]]]:
        """By function: the tests that call it, and how often."""
        users: dict[str, list[tuple[str, float]]] = {}
        for nodeid, record in self.lab.records.items():
            if not _SHORTEST < (record["seconds"] or 0.0) < _LONGEST:
                continue
            for place, counts in record["code"]["counts"].items():
                path, separator, _ = place.partition("::")
                if separator and counts and counts[0] > 0 and not _of_tests(path, self.lab.records):
                    users.setdefault(place, []).append((nodeid, float(counts[0])))
        return users

    def _variant(self, text: str, qualname: str, amount: int, draw: random.Random) -> Variant | None:
        """The kind that was tried least, of those that find something to do."""
        # Within a batch in turn, over all batches as many of both.
        behind = self.given[True] - self.given[False]
        neutral = sum(self.counts.values()) % 2 == 0 if abs(behind) < _BATCH else behind < 0
        rewrites = self.neutral if neutral else self.dearer
        ranked = sorted(rewrites, key=lambda entry: (self.counts[entry[1], entry[0]], draw.random()))
        for rewrite in ranked[:5]:
            found = next(variants(text, qualname, [rewrite], amounts=(amount,), seed=draw.randrange(10**9)), None)
            if found is not None:
                return found
        return None


def _of_tests(path: str, nodeids: Collection[str]) -> bool:
    name = path.rpartition("/")[2]
    return (
        name.startswith(("test_", "conftest"))
        or name.endswith("_test.py")
        or any(nodeid.startswith(f"{path}::") for nodeid in nodeids)
    )


def explore(
    root: Path,
    *,
    seconds: float = 300.0,
    seed: int = 0,
    tests: Sequence[str] = (),
    python: str = sys.executable,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Pair]:
    """Pairs learned on variants of the project at ``root``, for about so many ``seconds`` after its tests were measured once.

    ``tests``: what to give to pytest. ``progress`` is told of every trial. Ctrl-C ends it early, with what there is.

    Raises:
        ExploringError: the tests cannot be run.
    """
    pairs: list[Pair] = []
    with Laboratory(root.resolve(), tests=tests, python=python) as lab, _interrupts() as pressed:
        try:
            progress("measuring the tests as they are")
            lab.record()
            end = time.monotonic() + seconds
            for trial in Explorer(lab, seed).trials(until=lambda: bool(pressed) or time.monotonic() > end):
                found = pairs_of_trial(trial, lab, root.name)
                pairs += found
                progress(f"{trial.variant.kind}: {trial.place}, {len(found)} tests")
        except KeyboardInterrupt:
            pressed.append(int(signal.SIGINT))
        if pressed:
            with contextlib.suppress(KeyboardInterrupt):
                progress("stopped")
    return pairs


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


__all__ = ["Explorer", "ExploringError", "explore", "pairs_of_trial"]
