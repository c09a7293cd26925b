"""What a round of a test leaves on its item, and putting it back before the next one. Touches pytest's private parts, as
:mod:`pytest_joules.repeat` does, and for its sake."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from _pytest.doctest import DoctestItem
from _pytest.junitxml import xml_key
from _pytest.unittest import TestCaseFunction

#: A parameter with more elements than this is not put back between rounds: it would cost more than most tests.
_MOST_ELEMENTS = 10_000


class _Parameters:
    """The lists, dicts and sets among a test's parameters. They are made once, at collection: what a test does to them in one
    round its next would meet. Put back in place, so that whoever else holds them sees what a plain run leaves."""

    def __init__(self, item: pytest.Item) -> None:
        self._kept: list[tuple[Any, Any]] = []
        callspec = getattr(item, "callspec", None)
        if callspec is not None:
            left = _MOST_ELEMENTS
            waiting = list(callspec.params.values())
            while waiting:
                value = waiting.pop()
                if type(value) not in (list, dict, set, tuple) or any(value is known for known, _ in self._kept):
                    continue
                left -= len(value) + 1
                if left < 0:
                    break
                if type(value) is not tuple:
                    self._kept.append((value, value.copy()))
                waiting.extend(value.values() if type(value) is dict else value)

    def restore(self) -> None:
        for value, before in self._kept:
            if type(value) is list:
                value[:] = before
            else:
                value.clear()
                value.update(before)


class Leftovers:
    """What a round leaves on its item, as it was before the first one."""

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.sections = list(item._report_sections)
        self.properties = list(item.user_properties)
        self.markers = list(item.own_markers)
        self.keywords = dict(cast(Any, item.keywords)._markers)
        self.globs = dict(item.dtest.globs) if isinstance(item, DoctestItem) else None
        self.parameters = _Parameters(item)
        self.rounds = 0
        xml = item.config.stash.get(xml_key, None)
        self.suite: list[tuple[str, str]] = xml.global_properties if xml is not None else []
        """What ``record_testsuite_property`` recorded until now."""
        self.first: tuple[list[tuple[str, str, str]], list[tuple[str, object]], int] | None = None
        """What the first round recorded: captured output, properties, how many properties of the suite."""

    def keep_first(self) -> None:
        """After the first round's call."""
        self.first = list(self.item._report_sections), list(self.item.user_properties), len(self.suite)

    def forget_repeats(self, *, passed: bool) -> None:
        """Before the last teardown: what reports show of a test that passed is its first round, as in a plain run."""
        if self.first is not None:
            sections, properties, suite = self.first
            del self.suite[suite:]
            if passed:
                self.item._report_sections[:] = sections
                self.item.user_properties[:] = properties

    def restore(self) -> None:
        """Between two rounds."""
        item = self.item
        self.rounds += 1
        item._report_sections[:] = self.sections
        item.user_properties[:] = self.properties
        item.own_markers[:] = self.markers
        keywords = cast(Any, item.keywords)._markers
        if keywords != self.keywords:
            keywords.clear()
            keywords.update(self.keywords)
        self.parameters.restore()
        if self.rounds > 1:
            self._remove_tmp_path()
        if isinstance(item, DoctestItem) and self.globs is not None:
            item.dtest.globs.clear()
            item.dtest.globs.update(self.globs)
        elif (
            isinstance(item, pytest.Function)
            and not isinstance(item, TestCaseFunction)
            and getattr(item, "_instance", None) is not None
            and not getattr(item.obj, "is_hypothesis_test", False)
        ):
            del item._instance
            item._obj = None
        fresh_request(item)

    def _remove_tmp_path(self) -> None:
        """pytest keeps these directories: twenty rounds would leave twenty. The first and the last round's stay."""
        path = (getattr(self.item, "funcargs", None) or {}).get("tmp_path")
        if isinstance(path, Path) and not _inside(path):
            shutil.rmtree(path, ignore_errors=True)


def _inside(path: Path) -> bool:
    """Whether the working directory is in ``path``, or cannot be told."""
    try:
        return path.resolve() in (here := Path.cwd(), *here.parents)
    except OSError:
        return True


def fresh_request(item: pytest.Item) -> None:
    """Fixtures are bound to a request: each round needs a new one."""
    if hasattr(item, "_initrequest"):
        item._initrequest()
