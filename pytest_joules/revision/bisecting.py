"""Which commit made a test dearer: each is held against the good one, in joules or in instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

from pytest_joules.model import Code, ComparisonRecord, Record
from pytest_joules.revision.candidate import OTHER, OWN, Answer, Project, Ran
from pytest_joules.revision.candidate import Saved as Baseline
from pytest_joules.revision.commits import Commit, Line
from pytest_joules.revision.kept_verdicts import Judged, Verdicts
from pytest_joules.revision.likelihood import dearer
from pytest_joules.revision.narrowing import Narrowed, bisect
from pytest_joules.revision.worktree import RevisionError

#: A comparison that does not tell is made once more with so many times the rounds, and the time for them.
_MORE = 3
#: The largest threshold that there is.
_OUT_OF_REACH = 10.0
#: What a test does that does not pass.
_OUTCOMES = {"failed": "fails", "error": "fails", "skipped": "is skipped", "crashed": "crashes"}


class Refused(Exception):
    """There is nothing to bisect; the message says why, and what to do."""


class _UnfitError(Exception):
    """At a commit nothing can be measured."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    by: Literal["auto", "joules", "instructions"] = "auto"
    rounds: int | None = None
    max_time: float = 10.0
    threshold: float | None = None
    """Relative; ``None``: what runs of pytest have."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a bisection came to."""

    verdict: Literal["no difference", "found", "range", "not confirmed", "cannot tell"]
    by: Literal["joules", "instructions"]
    by_why: str
    """Why it is not by instructions."""
    ends: Judged
    narrowed: Narrowed | None = None
    confirmed: Judged | None = None
    """The commit against the one before it."""
    comparisons: int = 0
    earlier: int = 0
    """So many of them were made by earlier runs."""
    skipped: dict[int, str] = field(default_factory=dict)
    """Numbers of commits of which nothing can be told, and why."""
    same: dict[int, str] = field(default_factory=dict)
    """Numbers of commits that were not run, and the one whose code is theirs."""


