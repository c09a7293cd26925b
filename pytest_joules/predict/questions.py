"""Before tests run: whose code has changed since it was measured, what a predictor says of them, and which are flagged.

Knows no pytest: what only that knows of a test (parameters, fixtures, options, what is installed) is given as hashes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_joules.code import function_source
from pytest_joules.code.graph import Graph
from pytest_joules.code.hashing import file_digest
from pytest_joules.model import PredictionRecord
from pytest_joules.predict.chances import at_risk, chance
from pytest_joules.predict.facts.new_functions import added
from pytest_joules.predict.facts.of_test import facts_of
from pytest_joules.predict.protocol import Answer, Before, Predictor, Question
from pytest_joules.predict.widening import widened

if TYPE_CHECKING:
    from pytest_joules.store.entries import LatestRecord

#: What is no function, and what is said of a test where it has changed. Of the first ones all tests are told at once.
EVERYWHERE = {
    "<python>": "another interpreter",
    "<distributions>": "what is installed has changed",
    "<data files>": "data files have changed",
    "<options>": "pytest's options have changed",
    "<extensions>": "compiled modules have changed",
}
SURROUNDINGS = EVERYWHERE | {
    "<parameters>": "its parameters have changed",
    "<fixtures>": "it uses other fixtures",
    "<markers>": "its markers have changed",
    "<hooks>": "hooks of a conftest.py have changed",
    "<doctest>": "its text has changed",
}

#: Tests that were never measured and that are asked about all the same: each takes some milliseconds.
MOST_NEW = 50

#: Places that a prediction names at most.
_MOST_PLACES = 5

#: The stored sources of what is in the path of tests, by place and hash; it may fill in their ``counts``.
Texts: TypeAlias = "Callable[[Sequence[LatestRecord]], Mapping[tuple[str, str], str]]"


class PredictorError(ValueError):
    """A predictor that does not do what predictors do: one sentence."""


@dataclass(frozen=True, slots=True)
class Test:
    """A collected test."""

    __test__ = False

    nodeid: str
    surroundings: Mapping[str, str | None] = field(default_factory=dict)
    """Hashes of what belongs to it and is no function, as in a record; ``None`` where there is no such thing. What is left out is
    not looked at."""
    budget: float | None = None
    """Joules that it may cost."""


class Changes:
    """What is not as it was when tests were measured, by the source as it is on disk now.

    Files are told by their content, and only those that are another are looked at function by function.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._now: dict[str, str] = {}
        self._same: dict[int, tuple[Mapping[str, str], frozenset[str]]] = {}
        """By session: its files, and those of them that are as they were."""
        self._paths: dict[str, str] = {}
        self._hashes: dict[str, str] = {}
        self._around: dict[tuple[str, ...], dict[str, str]] = {}
        self._added: dict[tuple[tuple[str, ...], frozenset[str]], dict[str, str]] = {}

    def of(self, record: LatestRecord) -> tuple[str, ...]:
        """The functions and statements in the path of a measured test that are others now."""
        same = self._unchanged(record["files"])
        paths, changed = self._paths, []
        for key, before in record["code"]["functions"].items():
            path = paths.get(key)
            if path is None:
                path = paths[key] = key.partition("::")[0] if "::" in key else ""
            if path and path not in same and self._hash(key) != before:
                changed.append(key)
        return tuple(changed)

    def _unchanged(self, files: Mapping[str, str]) -> frozenset[str]:
        known = self._same.get(id(files))  # one object for all tests of a session
        if known is None:
            same = frozenset(path for path, before in files.items() if self._digest(path) == before)
            known = self._same[id(files)] = files, same
        return known[1]

    def _digest(self, path: str) -> str:
        known = self._now.get(path)
        if known is None:
            known = self._now[path] = file_digest(self.graph.project.path(path))
        return known

    def _hash(self, key: str) -> str:
        known = self._hashes.get(key)
        if known is None:
            known = self._hashes[key] = self.graph.hash_of(key)
        return known

    def unreadable(self, keys: Iterable[str]) -> str | None:
        """The first file of these keys that is there and is no Python any more."""
        project = self.graph.project
        paths = sorted({key.partition("::")[0] for key in keys})
        return next((path for path in paths if project.file(path) is None and project.path(path).exists()), None)

    def _new(self, changed: tuple[str, ...], known: Mapping[str, str]) -> dict[str, str]:
        """Functions that the changed ones call now and that are not in the test's path: the same for most tests."""
        around = self._around.get(changed)
        if around is None:
            around = self._around[changed] = added(self.graph, changed, frozenset(changed))
        met = frozenset(around.keys() & known.keys())
        if len(met) == len(around):
            return {}
        if (changed, met) not in self._added:
            self._added[changed, met] = added(self.graph, changed, known)
        return self._added[changed, met]

    def _moved(self, key: str) -> tuple[str, str | None]:
        """A function whose file is gone, in the file that its module is now: it became a package, or went into ``src``."""
        path, _, name = key.partition("::")
        project = self.graph.project
        if project.file(path) is None:
            stem = path.removesuffix("/__init__.py").removesuffix(".py")
            for place in (f"{stem}/__init__.py", f"{stem}.py", f"src/{path}", path.removeprefix("src/")):
                if place != path and project.file(place) is not None:
                    return f"{place}::{name}", function_source.source(project, f"{place}::{name}")
        return key, None

    def question(self, record: LatestRecord, changed: Sequence[str], texts: Mapping[tuple[str, str], str]) -> Question:
        """What is asked of a test that was measured. ``texts``: the stored sources of its path."""
        facts = facts_of(record["nodeid"], record["code"], texts)
        now = dict(facts.sources)
        leading: list[str] = []
        for key in changed:
            if "::" not in key:
                continue
            text = function_source.source(self.graph.project, key) if self._hash(key) != "gone" else None
            place = key
            if text is None:
                now.pop(key, None)
                place, text = self._moved(key)
            leading.append(place)
            if text is not None:
                now[place] = text
        now |= self._new(tuple(leading), now)
        before = Before.of(facts, record["joules"], record["seconds"] or 0.0, record["created"])
        return Question(replace(facts, sources=now), before, tuple(changed))


