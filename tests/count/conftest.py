import re

import pytest
from counted_runs import TESTS, costs, count


@pytest.fixture
def _costs(pytester, monkeypatch):
    monkeypatch.setenv("COSTS", "{}")
    monkeypatch.setenv("PYTEST_PLUGINS", "own_counters,pytest_joules.plugin,simulated_count")
    costs()


@pytest.fixture
def counted(inner):
    inner.file(test_a=TESTS)
    return inner


def _saved(inner):
    inner.file(test_a=TESTS)
    count(inner, "--energy-save=main")


@pytest.fixture
def saved(inner, begin):
    """A project with a baseline of its instructions."""
    begin(inner, _saved)
    # It may be a copy of a folder with another path.
    (path,) = (inner.path / ".joules").glob("*/main.json")
    path.write_text(re.sub(r'"folder": \d+', f'"folder": {len(bytes(inner.path))}', path.read_text()))
    return inner
