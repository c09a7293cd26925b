"""Tests in another order than the one they were collected in: what pytest sets up for several of them stays up meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from _pytest.fixtures import reorder_items

#: By which tests say that their order matters.
MARKERS = ("order", "dependency")

Group = Callable[[pytest.Item], "str | None"]


def groups(items: Sequence[pytest.Item]) -> list[Group]:
    """Which tests share what is wider than a test: of an item its package, its file and its class, the widest first, each only
    where a fixture (``setup_module`` and ``setUpClass`` among them) of some test in it has that scope.

    Tests that are no functions of pytest's stay with their file: nobody knows what it sets up.
    """
    packages: set[str] = set()
    shared: dict[str, set[str]] = {"module": set(), "class": set()}
    for item in items:
        info = getattr(item, "_fixtureinfo", None)
        if info is None or not isinstance(item, pytest.Function):
            shared["module"].add(_file(item))
            continue
        for definitions in info.name2fixturedefs.values():
            for definition in definitions[-1:]:
                if definition.scope == "package" and definition.baseid:
                    packages.add(definition.baseid)
                elif definition.scope == "module":
                    shared["module"].add(_file(item))
                elif definition.scope == "class":
                    shared["class"].add(_class(item))
    ordered = sorted(packages, key=len)

    def package(item: pytest.Item) -> str | None:
        return next((base for base in ordered if item.nodeid.startswith(f"{base}/")), None)

    return [
        package,
        lambda item: found if (found := _file(item)) in shared["module"] else None,
        lambda item: found if (found := _class(item)) in shared["class"] else None,
    ]


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _class(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0].rpartition("::")[0]


def with_parameters_together(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """As pytest orders what it collected: tests that share a parameter of a wider fixture are neighbours, so that it is set up
    once for each value; else as they were."""
    return list(reorder_items(items))


def ordered_by_marker(items: Sequence[pytest.Item]) -> str | None:
    """The marker by which some test says that its order matters."""
    return next((name for name in MARKERS for item in items if item.get_closest_marker(name) is not None), None)


def failed_first(config: pytest.Config) -> frozenset[str]:
    """With pytest's ``--ff``, the tests that failed in the last run."""
    cache = getattr(config, "cache", None)
    if cache is None or not config.getoption("failedfirst", False):
        return frozenset()
    found = cache.get("cache/lastfailed", {})
    return frozenset(found) if isinstance(found, dict) else frozenset()
