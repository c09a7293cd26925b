"""A run against another side: which of its tests can be compared, which are measured again, what the verdicts are.

The other side is a baseline, or a revision that is measured in turn with this tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypedDict

from pytest_joules.judge.attributed import apart, held
from pytest_joules.judge.case import MOST_BLOCKS, WAY_OUT, Case, Interval
from pytest_joules.judge.verdict import judge, looks_dearer
from pytest_joules.model import (
    ComparisonRecord,
    CountingRecord,
    CountRecord,
    HowMeasured,
    KeptAccount,
    Record,
    disturbed,
    empty_record,
)

if TYPE_CHECKING:
    from pytest_joules.code.inventory import Texts
    from pytest_joules.judge.case import Comparison

#: A block of samples (joules) of both sides, or of this side alone; ``None`` where there is nothing to measure again.
Block = tuple[Sequence[float] | None, Sequence[float]]
#: Measures tests again, in processes of their own: a block for each that could be.
Again = Callable[[Sequence[str]], Mapping[str, Block]]


@dataclass(frozen=True, slots=True)
class OtherTest:
    """A test on the other side."""

    blocks: Sequence[Sequence[float]] = ()
    """Joules per iteration; a block a process."""
    record: HowMeasured = field(default_factory=lambda: empty_record(""))
    functions: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str | None = None
    """Of all the code that the test executes."""
    sessions: Sequence[float] = ()
    """Median joules of other sessions of the same code, the oldest first."""
    interval: Sequence[float] | None = None
    """95 %, of the median joules."""
    why: str | None = None
    """Why nothing can be told of this test."""
    instructions: CountRecord | None = None
    account: KeptAccount | None = None
    """Where its joules went."""


class OneSided(TypedDict, total=False):
    """Tests that only one side has, or under another name."""

    new: list[str]
    gone: list[str]
    renamed: dict[str, str]
    """Node ids now by those before."""


@dataclass(frozen=True, slots=True)
class OtherSide:
    """What the tests are compared with."""

    name: str
    tests: Mapping[str, OtherTest]
    created: str | None = None
    commit: str | None = None
    why: str | None = None
    """Why nothing can be told at all: another machine, say."""
    paired: bool = False
    """Both sides are measured in turn, in one session."""
    remarks: Sequence[str] = ()
    """What else differs, and may be the cause of a difference."""
    texts: Texts | None = None
    """What the project's code says there."""
    counting: CountingRecord | None = None
    """What decided the counts of instructions there."""
    listed: OneSided = field(default_factory=OneSided)
    """Where these are not all that ``tests`` lacks or has more."""


class Comparing:
    """Collects what is measured, and settles the verdicts when all of it is there. ``texts``: what the code says that was."""

    def __init__(self, other: OtherSide, threshold: float, texts: Texts | None = None) -> None:
        self.other = other
        self.threshold = threshold
        self.comparisons: dict[str, ComparisonRecord] = {}
        """By node id, once settled."""
        self.troubles: list[str] = []
        self._cases: dict[str, Case] = {}
        self._texts = texts
        self._functions: dict[str, Mapping[str, str]] = {}
        self._counts: dict[str, Mapping[str, Sequence[int]]] = {}
        self._cached: dict[str, str] = {}
        """When the tests that an earlier session measured were."""

    def add(self, record: Record, *, random: bool = False) -> bool:
        """Take a test's measurement; whether it looks dearer, so that it is worth measuring again before anybody is told.

        That of an earlier session (``cached``) is compared as it is, and never measured again.
        ``random``: its examples differ from round to round.
        """
        nodeid = record["nodeid"]
        before = self.other.tests.get(nodeid)
        if before is None:
            return False
        case = self._case(before, record, random=random)
        self._cases[nodeid] = case
        self.add_code(record)
        if (measured := record["cached"]) is not None:
            self._cached[nodeid] = measured
            return False
        return self._dearer(case)

    def add_code(self, record: Record) -> None:
        """Take what a test executes, which is known only when its fixtures are down."""
        nodeid, code = record["nodeid"], record["code"]
        if code is None or nodeid not in self._cases:
            return
        self._functions[nodeid] = code.get("functions", {})
        self._counts[nodeid] = code.get("counts", {})
        case = self._cases[nodeid]
        same = not case.cached and _same_code(self.other.tests[nodeid], record)
        self._cases[nodeid] = replace(case, same_code=same)

    def looks_dearer(self, record: Record) -> bool:
        """Whether a measurement, which is not taken, looks dearer than the other side: one to measure again, or not to reuse."""
        before = self.other.tests.get(record["nodeid"])
        return before is not None and self._dearer(self._case(before, record))

    def _dearer(self, case: Case) -> bool:
        # Whether that is significant is asked at the end. Until then nothing heavy is imported: it would change what is measured.
        hopeless = case.shares is not None and not apart(*case.shares)
        return case.cannot is None and not hopeless and looks_dearer(case, self.threshold)

    def _case(self, before: OtherTest, record: Record, *, random: bool = False) -> Case:
        cached = record["cached"] is not None
        return Case(
            record["nodeid"],
            before=_tuples(before.blocks),
            now=(tuple(joules_of(record)),),
            sessions=_but_for(before.sessions, record) if cached else tuple(before.sessions),
            paired=self.other.paired,
            same_code=False,  # until the code is known
            disturbed=not self.other.paired and (disturbed(before.record["notes"]) or disturbed(record["notes"])),
            cached=cached,
            own=record["own_share"] or 0.0,
            iterations=record["iterations"],
            shares=_shares(before, record),
            cannot=self.other.why or before.why or refusal(before.record, record, random=random, paired=self.other.paired),
        )

    def distrust(self, why: str) -> None:
        """Nothing can be told after all: what was measured is not what it seemed."""
        self.other = replace(self.other, why=why)
        self._cases = {nodeid: replace(case, cannot=case.cannot or why) for nodeid, case in self._cases.items()}

    def settle(self, again: Again | None, *, confirm: bool = True) -> None:
        """Measure the suspects again until none is left or they have been enough, and judge the run as a whole.

        Without ``confirm`` a regression needs no second block: for who wants to know what changed, and fails nobody.
        """
        results = self._judge(confirm=confirm)
        for _ in range(MOST_BLOCKS - 1):
            suspects = [nodeid for nodeid, result in results.items() if result.suspect and nodeid not in self._cached]
            if not suspects or again is None:
                break
            measured = again(suspects)
            if not measured:
                break
            for nodeid, (before, now) in measured.items():
                case = self._cases[nodeid]
                self._cases[nodeid] = replace(
                    case,
                    before=(*case.before, tuple(before)) if before is not None else case.before,
                    now=(*case.now, tuple(now)),
                )
            results = self._judge(confirm=confirm)
        changed = self._blame({nodeid for nodeid, result in results.items() if result.verdict == "regressed"})
        self.comparisons = {
            nodeid: result.as_record(self.other.name, changed.get(nodeid, ())) for nodeid, result in results.items()
        }

    def _judge(self, *, confirm: bool) -> dict[str, Comparison]:
        found = judge(list(self._cases.values()), self.threshold, confirm=confirm)
        results = {
            case.nodeid: held(result, *case.shares, self.threshold) if case.shares is not None else result
            for case, result in zip(self._cases.values(), found, strict=True)
        }
        for nodeid, created in self._cached.items():
            results[nodeid] = replace(results[nodeid], why=f"{results[nodeid].why}; cached: measured {created[:10]}")
        return results

    def _blame(self, regressed: set[str]) -> dict[str, list[str]]:
        if not regressed:
            return {}
        from pytest_joules.code.blame import blame

        then = {nodeid: self.other.tests[nodeid].functions for nodeid in self._cases}
        return blame(then, self._functions, regressed, counts=self._counts, then=self.other.texts, present=self._texts)


