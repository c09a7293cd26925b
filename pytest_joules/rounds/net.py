"""The net under the hooks: what this plugin fails at for itself becomes a note, and never the end of somebody's run.

It hangs under everything that is done beside the tests: choosing how to run them, metering, recording, judging, keeping and
reporting. It does not under what is told before anything runs (``pytest_configure``, usage errors), nor under what lets others do
their work (the phases of a test, fixtures, hooks of other plugins), whose exceptions are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import pytest

_TROUBLES = pytest.StashKey[list[str]]()
#: So many different ones are said.
_MOST = 3

P = ParamSpec("P")


class _Plugin(Protocol):
    config: pytest.Config


S = TypeVar("S", bound=_Plugin)


def guarded(hook: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """A method of a plugin that has a ``config``: what it raises is said at the end of the run."""

    @wraps(hook)
    def safe(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(self, *args, **kwargs)
        except pytest.UsageError:
            raise
        except Exception as error:
            troubles(self.config).append(described(error))

    return safe


@contextmanager
def net(notes: list[str], what: str = "recorded") -> Iterator[None]:
    """What is raised inside is a note: ``not recorded: ...``."""
    try:
        yield
    except pytest.UsageError:
        raise
    except Exception as error:
        notes.append(described(error, what))


def described(error: BaseException, what: str = "recorded") -> str:
    """What went wrong, and where in this plugin."""
    where = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename.replace("\\", "/")
        if "/pytest_joules/" in file and not file.endswith("/net.py"):
            where = f" ({file.rpartition('/pytest_joules/')[2]}, line {trace.tb_lineno})"
        trace = trace.tb_next
    try:
        text = str(error).strip().partition("\n")[0][:200]
    except Exception:  # whose exception it is, its text may be as broken as it
        text = ""
    return f"not {what}: {type(error).__name__}{': ' if text else ''}{text}{where}"


def troubles(config: pytest.Config) -> list[str]:
    """What fell into the net in this process and belongs to no single test."""
    return config.stash.setdefault(_TROUBLES, [])


def in_short(found: list[str]) -> list[str]:
    """These in a few lines."""
    different = [*dict.fromkeys(found)]
    more = f"; {len(different) - _MOST} more of the kind" if len(different) > _MOST else ""
    return [f"{text}{more if number == _MOST - 1 else ''}" for number, text in enumerate(different[:_MOST])]