class Bisecting:
    """One bisection.

    Args:
        tell: is told what each commit came to, in a line
    """

    def __init__(self, project: Project, line: Line, effort: Effort, verdicts: Verdicts, tell: Callable[[str], None]) -> None:
        self._project = project
        self._line = line
        self._effort = effort
        self._verdicts = verdicts
        self._tell = tell
        self._kept = verdicts.kept
        self._earlier = sum(judged["runs"] for judged in self._kept["judged"].values())
        self._noted: set[str] = set()
        self._skipped: dict[int, str] = {}
        self._same: dict[int, str] = {}

    def run(self) -> Result:
        """Raises :class:`Refused`."""
        good, bad = self._line.good, self._line.commits[-1]
        ends = self._ends(good, bad)
        if ends["verdict"] != "dearer":
            return self._result("no difference" if ends["verdict"] == "not dearer" else "cannot tell", ends)
        assert ends["ratio"] is not None
        ratio = ends["ratio"]
        narrowed = bisect(len(self._line.commits), lambda number: self._judge(number, ratio))
        if not narrowed.found:
            return self._result("range", ends, narrowed)
        found, before = self._line[narrowed.bad], self._line[narrowed.good]
        confirmed = ends if (found, before) == (bad, good) else self._held(found, before, None)
        return self._result("found" if confirmed["verdict"] == "dearer" else "not confirmed", ends, narrowed, confirmed)

    def _result(
        self,
        verdict: Literal["no difference", "found", "range", "not confirmed", "cannot tell"],
        ends: Judged,
        narrowed: Narrowed | None = None,
        confirmed: Judged | None = None,
    ) -> Result:
        by = self._kept["by"]
        assert by is not None
        made = sum(judged["runs"] for judged in self._kept["judged"].values())
        return Result(verdict, by, self._kept["why"], ends, narrowed, confirmed, made, self._earlier, self._skipped, self._same)

    # The ends

    def _ends(self, good: Commit, bad: Commit) -> Judged:
        """BAD against GOOD, and with that by what the others are judged."""
        ends: Judged | None = None
        if self._kept["by"] is None and self._effort.by != "joules":
            ends = self._by_instructions(good, bad)
        self._kept["by"] = self._kept["by"] or "joules"
        return ends or self._end(bad, good)

    def _end(self, bad: Commit, good: Commit) -> Judged:
        try:
            return self._held(bad, good, None)
        except (_UnfitError, RevisionError) as error:
            raise Refused(f"at {bad.revision.short} {error}") from None

    def _by_instructions(self, good: Commit, bad: Commit) -> Judged | None:
        """The ends by their instructions; ``None`` where these are not counted, or do not tell and need not."""
        try:
            _, why = self._count(good, None)
        except (_UnfitError, RevisionError) as error:
            raise Refused(f"at {good.revision.short} {error}") from None
        if why:
            if self._effort.by == "instructions":
                raise Refused(f"--by=instructions: at {good.revision.short} {why}")
            self._kept["why"] = why
            return None
        self._kept["by"] = "instructions"
        ends = self._end(bad, good)
        if self._effort.by == "instructions" or ends["verdict"] == "dearer":
            return ends
        # What has no more instructions may cost more all the same.
        self._kept["by"], self._kept["why"] = "joules", f"the ends do not differ in instructions ({ends['why']})"
        del self._kept["judged"][_pair(bad, good)]
        return None

    # A commit

    def _judge(self, number: int, ends: float) -> bool | None:
        commit, good = self._line[number], self._line.good
        try:
            judged = self._held(commit, good, ends)
        except (_UnfitError, RevisionError) as error:
            judged = _judged("cannot tell", str(error))
            self._keep(commit, good, judged)
        if judged["same"] is not None:
            self._same[number] = judged["same"]
        if judged["verdict"] == "cannot tell":
            self._skipped[number] = judged["why"]
        return None if judged["verdict"] == "cannot tell" else judged["verdict"] == "dearer"

    def _held(self, commit: Commit, other: Commit, ends: float | None) -> Judged:
        """A commit against another.

        ``ends``: the ratio of the bad commit to the good one, where it is only to be told which of the two it is like; else it is
        a verdict as a run of pytest has it.

        Raises :class:`_UnfitError`, and :class:`RevisionError`, where nothing can be measured there.
        """
        known = self._kept["judged"].get(_pair(commit, other))
        if known is None:
            by = self._counted if self._kept["by"] == "instructions" else self._measured
            known = by(commit, other, ends)
            self._keep(commit, other, known)
        return known

    def _keep(self, commit: Commit, other: Commit, judged: Judged) -> None:
        self._kept["judged"][_pair(commit, other)] = judged
        self._verdicts.save()
        against = "" if other is self._line.good else f" against {other.revision.short}"
        self._tell(f"{commit.revision.short} {commit.subject}{against}: {in_words(judged)}")

    def _measured(self, commit: Commit, other: Commit, ends: float | None) -> Judged:
        estimates: list[tuple[float, float, float]] = []
        effort, result = self._effort, _judged("cannot tell", "")
        rounds, seconds = effort.rounds, effort.max_time
        for attempt in (1, 2):
            options = [f"--energy-against={other.revision.id}", f"--energy-max-time={seconds:g}"]
            options += [f"--energy-rounds={rounds}"] if rounds is not None else []
            options += self._threshold("--energy-threshold", ends)
            ran = self._run(commit, options, known=ends is not None and attempt == 1)
            if (same := self._as_known(ran)) is not None:
                return same
            answer, record = _passed(ran, self._line.root.name)
            comparison = record["comparison"]
            if comparison is None:
                raise _UnfitError(_not_measured(ran, record))
            if ends is None and answer["before"] is not None:
                self._kept["code"][other.revision.id] = answer["before"]
            if comparison["ratio"] is None or comparison["ci95"] is None:
                result = {
                    **_judged("cannot tell", comparison["why"] or "not compared"),
                    "runs": attempt,
                    "code": _functions(record),
                }
            else:
                estimates.append((comparison["ratio"], comparison["ci95"][0], comparison["ci95"][1]))
                result = _of_comparison(comparison, estimates, ends, attempt, _functions(record))
            if result["verdict"] != "cannot tell":
                break
            rounds, seconds = _MORE * max(rounds or record["rounds"], 20), _MORE * seconds
        return result

    def _counted(self, commit: Commit, other: Commit, ends: float | None) -> Judged:
        before = self._kept["counted"].get(other.revision.id)
        if before is None:
            if why := self._count(other, None)[1]:
                raise _UnfitError(f"at {other.revision.short} {why}")
            before = self._kept["counted"][other.revision.id]
        ran, why = self._count(commit, Baseline(before["text"], before["root"]), ends)
        if (same := self._as_known(ran)) is not None:
            return same
        record = ran.answer["record"] if ran.answer is not None else None
        counted = record["instructions"] if record is not None else None
        comparison = counted["comparison"] if counted is not None else None
        if why or record is None or comparison is None:
            raise _UnfitError(why or "its instructions are not compared")
        ratio = comparison["ratio"]
        result = _judged("cannot tell", comparison["why"])
        if ends is None and comparison["verdict"] != "cannot tell":
            result = _judged("dearer" if comparison["verdict"] == "regressed" else "not dearer", comparison["why"])
        elif ends is not None and ratio is not None:
            result = _judged("dearer" if ratio > sqrt(ends) else "not dearer", comparison["why"])
        return {**result, "ratio": ratio, "runs": 1, "code": _functions(record), "changed": comparison["where"]}

    def _count(self, commit: Commit, before: Baseline | None, ends: float | None = None) -> tuple[Ran, str]:
        """Count the instructions at a commit; and why they are not, where they are not."""
        options = ["--energy-count", f"--energy-save={OWN}", *([f"--energy-compare={OTHER}"] if before is not None else [])]
        options += self._threshold("--energy-count-threshold", ends)
        ran = self._run(commit, options, known=ends is not None, baseline=before)
        if ran.answer is not None and ran.answer["same"] is not None:
            return ran, ""
        answer, record = _passed(ran, self._line.root.name)
        if record["instructions"] is None or ran.saved is None:
            return ran, next(iter((*record["notes"], *answer["troubles"])), "instructions are not counted")
        self._kept["counted"][commit.revision.id] = {"text": ran.saved.text, "root": ran.saved.root}
        if (code := _functions(record)) is not None and before is None:
            self._kept["code"][commit.revision.id] = code
        return ran, ""

    def _threshold(self, option: str, ends: float | None) -> list[str]:
        """Where the verdict is ours, nothing need be measured again before anything is called dearer."""
        share = self._effort.threshold if ends is None else _OUT_OF_REACH
        return [f"{option}={share * 100:g}%"] if share is not None else []

    def _run(self, commit: Commit, options: Sequence[str], *, known: bool, baseline: Baseline | None = None) -> Ran:
        ran = self._project.run(commit.revision, options, self._codes() if known else {}, baseline)
        for note in ran.notes:
            told = note.replace(str(commit.revision), "a commit")
            if told not in self._noted:
                self._noted.add(told)
                self._tell(told)
        return ran

    def _codes(self) -> dict[str, Code]:
        """What the test executes at the commits that were held against the good one."""
        good = self._line.good
        found = {good.revision.id: code} if (code := self._kept["code"].get(good.revision.id)) is not None else {}
        for commit in self._line.commits:
            judged = self._kept["judged"].get(_pair(commit, good))
            if judged is not None and judged["same"] is None and judged["code"] is not None:
                found[commit.revision.id] = judged["code"]
        return found

    def _as_known(self, ran: Ran) -> Judged | None:
        """The verdict of the commit whose code this one's is."""
        same = ran.answer["same"] if ran.answer is not None else None
        if same is None:
            return None
        short = next(one.revision.short for one in (self._line.good, *self._line.commits) if one.revision.id == same)
        if same == self._line.good.revision.id:
            return {**_judged("not dearer", f"all code that it executes is that of {short}"), "same": same}
        judged = self._kept["judged"][f"{same}..{self._line.good.revision.id}"]
        return {**judged, "why": f"all code that it executes is that of {short}", "same": same, "runs": 0, "code": None}


