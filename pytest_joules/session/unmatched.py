"""Budgets whose pattern matches no test: found where tests are collected, said where is reported, with the nearest tests."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_joules.rounds.net import guarded
from pytest_joules.settings.budgets import BudgetRule
from pytest_joules.settings.options import Settings

#: Node ids that are looked through for one that resembles a pattern, and those that are named.
_LOOKED_AT = 2000
_NAMED = 3


class Unmatched:
    """In a process that collects: looks for the patterns, before others deselect tests."""

    def __init__(self, config: pytest.Config, settings: Settings, tell: Callable[[dict[str, list[str]]], None] | None) -> None:
        """``tell``: to whom, where that is in this process."""
        self.config = config
        self._rules = (*settings.ini_budgets, *settings.budgets)
        self._tell = tell

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        nodeids = [item.nodeid for item in items]
        found = {rule.pattern: nearest(rule.pattern, nodeids) for rule in unmatched(self._rules, nodeids)}
        if session.testsfailed:  # who could not be collected may be meant
            found = {}
        if self._tell is not None:
            self._tell(found)
        elif found:
            self.config.workeroutput["joules_unmatched"] = found  # type: ignore[attr-defined]  # xdist's


def unmatched(rules: Sequence[BudgetRule], nodeids: Sequence[str]) -> list[BudgetRule]:
    """The rules that match none of these; none at all where there is nothing to match."""
    if not nodeids:
        return []
    return [rule for rule in rules if not any(rule.matches(nodeid) for nodeid in nodeids)]


def nearest(pattern: str, nodeids: Sequence[str]) -> list[str]:
    """The node ids that look most like a pattern, the nearest first."""
    path, colons, name = pattern.partition("::")
    if not colons and not path.endswith(".py") and "/" not in path:
        # A test's name alone.
        named = [nodeid for nodeid in nodeids if nodeid.rpartition("::")[2].partition("[")[0] == path.strip("*")]
        if named:
            return named[:_NAMED]
    files: dict[str, list[str]] = {}
    for nodeid in nodeids:
        files.setdefault(nodeid.partition("::")[0], []).append(nodeid)
    like = [path] if path in files else difflib.get_close_matches(path, list(files), n=_NAMED)
    there = [nodeid for file in like for nodeid in files[file]][:_LOOKED_AT]
    word = name.strip("*")
    if not word:
        return there[:1]
    close = difflib.get_close_matches(f"{like[0]}::{word}" if like else pattern, there or nodeids[:_LOOKED_AT], n=_NAMED)
    return close or there[:1]


def sentence(pattern: str, near: Sequence[str]) -> str:
    """What is said of a pattern that matches nothing."""
    said = f"budget {pattern!r}: it matches no test of this run"
    if not near:
        return f"{said}. A pattern is held against whole node ids, such as tests/test_io.py::test_read"
    if "::" not in pattern:
        return f"{said}. It is held against whole node ids, such as {near[0]}: did you mean '{_wider(pattern, near[0])}'?"
    return f"{said}; nearest: {', '.join(near)}"


def _wider(pattern: str, nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return f"{path}::*" if pattern.endswith(".py") or "/" in pattern else f"*::{pattern.strip('*')}"


def worth_saying(config: pytest.Config, pattern: str) -> bool:
    """Whether this run has collected whatever the pattern could match: it stood on the command line, or its place was looked
    through. A run of a few files says nothing of the ini file's budgets for others."""
    if any(pattern in str(word) for word in config.invocation_params.args):
        return True
    option = config.option
    if getattr(option, "lf", False) or getattr(option, "ignore", None) or getattr(option, "ignore_glob", None):
        return False
    sources = pytest.Config.ArgsSource
    if config.args_source == sources.TESTPATHS:
        return True
    head = _literal(pattern)
    for argument in config.args:
        place = _relative(config, argument)
        if place == "." or (place is not None and head.startswith((f"{place}/", f"{place}::"))):
            return True
    return False


def _literal(pattern: str) -> str:
    """A pattern up to its first wildcard."""
    return pattern[: next((place for place, character in enumerate(pattern) if character in "*?["), len(pattern))]


def _relative(config: pytest.Config, argument: str) -> str | None:
    """What an argument names, as node ids do; ``None`` for a part of a file, and for what is not below the root."""
    if "::" in argument:
        return None
    path = (config.invocation_params.dir / Path(argument)).resolve()
    root = config.rootpath.resolve()
    return path.relative_to(root).as_posix() if path == root or root in path.parents else None
