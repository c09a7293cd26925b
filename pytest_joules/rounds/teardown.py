"""Taking down what a test has set up, where pytest itself does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import pytest

#: What ends the run: pytest 8.4 has no function that says it.
ENDING: tuple[type[BaseException], ...] = (pytest.exit.Exception, KeyboardInterrupt)


@contextmanager
def in_two_steps(
    item: pytest.Item, first: pytest.Item, reraise: tuple[type[BaseException], ...]
) -> Iterator[list[BaseException]]:
    """A teardown inside first takes down what ``first`` does not need; what fails of that is told, and not raised."""
    state: Any = item.session._setupstate
    tear_down = state.teardown_exact
    troubles: list[BaseException] = []

    def both(nextitem: pytest.Item | None) -> None:
        try:
            tear_down(first)
        except reraise:
            raise
        except BaseException as error:
            troubles.append(error)
        tear_down(nextitem)

    state.teardown_exact = both
    try:
        yield troubles
    finally:
        del state.teardown_exact


def tear_down_the_rest(
    item: pytest.Item, nextitem: pytest.Item | None, reraise: tuple[type[BaseException], ...]
) -> pytest.CallInfo[None]:
    """A teardown between rounds failed: the item is down, but what the next item does not need is still up."""
    capture = item.config.pluginmanager.get_plugin("capturemanager")
    with capture.item_capture("teardown", item) if capture is not None else nullcontext():
        down = partial(item.session._setupstate.teardown_exact, nextitem)
        return pytest.CallInfo.from_call(down, when="teardown", reraise=reraise)


def tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> pytest.TestReport | None:
    """Take down what was kept up for another run of ``item`` that does not come. The report, where that fails."""
    call = pytest.CallInfo.from_call(
        partial(item.session._setupstate.teardown_exact, nextitem),
        when="teardown",
        reraise=ENDING,
    )
    if call.excinfo is None:
        return None
    return cast(pytest.TestReport, item.ihook.pytest_runtest_makereport(item=item, call=call))
