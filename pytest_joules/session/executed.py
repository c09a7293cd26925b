"""From what was recorded of a test to what it executes: hashes of functions, of files, and what is not known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import pytest

from pytest_joules.code import opened
from pytest_joules.code.counting import by_function
from pytest_joules.code.definitions import Import
from pytest_joules.code.graph import Graph, Node, fingerprint
from pytest_joules.code.located import Located
from pytest_joules.code.opened import FileState, Opened, Traces
from pytest_joules.code.outside import OutsideCalls
from pytest_joules.code.reach import Reach
from pytest_joules.code.recorder import Recorder
from pytest_joules.model import Code, Outside
from pytest_joules.rounds import item as item_facts
from pytest_joules.rounds.plan import Plan
from pytest_joules.session.surroundings import Surroundings
from pytest_joules.settings.options import Settings

#: Packages that open files without the interpreter: a function that names one may read any of the project's.
_READERS = frozenset(
    (
        *("cv2", "duckdb", "fiona", "h5py", "lmdb", "lxml", "netCDF4", "osgeo", "plyvel", "polars", "pyarrow", "pyogrio"),
        *("rasterio", "rocksdb", "soundfile", "tables", "apsw", "igraph", "torchaudio", "av"),
    )
)
#: Feeders of feeders are followed so far; a test with a longer way is measured again.
_STEPS = 20


class FixtureCode(NamedTuple):
    """What a fixture executed that stays up for other tests, which depend on it as much as the one that it was set up for."""

    definition: object
    """Kept, so that no other takes its place in memory."""
    codes: tuple[CodeType, ...]
    traces: Traces
    gap: str | None
    """Why something was not seen."""


def unknown(reason: str) -> Code:
    """The ``code`` of a test of which nothing is known."""
    return {"fingerprint": None, "functions": {}, "unknown": [reason], "counts": {}, "outside": {}}


class Executed:
    """Of the tests of one session."""

    def __init__(self, config: pytest.Config, settings: Settings, graph: Graph, recorder: Recorder, traced: Opened) -> None:
        self.config = config
        self.settings = settings
        self.graph = graph
        self.project = graph.project
        self.recorder = recorder
        self.opened = traced
        self.reach = Reach(graph)
        self._located = Located(graph.project)
        self._calls = OutsideCalls(self._located.function)
        self.surroundings = Surroundings(config, settings, graph, self._located)
        self._reads: dict[Node, bool] = {}
        self._by_text: tuple[int, set[Node]] = (0, set())
        """How many files had been executed, and what belongs to all tests of those that were asked for by a text."""

    def code(self, item: pytest.Item, plan: Plan, own: Traces, fixtures: Mapping[int, FixtureCode]) -> Code:
        """``record["code"]`` of the test that has just been recorded: its fingerprint, what is in it, and what is not known.

        ``own``: what it has opened; ``fixtures``: what wider fixtures executed, by the id of their definition.
        """
        self.recorder.prepare()
        if self.recorder.trouble is not None:
            return unknown(self.recorder.trouble)
        codes = list(self.recorder.executed.values())
        traces = [own]
        gaps = {self.recorder.incomplete}
        for fixture in item_facts.fixtures_up(item):
            if (known := fixtures.get(id(fixture))) is not None:
                codes += known.codes
                traces.append(known.traces)
                gaps.add(known.gap)
        roots = self._roots(codes, traces)
        told = self.recorder.told(codes).union(*(entry.started for entry in traces), {gap for gap in gaps if gap is not None})
        executed = [root for root in roots if root.kind == "function"]
        made = self._made(executed)
        surroundings, more_nodes = self.surroundings.of(item)
        functions = self.graph.closure(roots | made | more_nodes | self._asked_for_by_text())
        # What feeds them has feeders of its own. Until it is what is_unchanged() finds, who begins at the keys of all of it.
        for _ in range(_STEPS):
            feeders = self.reach.feeders(_paths(functions))
            if not feeders or (whole := self._reached(functions, more_nodes, feeders)) == functions:
                break
            functions = whole
        if not functions and "<doctest>" not in surroundings:
            told.add("no code of the project ran")
        functions.update(surroundings)
        functions.update(self._files(item, traces, made, functions, told))
        if any(map(self._reads_unseen, executed)):
            functions["<data files>"] = self.surroundings.data_files
        if not self._is_inside(item):
            told.add("its file is outside of the project")
        if plan.random:
            told.add("random examples")
        told.update(f"no source of {path}" for path in {node.path for node in roots} if self.project.file(path) is None)
        functions = dict(sorted(functions.items()))  # once: who sorts it again is quick
        return {
            "fingerprint": fingerprint(functions),
            "functions": functions,
            "unknown": sorted(told),
            "counts": self._counts() if self.recorder.counting else {},
            "outside": self._outside() if self.recorder.counting else {},
        }

    def _counts(self) -> dict[str, list[int]]:
        return by_function(self.recorder.counted.values(), self._located.function, self.recorder.other_calls)

    def _outside(self) -> Outside:
        return self._calls.by_callee(self.recorder.counted.values(), self.recorder.overhead)

    def _roots(self, codes: Iterable[CodeType], traces: Iterable[Traces]) -> set[Node]:
        roots = {node for code in codes if (node := self._located.node(code)) is not None}
        for path in self.recorder.imported:
            roots.update(self.graph.whole_module(path))
        for name in {name for entry in traces for name in entry.executed}:
            if (mine := self.project.relative(name)) is not None:
                roots.update(self.graph.whole_module(mine, functions=not self.recorder.sees_new_code))
        return roots

    def _made(self, executed: Iterable[Node]) -> set[Node]:
        """Functions that may have made what these were given, whichever test they ran for."""
        self._load()
        return self.reach.made(executed)

    def _load(self) -> None:
        others = {path for name in self.opened.executed if (path := self.project.relative(name)) is not None}
        self.reach.load(self.recorder.loaded | others)

    def _asked_for_by_text(self) -> set[Node]:
        executed = self.opened.executed
        if self._by_text[0] != len(executed):
            paths = {path for name, by_text in executed.items() if by_text and (path := self.project.relative(name)) is not None}
            self._by_text = len(executed), {node for path in paths for node in self.graph.whole_module(path, functions=False)}
        return self._by_text[1]

    def _files(
        self, item: pytest.Item, traces: list[Traces], made: set[Node], functions: Iterable[str], told: set[str]
    ) -> dict[str, str]:
        """Hashes of the files that the test has read, and those that the code has which it uses, by key; what they are not known
        for is added to ``told``."""
        found: dict[str, FileState] = dict(self.opened.by_nobody.files)
        if item.path.suffix != ".py" and item_facts.doctest_source(item) is None:
            found[str(item.path)] = opened.seen(str(item.path))
        paths = set(_paths(functions))
        for name, entry in self.opened.by_module.items():
            if self.project.relative(name) in paths:
                found |= entry.files
        for code, files in self.opened.by_function.values():
            if made and self._located.node(code) in made:
                found |= files
        for entry in traces:
            found |= entry.files
        result = {}
        for path, seen in found.items():
            writer = self.opened.written.get(path)
            key = self.project.data(path) if seen.how != "written" and not path.startswith(self._left_out) else None
            if key is None:
                continue
            if writer is None:
                listed = "/" if seen.how == "listed" and not key.endswith("/") else ""
                size = (seen.size, seen.modified) if seen.how == "read" else None
                result[f"{key}{listed}"] = self.project.data_digest(f"{key}{listed}", size)
            elif writer is traces[0]:
                told.add("changes a file that it reads")
            elif writer not in traces:
                told.add("reads a file that another test wrote")
        return result

    @cached_property
    def _left_out(self) -> tuple[str, ...]:
        """What this plugin and pytest write, and the counters."""
        option = self.config.option
        paths = (self.settings.json, self.settings.csv, self.settings.powercap, option.basetemp, getattr(option, "xmlpath", None))
        return tuple(str(Path(path).absolute()) for path in paths if path)

    def _is_inside(self, item: pytest.Item) -> bool:
        name = str(item.path)
        return (self.project.relative(name) if name.endswith(".py") else self.project.data(name)) is not None

    def _reads_unseen(self, node: Node) -> bool:
        """Whether a function names a package that opens files without the interpreter."""
        known = self._reads.get(node)
        if known is None:
            file = self.project.file(node.path)
            unit = file.functions.get(node.name) if file is not None else None
            entries = list(unit.refers.imports) if unit is not None else []
            if file is not None and unit is not None:
                entries += [
                    entry for name in unit.refers.names for _, entry in file.bindings.get(name, ()) if isinstance(entry, Import)
                ]
            known = self._reads[node] = any(entry.module.partition(".")[0] in _READERS for entry in entries)
        return known

    # What is the same now

    def is_unchanged(self, item: pytest.Item, code: Code) -> bool:
        """Whether the code of a stored record is, by the source as it is, what the test would execute now."""
        stored = code.get("functions") or {}
        if not code.get("fingerprint") or not stored or code.get("unknown"):
            return False
        surroundings, nodes = self.surroundings.of(item)
        if any(stored.get(key) != value for key, value in surroundings.items()):
            return False
        if "<data files>" in stored:
            surroundings["<data files>"] = self.surroundings.data_files
        files = {key: self.project.data_digest(key) for key in stored if "::" not in key and key[0] != "<"}
        if any(stored[key] != value for key, value in files.items()):
            return False
        self._load()
        return self._reached(stored, nodes, self.reach.feeders(_paths(stored))) | surroundings | files == stored

    def _reached(self, keys: Collection[str], nodes: Iterable[Node], feeders: Iterable[Node]) -> dict[str, str]:
        """Hashes of all that the pieces with these keys need, and what feeds their files."""
        return self.graph.closure({*self.graph.roots(keys), *nodes, *feeders})

    def has_other_files(self, functions: Mapping[str, str]) -> bool:
        """Whether a file that a record names is another one now."""
        return any(
            self.project.data_digest(key) != value for key, value in functions.items() if "::" not in key and key[0] != "<"
        )


def _paths(functions: Iterable[str]) -> Iterator[str]:
    """The files of a record's keys."""
    return (key.partition("::")[0] for key in functions if "::" in key)
