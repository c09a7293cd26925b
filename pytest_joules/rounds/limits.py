"""Limits that others set to how long a test may take (pytest-timeout, ``faulthandler_timeout``): each round has its own, as the
one round of a plain run has."""

from __future__ import annotations

import faulthandler
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import cast

import pytest

#: Names of the plugins whose wrapper of a test's whole run is the limit.
_PLUGINS = ("timeout", "pytest_timeout", "faulthandler")


class Limits:
    """Of one test."""

    def __init__(self, item: pytest.Item) -> None:
        faults = item.config.pluginmanager.hasplugin("faulthandler")
        limits = [_plugin_limit(item), _seconds(item.config.getini("faulthandler_timeout") if faults else None)]
        self.seconds = min((limit for limit in limits if limit is not None), default=None)
        """That it may take; ``None`` where nobody sets a limit."""
        self._item = item
        self._wrappers = [
            found
            for found in item.ihook.pytest_runtest_protocol.get_hookimpls()
            if found.plugin_name in _PLUGINS and (found.wrapper or found.hookwrapper) and list(found.argnames) == ["item"]
        ]

    @property
    def restart(self) -> bool:
        """Whether each round can have the limit anew."""
        return self.seconds is not None and bool(self._wrappers)

    def over(self) -> None:
        """The test has ended: what comes before the next one is not its time."""
        cancel = getattr(self._item.ihook, "pytest_timeout_cancel_timer", None)
        if cancel is not None:
            cancel(item=self._item)
        if self.seconds is not None:
            faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def of_round(self, number: int) -> Iterator[None]:
        """While a round runs, from 1: the first one has what was set before it."""
        if number == 1 or not self.restart:
            yield
            return
        cancel = getattr(self._item.ihook, "pytest_timeout_cancel_timer", None)
        if cancel is not None:
            cancel(item=self._item)  # the one before: a thread of its own would end the process
        running = [cast(Generator[None, object, object], found.function(self._item)) for found in self._wrappers]
        for wrapper in running:
            next(wrapper)
        try:
            yield
        finally:
            for wrapper in reversed(running):
                next(wrapper, None)


def _plugin_limit(item: pytest.Item) -> float | None:
    """The limit of pytest-timeout, which counts from the first setup to the last teardown; with ``func_only``, each body."""
    if not hasattr(item.config, "_env_timeout"):
        return None  # not installed
    value: object = item.config._env_timeout
    func_only: object = getattr(item.config, "_env_timeout_func_only", False)
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        value = marker.kwargs.get("timeout", marker.args[0] if marker.args else value)
        func_only = marker.kwargs.get("func_only", marker.args[2] if len(marker.args) > 2 else func_only)
    return None if func_only else _seconds(value)


def _seconds(value: object) -> float | None:
    try:
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else None
