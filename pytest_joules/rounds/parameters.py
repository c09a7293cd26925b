"""The parameters of a test: the id that the value of each has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest

_PLAIN = (str, int, float, bool, type(None))


def parameters(item: pytest.Item) -> dict[str, str]:
    """By its name, the id of each parameter's value, as it stands in the node id; empty for a test without parameters.

    Parameters of one ``parametrize`` share an id, and stand together: ``{"model,bits": "fp32-32", "length": "64"}``. Where pytest
    does not say which is whose, a plain value stands for itself, any other by its number.
    """
    spec = getattr(item, "callspec", None)
    if spec is None:
        return {}
    ids: list[str] = list(getattr(spec, "_idlist", ()))
    groups = list(_groups(spec.params, [_names(marker) for marker in item.iter_markers("parametrize")]))
    if len(groups) == len(ids):
        return {",".join(names): text for names, text in zip(groups, ids, strict=True)}
    return {
        name: str(value) if isinstance(value, _PLAIN) else f"{name}{spec.indices.get(name, 0)}"
        for name, value in spec.params.items()
    }


def _names(marker: pytest.Mark) -> frozenset[str]:
    given = marker.args[0] if marker.args else marker.kwargs.get("argnames", ())
    if isinstance(given, str):
        given = [name.strip() for name in given.split(",") if name.strip()]
    return frozenset(map(str, given))


def _groups(names: Mapping[str, object], together: Sequence[frozenset[str]]) -> Iterable[list[str]]:
    """The names in their order, those of one marker together."""
    group: list[str] = []
    for name in names:
        if group and not any({group[0], name} <= one for one in together):
            yield group
            group = []
        group.append(name)
    if group:
        yield group
