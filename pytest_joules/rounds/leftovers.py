"""What a round of a test leaves on its item, and putting it back before the next one. Touches pytest's private parts, as
:mod:`pytest_joules.rounds.running` does, and for its sake."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any, cast

import pytest
from _pytest.doctest import DoctestItem
from _pytest.junitxml import xml_key
from _pytest.unittest import TestCaseFunction

from pytest_joules.rounds.given_values import given_to

_LEFTOVERS = pytest.StashKey["Leftovers"]()


class Leftovers:
    """What a round leaves on its item, as it was before the first one in this process."""

    @classmethod
    def of(cls, item: pytest.Item) -> Leftovers:
        """Before a block of rounds of ``item``. If it has run before, it is made what it was then."""
        state = item.stash.get(_LEFTOVERS, None)
        if state is None:
            state = item.stash[_LEFTOVERS] = cls(item)
            if hasattr(item, "_request") and not item._request:
                fresh_request(item)  # somebody ran the item before us
        else:
            state.restore()
            state.first = None
        return state

    @staticmethod
    def known(item: pytest.Item) -> bool:
        """Whether ``item`` has run in this process."""
        return _LEFTOVERS in item.stash

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.sections = list(item._report_sections)
        self.properties = list(item.user_properties)
        self.markers = list(item.own_markers)
        self.keywords = dict(cast(Any, item.keywords)._markers)
        self.globs = dict(item.dtest.globs) if isinstance(item, DoctestItem) else None
        self.given = given_to(item)
        self.function = vars(item).get("_obj")
        self.instance = vars(item).get("_instance")
        self.attributes: dict[str, object] = dict(vars(self.instance)) if self._wrapped() else {}
        self.rounds = 0
        """How many have ended, in this block and in those before."""
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
        self.given.put_back()
        if self.rounds > 1:
            self._remove_tmp_path()
        if isinstance(item, DoctestItem) and self.globs is not None:
            item.dtest.globs.clear()
            item.dtest.globs.update(self.globs)
        elif isinstance(item, pytest.Function) and not isinstance(item, TestCaseFunction):
            self._restore_function(item)
        fresh_request(item)

    def _restore_function(self, item: pytest.Function) -> None:
        """As collected: without what hooks have wrapped it in, and a method with an instance of its own."""
        if self.instance is None or getattr(item.obj, "is_hypothesis_test", False):
            item._obj = self.function
        elif self._wrapped():
            # What was wrapped is bound to this instance.
            item._obj, item._instance = self.function, self.instance
            vars(self.instance).clear()
            vars(self.instance).update(self.attributes)
        else:
            del item._instance
            item._obj = None

    def _wrapped(self) -> bool:
        """Whether somebody has put something else in the place of the test's method before it ran."""
        if self.instance is None or isinstance(self.instance, type) or not hasattr(self.instance, "__dict__"):
            return False
        own = getattr(type(self.instance), getattr(self.item, "originalname", ""), None)
        return self.function is not None and getattr(self.function, "__func__", None) is not own

    def _remove_tmp_path(self) -> None:
        """pytest keeps these directories: twenty rounds would leave twenty. The first and the last round's stay."""
        path = (getattr(self.item, "funcargs", None) or {}).get("tmp_path")
        with suppress(Exception):  # what is not removed stays
            if isinstance(path, Path) and not _inside(path):
                rmtree(path, ignore_errors=True)


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
