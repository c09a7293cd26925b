"""Which commit made a test dearer: each is held against the good one, in joules or in instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pytest_joules.revision.candidate import Project
from pytest_joules.revision.commits import Commit, Line
from pytest_joules.revision.holding import Effort, Holding, UnfitError, judged_as, pair
from pytest_joules.revision.kept_verdicts import Judged, Verdicts
from pytest_joules.revision.narrowing import Narrowed, bisect
from pytest_joules.revision.worktree import RevisionError


class Refused(Exception):
    """There is nothing to bisect; the message says why, and what to do."""


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
        self._holding = Holding(project, line, effort, verdicts.kept, tell)
        self._line = line
        self._by = effort.by
        self._verdicts = verdicts
        self._tell = tell
        self._kept = verdicts.kept
        self._earlier = sum(judged["runs"] for judged in self._kept["judged"].values())
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
        while True:
            narrowed = bisect(len(self._line.commits), lambda number: self._judge(number, ratio))
            if not narrowed.found:
                return self._result("range", ends, narrowed)
            found, before = self._line[narrowed.bad], self._line[narrowed.good]
            confirmed = ends if (found, before) == (bad, good) else self._confirmed(found, before)
            if confirmed["verdict"] == "dearer":
                return self._result("found", ends, narrowed, confirmed)
            if not self._was_wrong(narrowed, ratio):
                return self._result("not confirmed", ends, narrowed, confirmed)

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
        if self._kept["by"] is None and self._by != "joules":
            ends = self._by_instructions(good, bad)
        self._kept["by"] = self._kept["by"] or "joules"
        return ends or self._end(bad, good)

    def _end(self, bad: Commit, good: Commit) -> Judged:
        try:
            return self._held(bad, good, None)
        except (UnfitError, RevisionError) as error:
            raise Refused(f"at {bad.revision.short} {error}") from None

    def _by_instructions(self, good: Commit, bad: Commit) -> Judged | None:
        """The ends by their instructions; ``None`` where these are not counted, or do not tell and need not."""
        try:
            _, why = self._holding.count(good, None)
        except (UnfitError, RevisionError) as error:
            raise Refused(f"at {good.revision.short} {error}") from None
        if why:
            if self._by == "instructions":
                raise Refused(f"--by=instructions: at {good.revision.short} {why}")
            self._kept["why"] = why
            return None
        try:
            ends = self._holding.counted(bad, good, None)
        except (UnfitError, RevisionError) as error:
            raise Refused(f"at {bad.revision.short} {error}") from None
        if self._by == "instructions" or ends["verdict"] == "dearer":
            self._kept["by"] = "instructions"
            self._keep(pair(bad, good), bad, good, ends)
            return ends
        # What has no more instructions may cost more all the same.
        self._kept["why"] = f"the ends do not differ in instructions ({ends['why']})"
        return None

    # A commit

    def _judge(self, number: int, ends: float) -> bool | None:
        commit, good = self._line[number], self._line.good
        try:
            judged = self._held(commit, good, ends)
        except (UnfitError, RevisionError) as error:
            judged = judged_as("cannot tell", str(error))
            self._keep(pair(commit, good), commit, good, judged)
        if judged["same"] is not None:
            self._same[number] = judged["same"]
        if judged["verdict"] == "cannot tell":
            self._skipped[number] = judged["why"]
        return None if judged["verdict"] == "cannot tell" else judged["verdict"] == "dearer"

    def _confirmed(self, commit: Commit, before: Commit) -> Judged:
        """The commit that was found against the one before it, measured anew also where that is the good one."""
        try:
            return self._held(commit, before, None, f"{pair(commit, before)} confirmed")
        except (UnfitError, RevisionError) as error:
            return judged_as("cannot tell", str(error))

    def _was_wrong(self, narrowed: Narrowed, ends: float) -> bool:
        """Whether one of the two commits that the search ended between was misjudged: a process may be slow for a reason of
        its own. Each is measured anew, a third time where both differ, and the majority holds."""
        if self._kept["by"] == "instructions":
            return False
        good, wrong = self._line.good, False
        for commit in (self._line[narrowed.good], self._line[narrowed.bad]):
            known = self._kept["judged"].get(pair(commit, good))
            if known is None or known["same"] is not None or commit is self._line.commits[-1]:
                continue
            try:
                others = [self._held(commit, good, ends, f"{pair(commit, good)} time 2")]
                if others[0]["verdict"] != known["verdict"]:
                    others.append(self._held(commit, good, ends, f"{pair(commit, good)} time 3"))
            except (UnfitError, RevisionError):
                continue
            if len(others) == 2 and others[0]["verdict"] == others[1]["verdict"]:
                self._keep(pair(commit, good), commit, good, {**others[1], "runs": known["runs"], "code": known["code"]})
                wrong = True
        return wrong

    def _held(self, commit: Commit, other: Commit, ends: float | None, key: str = "") -> Judged:
        """A commit against another: see :class:`Holding`. ``key``: what it is kept as, where that is not the two of them: it is
        measured anew then."""
        known = self._kept["judged"].get(key or pair(commit, other))
        if known is None:
            by = self._holding.counted if self._kept["by"] == "instructions" else self._holding.measured
            known = by(commit, other, ends, anew=bool(key))
            self._keep(key or pair(commit, other), commit, other, known)
        return known

    def _keep(self, key: str, commit: Commit, other: Commit, judged: Judged) -> None:
        self._kept["judged"][key] = judged
        self._verdicts.save()
        against = "" if other is self._line.good else f" against {other.revision.short}"
        self._tell(f"{commit.revision.short} {commit.subject}{against}: {in_words(judged)}")


def in_words(judged: Judged) -> str:
    """``1.210× (1.18 to 1.24): dearer``, or why that is not known."""
    if judged["same"] is not None:
        return f"{judged['verdict']}, not run: {judged['why']}"
    figures = ""
    if judged["ratio"] is not None:
        ends = judged["ci95"]
        interval = f" ({ends[0]:.3g} to {ends[1]:.3g})" if ends is not None else ""
        figures = f"{judged['ratio']:.3f}×{interval}: "
    return f"{figures}{judged['verdict']}" if judged["verdict"] != "cannot tell" else f"{figures}cannot tell: {judged['why']}"
