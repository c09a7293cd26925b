"""A run of pytest at a commit: in a worktree of it, with its code, and what came of one test there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

from pytest_joules.files import reading, scratch
from pytest_joules.model import Code, Record
from pytest_joules.revision.imports import Paths, prepare
from pytest_joules.revision.worktree import Revision, RevisionError, Worktree
from pytest_joules.settings.values import BASELINES

#: The plugin that answers, in the process of pytest.
PLUGIN = "pytest_joules.session.candidate"
#: A baseline of another commit, as the run here calls it; and the one that it writes.
OTHER, OWN = "joules-bisect-other", "joules-bisect-own"
#: Seconds until a run that is told to end is made to.
_PATIENCE = 20.0
_MOST_BYTES = 256 * 2**20


class Request(TypedDict):
    """What the plugin is told."""

    answer: str
    """The file to write."""
    tree: str
    """The user's tree, of which nothing is to be imported."""
    known: dict[str, Code]
    """What the test executes at other commits, by their ids."""


class Answer(TypedDict):
    """What the plugin writes."""

    collected: list[str]
    """Node ids."""
    errors: list[str]
    """Of collecting, a line each."""
    same: str | None
    """The known commit whose code is this one's: then nothing was run."""
    outcome: str | None
    why: str
    """The last line of what went wrong with the test."""
    record: Record | None
    before: Code | None
    """What the test executes at the revision that it was measured against."""
    leak: str | None
    """A module that was imported from the user's tree."""
    troubles: list[str]
    """What the run itself has to say, such as why nothing was counted."""
    root: str
    """pytest's root directory."""


class Saved(NamedTuple):
    """A baseline that a run wrote."""

    text: str
    root: str
    """pytest's root directory, in the working tree."""


@dataclass(slots=True)
class Ran:
    """What a run of pytest at a commit came to."""

    answer: Answer | None
    """``None``: pytest did not come so far."""
    status: int
    said: str
    """The last line that pytest said, its errors first."""
    notes: Sequence[str] = ()
    """What is not there as it is in the user's tree."""
    saved: Saved | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """Where and how the test is run."""

    root: Path
    """Of the user's working tree."""
    directory: Path
    """In it, where the user is."""
    nodeid: str
    options: Sequence[str] = ()
    """For pytest."""

    def run(
        self,
        revision: Revision,
        options: Sequence[str],
        known: Mapping[str, Code] | None = None,
        baseline: Saved | None = None,
    ) -> Ran:
        """Run the test at a commit.

        Args:
            options: for this run
            known: what the test executes at commits that it need not be run at again, by their ids
            baseline: that of another commit, to stand there as :data:`OTHER`

        Raises:
            RevisionError: the commit cannot be checked out, or not be built.
        """
        with ExitStack() as stack:
            worktree = Worktree(self.root, revision)
            stack.callback(worktree.remove)
            folder = scratch.folder("bisect")
            stack.callback(scratch.remove, folder)
            directory = worktree.path / self.directory.relative_to(self.root)
            if not directory.is_dir():
                raise RevisionError(f"there is no folder {self.directory.relative_to(self.root)}")
            paths = prepare(worktree, folder, alone=True)
            if baseline is not None:
                place = worktree.path / baseline.root / BASELINES / "other" / f"{OTHER}.json"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(baseline.text, "utf-8")
            request: Request = {"answer": str(folder / "answer.json"), "tree": str(self.root), "known": dict(known or {})}
            (folder / "request.json").write_text(json.dumps(request), "utf-8")
            more = [
                *("-p", PLUGIN, f"--joules-candidate={folder / 'request.json'}"),
                *(f"--energy-store={folder / 'history.db'}", "--energy-fail-on=none", "--energy-ci=off", *options),
            ]
            env = {**os.environ, **self._path(paths, worktree, directory)}
            status, said = self._pytest([self.nodeid, *self.options, *more], directory, env, folder)
            found = _read(folder / "answer.json")
            saved = _saved(Path(found["root"]), worktree.path) if found is not None else None
            return Ran(found, status, said, tuple(worktree.notes), saved)

    def _path(self, paths: Paths, worktree: Worktree, directory: Path) -> dict[str, str]:
        """The module search path of the commit. A project that is not installed is found by the working directory, as by
        ``python -m pytest``."""
        entries = paths.variables(worktree, there=True).get("PYTHONPATH", "").split(os.pathsep)
        entries = [entry for entry in entries if entry]
        if not paths.there and not any(Path(entry).is_relative_to(worktree.path) for entry in entries):
            entries.append(str(directory))
        return {"PYTHONPATH": os.pathsep.join(entries)}

    def _pytest(self, words: Sequence[str], directory: Path, env: Mapping[str, str], folder: Path) -> tuple[int, str]:
        output = folder / "output.txt"
        handed = scratch.shared_with_children(folder)
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *words],
                stdin=subprocess.PIPE,  # closed when this process is gone: then that one ends
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=env,
                pass_fds=handed,
                # Ctrl-C reaches this process alone, which ends the other.
                start_new_session=os.name == "posix",
            )
            try:
                status = process.wait()
            except BaseException:
                _end(process)
                raise
            finally:
                assert process.stdin is not None
                process.stdin.close()
        return status, _last_words(output)


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would, and at once where it does not."""
    with contextlib.suppress(OSError):
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(path: Path) -> Answer | None:
    try:
        answer: Answer = json.loads(reading.read_text(path, _MOST_BYTES))  # written by our own plugin
    except (OSError, ValueError):
        return None
    return answer


def _saved(root: Path, tree: Path) -> Saved | None:
    for path in root.glob(f"{BASELINES}/*/{OWN}.json") if root.is_relative_to(tree) else ():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return Saved(reading.read_text(path, _MOST_BYTES), str(root.relative_to(tree)))
    return None


def _last_words(path: Path) -> str:
    """What pytest complains of, in one line."""
    try:
        lines = [line.strip() for line in reading.read_text(path, 2**24, errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    complaints = [line.removeprefix("E ").strip() for line in lines if line.startswith("E ")]
    return next(iter((*errors, *reversed(complaints), *reversed(lines))), "")


#: The working directory is not on the path while this plugin is imported: a folder of the project must not stand in for it.
_PROGRAM = """
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
from pytest_joules.companion import guard
guard.stand(0)
import pytest
sys.exit(pytest.console_main())
"""
