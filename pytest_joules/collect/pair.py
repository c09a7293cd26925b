"""The course of one pair of releases: both brought, the newer installed, two trees made, looked at, and measured in turn."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pytest_joules.collect import pair_trees
from pytest_joules.collect.choosing import choose
from pytest_joules.collect.environment import Environment
from pytest_joules.collect.failure import Failed
from pytest_joules.collect.fetching import PairRequest
from pytest_joules.collect.inner_pytest import InnerPytest
from pytest_joules.collect.package import Bounds, Means, Outcome, PackageCollector
from pytest_joules.collect.pair_records import SIDES, PairLines, Seen, instructions, looked_at, timed, write_pair
from pytest_joules.collect.sandbox import Sandbox
from pytest_joules.files import checked, reading

#: Rounds of the first look: one alone would say nothing of how long a test takes.
_LOOK_ROUNDS = 2
#: Seconds in which tests of the first look begin, on each side; and how much longer that process may take.
_LOOK, _LOOK_MORE = 60.0, 60.0
#: Seconds of one process that measures.
_PROCESS = 180.0
#: Of one that counts instructions; and of the bodies of all tests that it counts: there they take hundreds of times as long.
_COUNTING, _COUNTED = 300.0, 0.03
#: A test whose body takes longer is left out.
_SLOWEST = 1.0


@dataclass(frozen=True, slots=True)
class PairBounds(Bounds):
    """How much is measured of each pair."""

    max_affected: int = 40
    """Tests that the change may touch."""
    controls: int = 4
    """Tests that it does not touch: what differs there is noise."""
    processes: int = 4
    """Of each side."""
    count: bool = False
    """Instructions, too."""
    keep: bool = False
    """Environment and trees stay, so that the records can be written anew."""


@dataclass(slots=True)
class PairOutcome(Outcome):
    """What came of a pair; ``version`` is the newer one's, ``archive`` its archive."""

    older: str | None = None
    """Version of the older release."""
    older_archive: dict[str, str] | None = None
    changed_lines: int = 0
    """Of the package's Python source."""
    passed_on_both: int = 0
    affected: int = 0
    """Of these, those in whose path the sides differ."""
    drawn: int = 0
    """Affected ones and controls that were to be measured."""