def refusal(before: HowMeasured, now: HowMeasured, *, random: bool, paired: bool = False) -> str | None:
    """Why two measurements of a test cannot be held against each other, and what to do; ``None`` where they can.

    ``paired``: they were made in turn.
    """
    if now["source"] is None:
        return f"not measured now: {'; '.join(now['notes'][:1])}"
    if now["source"] != before["source"]:
        return f"measured with {now['source']}, then with {before['source']}: choose the same --energy-source, or save anew"
    if random:
        return "its examples are random (Hypothesis): derandomize or seed it"
    for record, when in ((now, "now"), (before, "then")):
        if record["resolution"] == "below":
            return f"below the counter's resolution {when}: give it @pytest.mark.energy(iterations=N)"
        if record["provenance"] == "shared":
            return f"other processes used the machine {when}: {'use a quieter one' if paired else WAY_OUT}"
        if record["provenance"] == "attributed" != (before if record is now else now)["provenance"]:
            other = "then" if record is now else "now"
            return f"its own share of a counter {when} (--energy-share=own), and not {other}: measure both alike"
        if record["provenance"] == "unavailable":
            return f"no energy was measured {when}"
    if now["iterations"] != before["iterations"]:
        return f"{now['iterations']} iterations a round now, {before['iterations']} then: save a new baseline"
    return None


def _shares(before: OtherTest, record: Record) -> tuple[Interval, Interval] | None:
    """The intervals of both sides, where both are a share of a counter; without one, as good as any."""
    if not before.record["provenance"] == record["provenance"] == "attributed":
        return None
    now = record["energy"]["ci95"] if record["energy"] is not None else None
    return _ends(before.interval), _ends(now)


def _ends(interval: Sequence[float] | None) -> Interval:
    return (interval[0], interval[1]) if interval is not None else (0.0, math.inf)


def joules_of(record: Record) -> list[float]:
    """The joules of a record's samples, per iteration, as measured in turn."""
    return [sample["energy"] for sample in record["samples"] if sample["energy"] is not None]


def _but_for(sessions: Sequence[float], record: Record) -> tuple[float, ...]:
    """Other sessions than that which a cached record is of: it is ``now``, and not what was before as well."""
    own = record["energy"]["median"] if record["energy"] else math.nan
    places = [place for place, value in enumerate(sessions) if math.isclose(value, own, rel_tol=1e-8)]
    return tuple(value for place, value in enumerate(sessions) if place not in places[-1:])


def _same_code(before: OtherTest, record: Record) -> bool:
    code = record["code"]
    if code is None or before.fingerprint is None or code["unknown"]:
        return False
    return before.fingerprint == code["fingerprint"]


def _tuples(blocks: Iterable[Iterable[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(block) for block in blocks)
