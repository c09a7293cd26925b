"""The commits between two, in one line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_joules.revision.worktree import Revision, RevisionError, git, reason, repository, resolve


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, as a person is told of it."""

    revision: Revision
    date: str
    """ISO 8601, the author's."""
    author: str
    subject: str
    merged: str | None
    """The commit that it merges, where it merges one."""


@dataclass(frozen=True, slots=True)
class Line:
    """The commits after ``good`` up to ``bad``, the oldest first: the last one is ``bad``."""

    root: Path
    good: Commit
    commits: tuple[Commit, ...]

    def __getitem__(self, number: int) -> Commit:
        """0: the good one; then the others in turn."""
        return self.commits[number - 1] if number else self.good


def between(folder: Path, good: str, bad: str) -> Line:
    """The line from one commit to another, in the repository that ``folder`` is in.

    Of a history with merges, it is that of first parents: what was merged is one step, the merge. Where ``good`` came in by a
    merge, that is the first step.

    Raises:
        RevisionError: there is no such line; the message says why, and what to do.
    """
    if git(folder, "rev-parse", "--is-bare-repository").stdout.strip() == "true":
        raise RevisionError(f"{folder} is a bare repository, which has no tests to run: clone it, and go there")
    root = repository(folder)
    shallow = git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    try:
        first, last = resolve(root, good), resolve(root, bad)
    except RevisionError:
        if shallow:
            raise RevisionError(f"{good}..{bad} is not whole in this shallow clone: git fetch --unshallow --tags") from None
        raise
    if first.id == last.id:
        raise RevisionError(f"{good} and {bad} are the same commit ({first.short}): there is nothing between them")
    if git(root, "merge-base", "--is-ancestor", first.id, last.id).returncode:
        if shallow:
            raise RevisionError(
                f"this clone is shallow, and {good} is not among the ancestors of {bad} that it has: git fetch --unshallow"
            )
        if git(root, "merge-base", "--is-ancestor", last.id, first.id).returncode == 0:
            raise RevisionError(f"{good} comes after {bad}: write the earlier commit first")
        base = git(root, "merge-base", first.id, last.id).stdout.strip()
        hint = f": begin where they part, at {base[:10]}" if base else ""
        raise RevisionError(f"{good} is not an ancestor of {bad}{hint}")
    listed = git(root, "rev-list", "--ancestry-path", f"{first.id}..{last.id}")
    if listed.returncode:
        raise RevisionError(f"git cannot list the commits from {good} to {bad}: {reason(listed)}")
    after = set(listed.stdout.split())
    steps = [found for found in _log(root, "--first-parent", "--reverse", f"{first.id}..{last.id}") if found.revision.id in after]
    (begin,) = _log(root, "-1", first.id)
    return Line(root, begin, tuple(steps))


def _log(root: Path, *arguments: str) -> list[Commit]:
    done = git(root, "log", "--no-show-signature", "--format=%H%x00%h%x00%aI%x00%an%x00%P%x00%s", *arguments)
    if done.returncode:
        raise RevisionError(f"git cannot list the commits: {reason(done)}")
    found = []
    for entry in done.stdout.splitlines():
        whole, short, date, author, parents, subject = entry.split("\0", 5)
        merged = parents.split()[1] if len(parents.split()) == 2 else None
        found.append(Commit(Revision(short, whole, short), date, author, subject, merged))
    return found


def part(root: Path, one: str, other: str) -> str:
    """Where two commits parted; empty where they have nothing in common."""
    return git(root, "merge-base", one, other).stdout.strip()


def changes(root: Path) -> int:
    """How many files of the working tree differ from its commit."""
    return len(git(root, "status", "--porcelain", "--untracked-files=normal").stdout.splitlines())