class PairCollector(PackageCollector):
    """Collects one pair into the folder ``out``."""

    def __init__(self, wanted: PairRequest, out: Path, means: Means, say: Callable[[str], None]) -> None:
        super().__init__(wanted, out, means, say)
        assert isinstance(means.bounds, PairBounds)
        self._older, self._newer, self._limits = wanted.older, wanted.newer, means.bounds
        self.outcome = self._pair = PairOutcome(wanted.text, pytest_joules=self.outcome.pytest_joules)

    def _collect(self, sandbox: Sandbox) -> None:
        pair = self._pair
        environment = Environment(sandbox)
        environment.copy(self._means.own.template)
        older, pair.older_archive = self._project(environment, self._older, "older-source")
        newer, pair.archive = self._project(environment, self._newer, "source")
        self._install(sandbox, environment, newer)
        pair.older = self._older.text.partition("==")[2]
        sources = pair_trees.find(newer, sandbox, environment)
        trees = pair_trees.make(newer, older, sources, self._folder)
        pair.changed_lines = pair_trees.changed_lines(trees, sources)
        tests = [InnerPytest(sandbox, environment, tree, self._bounds.max_tests, tree / sources.place) for tree in trees]
        facts = self._look(environment, tests[1])
        self._say(f"looks at {facts['chosen']} of {facts['collected']} tests")
        seen = [
            self._see(side, test, trees[number], sources, ())
            for number, (side, test) in enumerate(zip(SIDES, tests, strict=True))
        ]
        drawn = self._draw(seen)
        self._note(sources, drawn)
        if self._limits.count:
            self._say("counts instructions on both sides")
            self._count(tests, trees, self._quick(seen, drawn))
        with self._turn(sandbox):
            self._say(f"measures {len(drawn)} tests on both sides, {pair.affected} of {pair.passed_on_both} are affected")
            self._time(tests, trees, drawn)
        self._write_pair(seen, drawn, asdict(self._limits))

    def rewrite(self, before: PairOutcome) -> str:
        """Look at both sides anew, with the pytest-joules that runs now, and write the records with the timings that were kept;
        returns what came of it. Where it cannot be done the records stay as they were.

        Raises:
            Stopped: the user ends the run.
        """
        self.outcome = self._pair = replace(before)
        self._limits = replace(self._limits, keep=True)
        self._course(self._again)
        return f"{self._pair.reason}: {self._pair.detail}" if self._pair.reason else f"{self._pair.tests} tests written anew"

    def _again(self, sandbox: Sandbox) -> None:
        try:
            note = checked.decode(reading.read_text(self._folder / "drawn.json", 64 * 2**20))
            drawn = checked.list_of(note, "tests", str)
            sources = pair_trees.Sources(checked.required(note, "place", str), tuple(checked.list_of(note, "modules", str)))
            # Those that it was measured with.
            bounds = checked.required(checked.decode(next(reading.lines(self._records, 2**30, 2**20))), "bounds", dict)
        except (OSError, ValueError, StopIteration) as error:
            raise Failed("not written", f"what was kept of the pair cannot be read: {error}: collect it again") from None
        environment = Environment(sandbox)
        trees = [self._folder / side for side in SIDES]
        for path in (environment.folder, *trees):
            if not path.is_dir():
                raise Failed("not written", f"{path} is gone: collect the pair again, with --keep")
        why = environment.install("--force-reinstall", "--no-deps", self._means.own.requirement)
        if why is not None:
            raise Failed("does not build", f"pytest-joules itself: {why}")
        self._say("looks at both sides anew")
        seen = [
            self._see(side, InnerPytest(sandbox, environment, tree, None, tree / sources.place), tree, sources, drawn)
            for side, tree in zip(SIDES, trees, strict=True)
        ]
        self._write_pair(seen, drawn, bounds)

    def _see(
        self, side: str, tests: InnerPytest, tree: Path, sources: pair_trees.Sources, drawn: Sequence[str]
    ) -> dict[str, Seen]:
        """Run the tests of one side once, recorded; what they run, by their names."""
        history = self._folder / f"{side}.db"
        history.unlink(missing_ok=True)
        done, facts = tests.run(
            "--energy",
            f"--energy-rounds={_LOOK_ROUNDS}",
            f"--energy-max-time={self._bounds.max_time:g}",
            f"--energy-store={history}",
            *("--energy-top=0", "--energy-ci=off", "-q", "--tb=short"),
            f"--joules-collect-until={time.time() + _LOOK:.3f}",
            f"--joules-collect-modules={','.join(sources.names)}",
            *self._these(drawn, tree),
            patience=_LOOK + _LOOK_MORE,
        )
        if not history.exists():
            raise Failed("tests do not start", f"on the {side} side: {(facts['errors'] or [done.output.strip()[-200:]])[0]}")
        for name, place in facts["imported"].items():
            if place is not None and not Path(place).resolve().is_relative_to(tree.resolve()):
                raise Failed("elsewhere", f"on the {side} side {name} was imported from {place}")
        return looked_at(history)

    def _these(self, drawn: Sequence[str], tree: Path) -> list[str | Path]:
        """Arguments of pytest for these tests alone."""
        if not drawn:
            return []
        file = self._folder / "these.json"
        file.write_text(json.dumps(list(drawn)), "utf-8")
        files = dict.fromkeys(nodeid.partition("::")[0] for nodeid in drawn)
        return [f"--joules-collect-these={file}", *(tree / name for name in files if (tree / name).exists())]

    def _draw(self, seen: Sequence[dict[str, Seen]]) -> list[str]:
        """The tests to be measured: affected ones, and controls."""
        older, newer = seen
        both = [nodeid for nodeid in newer if nodeid in older and newer[nodeid].passed and older[nodeid].passed]
        known = [nodeid for nodeid in both if older[nodeid].functions and newer[nodeid].functions]
        affected = [nodeid for nodeid in known if older[nodeid].differs(newer[nodeid])]
        self._pair.passed_on_both, self._pair.affected = len(both), len(affected)
        if not both:
            raise Failed("all tests fail", "no test of the newer release passes with both")
        if not affected:
            raise Failed("nothing changed", f"none of {len(both)} tests runs code that differs between the two")
        short = [nodeid for nodeid in known if max(older[nodeid].seconds, newer[nodeid].seconds) <= _SLOWEST]
        touched = set(affected)
        drawn = choose([nodeid for nodeid in short if nodeid in touched], self._limits.max_affected)
        if not drawn:
            raise Failed("time", f"each of {len(affected)} affected tests takes more than {_SLOWEST:g} s")
        drawn |= choose([nodeid for nodeid in short if nodeid not in touched], self._limits.controls)
        self._pair.drawn = len(drawn)
        return [nodeid for nodeid in newer if nodeid in drawn]

    def _note(self, sources: pair_trees.Sources, drawn: Sequence[str]) -> None:
        note = {"tests": list(drawn), "place": sources.place, "modules": list(sources.names)}
        (self._folder / "drawn.json").write_text(json.dumps(note), "utf-8")

    @staticmethod
    def _quick(seen: Sequence[dict[str, Seen]], drawn: Sequence[str]) -> list[str]:
        """The shortest of them, which can be counted in some time."""
        left, found = _COUNTED, []
        for seconds, nodeid in sorted((max(side[nodeid].seconds for side in seen), nodeid) for nodeid in drawn):
            left -= seconds
            if left < 0:
                break
            found.append(nodeid)
        return [nodeid for nodeid in drawn if nodeid in set(found)]

    def _count(self, tests: Sequence[InnerPytest], trees: Sequence[Path], drawn: Sequence[str]) -> None:
        """Count the instructions of these tests: others on the machine do not change them."""
        (self._folder / "runs").mkdir(exist_ok=True)
        for side, test, tree in zip(SIDES, tests, trees, strict=True) if drawn else ():
            test.run(
                *("--energy-quick", "--energy-rounds=1", "--energy-count=callgrind"),
                f"--energy-store={self._folder / 'runs' / f'count-{side}.db'}",
                *("--energy-top=0", "--energy-ci=off", "-q", "--tb=short"),
                *self._these(drawn, tree),
                patience=_COUNTING,
            )

    def _time(self, tests: Sequence[InnerPytest], trees: Sequence[Path], drawn: Sequence[str]) -> None:
        """Measure the drawn tests, one process after the other, the older side first."""
        runs = self._folder / "runs"
        runs.mkdir(exist_ok=True)
        for number in range(self._limits.processes):
            for side, test, tree in zip(SIDES, tests, trees, strict=True):
                done, _ = test.run(
                    "--energy-quick",
                    f"--energy-rounds={self._bounds.rounds}",
                    f"--energy-max-time={self._bounds.max_time:g}",
                    f"--energy-store={runs / f'{side}-{number}.db'}",
                    *("--energy-top=0", "--energy-ci=off", "-q", "--tb=short"),
                    f"--joules-collect-pace={runs / f'{side}-{number}.json'}",
                    *self._these(drawn, tree),
                    patience=_PROCESS,
                )
                if not (runs / f"{side}-{number}.db").exists():
                    raise Failed("tests do not start", f"on the {side} side, alone: {done.output.strip()[-200:]}")

    def _write_pair(self, seen: Sequence[dict[str, Seen]], drawn: Sequence[str], bounds: Mapping[str, object]) -> None:
        runs = [[timed(path) for path in sorted((self._folder / "runs").glob(f"{side}-[0-9]*.db"))] for side in SIDES]
        counts = [instructions(self._folder / "runs" / f"count-{side}.db") for side in SIDES]
        own = self._means.own
        recorded_by = {"version": own.version, "commit": own.commit}
        lines = PairLines(self._pair.as_record(), recorded_by, bounds, drawn, seen, runs, counts)
        self._pair.tests, self._pair.repetitions = write_pair(self._records, lines)

    def _tidy(self) -> None:
        super()._tidy() if not self._limits.keep else None
        for name in ("older-source", *(() if self._limits.keep else (*SIDES, "source"))):
            shutil.rmtree(self._folder / name, ignore_errors=True)
