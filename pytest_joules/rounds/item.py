"""What pytest knows of a test: its fixtures, its ini file, the examples of a doctest."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest
from _pytest.doctest import DoctestItem


def fixtures_up(item: pytest.Item) -> Iterable[object]:
    """The fixtures that the round of ``item`` that runs has used until now, wider ones among them: pytest's definitions."""
    definitions: dict[str, object] = getattr(getattr(item, "_request", None), "_fixture_defs", {})
    return definitions.values()


def names_of_fixtures_up(item: pytest.Item) -> Collection[str]:
    """Their names."""
    definitions: dict[str, object] = getattr(getattr(item, "_request", None), "_fixture_defs", {})
    return definitions.keys()


def fixtures_of(item: pytest.Item) -> tuple[str, ...]:
    """The fixtures that ``item`` is known to need before it runs, each with where it is defined."""
    info = getattr(item, "_fixtureinfo", None)
    if info is None:
        return ()
    found = []
    for name in info.names_closure:
        for definition in info.name2fixturedefs.get(name, ())[-1:]:
            function = definition.func
            place = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
            found.append(f"{name} {definition.baseid} {place} {definition.scope}")
    return tuple(found)


def ini_values(config: pytest.Config) -> dict[str, str]:
    """What the ini file says, key by key, as it stands there."""
    values: dict[str, object] = vars(config).get("_inicfg") or vars(config).get("inicfg") or {}  # pytest 9 and later; before
    return {key: str(getattr(value, "value", value)) for key, value in values.items()}


def doctest_source(item: pytest.Item) -> str | None:
    """The examples of a doctest; ``None`` for any other test."""
    if not isinstance(item, DoctestItem):
        return None
    return "".join(f"{example.source}{sorted(example.options.items())}" for example in item.dtest.examples)
