"""The course of one package: brought, unpacked, installed, its tests measured, and written down."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pytest_joules.collect import archive, requirements
from pytest_joules.collect.environment import Environment, Own, last_line
from pytest_joules.collect.failure import Failed, Reason, Stopped
from pytest_joules.collect.fetching import Request, download
from pytest_joules.collect.inner_pytest import InnerPytest
from pytest_joules.collect.records import Lines, write_lines
from pytest_joules.collect.sandbox import Sandbox
from pytest_joules.files import reading
from pytest_joules.model import CommitRecord

if TYPE_CHECKING:
    from pytest_joules.collect.choosing import Findings

#: How often what is missing is installed and the tests are collected again.
_GUESSES = 3
#: Seconds at the end in which no test begins, beside those that one may take: to end and to write.
_RESERVE = 15.0
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is measured of each package, and what it may use."""

    rounds: int = 20
    max_tests: int | None = None
    max_time: float = 10.0
    """Seconds that one test's rounds may take."""
    time_limit: float = 900.0
    """Seconds for the whole package."""
    disk_limit: int = 4 * 2**30
    """Bytes for the whole package, its environment included."""


class Measurer(TypedDict):
    """A pytest-joules."""

    version: str
    commit: CommitRecord | None


@dataclass(slots=True)
class Outcome:
    """What came of a package; also the file that says that it is finished."""

    package: str
    """As it was asked for."""
    name: str | None = None
    version: str | None = None
    reason: Reason | None = None
    """Why nothing, or not all, was measured."""
    detail: str | None = None
    tests: int = 0
    """That passed and were measured: records with samples."""
    repetitions: int = 0
    collected: int = 0
    chosen: int = 0
    outcomes: Mapping[str, int] | None = None
    exit_status: int | None = None
    """Of pytest."""
    seconds: float = 0.0
    archive: dict[str, str] | None = None
    """``name`` and ``sha256`` of the source distribution; ``None`` for a folder."""
    pytest_joules: Measurer | None = None
    """The one that measured."""

    def as_record(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Means:
    """What all packages of a run share."""

    bounds: Bounds
    own: Own
    stop: threading.Event
    """Set when the user ends the run."""
    turn: threading.Lock
    """Held by the one that measures."""
    lines: Callable[[Outcome], Lines]
    """What the records of a package begin with."""


class PackageCollector:
    """Collects one package into the folder ``out``; :meth:`run` raises for nothing but the user's stop."""

    def __init__(self, wanted: Request, out: Path, means: Means, say: Callable[[str], None]) -> None:
        self._wanted, self._means, self._bounds, self._say = wanted, means, means.bounds, say
        self._folder = out / "work" / wanted.key
        self._records = out / "records" / f"{wanted.key}.jsonl"
        own = means.own
        self.outcome = Outcome(wanted.text, pytest_joules={"version": own.version, "commit": own.commit})

    @property
    def history(self) -> Path:
        """The history that measuring leaves; it stays."""
        return self._folder / "history.db"

    def run(self) -> Outcome:
        """Collect it.

        Raises:
            Stopped: the user ends the run; nothing of this package counts then.
        """
        # One half done starts again.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._records.unlink(missing_ok=True)
        return self._course(self._collect)

    def _course(self, steps: Callable[[Sandbox], None]) -> Outcome:
        begun = time.monotonic()
        outcome = self.outcome
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            sandbox = Sandbox(
                self._folder,
                time.monotonic() + self._bounds.time_limit,
                self._bounds.disk_limit,
                self._means.stop,
                self._folder / "log.txt",
                self._folder.parent / ".pip-cache",
            )
            sandbox.prepare()
            steps(sandbox)
        except Failed as failure:
            outcome.reason, outcome.detail = failure.reason, failure.detail
        except Stopped:
            raise
        except OSError as error:
            outcome.reason, outcome.detail = "disk", f"{error.filename or self._folder}: {error.strerror or error}"
        except Exception as error:  # whatever it is, the other packages go on
            outcome.reason, outcome.detail = "error", f"{type(error).__name__}: {error}"
            with contextlib.suppress(OSError), (self._folder / "log.txt").open("a", encoding="utf-8") as log:
                traceback.print_exc(file=log)
        finally:
            self._tidy()
        outcome.seconds = round(time.monotonic() - begun, 1)
        return outcome

    def _collect(self, sandbox: Sandbox) -> None:
        environment = Environment(sandbox)
        environment.copy(self._means.own.template)
        project, self.outcome.archive = self._project(environment, self._wanted, "source")
        self._install(environment, project)
        pytest = InnerPytest(sandbox, environment, project, self._bounds.max_tests)
        facts = self._look(environment, pytest)
        with self._turn(sandbox):
            self._say(f"measures {facts['chosen']} of {facts['collected']} tests")
            trouble = self._measure(pytest, sandbox)
        if trouble is not None:
            # It stands in the records as well.
            self.outcome.reason, self.outcome.detail = trouble.reason, trouble.detail
        self._write()
        if not self.outcome.tests:
            self._records.unlink()
            raise trouble or Failed("all tests fail", "no test passed in every round")

    def _project(self, environment: Environment, wanted: Request, name: str) -> tuple[Path, dict[str, str] | None]:
        """The package's source, unpacked or copied into the folder ``name``; and name and hash of its archive."""
        source, limit = self._folder / name, self._bounds.disk_limit // 4
        path = wanted.path
        if path is not None and path.is_dir():
            return archive.copy(path, source / wanted.key, limit), None
        self._say("fetches")
        packed = path or download(wanted, environment, self._folder / "sdist")
        project = archive.unpack(packed, source, limit)
        return project, {"name": packed.name, "sha256": reading.sha256(packed, limit)}

    def _install(self, environment: Environment, project: Path) -> None:
        """The project and what its tests need."""
        name, version, extras = requirements.metadata(project)
        self.outcome.name, self.outcome.version = name, version
        self._say("installs")
        environment.install_project(
            project, requirements.test_extras(extras), requirements.of_tests(project, name), self._means.own
        )
        installed = environment.installed_as(project)
        if installed is None:
            # What its tests need has brought another version of it.
            environment.install("--no-deps", "--editable", project)
            installed = environment.installed_as(project)
        if installed is None:
            raise Failed("does not build", "the environment holds another version of it than this source")
        self.outcome.name, self.outcome.version = installed

    @contextlib.contextmanager
    def _turn(self, sandbox: Sandbox) -> Iterator[None]:
        """One at a time: others that measure would be in the numbers. What waits for its turn loses no time by it."""
        waiting = time.monotonic()
        while not self._means.turn.acquire(timeout=_POLL):
            if self._means.stop.is_set():
                raise Stopped
        try:
            sandbox.deadline += time.monotonic() - waiting
            yield
        finally:
            self._means.turn.release()

    def _look(self, environment: Environment, pytest: InnerPytest) -> Findings:
        """Collect the tests, and install what they turn out to miss."""
        tried: set[str] = set()
        for _ in range(_GUESSES):
            done, facts = pytest.run("--collect-only", "-q")
            modules = [*facts["missing_modules"], *requirements.missing_in(done.output)]
            new = [name for name in requirements.guesses(modules, facts["missing_fixtures"]) if name not in tried]
            if not new:
                break
            tried.update(new)
            environment.install_tests(new, self._means.own)
        self.outcome.collected, self.outcome.chosen = facts["collected"], facts["chosen"]
        if not facts["collected"]:
            if facts["errors"]:
                raise Failed("tests do not start", facts["errors"][0])
            if done.code in (0, 5):
                raise Failed("no tests found", "pytest finds no test in the source distribution")
            raise Failed("tests do not start", last_line(done.output))
        return facts

    def _measure(self, pytest: InnerPytest, sandbox: Sandbox) -> Failed | None:
        """Measure; returns what went wrong where something was measured all the same.

        Raises:
            Failed: nothing was.
        """
        until = time.time() + time_for_tests(sandbox.left(), self._bounds.max_time)
        outcome, trouble = self.outcome, None
        try:
            done, facts = pytest.run(
                "--energy",
                f"--energy-rounds={self._bounds.rounds}",
                f"--energy-max-time={self._bounds.max_time:g}",
                f"--energy-store={self.history}",
                "--energy-top=0",
                "--energy-ci=off",
                f"--joules-collect-until={until:.3f}",
                "-q",
                "--tb=short",
            )
            outcome.exit_status = done.code
        except Failed as failure:
            trouble, facts = failure, pytest.facts()
            if failure.reason == "time":
                trouble = Failed("hangs", f"{facts['current'] or 'something'} did not end before the time limit")
            facts["late"] = False
        run = sum(facts["outcomes"].values())
        if trouble is None and not facts["late"] and outcome.exit_status not in (0, 1):
            said = f"pytest ended with {outcome.exit_status} after {run} of {facts['chosen']} tests: {last_line(done.output)}"
            trouble = Failed("crashes", said)
        outcome.outcomes = facts["outcomes"]
        if not self.history.exists() or not facts["outcomes"]:
            if trouble is not None:
                raise trouble
            raise Failed("tests do not start", (facts["errors"] or [last_line(done.output)])[0])
        if trouble is None and not facts["outcomes"].get("passed"):
            raise Failed(
                "all tests fail",
                f"{', '.join(f'{n} {word}' for word, n in sorted(facts['outcomes'].items()))}: see {self._folder / 'log.txt'}",
            )
        if facts["late"]:
            trouble = Failed("time", f"{run} of {facts['chosen']} tests were run in the time there was")
        return trouble

    def _write(self) -> None:
        outcome = self.outcome
        lines = self._means.lines(outcome)
        write_lines(self._records, self.history, lines)
        outcome.tests, outcome.repetitions = lines.tests, lines.repetitions

    def _tidy(self) -> None:
        """The history, the source and the log stay."""
        for name in ("env", "home", "tmp", "cache", "config", "data", "run", "sdist"):
            shutil.rmtree(self._folder / name, ignore_errors=True)


def time_for_tests(left: float, max_time: float) -> float:
    """Of the seconds that are left, those in which tests may begin: at least half of them."""
    return max(left / 2, left - max_time - _RESERVE)
