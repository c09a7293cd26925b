"""A scratch copy of a project in which functions are rewritten, and their tests timed in turn with those of an untouched copy."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pytest_joules.code import function_source
from pytest_joules.code.graph import Graph
from pytest_joules.code.project import Project
from pytest_joules.code.source_file import MOST_BYTES
from pytest_joules.explore.explored import ExploringError
from pytest_joules.explore.rewriting import Variant
from pytest_joules.explore.watch import Watch
from pytest_joules.files import reading, scratch
from pytest_joules.predict.facts.new_functions import added
from pytest_joules.predict.facts.of_test import facts_of
from pytest_joules.predict.protocol import Before, Question
from pytest_joules.predict.questions import Changes

if TYPE_CHECKING:
    from pytest_joules.explore.stopwatch import Request
    from pytest_joules.store import Store
    from pytest_joules.store.entries import LatestRecord

#: Folders that are no source.
_NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".hg", ".tox", ".nox", ".venv", "venv", "env", "node_modules", "__pycache__"),
    *(".pytest_cache", ".mypy_cache", "*.pyc", ".joules"),
)
#: Seconds that one request to the stopwatch may take, and pytest to end when it is interrupted.
_REQUEST = 60.0
_PATIENCE = 5.0

Sources = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A function to be rewritten."""

    path: str
    place: str
    """``path::qualname``."""
    variant: Variant
    tests: Sequence[str]
    """Node ids of those to be timed: none executes what another attempt of the same batch rewrites."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One rewritten function, and what its tests cost before and after."""

    variant: Variant
    path: str
    place: str
    """``path::qualname`` of the function."""
    now: Mapping[str, str | None]
    """Sources of keys that have changed or are new; ``None``: gone."""
    changed: Mapping[str, Sequence[str]]
    """By test: keys in its path that have changed."""
    seconds: Mapping[str, tuple[float, float]]
    """By test: of its body before and after."""

    def question(self, record: LatestRecord, sources: Sources) -> Question:
        """What a predictor is asked of one of its tests; ``sources`` of its path.

        The test's time is that of the untouched copy by the same clock as the truth: few rounds of ``--energy`` are colder than
        many runs in a row, and what is learned here is the proportion of one to the other.
        """
        facts = facts_of(record["nodeid"], record["code"], sources)
        seconds, _ = self.seconds[record["nodeid"]]
        now = {key: text for key, text in {**facts.sources, **self.now}.items() if text is not None}
        before = Before.of(facts, record["joules"], seconds, record["created"])
        return Question(replace(facts, sources=now), before, tuple(self.changed[record["nodeid"]]))


