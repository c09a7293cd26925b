"""Which functions are rewritten, in which way, and which of their tests are timed."""

from __future__ import annotations

import math
import random
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_joules.explore.dearer import DEARER
from pytest_joules.explore.laboratory import Attempt, Laboratory, Trial
from pytest_joules.explore.neutral import NEUTRAL
from pytest_joules.explore.rewriting import Rewrite, Variant, variants

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


@dataclass(slots=True)
class Explorer:
    """Draws functions and what to do with them: the same ones for the same seed and the same that were tried before."""

    lab: Laboratory
    seed: int = 0
    tried: Collection[tuple[str, str]] = ()
    """Functions and kinds that are not tried again."""
    rewrites: Sequence[tuple[str, bool, Rewrite]] = (*DEARER, *NEUTRAL)
    _left: dict[str, set[str]] = field(default_factory=dict)
    """By function: kinds that were not tried yet."""
    _counts: Counter[str] = field(default_factory=Counter)
    """Attempts by kind."""
    _given: Counter[bool] = field(default_factory=Counter)
    """Trials by whether they were meant to be neutral: of what is tried, some changes nothing that counts."""

    def batches(
        self, *, seconds: float = 0.03, until: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[list[Attempt], list[Trial]]]:
        """What was tried, and what came of it, until ``until()`` or until nothing is left to be tried. ``seconds``: that a test
        is run for. Trials whose tests do not pass, or in which nothing changed, are not given."""
        draw = random.Random(f"{self.seed} {len(self.tried)}")
        users = self._users()
        self._left = {place: {kind for kind, _, _ in self.rewrites} for place in users}
        for place, kind in self.tried:
            self._counts[kind] += 1
            self._left.get(place, set()).discard(kind)
        while not until() and (batch := self._batch(users, draw)):
            found = self.lab.attempt(batch, seconds=seconds)
            if not found and until():  # ended before it could be timed
                return
            self._given.update(trial.variant.neutral for trial in found)
            yield batch, found

    def _batch(self, users: Mapping[str, Sequence[tuple[str, float]]], draw: random.Random) -> list[Attempt]:
        """Attempts whose tests have nothing to do with each other's functions: running them at once saves loading the project
        for each."""
        batch: list[Attempt] = []
        texts: dict[str, str] = {}
        taken: set[str] = set()
        for place in draw.sample(sorted(users), len(users)):
            if len(batch) == _BATCH:
                break
            free = [
                (test, calls)
                for test, calls in users[place]
                if not any(other.place in self.lab.records[test]["code"]["counts"] for other in batch)
            ]
            if not self._left[place] or not free or taken.intersection(test for test, _ in users[place]):
                continue
            path = place.partition("::")[0]
            nodeid, calls = draw.choice(free)
            share = math.exp(draw.uniform(math.log(_SMALLEST), math.log(_LARGEST)))
            amount = max(2, min(_MOST_TURNS, round(share * (self.lab.records[nodeid]["seconds"] or 0.0) / calls / _TURN)))
            neutral = self._given[True] + sum(one.variant.neutral for one in batch) < self._given[False] + (len(batch) + 1) / 2
            variant = self._variant(texts.get(path) or self.lab.text(path), place, amount, self._ranked(neutral, draw))
            if variant is not None:
                others = [test for test, _ in free if test != nodeid]
                tests = [nodeid, *draw.sample(others, min(_TESTS - 1, len(others)))]
                texts[path] = variant.source
                taken |= set(tests)
                batch.append(Attempt(path, place, variant, tests))
        return batch

    def _ranked(self, neutral: bool, draw: random.Random) -> list[tuple[str, bool, Rewrite]]:
        """What is ``neutral``, or is not, first; of each sort what was tried least."""
        return sorted(self.rewrites, key=lambda entry: (entry[1] != neutral, self._counts[entry[0]], draw.random()))

    def _variant(self, text: str, place: str, amount: int, ranked: Sequence[tuple[str, bool, Rewrite]]) -> Variant | None:
        """The first that was not tried and finds something to do."""
        for rewrite in [entry for entry in ranked if entry[0] in self._left[place]]:
            self._left[place].discard(rewrite[0])
            seed = zlib.crc32(f"{self.seed} {amount}".encode())
            found = next(variants(text, place.partition("::")[2], [rewrite], amounts=(amount,), seed=seed), None)
            if found is not None:
                self._counts[rewrite[0]] += 1
                return found
        return None

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


def _of_tests(path: str, nodeids: Collection[str]) -> bool:
    name = path.rpartition("/")[2]
    return (
        name.startswith(("test_", "conftest"))
        or name.endswith("_test.py")
        or any(nodeid.startswith(f"{path}::") for nodeid in nodeids)
    )
