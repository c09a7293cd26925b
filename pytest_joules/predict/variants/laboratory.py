"""A scratch copy of a project in which functions are rewritten, and their tests timed in turn with those of an untouched copy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
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
from pytest_joules.files import reading
from pytest_joules.predict.facts.new_functions import added
from pytest_joules.predict.facts.of_test import facts_of
from pytest_joules.predict.protocol import Before, Question
from pytest_joules.predict.questions import Changes
from pytest_joules.predict.variants.rewriting import Variant

if TYPE_CHECKING:
    from pytest_joules.predict.variants.stopwatch import Request
    from pytest_joules.store.entries import LatestRecord

#: Folders that are no source.
_NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".hg", ".tox", ".nox", ".venv", "venv", "env", "node_modules", "__pycache__"),
    *(".pytest_cache", ".mypy_cache", "*.pyc", ".joules"),
)
#: Seconds that the recording of the whole suite may take, and one request to the stopwatch.
_RECORDING = 1800.0
_REQUEST = 60.0

Sources = Mapping[tuple[str, str], str]


class ExploringError(RuntimeError):
    """The project cannot be explored: one sentence."""


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
        before = Before(record["joules"], seconds, facts.sources, facts.counts, record["created"])
        return Question(replace(facts, sources=now), before, tuple(self.changed[record["nodeid"]]))


class Laboratory:
    """Two copies of a project: one stays as it is, in the other one function at a time is rewritten.

    ``python``: the interpreter that runs its tests, which needs pytest-joules. ``imports``: folders, relative to ``root``, from
    which the project is imported besides its root. ``tests``: what to give to pytest. Everything is in a temporary folder, which
    is gone afterwards, whatever happens.

    Raises:
        ExploringError: the tests cannot be run.
    """

    def __init__(
        self, root: Path, *, tests: Sequence[str] = (), imports: Sequence[str] = ("src",), python: str = sys.executable
    ) -> None:
        if not hasattr(os, "fork"):
            raise ExploringError("exploring needs os.fork(), which this system does not have")
        self.python, self.tests = python, tuple(tests)
        self._stack = contextlib.ExitStack()
        folder = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="joules-explore-", ignore_cleanup_errors=True))
        )
        self._folder = folder.resolve()
        self.base, self.other = self._folder / "base", self._folder / "other"
        self.imports = tuple(name for name in imports if (root / name).is_dir())
        shutil.copytree(root, self.base, ignore=_NOT_COPIED, symlinks=True, ignore_dangling_symlinks=True)
        self.records: dict[str, LatestRecord] = {}
        self.sources: Sources = {}
        self._watch: subprocess.Popen[str] | None = None
        self._written = time.time()

    def __enter__(self) -> Laboratory:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None) -> None:
        self._stop()
        self._stack.close()

    # The project as it is

    def record(self, *, limit: float = _RECORDING) -> None:
        """Measure all tests of the untouched copy once, with what they execute."""
        from pytest_joules.store import StoreError, open_store

        history = self._folder / "history.sqlite"
        options = ["-q", "--energy", "--energy-source=estimate", "--energy-rounds=3", f"--energy-store=sqlite:///{history}"]
        command = [self.python, "-m", "pytest", *options, "-p", "no:cacheprovider", f"--rootdir={self.base}", *self.tests]
        try:
            done = subprocess.run(
                command, cwd=self.base, env=self._environment(self.base), capture_output=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            raise ExploringError(f"its tests take longer than {limit:g} s") from None
        try:
            with contextlib.closing(open_store(history, write=False)) as store:
                for machine in {record["machine_id"] for record in store.versions()}:
                    if machine is not None:
                        self.records |= store.latest(machine, None)
                pairs = {pair for entry in self.records.values() for pair in entry["code"]["functions"].items()}
                self.sources = store.sources(pairs)
        except StoreError as error:
            tail = done.stdout.decode("utf-8", "replace")[-600:]
            raise ExploringError(f"its tests could not be measured ({error}): {tail}") from None
        if not self.records:
            raise ExploringError(f"no test was measured: {done.stdout.decode('utf-8', 'replace')[-600:]}")
        shutil.copytree(self.base, self.other, symlinks=True)

    # A function rewritten

    def text(self, path: str) -> str:
        """A file of the untouched copy."""
        return reading.read_text(self.base / path, MOST_BYTES)

    def write(self, path: str, text: str, *, both: bool = False) -> None:
        """Another text of a file, in the copy that is rewritten or in both. Python compares whole seconds to know whether its
        compiled files are of this text, so each is dated later than the one before."""
        self._written = max(self._written + 2, time.time())
        for folder in (self.base, self.other) if both else (self.other,):
            if folder.is_dir():
                (folder / path).write_text(text, "utf-8")
                os.utime(folder / path, (self._written, self._written))

    def attempt(self, batch: Sequence[Attempt], *, turns: int = 1, seconds: float = 0.03) -> list[Trial]:
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
            both: dict[str, tuple[float, float]] = {}
            for turn in range(turns if wanted else 0):
                found = self._ask(wanted, seconds)
                for test, (before, after) in found.items():
                    known = both.get(test, (before, after))
                    if test in both or not turn:
                        both[test] = min(before, known[0]), min(after, known[1])
                wanted = [test for test in wanted if test in found]
                both = {test: both[test] for test in wanted}
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
        out = self._folder / "times.json"
        out.unlink(missing_ok=True)
        folders = (self.base, self.other)
        request: Request = {
            "roots": [str(folder) for folder in folders],
            "paths": [self._paths(folder) for folder in folders],
            "tests": list(tests),
            "seconds": seconds,
            "out": str(out),
            "limit": _REQUEST,
        }
        watch = self._stopwatch()
        assert watch.stdin is not None and watch.stdout is not None
        try:
            watch.stdin.write(json.dumps(request) + "\n")
            watch.stdin.flush()
            answered = watch.stdout.readline()
        except BrokenPipeError:
            answered = ""
        if not answered:
            self._stop()
        try:
            result: dict[str, tuple[float, float]] = json.loads(out.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return result

    def _stopwatch(self) -> subprocess.Popen[str]:
        if self._watch is None:
            self._watch = subprocess.Popen(
                [self.python, "-m", "pytest_joules.predict.variants.stopwatch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self._environment(None),
                cwd=self._folder,
            )
        return self._watch

    def _stop(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.kill()
            watch.wait()
            for pipe in (watch.stdin, watch.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def _paths(self, folder: Path) -> list[str]:
        return [str(folder), *(str(folder / name) for name in self.imports)]

    def _environment(self, folder: Path | None) -> dict[str, str]:
        here = str(Path(__file__).parents[3])
        own = {"PYTHONPATH": os.pathsep.join([*(self._paths(folder) if folder else []), here]), "PYTHONHASHSEED": "0"}
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        kept_names = {
            name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE")
        }
        return kept_names | own | {"HOME": str(home)}