class Laboratory:
    """Two copies of a project: one stays as it is, in the other one function at a time is rewritten.

    ``python``: the interpreter that runs its tests, which needs pytest-joules. ``imports``: folders, relative to ``root``, from
    which the project is imported besides its root. ``tests``: what to give to pytest. ``end``: the :func:`time.monotonic` at
    which all of it is over. Everything is in a temporary folder, which is gone afterwards, whatever happens; what a run left
    that was killed, the next one removes.

    Raises:
        ExploringError: the tests cannot be run, or there is no time left to.
    """

    def __init__(
        self,
        root: Path,
        *,
        tests: Sequence[str] = (),
        imports: Sequence[str] = ("src",),
        python: str = sys.executable,
        end: float = math.inf,
    ) -> None:
        if not hasattr(os, "fork"):
            raise ExploringError("exploring needs os.fork(), which this system does not have")
        self.python, self.tests, self.end = python, tuple(tests), end
        self.imports = tuple(name for name in imports if (root / name).is_dir())
        self.records: dict[str, LatestRecord] = {}
        self.sources: Sources = {}
        self._written = time.time()
        scratch.sweep()
        with contextlib.ExitStack() as stack:
            self._folder = scratch.folder("explore")
            stack.callback(scratch.remove, self._folder)
            self.base, self.other = self._folder / "base", self._folder / "other"
            self._copy(root, self.base)
            self._watch = Watch(self.python, self._environment(None), self._folder)
            stack.callback(self._watch.stop)
            self._stack = stack.pop_all()

    def __enter__(self) -> Laboratory:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None) -> None:
        self._stack.close()

    # The project as it is

    def record(self, *, limit: float = math.inf) -> None:
        """Measure the tests of the untouched copy once, with what they execute: as many as ``limit`` (seconds) allows."""
        from pytest_joules.store import StoreError, open_store

        history, said = self._folder / "history.sqlite", self._folder / "said.txt"
        options = ["-q", "--energy", "--energy-source=estimate", "--energy-rounds=3", f"--energy-store=sqlite:///{history}"]
        self._pytest([*options, "-p", "no:cacheprovider", f"--rootdir={self.base}", *self.tests], said, limit)
        try:
            if history.exists():
                self._read(open_store(history, write=False))
        except StoreError as error:
            raise ExploringError(f"its tests could not be measured: {error}") from None
        if not self.records:
            lines = said.read_bytes()[-2000:].decode("utf-8", "replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            time_given = f" in {limit:.0f} s (--explore=SECONDS is three times that)" if limit != math.inf else ""
            raise ExploringError(f"no test was measured{time_given}" + (f"; pytest said: {last}" if last else ""))
        self._copy(self.base, self.other)

    def _read(self, opened: Store) -> None:
        with contextlib.closing(opened) as store:
            for machine in {record["machine_id"] for record in store.versions()}:
                if machine is not None:
                    self.records |= store.latest(machine, None)
            self.sources = store.sources({pair for entry in self.records.values() for pair in entry["code"]["functions"].items()})

    def _pytest(self, arguments: Sequence[str], said: Path, limit: float) -> None:
        """Run the tests of the untouched copy; after ``limit`` seconds they are interrupted as by Ctrl-C: what was measured until
        then is in the history."""
        with said.open("wb") as out:
            process = subprocess.Popen(
                [self.python, "-m", "pytest", *arguments],
                cwd=self.base,
                env=self._environment(self.base),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=scratch.shared_with_children(self._folder),
            )
        try:
            if not _ends(process, limit):
                os.killpg(process.pid, signal.SIGINT)
                _ends(process, _PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _copy(self, folder: Path, target: Path) -> None:
        def copy(source: str, place: str) -> str:
            if time.monotonic() > self.end:
                raise ExploringError("copying the project takes longer than exploring may: give it more seconds")
            return shutil.copy2(source, place)

        shutil.copytree(folder, target, ignore=_NOT_COPIED, symlinks=True, ignore_dangling_symlinks=True, copy_function=copy)

    # A function rewritten

    def text(self, path: str) -> str:
        """A file of the untouched copy."""
        return reading.read_text(self.base / path, MOST_BYTES)

    def write(self, path: str, text: str) -> None:
        """Another text of a file in the copy that is rewritten. Python compares whole seconds to know whether its compiled files
        are of this text, so each is dated later than the one before."""
        self._written = max(self._written + 2, time.time())
        (self.other / path).write_text(text, "utf-8")
        os.utime(self.other / path, (self._written, self._written))

    def attempt(self, batch: Sequence[Attempt], *, seconds: float = 0.03) -> list[Trial]:
        """Rewrite functions and time their tests before and after, in turn; then all is as it was.

        In one file, the variants of later attempts hold those of the earlier ones. Tests that fail before or after, or do not
        bear being run again, are in no trial; neither are attempts that change nothing that a test executes.
        """
        texts = {attempt.path: attempt.variant.source for attempt in batch}
        try:
            for path, text in texts.items():
                self.write(path, text)
            graph = Graph(Project(self.other))
            changes = Changes(graph)
            differences = [self._difference(graph, changes, attempt.tests) for attempt in batch]
            wanted = [test for changed, _ in differences for test, keys in changed.items() if keys]
            both = self._ask(wanted, seconds) if wanted else {}
        finally:
            for path in texts:
                self.write(path, self.text(path))
        trials = []
        for attempt, (changed, now) in zip(batch, differences, strict=True):
            timed = {test: both[test] for test in attempt.tests if test in both and changed.get(test)}
            if timed:
                kept_keys = {test: changed[test] for test in timed}
                trials.append(Trial(attempt.variant, attempt.path, attempt.place, now, kept_keys, timed))
        return trials

    def _difference(
        self, graph: Graph, changes: Changes, tests: Iterable[str]
    ) -> tuple[dict[str, tuple[str, ...]], dict[str, str | None]]:
        """Keys that have changed, by test, and the sources of all that have changed or are new."""
        changed = {test: changes.of(self.records[test]) for test in tests}
        keys = {key for several in changed.values() for key in several}
        now: dict[str, str | None] = {key: function_source.source(graph.project, key) for key in sorted(keys)}
        known = {key for test in changed for key in self.records[test]["code"]["functions"]}
        now |= added(graph, sorted(keys), known)
        return changed, now

    def _ask(self, tests: Sequence[str], seconds: float) -> dict[str, tuple[float, float]]:
        """By test: seconds of its body before and after, of those that passed in both."""
        folders = (self.base, self.other)
        limit = max(0.0, min(_REQUEST, self.end - time.monotonic()))
        request: Request = {
            "roots": [str(folder) for folder in folders],
            "paths": [self._paths(folder) for folder in folders],
            "tests": list(tests),
            "seconds": seconds,
            "out": str(self._folder / "times.json"),
            "limit": limit,
        }
        return self._watch.ask(request, limit + _PATIENCE)

    def _paths(self, folder: Path) -> list[str]:
        return [str(folder), *(str(folder / name) for name in self.imports)]

    def _environment(self, folder: Path | None) -> dict[str, str]:
        here = str(Path(__file__).parents[2])
        own = {"PYTHONPATH": os.pathsep.join([*(self._paths(folder) if folder else []), here]), "PYTHONHASHSEED": "0"}
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        kept_names = {
            name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE")
        }
        return kept_names | own | {"HOME": str(home)}


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ends in time."""
    try:
        process.wait(None if seconds == math.inf else seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
