"""What the repeats of a test are kept from: log files that are written at once, live logs, reports of subtests, exceptions that
nobody can catch."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from gc import collect
from typing import Any

import pytest
from _pytest.unraisableexception import unraisable_exceptions

from pytest_joules.machine import YOUNG

_PUT_OFF = pytest.StashKey[list[Any]]()


class Unheard:
    """Keeps the rounds of one test from being heard of more than once."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        plugin: Any = config.pluginmanager.get_plugin("logging-plugin")
        handlers = [getattr(plugin, name, None) for name in ("log_cli_handler", "log_file_handler")]
        self._handlers = [handler for handler in handlers if isinstance(handler, logging.Handler) and _writes(handler)]

    @contextmanager
    def silent(self) -> Iterator[None]:
        """What is logged inside reaches no log file of pytest's and no live log."""
        for handler in self._handlers:
            handler.addFilter(_nothing)
        try:
            yield
        finally:
            for handler in self._handlers:
                handler.removeFilter(_nothing)

    @contextmanager
    def collecting(self, *, keep: bool, first: bool = False) -> Iterator[None]:
        """Exceptions that the garbage collector comes upon inside, or has since the last phase, belong to no phase of a test.

        They are put off to the end of the session, where pytest collects too, or forgotten where a repeat has left them behind.
        What came before the ``first`` phase of a test is left to pytest.
        """
        queue: Any = self._config.stash.get(unraisable_exceptions, ())
        before = len(queue) if first else 0
        yield
        while len(queue) > before:
            found = queue.pop()
            if keep:
                self._config.stash.setdefault(_PUT_OFF, []).append(found)

    def forget(self) -> None:
        """After the last of several rounds: the next test is not to be blamed for what they have left."""
        with self.collecting(keep=False):
            collect(YOUNG)


def logs_live(config: pytest.Config) -> bool:
    """Whether what a test logs is printed at once."""
    handler = getattr(config.pluginmanager.get_plugin("logging-plugin"), "log_cli_handler", None)
    return isinstance(handler, logging.Handler) and _writes(handler)


class NotHeard(Exception):
    """Ends the logging of a report before anybody but this plugin has seen it."""


class Deaf:
    """A plugin around all others: to them a report that raised :class:`NotHeard` was never logged."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, object, object]:
        try:
            return (yield)
        except NotHeard:
            return []


def only_pytest_reports(config: pytest.Config) -> bool:
    """Whether no other plugin sees reports made: such a one may note down every round of a test."""
    found = config.hook.pytest_runtest_makereport.get_hookimpls()
    return all(getattr(implementation.plugin, "__name__", None) in _HARMLESS for implementation in found)


#: What these make of a phase without an exception is a passed report, whatever the test did.
_HARMLESS = ("_pytest.runner", "_pytest.skipping", "_pytest.tmpdir", "_pytest.unittest", "_pytest.subtests")


def own_subtests(config: pytest.Config) -> bool:
    """Whether subtests are pytest's own (from 9 on), and repeats of them can be kept from everybody."""
    plugin = config.pluginmanager.get_plugin("subtests")
    return getattr(plugin, "__name__", None) == "_pytest.subtests" and only_pytest_reports(config)


def forget_failed_subtest(item: pytest.Item) -> None:
    """Pytest counts them, to fail the test in the end: one that nobody heard of does not count."""
    from _pytest.subtests import failed_subtests_key

    key: Any = failed_subtests_key
    counts = item.config.stash[key]  # by node id: its text in pytest 9.0, an object since
    for test in (item.nodeid, getattr(item, "id", None)):
        if counts.get(test):
            counts[test] -= 1


def hand_on(config: pytest.Config) -> None:
    """At the end of the session: give pytest what was put off."""
    if unraisable_exceptions in config.stash:
        put_off: list[Any] = config.stash.get(_PUT_OFF, [])
        config.stash[unraisable_exceptions].extend(put_off)


def _writes(handler: logging.Handler) -> bool:
    return type(handler).__name__ != "_LiveLoggingNullHandler" and getattr(handler, "baseFilename", "") != os.devnull


def _nothing(record: logging.LogRecord) -> bool:
    return False