def questions_on_disk(latest: Mapping[str, LatestRecord], texts: Mapping[tuple[str, str], str], graph: Graph) -> list[Question]:
    """A question for each measured test in whose path functions are not as they were. ``texts``: the stored sources."""
    changes = Changes(graph)
    changed = {nodeid: keys for nodeid, record in latest.items() if (keys := changes.of(record))}
    return [changes.question(latest[nodeid], keys, texts) for nodeid, keys in changed.items()]


def never_measured(graph: Graph) -> Callable[[Sequence[Test]], list[Question]]:
    """Makes questions for tests that were never measured, by what their source leads to: of the first :data:`MOST_NEW`."""

    def questions(tests: Sequence[Test]) -> list[Question]:
        from pytest_joules.predict.facts.callgraph import CallGraph

        calls = CallGraph(graph)
        facts = [calls.facts(test.nodeid) for test in tests[:MOST_NEW]]
        return [Question(entry, None, ()) for entry in facts if entry.sources]

    return questions


def answers(predictor: Predictor, questions: Sequence[Question]) -> list[Answer]:
    """What a predictor says.

    Raises:
        PredictorError: it failed, or said what is no answer.
    """
    try:
        given = list(predictor.predict(questions))
    except Exception as error:  # another plugin's code, whatever it does
        raise PredictorError(f"the predictor {predictor.name} failed: {type(error).__name__}: {error}") from None
    if len(given) != len(questions):
        raise PredictorError(f"the predictor {predictor.name} gave {len(given)} answers to {len(questions)} questions")
    for answer, question in zip(given, questions, strict=True):
        if (wrong := _wrong(answer)) is not None:
            raise PredictorError(f"the predictor {predictor.name} answered {wrong} for {question.facts.nodeid}")
    return given


