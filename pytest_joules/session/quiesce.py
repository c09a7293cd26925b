"""Work that was started asynchronously is done before a round ends: the hook, and the built-in way for GPUs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_joules.session.body import Body


class Synchronise:
    """The built-in way to quiesce: wait for the GPU, whose work is asynchronous."""

    def __init__(self, synchronise: Callable[[], object]) -> None:
        self._synchronise = synchronise

    def pytest_joules_quiesce(self) -> None:
        self._synchronise()


def quiescing(config: pytest.Config, body: Body) -> Callable[[], object] | None:
    """What asks all plugins to quiesce; ``None`` where none can."""
    hook = config.hook.pytest_joules_quiesce
    if not hook.get_hookimpls():
        return None

    def quiesce() -> None:
        try:
            hook(config=config)
        except Exception as error:
            # The test has done its work: its outcome is not to change.
            note = f"a pytest_joules_quiesce hook failed: {type(error).__name__}: {error}"
            if body.course is not None and note not in body.course.notes:
                body.course.notes.append(note)

    return quiesce
