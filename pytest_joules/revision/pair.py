"""Two companions, this tree and the other revision, that run a test in turn."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import pytest

from pytest_joules.companion.invocation import Invocation
from pytest_joules.companion.messages import SerialisedReport
from pytest_joules.companion.parent import BlockResult, Companion
from pytest_joules.companion.process import CompanionError
from pytest_joules.model import Effort
from pytest_joules.revision.imports import Paths, belongs, other
from pytest_joules.revision.worktree import RevisionError, Worktree

#: Blocks of each side: this tree, the other, the other, this tree, and so on, so that drift hits both alike.
BLOCKS = 4
#: Rounds of each side where nobody says how many.
ROUNDS = 20
#: A test whose first block took no more seconds than this is given more of both: they cost little, and its rounds scatter most.
QUICK = 0.02
_QUICK_BLOCKS, QUICK_ROUNDS = 10, 8
#: Seconds that the other side may take beyond ten times what this one took, before it is given up.
_PATIENCE = 60.0


#: A test's node id on one side, and that of the test that comes after it there.
NodeIdAndNext: TypeAlias = "tuple[str, str | None]"


@dataclass(slots=True)
class BothSides:
    """What came of measuring one test on both sides in turn."""

    here: list[BlockResult] = field(default_factory=list)
    there: list[BlockResult] = field(default_factory=list)
    died: str = ""
    """Why this side has no answer."""
    why: str = ""
    """Why the other side has none, or none that counts."""
    late: list[SerialisedReport] = field(default_factory=list)
    """Reports of a teardown that came after all blocks."""
    broken: BlockResult | None = None
    """The block that did not pass, after others that did: there are no more."""
    broken_there: bool = False
    """It was the other side's."""


def _ran_once(answer: BlockResult) -> bool:
    """Whether a block of the test is a single round, as with subtests: then more blocks are needed."""
    return answer.record is not None and answer.record["rounds"] == 1


class _Side:
    """One companion, as long as one test is measured."""

    def __init__(self, companion: Companion, test: NodeIdAndNext, max_time: float, cpu: int | None) -> None:
        self.companion = companion
        self.cpu = cpu
        self.nodeid, self.following = test
        self.max_time = max_time
        self.spent = 0.0
        self.longest = 0.0
        self.up = False
        """Fixtures wait for another block."""

    def block(self, rounds: int, *, last: bool, timeout: float | None) -> BlockResult:
        begun = time.perf_counter()
        answer = self.companion.measure(
            self.nodeid,
            last=last,
            following=self.following,
            rounds=rounds,
            max_time=max(self.max_time - self.spent, 0.001),
            timeout=timeout,
            cpu=self.cpu,
        )
        seconds = time.perf_counter() - begun
        self.spent += seconds
        self.longest = max(self.longest, seconds)
        self.up = not last
        return answer

    def down(self) -> list[SerialisedReport]:
        if not self.up:
            return []
        self.up = False
        return self.companion.tear_down(self.nodeid, self.following)


