"""The side of pytest: what belongs to a test's code besides the functions that it executes."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_joules import repeat
from pytest_joules.dependencies import parameters, project, recorder
from pytest_joules.dependencies.bounds import MOST
from pytest_joules.dependencies.code import File, digest
from pytest_joules.dependencies.counting import by_function
from pytest_joules.dependencies.graph import Graph, Node, fingerprint
from pytest_joules.model import Record
from pytest_joules.plans import Plan
from pytest_joules.settings import Settings

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef, SubRequest

#: Names in a function that say it reads files.
_READERS = frozenset(("open", "read_text", "read_bytes", "read_csv", "loadtxt", "genfromtxt", "memmap", "fromfile", "sqlite3"))
#: Calls and lines of a test that does something.
MUCH = 200
#: Ini keys that do not change what a test does.
_IDLE_KEYS = (
    "energy",
    "cache_dir",
    "testpaths",
    "markers",
    "norecursedirs",
    "python_",
    "required_plugins",
    "junit",
    "log_cli",
    "console_",
)

#: Hooks that do not either.
_IDLE_HOOKS = ("pytest_joules_predictors", "pytest_joules_update_report")

_NEVER = "it was not warmed up: nothing was recorded"


def unknown(reason: str) -> Record:
    """The ``code`` of a test of which nothing is known."""
    return {"fingerprint": None, "functions": {}, "unknown": [reason], "counts": {}}


class Tracking:
    """Records what tests execute in their warm-up rounds, and tells whether it is still the same."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.project = project.Project(config.rootpath)
        self.graph = Graph(self.project)
        self.recorder = recorder.make(self.project)
        self._running = False
        self._recorded = False
        self._imported: tuple[str, ...] = ()
        self._nodes: dict[int, tuple[CodeType, Node | None]] = {}
        self._fixtures: dict[int, tuple[object, tuple[CodeType, ...], str | None]] = {}
        self._facts: dict[Node, tuple[bool, str]] = {}
        self._dull: set[Node] = set()
        """Code whose names say neither."""
        self._hooks: dict[Path, str] = {}
        self._fixture_names: dict[tuple[str, ...], str] = {}

    # Recording

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        if not self.config.option.collectonly:
            self.recorder.prepare()

    def begin(self, *, again: bool = False, most: float = MOST) -> None:
        """Before the warm-up round of a test; ``again``: a second one, which is counted in the place of the first. It may take
        ``most`` seconds more than without."""
        self._running = self._recorded = True
        self.recorder.begin(again=again, most=most)

    def much_ran(self) -> bool:
        """Whether enough of the project's code has run that it matters whether its caches were warm."""
        return self.recorder.trouble is None and self.recorder.counting and self.recorder.events() >= MUCH

    def end(self) -> None:
        """After its teardown; harmless where nothing is recorded."""
        if self._running:
            self._running = False
            self.recorder.end()

    def enter(self) -> None:
        """Its body begins."""
        self.recorder.enter()

    def leave(self) -> None:
        """Its body has ended."""
        self.recorder.leave()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: FixtureDef[object], request: SubRequest) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            if not self._running or fixturedef.func.__module__.startswith("_pytest."):
                return (yield)
            self.recorder.enter()
            try:
                return (yield)
            finally:
                self.recorder.leave()
        # It stays up for other tests, which depend on it as much as this one.
        with self.recorder.apart() as codes:
            result = yield
        self._fixtures[id(fixturedef)] = fixturedef, tuple(codes.values()), self.recorder.gap
        return result

    def pytest_unconfigure(self) -> None:
        self.end()
        self.recorder.close()

    # What was recorded

    def code(self, item: pytest.Item, plan: Plan) -> Record:
        """``record["code"]`` of the test that has just been recorded: its fingerprint, what is in it, and what is not known."""
        if not self._recorded:
            return unknown(plan.why or _NEVER)
        self._recorded = False
        self.recorder.prepare()
        if self.recorder.trouble is not None:
            return unknown(self.recorder.trouble)
        codes = list(self.recorder.executed.values())
        gaps = {self.recorder.incomplete}
        for fixture in repeat.fixtures_up(item):
            _, more, gap = self._fixtures.get(id(fixture), (None, (), None))
            codes += more
            gaps.add(gap)
        nodes = self._nodes
        located = [known[1] if (known := nodes.get(id(code))) is not None else self._node(code) for code in codes]
        roots = {node for node in located if node is not None}
        for path in self.recorder.imported:
            roots.update(self.graph.whole_module(path))
        told = self.recorder.told(codes) | {gap for gap in gaps if gap is not None}
        for root in roots - self._dull:
            reads, starts = self._names(root)
            if not reads and not starts:
                self._dull.add(root)
            if reads:
                told.add("reads files")
            if starts:
                told.add(starts)
        surroundings, more_nodes = self.surroundings(item)
        functions = self.graph.closure(roots | more_nodes if more_nodes else roots)
        functions.update(surroundings)
        if "reads files" in told:
            functions["<data files>"] = self.data_files
            told.discard("reads files")
        unreadable = sorted(path for path in {node.path for node in roots} if self.project.file(path) is None)
        if plan.random:
            told.add("random examples")
        told.update(f"no source of {path}" for path in unreadable)
        functions = dict(sorted(functions.items()))  # once: who sorts it again is quick
        return {
            "fingerprint": fingerprint(functions),
            "functions": functions,
            "unknown": sorted(told),
            "counts": self._counts() if self.recorder.counting else {},
        }

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of the counts of the test that was recorded last."""
        known = self.recorder.counting or self.recorder.incomplete is not None or self.recorder.trouble is not None
        return [] if known else ["its calls are not counted: that takes longer than they do"]

    def _counts(self) -> dict[str, list[int]]:
        return by_function(self.recorder.counted.values(), self._function, self.recorder.other_calls)

    def _function(self, code: CodeType) -> tuple[str, str, File] | None:
        node = self._node(code)
        file = self.project.file(node.path) if node is not None and node.kind == "function" else None
        return None if node is None or file is None else (node.path, node.name, file)

    def _node(self, code: CodeType) -> Node | None:
        known = self._nodes.get(id(code))
        if known is None:
            known = self._nodes[id(code)] = code, self._locate(code)
        return known[1]

    def _locate(self, code: CodeType) -> Node | None:
        path = self.project.relative(code.co_filename)
        if path is None:
            return None
        file = self.project.file(path)
        if file is None:
            return Node("function", path, code.co_name)
        found = file.locate(code.co_name, code.co_firstlineno)
        if found is None:
            return Node("effects", path)
        kind, name = found
        return Node("function" if kind == "function" else "name", path, name)

    def _names(self, node: Node) -> tuple[bool, str]:
        """Whether a function reads files or starts processes, by the names in it."""
        known = self._facts.get(node)
        if known is None:
            file = self.project.file(node.path)
            unit = file.functions.get(node.name) if file is not None else None
            names = unit.refers.names | unit.refers.attributes if unit is not None else set()
            # os.system, or what was imported from os; not platform.system.
            named = names & recorder.STARTERS
            starts = bool(named) and unit is not None and ("os" in names or bool(named & unit.refers.names))
            reason = "starts a process" if starts else "starts a thread" if "start_new_thread" in names else ""
            known = self._facts[node] = bool(names & _READERS), reason
        return known

    # What is the same now

    def is_unchanged(self, item: pytest.Item, code: Record) -> bool:
        """Whether the code of a stored record is, by the source as it is, what the test would execute now."""
        stored: dict[str, str] = code.get("functions") or {}
        if not code.get("fingerprint") or not stored or code.get("unknown"):
            return False
        surroundings, nodes = self.surroundings(item)
        if any(stored.get(key) != value for key, value in surroundings.items()):
            return False
        if "<data files>" in stored:
            surroundings["<data files>"] = self.data_files
        return self.graph.closure({*self.graph.roots(stored), *nodes}) | surroundings == stored

    # What is no function

    def surroundings(self, item: pytest.Item) -> tuple[dict[str, str], frozenset[Node]]:
        """Hashes of what belongs to the test and is no function, and the code that this leads to."""
        result = dict(self._everywhere)
        nodes: frozenset[Node] = frozenset()
        callspec: Any = getattr(item, "callspec", None)
        if callspec is not None:
            result["<parameters>"], whole = parameters.of_parameters(callspec.params, callspec.id)
            if not whole and (place := self._place(item)) is not None:
                # What has no value to hash is known by what the decorators say.
                marks, nodes = self.graph.marks(*place)
                result["<parameters>"] = digest(result["<parameters>"], marks)
        if marks := parameters.of_markers(item):
            result["<markers>"] = marks
        if names := repeat.fixtures_of(item):
            result["<fixtures>"] = self._remembered(names)
        if hooks := self._hooks_for(item.path):
            result["<hooks>"] = hooks
        if (text := repeat.doctest_source(item)) is not None:
            result["<doctest>"] = digest(text)
        return result, nodes

    def _place(self, item: pytest.Item) -> tuple[str, str] | None:
        """The file and qualified name of a test function."""
        code = getattr(inspect.unwrap(getattr(item, "function", None) or _nothing), "__code__", None)
        node = self._node(code) if code is not None else None
        return (node.path, node.name) if node is not None and node.kind == "function" else None

    def _remembered(self, names: tuple[str, ...]) -> str:
        known = self._fixture_names.get(names)
        if known is None:
            known = self._fixture_names[names] = digest(*names)
        return known

    @cached_property
    def _everywhere(self) -> dict[str, str]:
        found = {
            "<python>": project.python(),
            "<distributions>": self.project.distributions(),
            "<options>": self._options(),
        }
        if (extensions := self.project.extensions()) is not None:
            found["<extensions>"] = extensions
        return found

    @cached_property
    def data_files(self) -> str:
        return self.project.data_files([path for path in (self.settings.json, self.settings.csv) if path is not None])

    def _options(self) -> str:
        # What scales an estimate.
        kept = [("watts", f"{self.settings.idle_watts} {self.settings.max_watts}")]
        for key, value in sorted(repeat.ini_values(self.config).items()):
            if not key.startswith(_IDLE_KEYS):
                text = value
                if key == "addopts":
                    text = " ".join(
                        word for word in text.split() if not word.startswith(("--energy", "-q", "-v", "-r", "--color"))
                    )
                kept.append((key, text))
        return digest(kept)

    def _hooks_for(self, test: Path) -> str:
        """A hash of the hooks in the project's conftest files that are in force for a test file, and in its own plugins."""
        if test not in self._hooks:
            roots: list[Node] = []
            for plugin in self.config.pluginmanager.get_plugins():
                source = getattr(plugin, "__file__", None)
                path = self.project.relative(source) if isinstance(source, str) else None
                file = self.project.file(path) if path is not None else None
                if source is None or path is None or file is None:
                    continue
                if path.endswith("conftest.py") and Path(source).parent not in test.parents:
                    continue
                roots += [
                    Node("made", path, name) for name in file.functions if name.startswith("pytest_") and name not in _IDLE_HOOKS
                ]
            self._hooks[test] = fingerprint(self.graph.closure(roots)) if roots else ""
        return self._hooks[test]


def _nothing() -> None:
    """Stands for the function of an item that has none."""
