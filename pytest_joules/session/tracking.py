"""The side of pytest: what belongs to a test's code besides the functions that it executes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_joules.code import opened, project
from pytest_joules.code.activity import Activity
from pytest_joules.code.bounds import MOST
from pytest_joules.code.counting import by_function
from pytest_joules.code.graph import Graph, Node, fingerprint
from pytest_joules.code.opened import Seen, Traces
from pytest_joules.code.project import Project
from pytest_joules.code.reach import Reach
from pytest_joules.code.recorder import Recorder
from pytest_joules.code.source_file import File, Import, digest
from pytest_joules.model import Record
from pytest_joules.rounds import item as item_facts
from pytest_joules.rounds.net import guarded, net, troubles
from pytest_joules.rounds.plan import Plan
from pytest_joules.session import parameters
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef, SubRequest

#: Packages that open files without the interpreter: a function that names one may read any of the project's.
_READERS = frozenset(
    (
        *("cv2", "duckdb", "fiona", "h5py", "lmdb", "lxml", "netCDF4", "osgeo", "plyvel", "polars", "pyarrow", "pyogrio"),
        *("rasterio", "rocksdb", "soundfile", "tables", "apsw", "igraph", "torchaudio", "av"),
    )
)
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


#: Feeders of feeders are followed so far; a test with a longer way is measured again.
_STEPS = 20


class Tracking:
    """Records what tests execute in their warm-up rounds, and tells whether it is still the same."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.project = project.Project(config.rootpath, project.folders_around(config.rootpath, _given(config)))
        self.graph = Graph(self.project)
        self.reach = Reach(self.graph)
        self.recorder = make(self.project)
        self.opened = opened.of_session()
        self.activity = Activity(self.opened, threads=not self.recorder.sees_threads)
        self._running = False
        self._recorded = False
        self._imported: tuple[str, ...] = ()
        self._nodes: dict[int, tuple[CodeType, Node | None]] = {}
        self._fixtures: dict[int, tuple[object, tuple[CodeType, ...], Traces, str | None]] = {}
        self._traces = Traces()
        """What the test has opened that is recorded."""
        self._reads: dict[Node, bool] = {}
        self._by_text: tuple[int, set[Node]] = (0, set())
        """How many files had been executed, and what belongs to all tests of those that were asked for by a text."""
        self._hooks: dict[Path, str] = {}
        self._fixture_names: dict[tuple[str, ...], str] = {}

    # Recording

    @pytest.hookimpl(trylast=True)
    @guarded
    def pytest_collection_finish(self) -> None:
        if not self.config.option.collectonly:
            self._tell_recorder()
            self.recorder.prepare()
            self.project.read_early(self.recorder.loaded)

    @guarded
    def pytest_runtest_logstart(self) -> None:
        # What is measured comes next: nobody listens but while a test is recorded.
        self.opened.ignore()

    @guarded
    def pytest_runtest_logfinish(self) -> None:
        self.opened.listen()

    def begin(self, *, again: bool = False, most: float = MOST) -> None:
        """Before the warm-up round of a test; ``again``: a second one, which is counted in the place of the first. It may take
        ``most`` seconds more than without."""
        self._running = self._recorded = True
        if not again:
            self._traces = Traces()
        self.activity.begin()
        self.opened.current = self._traces
        self.opened.listen()
        self.recorder.begin(again=again, most=most)

    def much_ran(self) -> bool:
        """Whether enough of the project's code has run that it matters whether its caches were warm."""
        return self.recorder.trouble is None and self.recorder.counting and self.recorder.events() >= MUCH

    def end(self) -> None:
        """After its teardown; harmless where nothing is recorded."""
        if self._running:
            self._running = False
            self._tell_recorder()
            self.recorder.end()
            self.opened.current = None
            self.opened.ignore()
            self._traces.started |= self.activity.end()

    def _tell_recorder(self) -> None:
        """What was executed and is no module that is imported is to be recorded as well."""
        for name in self.opened.new_files():
            if (path := self.project.relative(name)) is not None:
                self.recorder.by_path[name] = path

    def enter(self) -> None:
        """Its body begins."""
        self.recorder.enter()

    def leave(self) -> None:
        """Its body has ended."""
        self.recorder.leave()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: FixtureDef[object], request: SubRequest) -> Generator[None, object, object]:
        notes = troubles(self.config)
        if fixturedef.scope == "function":
            if not self._running or fixturedef.func.__module__.startswith("_pytest."):
                return (yield)
            with net(notes):
                self.recorder.enter()
            try:
                return (yield)
            finally:
                with net(notes):
                    self.recorder.leave()
        # It stays up for other tests, which depend on it as much as this one.
        stack, codes, traces = ExitStack(), dict[int, CodeType](), Traces()
        with net(notes):
            codes = stack.enter_context(self.recorder.apart())
            traces = stack.enter_context(self.opened.apart())
        try:
            result = yield
        finally:
            with net(notes):
                stack.close()
        self._fixtures[id(fixturedef)] = fixturedef, tuple(codes.values()), traces, self.recorder.gap
        return result

    @guarded
    def pytest_unconfigure(self) -> None:
        self.end()
        self.close()

    def close(self) -> None:
        """Nothing is recorded from now on."""
        self.recorder.close()
        self.opened.ignore()

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
        traces = [self._traces]
        gaps = {self.recorder.incomplete}
        for fixture in item_facts.fixtures_up(item):
            if (known := self._fixtures.get(id(fixture))) is not None:
                codes += known[1]
                traces.append(known[2])
                gaps.add(known[3])
        roots = self._roots(codes, traces)
        told = self.recorder.told(codes).union(*(entry.started for entry in traces), {gap for gap in gaps if gap is not None})
        executed = [root for root in roots if root.kind == "function"]
        made = self._made(executed)
        surroundings, more_nodes = self.surroundings(item)
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
            functions["<data files>"] = self.data_files
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
        }

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of the counts of the test that was recorded last."""
        known = self.recorder.counting or self.recorder.incomplete is not None or self.recorder.trouble is not None
        return [] if known else ["its calls are not counted: that takes longer than they do"]

    def _counts(self) -> dict[str, list[int]]:
        return by_function(self.recorder.counted.values(), self._function, self.recorder.other_calls)

    def _roots(self, codes: Iterable[CodeType], traces: Iterable[Traces]) -> set[Node]:
        nodes = self._nodes
        located = [known[1] if (known := nodes.get(id(code))) is not None else self._node(code) for code in codes]
        roots = {node for node in located if node is not None}
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
        found: dict[str, Seen] = dict(self.opened.by_nobody.files)
        if item.path.suffix != ".py" and item_facts.doctest_source(item) is None:
            found[str(item.path)] = opened.seen(str(item.path))
        paths = set(_paths(functions))
        for name, entry in self.opened.by_module.items():
            if self.project.relative(name) in paths:
                found |= entry.files
        for code, files in self.opened.by_function.values():
            if made and self._node(code) in made:
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
            elif writer is self._traces:
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
        if names := item_facts.fixtures_of(item):
            result["<fixtures>"] = self._remembered(names)
        if hooks := self._hooks_for(item.path):
            result["<hooks>"] = hooks
        if (text := item_facts.doctest_source(item)) is not None:
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
        for key, value in sorted(item_facts.ini_values(self.config).items()):
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


def _paths(functions: Iterable[str]) -> Iterator[str]:
    """The files of a record's keys."""
    return (key.partition("::")[0] for key in functions if "::" in key)


def _given(config: pytest.Config) -> list[Path]:
    """Files and folders that the command line names."""
    here = config.invocation_params.dir
    paths = [here / argument.partition("::")[0] for argument in config.args]
    return [path.resolve() for path in paths if path.exists()]


def _nothing() -> None:
    """Stands for the function of an item that has none."""


def make(project: Project) -> Recorder:
    """The way that this Python offers."""
    if sys.version_info >= (3, 12):
        from pytest_joules.code.monitored import Monitored

        return Monitored(project)
    from pytest_joules.code.traced import Traced

    return Traced(project)