class Pair:
    """Both sides, in processes of their own with the same hash seed. Use it in a ``with`` statement."""

    def __init__(self, config: pytest.Config, worktree: Worktree, paths: Paths, seed: int, *, strict: bool) -> None:
        """``strict``: a test whose first block passes has not passed if another one does not.

        Raises :class:`RevisionError` where the other revision lacks what the run needs.
        """
        how = Invocation.of(config)
        self._worktree = worktree
        self._copied = paths.copied
        self._strict = strict
        self.selected = Selection(config, how, worktree)
        fixed = {"PYTHONHASHSEED": str(seed)}
        self.here = Companion(config, label="this tree", env={**paths.variables(worktree, there=False), **fixed})
        self.there = Companion(
            config,
            label=str(worktree.revision),
            directory=self.selected.directory,
            args=self.selected.args,
            env={**paths.variables(worktree, there=True), **fixed},
        )
        self._cpus = itertools.cycle(sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [None])
        self.told: Callable[[int, int, str], None] | None = None
        """Is told of every block that is done, of how many."""
        self.gone: str | None = None
        """Why the other side cannot be started any more."""

    def __enter__(self) -> Pair:
        try:
            self.here.start()
            if self.selected.any:
                self.there.start()
        except BaseException:
            self.here.kill()
            self.there.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.there.tell_to_end()
            self.here.tell_to_end()
        elif not issubclass(kind, Exception):
            self.there.tell_to_stop()
            self.here.tell_to_stop()
        try:
            self.there.__exit__(kind, error, trace)
        finally:
            self.here.__exit__(kind, error, trace)

    def close(self) -> None:
        """End both in order."""
        self.__exit__(None, None, None)

    def measure(self, here: NodeIdAndNext, there: NodeIdAndNext | None, effort: Effort, blocks: int) -> BothSides:
        """Run a test in blocks, in alternating order; on one side only where the other has no place for it."""
        both = BothSides()
        rounds = effort.rounds or ROUNDS
        blocks = min(blocks, rounds)
        # Both on one processor: the work of others may hold another one for seconds, and then only one side would pay.
        cpu = next(self._cpus)
        mine = _Side(self.here, here, effort.max_time, cpu)
        theirs = _Side(self.there, there, effort.max_time, cpu) if there is not None else None
        number = 0
        while number < blocks and not both.died:
            share = rounds // blocks + (number < rounds % blocks)
            # Two at least: what drifts takes from the one what it gives to the other.
            last = number == blocks - 1 or (number > 0 and mine.spent + 2 * mine.longest > effort.max_time)
            for side in (mine, theirs) if number % 2 == 0 else (theirs, mine):
                if side is None or both.died or (side is theirs and both.why):
                    continue
                self._block(both, side, mine, share, last=last)
                if both.broken is not None:
                    number = blocks
                    break
                if side is mine and (both.died or both.here[-1].outcome != "passed" or both.here[-1].record is None):
                    number = blocks
                    break
            if self.told is not None:
                self.told(number + 1, blocks, "block")
            if last or any(report.get("joules_ended") for answer in (both.here + both.there)[-2:] for report in answer.reports):
                break
            if number == 0 and effort.rounds is None and (mine.longest < QUICK or _ran_once(both.here[-1])):
                blocks, rounds = _QUICK_BLOCKS, _QUICK_BLOCKS * QUICK_ROUNDS
            number += 1
        self._down(both, mine, theirs)
        return both

    def _block(self, both: BothSides, side: _Side, mine: _Side, rounds: int, *, last: bool) -> None:
        # What ran once has shown how long it takes; before, it may take as long as in any run of pytest.
        timeout = 10 * mine.longest + _PATIENCE if mine.longest else None
        try:
            answer = side.block(rounds, last=last, timeout=timeout)
        except CompanionError as error:
            side.up = False
            if side is mine:
                both.died = str(error)
            else:
                both.why = f"no measurement: {error.short}"
                self._start_again()
            return
        answers = both.here if side is mine else both.there
        if answers and answer.outcome != "passed" and not self._strict:
            both.broken, both.broken_there = answer, side is not mine
            return
        if side is mine:
            both.here.append(answer)
            return
        both.there.append(answer)
        if answer.outcome != "passed":
            both.why = f"{answer.outcome} at {self._worktree.revision}"
        elif answer.record is None:
            both.why = f"not measured at {self._worktree.revision}"

    def _down(self, both: BothSides, mine: _Side, theirs: _Side | None) -> None:
        try:
            both.late = mine.down()
        except CompanionError as error:
            both.died = str(error)
        if theirs is not None:
            try:
                theirs.down()
            except CompanionError:
                self._start_again()

    def _start_again(self) -> None:
        try:
            self.there.start()
        except CompanionError as error:
            self.gone = error.short

    def wrong_imports(self) -> str | None:
        """A module of the project that a side has from the wrong place; ``None`` where there is none."""
        for name, file in self.there.modules.items():
            if belongs(Path(file), self._worktree.root):
                return (
                    f"{self._worktree.revision} imported {name} from this tree ({file}), so both sides would be the same code: "
                    "install the project as editable with setuptools, or name its folder in pythonpath= of the ini file"
                )
            if file in self._copied:
                return (
                    f"{self._worktree.revision} imported {name} from the installed copy of the project ({file}), "
                    "which is neither side's: install the project as editable"
                )
        for name, file in self.here.modules.items():
            if self._worktree.path in Path(file).parents:
                return f"this tree imported {name} from {self._worktree.revision} ({file})"
        return None


class Selection:
    """The command line for the other revision: what of it is there."""

    def __init__(self, config: pytest.Config, how: Invocation, worktree: Worktree) -> None:
        rootdir = config.rootpath.resolve()
        root = other(rootdir, worktree)
        directory = other(how.directory, worktree)
        for place in (root, directory):
            if place is not None and not place.is_dir():
                raise RevisionError(f"at {worktree.revision} there is no folder {place.relative_to(worktree.path)}")
        self.directory = directory or how.directory
        self.args: list[str] = []
        self.any = True
        """Whether there is anything to collect."""
        self._prefixes: list[str] | None = None
        positional = list(getattr(config.option, "file_or_dir", None) or ())
        found: list[str] = []
        prefixes: list[str] = []
        for argument in how.args:
            if argument in positional:
                file, colons, inner = argument.partition("::")
                theirs = other(how.directory / file, worktree)
                if theirs is None or not (how.directory / file).exists():
                    found.append(argument)
                    prefixes.append("")
                elif theirs.exists():
                    found.append(str(theirs))
                    here = Path(how.directory / file).resolve()
                    relative = here.relative_to(rootdir).as_posix() if rootdir in here.parents else ""
                    prefixes.append(f"{relative}{colons}{inner}" if colons else "")
                else:
                    continue
                self.args.append(found[-1])
            else:
                self.args.append(_elsewhere(argument, worktree))
        if positional:
            self.any = bool(found)
            self._prefixes = prefixes
        if root is not None:
            end = self.args.index("--") if "--" in self.args else len(self.args)
            self.args.insert(end, f"--rootdir={root}")

    def __contains__(self, nodeid: str) -> bool:
        """Whether a test there is one that this run asks for: a node id on the command line asks for less than its file."""
        if self._prefixes is None:
            return True
        return any(not text or nodeid == text or nodeid.startswith((f"{text}::", f"{text}[")) for text in self._prefixes)


def _elsewhere(argument: str, worktree: Worktree) -> str:
    """An option, whose value may be a path in this tree."""
    name, equals, value = argument.rpartition("=") if argument.startswith("--") else ("", "", argument)
    if not value.startswith("/") or name.startswith("--energy"):
        return argument
    theirs = other(Path(value), worktree)
    return f"{name}{equals}{theirs}" if theirs is not None and theirs.exists() else argument
