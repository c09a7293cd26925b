"""One side of a pair: the processes of pytest in its tree, and the histories that they leave."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_joules.collect.environment import Environment
from pytest_joules.collect.failure import Failed
from pytest_joules.collect.inner_pytest import InnerPytest
from pytest_joules.collect.package import Bounds
from pytest_joules.collect.pair_records import Run, Seen, instructions, looked_at, timed
from pytest_joules.collect.pair_trees import Sources
from pytest_joules.collect.sandbox import Sandbox

#: Rounds of the first look: one alone would say nothing of how long a test takes.
_LOOK_ROUNDS = 2
#: Seconds in which tests of the first look begin, and how much longer that process may take.
_LOOK, _LOOK_MORE = 60.0, 60.0
#: Seconds of one process that measures, and of one that counts instructions.
_MEASURING, _COUNTING = 180.0, 300.0


@dataclass(frozen=True, slots=True)
class PairBounds(Bounds):
    """How much is measured of each pair."""

    max_affected: int = 40
    """Tests that the change may touch."""
    controls: int = 4
    """Tests that it does not touch: what differs there is noise."""
    passes: int = 3
    """Times that both sides run each test in turn, in fresh processes: that is what it costs in CPU seconds."""
    processes: int = 2
    """Of each side that measure joules."""
    count: bool = False
    """Instructions, too."""
    keep: bool = False
    """Environment and trees stay, so that the records can be written anew."""


class Side:
    """The older or the newer one, by its ``name``."""

    def __init__(self, name: str, sandbox: Sandbox, sources: Sources, bounds: PairBounds) -> None:
        self._name, self._sources, self._bounds = name, sources, bounds
        self._tree, self._runs = sandbox.folder / name, sandbox.folder / "runs"
        self._history = sandbox.folder / f"{name}.db"
        self._these_file = sandbox.folder / "these.json"
        path = self._tree / sources.place
        self.tests = InnerPytest(sandbox, Environment(sandbox), self._tree, bounds.max_tests, path)
        self._drawn = InnerPytest(sandbox, Environment(sandbox), self._tree, None, path)

    def see(self, these: Sequence[str] = ()) -> dict[str, Seen]:
        """Run its tests, or these alone, recorded; what they run, by their names.

        Raises:
            Failed: they do not start, or it was not this tree's package that they ran.
        """
        self._history.unlink(missing_ok=True)
        done, facts = (self._drawn if these else self.tests).run(
            *("--energy", f"--energy-rounds={_LOOK_ROUNDS}"),
            *self._always(self._history),
            f"--joules-collect-until={time.time() + _LOOK:.3f}",
            f"--joules-collect-modules={','.join(self._sources.names)}",
            *self._these(these),
            patience=_LOOK + _LOOK_MORE,
        )
        if not self._history.exists():
            raise Failed(
                "tests do not start", f"on the {self._name} side: {(facts['errors'] or [done.output.strip()[-200:]])[0]}"
            )
        for module, place in facts["imported"].items():
            if place is not None and not Path(place).resolve().is_relative_to(self._tree.resolve()):
                raise Failed("elsewhere", f"on the {self._name} side {module} was imported from {place}")
        return looked_at(self._history)

    def count(self, these: Sequence[str]) -> None:
        """Count the instructions of these tests: others on the machine do not change them."""
        self._runs.mkdir(exist_ok=True)
        self._drawn.run(
            *("--energy-quick", "--energy-rounds=1", "--energy-count=callgrind"),
            *self._always(self._runs / f"count-{self._name}.db"),
            *self._these(these),
            patience=_COUNTING,
        )

    def measure(self, number: int, these: Sequence[str]) -> None:
        """Measure these tests in one process.

        Raises:
            Failed: it does not start.
        """
        self._runs.mkdir(exist_ok=True)
        history = self._runs / f"{self._name}-{number}.db"
        done, _ = self._drawn.run(
            *("--energy-quick", f"--energy-rounds={self._bounds.rounds}"),
            *self._always(history),
            f"--joules-collect-pace={history.with_suffix('.json')}",
            *self._these(these),
            patience=_MEASURING,
        )
        if not history.exists():
            raise Failed("tests do not start", f"on the {self._name} side, alone: {done.output.strip()[-200:]}")

    def request(self, these: Sequence[str]) -> tuple[str, list[str], list[str], list[str]]:
        """What the stopwatch is to run: root, import paths, options, and what chooses the tests."""
        chosen = [str(part) for part in self._these(these)]
        own = self._drawn.options(self._name)
        return str(self._tree), [str(self._tree / self._sources.place)], [*own, chosen[0]], chosen[1:]

    def runs(self) -> list[Run]:
        """Of the processes that measured."""
        return [timed(path) for path in sorted(self._runs.glob(f"{self._name}-*.db"))]

    def instructions(self) -> dict[str, int]:
        """Of the tests that were counted."""
        return instructions(self._runs / f"count-{self._name}.db")

    def _always(self, history: Path) -> list[str]:
        quiet = ("--energy-top=0", "--energy-ci=off", "-q", "--tb=short")
        return [f"--energy-max-time={self._bounds.max_time:g}", f"--energy-store={history}", *quiet]

    def _these(self, nodeids: Sequence[str]) -> list[str | Path]:
        """Arguments of pytest for these tests alone; their files only are imported."""
        if not nodeids:
            return []
        self._these_file.write_text(json.dumps(list(nodeids)), "utf-8")
        files = dict.fromkeys(nodeid.partition("::")[0] for nodeid in nodeids)
        return [
            f"--joules-collect-these={self._these_file}",
            *(self._tree / name for name in files if (self._tree / name).exists()),
        ]