def _pair(commit: Commit, other: Commit) -> str:
    return f"{commit.revision.id}..{other.revision.id}"


def _judged(verdict: Literal["dearer", "not dearer", "cannot tell"], why: str) -> Judged:
    return {
        "verdict": verdict,
        "ratio": None,
        "ci95": None,
        "why": why,
        "changed": [],
        "same": None,
        "runs": 0,
        "code": None,
    }


def _of_comparison(
    comparison: ComparisonRecord,
    estimates: Sequence[tuple[float, float, float]],
    ends: float | None,
    runs: int,
    code: Code | None,
) -> Judged:
    """The verdict of a run of pytest, or where ``ends`` are given which of the two the commit is like."""
    verdict = comparison["verdict"]
    result = _judged("cannot tell", comparison["why"] or "")
    if ends is None and verdict != "cannot tell":
        result["verdict"] = "dearer" if verdict == "regressed" else "not dearer"
    elif ends is not None:
        told = dearer(estimates, ends)
        result["verdict"] = "cannot tell" if told is None else "dearer" if told else "not dearer"
        result["why"] = "it is neither surely like the good commit nor like the bad one" if told is None else ""
    return {
        **result,
        "ratio": comparison["ratio"],
        "ci95": comparison["ci95"],
        "changed": comparison["changed"],
        "runs": runs,
        "code": code,
    }