def _wrong(answer: object) -> str | None:
    """What is wrong with an answer."""
    if not isinstance(answer, Answer):
        return f"{answer!r}, which is no Answer"
    numbers = [answer.joules] if answer.joules is not None else []
    if answer.interval is not None:
        if not isinstance(answer.interval, tuple | list) or len(answer.interval) != 2:
            return f"the interval {answer.interval!r}, which is no pair"
        numbers += answer.interval
    if not isinstance(answer.quantiles, tuple | list):
        return f"{answer.quantiles!r} as quantiles"
    numbers += answer.quantiles
    if answer.exposure is not None:
        numbers.append(answer.exposure)
    for number in numbers:
        if isinstance(number, bool) or not hasattr(number, "__float__") or not math.isfinite(number) or number < 0:
            return f"{number!r} joules"
    if answer.interval is not None and not answer.interval[0] <= answer.interval[1]:
        return f"the interval {answer.interval!r}, which ends before it begins"
    if not isinstance(answer.because, tuple | list) or not all(isinstance(place, str) for place in answer.because):
        return f"{answer.because!r} as places"
    return None if isinstance(answer.why, str) else f"{answer.why!r} as a reason"


def foretell(
    tests: Sequence[Test],
    latest: Mapping[str, LatestRecord],
    texts: Texts,
    predictor: Callable[[], Predictor],
    changes: Changes,
    *,
    threshold: float,
    new: Callable[[Sequence[Test]], Sequence[Question]] | None = None,
    widen: float | Callable[[str], float] = 1.0,
    refuse: Callable[[Sequence[str], int], str | None] | None = None,
) -> dict[str, PredictionRecord]:
    """A prediction (``record["prediction"]``) for each test.

    ``latest``: their last measurements, as ``Store.latest`` gives them. ``predictor`` is made only where there is something to
    ask. ``new``: makes the questions for tests that were never measured. ``widen``: the factor by which intervals are widened,
    or what says it of a predictor's name. ``refuse``: told which tests would be asked about, and how many others were never
    measured, says why nobody is to be asked.

    Raises:
        PredictorError: the predictor failed.
    """
    result, asked, never = _sorted_out(tests, latest, changes, threshold)
    if (asked or never) and refuse is not None:
        why = refuse([test.nodeid for test, _ in asked], len(never) if new is not None else 0)
        if why is not None:
            for test, keys in asked:
                result[test.nodeid] = _empty(test, latest[test.nodeid], threshold) | {"why": why, "changed": len(keys)}
            asked, new = [], None
    found = texts([latest[test.nodeid] for test, _ in asked]) if asked else {}
    questions = [changes.question(latest[test.nodeid], keys, found) for test, keys in asked]
    unmeasured = list(new(never)) if new is not None and never else []
    if questions or unmeasured:
        one = predictor()
        factor = widen(one.name) if callable(widen) else widen
        given = [widened(answer, factor) for answer in answers(one, [*questions, *unmeasured])]
        for (test, keys), answer in zip(asked, given, strict=False):
            result[test.nodeid] = _answered(one.name, test, latest[test.nodeid], keys, answer, threshold=threshold)
        by_nodeid = {test.nodeid: test for test in never}
        for question, answer in zip(unmeasured, given[len(questions) :], strict=True):
            test = by_nodeid[question.facts.nodeid]
            result[test.nodeid] = _answered(one.name, test, None, (), answer, threshold=threshold)
    for test in never:
        result.setdefault(test.nodeid, _empty(test, None, threshold) | {"state": "unknown", "why": "never measured"})
    return {test.nodeid: result[test.nodeid] for test in tests}


