"""The course of one pair of releases: both brought, the newer installed, two trees made, looked at, and measured in turn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pytest_joules.collect import pair_trees
from pytest_joules.collect.choosing import choose
from pytest_joules.collect.environment import Environment
from pytest_joules.collect.failure import Failed
from pytest_joules.collect.fetching import PairRequest
from pytest_joules.collect.package import Means, Outcome, PackageCollector
from pytest_joules.collect.pair_records import SIDES, PairLines, Seen, write_pair
from pytest_joules.collect.pair_side import PairBounds, Side
from pytest_joules.collect.sandbox import Sandbox
from pytest_joules.files import checked, reading

#: Seconds: a test whose body takes longer is left out.
_SLOWEST = 1.0
#: Seconds that a test is run for in a pass, by each side, and that a pass may take.
_PASS, _LONGEST_PASS = 0.05, 120.0
#: Seconds of the bodies of all tests that are counted: there they take a hundred times as long.
_COUNTED = 0.03


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

    def _collect(self, sandbox: Sandbox) -> None:
        pair = self._pair
        environment = Environment(sandbox)
        environment.copy(self._means.own.template)
        older, pair.older_archive = self._project(environment, self._older, "older-source")
        newer, pair.archive = self._project(environment, self._newer, "source")
        self._install(environment, newer)
        pair.older = self._older.text.partition("==")[2]
        sources = pair_trees.find(newer, sandbox, environment)
        trees = pair_trees.make(newer, older, sources, self._folder)
        pair.changed_lines = pair_trees.changed_lines(trees, sources)
        sides = [Side(name, sandbox, sources, self._limits) for name in SIDES]
        facts = self._look(environment, sides[1].tests)
        self._say(f"looks at {facts['chosen']} of {facts['collected']} tests")
        seen = [side.see() for side in sides]
        drawn = self._draw(seen)
        note = {"tests": drawn, "place": sources.place, "modules": list(sources.names)}
        (self._folder / "drawn.json").write_text(json.dumps(note), "utf-8")
        if self._limits.count and (quick := _quick(seen, drawn)):
            self._say(f"counts instructions of {len(quick)} tests on both sides")
            for side in sides:
                side.count(quick)
        with self._turn(sandbox):
            self._say(f"measures {len(drawn)} tests on both sides, {pair.affected} of {pair.passed_on_both} are affected")
            for number in range(self._limits.passes):
                self._in_turn(number, environment, sandbox, sides, drawn)
            for number in range(self._limits.processes):
                for side in sides:
                    side.measure(number, drawn)
        self._write_pair(sides, seen, drawn, asdict(self._limits))

    def _in_turn(
        self, number: int, environment: Environment, sandbox: Sandbox, sides: Sequence[Side], drawn: Sequence[str]
    ) -> None:
        """Both sides run each test's body again and again, turn by turn: what others do on the machine befalls both."""
        folder = self._folder / "passes"
        folder.mkdir(exist_ok=True)
        ordered = sides if number % 2 == 0 else sides[::-1]
        roots, paths, options, tests = zip(*(side.request(drawn) for side in ordered), strict=True)
        names = [str(Path(name).relative_to(roots[0])) for name in tests[0]]
        out = folder / f"{number}.json"
        request = {
            **{"roots": roots, "paths": paths, "options": options, "tests": names},
            **{"seconds": _PASS, "out": str(out), "limit": _LONGEST_PASS},
        }
        file = folder / f"{number}.request"
        file.write_text(json.dumps(request), "utf-8")
        module = "pytest_joules.explore.stopwatch"
        sandbox.run([environment.python, "-m", module, file], cwd=self._folder, patience=_LONGEST_PASS + 30)
        if out.exists() and number % 2:
            found = {nodeid: values[::-1] for nodeid, values in json.loads(out.read_text("utf-8")).items()}
            out.write_text(json.dumps(found), "utf-8")

    def _passes(self) -> list[dict[str, list[float]]]:
        return [json.loads(path.read_text("utf-8")) for path in sorted((self._folder / "passes").glob("*.json"))]

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
        for path in (environment.folder, *(self._folder / name for name in SIDES)):
            if not path.is_dir():
                raise Failed("not written", f"{path} is gone: collect the pair again, with --keep")
        why = environment.install("--force-reinstall", "--no-deps", self._means.own.requirement)
        if why is not None:
            raise Failed("does not build", f"pytest-joules itself: {why}")
        self._say("looks at both sides anew")
        sides = [Side(name, sandbox, sources, self._limits) for name in SIDES]
        self._write_pair(sides, [side.see(drawn) for side in sides], drawn, bounds)

    def _draw(self, seen: Sequence[Mapping[str, Seen]]) -> list[str]:
        """The tests to be measured: affected ones, and controls."""
        older, newer = seen
        both = [nodeid for nodeid in newer if nodeid in older and newer[nodeid].passed and older[nodeid].passed]
        known = [nodeid for nodeid in both if older[nodeid].functions and newer[nodeid].functions]
        affected = {nodeid for nodeid in known if older[nodeid].differs(newer[nodeid])}
        self._pair.passed_on_both, self._pair.affected = len(both), len(affected)
        if not both:
            raise Failed("all tests fail", "no test of the newer release passes with both")
        if not affected:
            raise Failed("nothing changed", f"none of {len(both)} tests runs code that differs between the two")
        short = [nodeid for nodeid in known if max(older[nodeid].seconds, newer[nodeid].seconds) <= _SLOWEST]
        drawn = choose([nodeid for nodeid in short if nodeid in affected], self._limits.max_affected)
        if not drawn:
            raise Failed("time", f"each of {len(affected)} affected tests takes more than {_SLOWEST:g} s")
        drawn |= choose([nodeid for nodeid in short if nodeid not in affected], self._limits.controls)
        self._pair.drawn = len(drawn)
        return [nodeid for nodeid in newer if nodeid in drawn]

    def _write_pair(
        self, sides: Sequence[Side], seen: Sequence[Mapping[str, Seen]], drawn: Sequence[str], bounds: Mapping[str, object]
    ) -> None:
        own = self._means.own
        recorded_by = {"version": own.version, "commit": own.commit}
        runs, counts = [side.runs() for side in sides], [side.instructions() for side in sides]
        lines = PairLines(self._pair.as_record(), recorded_by, bounds, drawn, seen, runs, counts, self._passes())
        self._pair.tests, self._pair.repetitions = write_pair(self._records, lines)

    def _tidy(self) -> None:
        if not self._limits.keep:
            super()._tidy()
        for name in ("older-source", *(() if self._limits.keep else (*SIDES, "source"))):
            shutil.rmtree(self._folder / name, ignore_errors=True)


def _quick(seen: Sequence[Mapping[str, Seen]], drawn: Sequence[str]) -> list[str]:
    """The shortest of them, which can be counted in some time."""
    left, found = _COUNTED, set()
    for seconds, nodeid in sorted((max(side[nodeid].seconds for side in seen), nodeid) for nodeid in drawn):
        left -= seconds
        if left < 0:
            break
        found.add(nodeid)
    return [nodeid for nodeid in drawn if nodeid in found]