def _functions(record: Record) -> Code | None:
    """What the test executes, without how often."""
    code = record["code"]
    if code is None:
        return None
    return {"fingerprint": code["fingerprint"], "functions": code.get("functions", {}), "unknown": code["unknown"]}


def _passed(ran: Ran, name: str) -> tuple[Answer, Record]:
    """The answer of a run in which the test passed. Raises :class:`_UnfitError` where it did not."""
    answer = ran.answer
    if answer is None:
        raise _UnfitError(f"pytest cannot be run there: {ran.said or f'exit status {ran.status}'}")
    if answer["errors"]:
        raise _UnfitError(f"it cannot be collected: {answer['errors'][0]}")
    if not answer["collected"]:
        raise _UnfitError(f"the test does not exist there ({ran.said})" if ran.said else "the test does not exist there")
    if len(answer["collected"]) > 1:
        raise _UnfitError(f"this names {len(answer['collected'])} tests, and one is meant, such as {answer['collected'][0]}")
    if answer["leak"] is not None:
        raise _UnfitError(
            f"it imported {answer['leak']}, from your tree of {name}, so it is not the commit's code: install the project as "
            "editable with setuptools, or name its folder in pythonpath= of the ini file"
        )
    if answer["outcome"] not in ("passed", None):
        raise _UnfitError(f"the test {_OUTCOMES.get(answer['outcome'], answer['outcome'])} there: {answer['why']}")
    if answer["record"] is None:
        raise _UnfitError(f"nothing was measured there: {ran.said}")
    return answer, answer["record"]


def _not_measured(ran: Ran, record: Record) -> str:
    troubles = ran.answer["troubles"] if ran.answer is not None else []
    return f"not compared: {next(iter((*record['notes'], *troubles)), ran.said)}"


def in_words(judged: Judged) -> str:
    """``1.21x (1.18-1.24): dearer``, or why that is not known."""
    if judged["same"] is not None:
        return f"{judged['verdict']}, not run: {judged['why']}"
    figures = ""
    if judged["ratio"] is not None:
        ends = judged["ci95"]
        interval = f" ({ends[0]:.3g} to {ends[1]:.3g})" if ends is not None else ""
        figures = f"{judged['ratio']:.3f}×{interval}: "
    return f"{figures}{judged['verdict']}" if judged["verdict"] != "cannot tell" else f"{figures}cannot tell: {judged['why']}"