def _sorted_out(
    tests: Sequence[Test], latest: Mapping[str, LatestRecord], changes: Changes, threshold: float
) -> tuple[dict[str, PredictionRecord], list[tuple[Test, tuple[str, ...]]], list[Test]]:
    """What is known without asking; the tests to ask about, with what has changed; and those that were never measured."""
    result: dict[str, PredictionRecord] = {}
    asked: list[tuple[Test, tuple[str, ...]]] = []
    never: list[Test] = []
    for test in tests:
        record = latest.get(test.nodeid)
        if record is None:
            never.append(test)
            continue
        if not record["code"]["functions"]:
            result[test.nodeid] = _empty(test, record, threshold) | {"why": _not_known(record)}
            continue
        keys = changes.of(record)
        around = _around(record, test)
        if keys and (path := changes.unreadable(keys)) is not None:
            result[test.nodeid] = _empty(test, record, threshold) | {"why": f"{path} cannot be read as Python"}
        elif keys:
            asked.append((test, (*keys, *around)))
        else:
            result[test.nodeid] = _unasked(test, record, around, threshold)
    return result, asked, never


def _around(record: LatestRecord, test: Test) -> tuple[str, ...]:
    """What is no function and not as it was."""
    stored, now = record["code"]["functions"], test.surroundings
    return tuple(name for name in SURROUNDINGS if name in now and stored.get(name) != now[name])


def _empty(test: Test, record: LatestRecord | None, threshold: float) -> PredictionRecord:
    last = record["joules"] if record is not None else None
    limits: list[tuple[float, Literal["threshold", "budget"]]] = []
    if last is not None:
        limits.append((last * (1 + threshold), "threshold"))
    if test.budget is not None:
        limits.append((test.budget, "budget"))
    limit, limited_by = min(limits, default=(None, None))
    return {
        "model": None,
        "state": "unknown",
        "joules": None,
        "interval": None,
        "ratio": None,
        "last": last,
        "since": record["created"] if record is not None else None,
        "because": [],
        "changed": 0,
        "threshold": threshold,
        "limit": limit,
        "limited_by": limited_by,
        "flagged": False,
        "exposure": None,
        "chance": None,
        "at_risk": None,
        "why": "",
        "failed": False,
        "measured": None,
        "verdict": None,
        "noise": None,
        "dearer": None,
        "outcome": None,
    }


def _not_known(record: LatestRecord) -> str:
    return f"not all of its code is known: {', '.join(record['code']['unknown'])}"


def _unasked(test: Test, record: LatestRecord, around: Sequence[str], threshold: float) -> PredictionRecord:
    """Of a test in whose path no function has changed."""
    result = _empty(test, record, threshold)
    if around or record["code"]["unknown"]:
        why = SURROUNDINGS[around[0]] if around else _not_known(record)
        return result | {"why": why, "changed": len(around)}
    return result | {
        **{"state": "unchanged", "model": "last", "joules": record["joules"], "ratio": 1.0},
        **{"exposure": 0.0, "chance": 0.0, "at_risk": 0.0},
    }


def _answered(
    name: str, test: Test, record: LatestRecord | None, keys: Sequence[str], answer: Answer, *, threshold: float
) -> PredictionRecord:
    result = _empty(test, record, threshold) | {
        "model": name,
        "because": list(answer.because[:_MOST_PLACES]),
        "changed": len(keys),
        "why": answer.why,
    }
    if answer.joules is None or answer.interval is None:
        return result | {"why": answer.why or f"{name} cannot say"}
    low, high = map(float, answer.interval)
    joules = float(answer.joules)
    limit = result["limit"]
    last = result["last"]
    result |= {
        "joules": joules,
        "interval": [low, high],
        "ratio": joules / last if last else None,
        "flagged": limit is not None and low > limit,
        "exposure": answer.exposure,
        "chance": chance(answer, limit),
        "at_risk": at_risk(answer, last),
    }
    around = [key for key in keys if key in SURROUNDINGS]
    if around and not result["flagged"]:
        # The changed functions are no reason to expect more; what else has changed may be one.
        return result | {"why": SURROUNDINGS[around[0]]}
    return result | {"state": "new" if record is None else "changed"}
