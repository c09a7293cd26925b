"""One commit held against another: in joules, by runs of pytest that measure the two in turn; in instructions, by counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from pytest_joules.model import Code, ComparisonRecord, Record
from pytest_joules.revision.candidate import OTHER, OWN, Answer, Project, Ran
from pytest_joules.revision.candidate import Saved as Baseline
from pytest_joules.revision.commits import Commit, Line
from pytest_joules.revision.kept_verdicts import Judged, Kept
from pytest_joules.revision.likelihood import dearer

#: A comparison that does not tell is made once more with so many times the rounds, and the time for them.
_MORE = 3
#: The largest threshold that there is.
_OUT_OF_REACH = 10.0
#: What a test does that does not pass.
_OUTCOMES = {"failed": "fails", "error": "fails", "skipped": "is skipped", "crashed": "crashes"}


class UnfitError(Exception):
    """At a commit nothing can be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    by: Literal["auto", "joules", "instructions"] = "auto"
    rounds: int | None = None
    max_time: float = 10.0
    threshold: float | None = None
    """Relative; ``None``: what runs of pytest have."""


class Holding:
    """Holds commits against each other.

    Args:
        kept: what is known by now; what tests execute and what was counted is added
        tell: is told what there is to say of the commits, each once
    """

    def __init__(self, project: Project, line: Line, effort: Effort, kept: Kept, tell: Callable[[str], None]) -> None:
        self._project = project
        self._line = line
        self._effort = effort
        self._kept = kept
        self._tell = tell
        self._noted: set[str] = set()

    # ``ends``: the ratio of the bad commit to the good one, where it is only to be told which of the two a commit is like; else
    # the verdict is that of a run of pytest.

    # ``anew``: whatever is known of its code.

    def measured(self, commit: Commit, other: Commit, ends: float | None, *, anew: bool = False) -> Judged:
        """In joules. Raises :class:`UnfitError`, and :class:`~pytest_joules.revision.worktree.RevisionError`."""
        estimates: list[tuple[float, float, float]] = []
        effort, result = self._effort, judged_as("cannot tell", "")
        rounds, seconds = effort.rounds, effort.max_time
        for attempt in (1, 2):
            options = [f"--energy-against={other.revision.id}", f"--energy-max-time={seconds:g}"]
            options += [f"--energy-rounds={rounds}"] if rounds is not None else []
            options += self._threshold("--energy-threshold", ends)
            ran = self._run(commit, options, known=ends is not None and attempt == 1 and not anew)
            if (same := self._as_known(ran)) is not None:
                return same
            answer, record = _passed(ran, self._line.root.name)
            comparison = record["comparison"]
            if comparison is None:
                raise UnfitError(_not_measured(ran, record))
            if ends is None and answer["before"] is not None:
                self._kept["code"][other.revision.id] = answer["before"]
            if comparison["ratio"] is None or comparison["ci95"] is None:
                result = {
                    **judged_as("cannot tell", comparison["why"] or "not compared"),
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

    def counted(self, commit: Commit, other: Commit, ends: float | None, *, anew: bool = False) -> Judged:
        """In instructions. Raises the same."""
        before = self._kept["counted"].get(other.revision.id)
        if before is None:
            if why := self.count(other, None)[1]:
                raise UnfitError(f"at {other.revision.short} {why}")
            before = self._kept["counted"][other.revision.id]
        ran, why = self.count(commit, Baseline(before["text"], before["root"]), ends, anew=anew)
        if (same := self._as_known(ran)) is not None:
            return same
        record = ran.answer["record"] if ran.answer is not None else None
        counted = record["instructions"] if record is not None else None
        comparison = counted["comparison"] if counted is not None else None
        if why or record is None or comparison is None:
            raise UnfitError(why or "its instructions are not compared")
        ratio = comparison["ratio"]
        result = judged_as("cannot tell", comparison["why"])
        if ends is None and comparison["verdict"] != "cannot tell":
            result = judged_as("dearer" if comparison["verdict"] == "regressed" else "not dearer", comparison["why"])
        elif ends is not None and ratio is not None:
            result = judged_as("dearer" if ratio > sqrt(ends) else "not dearer", comparison["why"])
        return {**result, "ratio": ratio, "runs": 1, "code": _functions(record), "changed": comparison["where"]}

    def count(self, commit: Commit, before: Baseline | None, ends: float | None = None, *, anew: bool = False) -> tuple[Ran, str]:
        """Count the instructions at a commit; and why they are not, where they are not."""
        options = ["--energy-count", f"--energy-save={OWN}", *([f"--energy-compare={OTHER}"] if before is not None else [])]
        options += self._threshold("--energy-count-threshold", ends)
        ran = self._run(commit, options, known=ends is not None and not anew, baseline=before)
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
            judged = self._kept["judged"].get(pair(commit, good))
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
            return {**judged_as("not dearer", f"all code that it executes is that of {short}"), "same": same}
        judged = self._kept["judged"][f"{same}..{self._line.good.revision.id}"]
        return {**judged, "why": f"all code that it executes is that of {short}", "same": same, "runs": 0, "code": None}


def pair(commit: Commit, other: Commit) -> str:
    return f"{commit.revision.id}..{other.revision.id}"


def judged_as(verdict: Literal["dearer", "not dearer", "cannot tell"], why: str) -> Judged:
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
    result = judged_as("cannot tell", comparison["why"] or "")
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
    """The answer of a run in which the test passed. Raises :class:`UnfitError` where it did not."""
    answer = ran.answer
    if answer is None:
        raise UnfitError(f"pytest cannot be run there: {ran.said or f'exit status {ran.status}'}")
    if answer["errors"]:
        raise UnfitError(f"it cannot be collected: {answer['errors'][0]}")
    if not answer["collected"]:
        told = ran.said and not ran.said.startswith(("not found", "file or directory not found"))
        raise UnfitError(f"the test does not exist there{f' ({ran.said})' if told else ''}")
    if len(answer["collected"]) > 1:
        raise UnfitError(f"this names {len(answer['collected'])} tests, and one is meant, such as {answer['collected'][0]}")
    if answer["leak"] is not None:
        raise UnfitError(
            f"it imported {answer['leak']}, from your tree of {name}, so it is not the commit's code: install the project as "
            "editable with setuptools, or name its folder in pythonpath= of the ini file"
        )
    if answer["outcome"] not in ("passed", None):
        raise UnfitError(f"the test {_OUTCOMES.get(answer['outcome'], answer['outcome'])} there: {answer['why']}")
    if answer["record"] is None:
        raise UnfitError(f"nothing was measured there: {ran.said}")
    return answer, answer["record"]


def _not_measured(ran: Ran, record: Record) -> str:
    troubles = ran.answer["troubles"] if ran.answer is not None else []
    return f"not compared: {next(iter((*record['notes'], *troubles)), ran.said)}"
