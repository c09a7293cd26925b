"""What has changed since a test was recorded, and which of that is suspected."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_joules.code.blame import blame
from pytest_joules.code.graph import Graph
from pytest_joules.code.project import Project
from pytest_joules.model import OTHER

# Without running anything


def code(root: Path, *keys: str) -> dict:
    graph = Graph(Project(root))
    return {"fingerprint": "x", "functions": graph.closure(graph.roots(keys)), "unknown": []}


@pytest.mark.parametrize(
    "source",
    [
        "from b import *\nfrom a import *\ndef f(): return X\n",
        "import a, b\ndef f(): return a.b.a.f, b.f\n",
        "def f(): return f\n",
    ],
)
def test_modules_that_import_each_other_come_to_an_end(tmp_path, source):
    (tmp_path / "a.py").write_text(source)
    (tmp_path / "b.py").write_text("from a import *\nimport a\nX = a.f()\n")
    assert "a.py::f" in code(tmp_path, "a.py::f")["functions"]


def test_blame_names_what_changed_in_the_tests_path_the_most_suspicious_first():
    before = {
        "slow_1": {"a.py::slow": "1", "a.py::common": "1", "a.py::same": "1"},
        "slow_2": {"a.py::slow": "1", "a.py::common": "1", "a.py::gone": "1"},
        "fine_1": {"a.py::common": "1"},
        "fine_2": {"a.py::common": "1"},
    }
    now = {
        "slow_1": {"a.py::slow": "2", "a.py::common": "2", "a.py::same": "1"},
        "slow_2": {"a.py::slow": "2", "a.py::common": "2", "a.py::new": "1"},
        "fine_1": {"a.py::common": "2"},
        "fine_2": {"a.py::common": "2"},
        "unknown_before": {"a.py::slow": "2"},
    }
    assert blame(before, now, ["slow_1", "slow_2", "unknown_before"]) == {
        # Ochiai: slow 2 / sqrt(2 * 2), common 2 / sqrt(2 * 4), gone and new 1 / sqrt(2 * 1)
        "slow_1": ["a.py::slow", "a.py::common"],
        "slow_2": ["a.py::slow", "a.py::common", "a.py::new"],
        "unknown_before": [],
    }
    assert blame(before, before, ["slow_1"]) == {"slow_1": []}
    assert blame({}, now, ["slow_1"]) == {"slow_1": []}


def test_a_function_or_else_a_statement_or_else_an_upgrade():
    before = {"<distributions>": "1", "a.py::<module> RATE": "1", "z.py::f": "1"}
    now = {"<distributions>": "2", "a.py::<module> RATE": "2", "z.py::f": "2"}
    for named in ("z.py::f", "a.py::<module> RATE", "<distributions>"):
        assert blame({"t": before}, {"t": now}, ["t"]) == {"t": [named]}
        now[named] = before[named]


def test_what_most_of_a_test_may_come_from_is_named_first():
    before, now = ({"t": {"a.py::rare": text, "a.py::often": text, "z.py::once": text}} for text in "12")
    counts = {"t": {"a.py::rare": [2, 2], "z.py::once": [1, 1, 900], "a.py::often": [90, 90], OTHER: [5000]}}
    assert blame(before, now, ["t"], counts=counts) == {"t": ["z.py::once", "a.py::often", "a.py::rare"]}
