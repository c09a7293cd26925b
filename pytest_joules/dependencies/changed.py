"""What is not the same any more: whether a stored record still holds, and which functions a regression may come from."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

from pytest_joules.dependencies.graph import Graph
from pytest_joules.dependencies.project import Project
from pytest_joules.model import Record


def still_valid(code: Record, root: Path, graph: Graph | None = None) -> bool:
    """Whether the functions and statements of a record's ``code`` hash to the same now, by the source below ``root``.

    Nothing is run. What only pytest knows (parameters, fixtures, options, what is installed) is compared by
    :meth:`pytest_joules.dependencies.tracking.Tracking.is_unchanged`. ``graph``: one of the same root, to ask about many tests.
    """
    stored = {key: value for key, value in (code.get("functions") or {}).items() if "::" in key}
    if not stored or code.get("unknown"):
        return False
    graph = graph or Graph(Project(root))
    return graph.closure(graph.roots(stored)) == stored


def blame(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]], regressed: Collection[str]
) -> dict[str, list[str]]:
    """For each regressed test the functions in its path that changed, the most suspicious first.

    ``before`` and ``now`` are what each test executed, function by hash; a function of only one of them was added to the test's
    path or has left it. Suspicion is the Ochiai coefficient over the run's tests (Abreu, Zoeteweij and van Gemund, 2007): of
    those whose path has the change, and of those that regressed, how many are both. Of equal ones, those come first that are
    the same code with another content, then what is a function rather than a statement of a module.
    """
    differing = {
        nodeid: {key for key in before[nodeid].keys() | functions.keys() if before[nodeid].get(key) != functions.get(key)}
        for nodeid, functions in now.items()
        if nodeid in before
    }
    touched: dict[str, int] = {}
    hit: dict[str, int] = {}
    failed = set(regressed)
    for nodeid, keys in differing.items():
        for key in keys:
            touched[key] = touched.get(key, 0) + 1
            hit[key] = hit.get(key, 0) + (nodeid in failed)
    known = sum(nodeid in differing for nodeid in failed)

    def order(nodeid: str, key: str) -> tuple[float, int, int, str]:
        suspicion = hit[key] / math.sqrt(known * touched[key])
        same = key in before[nodeid] and key in now[nodeid]
        kind = 0 if "::" in key and "::<module>" not in key else 1 if "::" in key else 2
        return (-suspicion, not same, kind, key)

    return {nodeid: sorted(differing.get(nodeid, ()), key=lambda key: order(nodeid, key)) for nodeid in regressed}
