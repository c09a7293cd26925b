"""The body of a test: what surrounds it most closely, and calling it several times in a round."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Literal, TypeVar

import pytest
from _pytest.unittest import TestCaseFunction

T = TypeVar("T")
#: What is done where a body begins or ends.
Edge = Callable[[], None]


def body_hook(item: pytest.Item) -> Literal["pyfunc", "runtest"]:
    """Which hook's innermost wrapper is closest around the body of ``item``."""
    return "pyfunc" if isinstance(item, pytest.Function) and not isinstance(item, TestCaseFunction) else "runtest"


def watched(function: Callable[..., T], enter: Edge, leave: Edge) -> Callable[..., T] | None:
    """``function`` with ``enter`` and ``leave`` as close around it as can be, to stand in for it while pytest calls it: what
    pytest does between its hook and the call costs up to 10 µs, a tenth of a short test.

    ``None`` for an asynchronous function, which must keep its face for the plugin that awaits it, or for pytest to refuse.
    """
    if iscoroutinefunction(function) or isasyncgenfunction(function):
        return None

    def body(*args: object, **kwargs: object) -> T:
        __tracebackhide__ = True
        enter()
        try:
            return function(*args, **kwargs)
        finally:
            leave()

    # As functools.wraps does, which takes 3 µs a round: plugins look for marks of their own on it, such as Hypothesis'.
    vars(body).update(getattr(function, "__dict__", ()), __wrapped__=function)
    body.__name__ = getattr(function, "__name__", body.__name__)
    body.__doc__ = function.__doc__
    body.__module__ = function.__module__
    return body


def around_function(item: pytest.Function, enter: Edge, leave: Edge) -> Generator[None, object, object]:
    """For a wrapper of ``pytest_pyfunc_call``: surround the body as closely as can be."""
    function = item.obj  # perhaps in a wrapper of a hook's
    closely = watched(function, enter, leave)
    if closely is None:
        return (yield from _around(enter, leave))
    item.obj = closely
    try:
        return (yield)
    finally:
        if item.obj is closely:  # else the wrapper has taken itself off
            item.obj = function


def around_runtest(item: pytest.Item, enter: Edge, leave: Edge) -> Generator[None, object, object]:
    """The same for a wrapper of ``pytest_runtest_call``."""
    closely = watched(item.runtest, enter, leave) if "runtest" not in vars(item) else None
    if closely is None:
        return (yield from _around(enter, leave))
    item.runtest = closely  # type: ignore[method-assign]  # for this call only
    try:
        return (yield)
    finally:
        del item.runtest


def _around(enter: Edge, leave: Edge) -> Generator[None, object, object]:
    enter()
    try:
        return (yield)
    finally:
        leave()


def can_iterate(item: pytest.Item) -> bool:
    """Whether ``item`` has a function that can be called several times in a round."""
    return isinstance(item, pytest.Function)


def iterate(item: pytest.Function, times: int) -> Callable[[], None]:
    """Make one call of ``item``'s body call it ``times`` times; the returned function undoes it."""
    function = item.obj
    if iscoroutinefunction(function):

        @wraps(function)
        async def looped(*args: object, **kwargs: object) -> None:
            for _ in range(times):
                await function(*args, **kwargs)

        item.obj = looped
        if isinstance(item, TestCaseFunction):
            # Of an asynchronous TestCase, unittest calls the method that the instance has.
            setattr(item.instance, item.name, looped)
    else:

        @wraps(function)
        def looped_sync(*args: object, **kwargs: object) -> None:
            for _ in range(times):
                function(*args, **kwargs)

        item.obj = looped_sync

    def undo() -> None:
        item.obj = function
        if isinstance(item, TestCaseFunction):
            vars(item.instance).pop(item.name, None)

    return undo
