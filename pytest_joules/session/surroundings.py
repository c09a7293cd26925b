"""What belongs to a test and is no function: parameters, markers, fixtures, hooks, options, what is installed, data files."""

from __future__ import annotations

import inspect
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from pytest_joules.code import project
from pytest_joules.code.graph import Graph, Node, fingerprint
from pytest_joules.code.hashing import digest
from pytest_joules.code.located import Located
from pytest_joules.rounds import item as item_facts
from pytest_joules.session import parameters
from pytest_joules.settings.options import Settings

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


class Surroundings:
    """Of the tests of one session."""

    def __init__(self, config: pytest.Config, settings: Settings, graph: Graph, located: Located) -> None:
        self.config = config
        self.settings = settings
        self.graph = graph
        self.project = graph.project
        self._located = located
        self._hooks: dict[Path, str] = {}
        self._fixture_names: dict[tuple[str, ...], str] = {}

    def of(self, item: pytest.Item) -> tuple[dict[str, str], frozenset[Node]]:
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
        node = self._located.node(code) if code is not None else None
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


def _nothing() -> None:
    """Stands for the function of an item that has none."""
