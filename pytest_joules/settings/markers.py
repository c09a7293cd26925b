"""What holds for one test: its markers, where the command line does not say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest

from pytest_joules.model import Effort
from pytest_joules.settings.budgets import Budget, CountBudget, most_specific
from pytest_joules.settings.options import Settings
from pytest_joules.settings.values import (
    SettingError,
    choice,
    id_of,
    instructions,
    joules,
    name_of,
    rounds,
    seconds,
    truth,
    whole_iterations,
    whole_warmups,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VariantsOf:
    """What a test's variants are."""

    parameter: str
    reference: str | None = None
    """The id of the value to compare with; ``None``: the first."""
    load: str = "auto"
    """``block``: what the fixtures hold is made anew for each block of rounds; ``auto``: where memory lacks."""
    where: str = "--energy-variants"
    """Who says so, for messages."""


@dataclass(frozen=True, slots=True)
class ItemSettings:
    """What holds for one test."""

    effort: Effort = field(default_factory=Effort)
    skip: bool = False
    budget: Budget | None = None
    count_budget: CountBudget | None = None
    variants: VariantsOf | None = None


_ENERGY: Mapping[str, Callable[[object], object]] = {
    "rounds": rounds,
    "iterations": whole_iterations,
    "warmup": whole_warmups,
    "max_time": seconds,
    "skip": truth,
}


def item_settings(item: pytest.Item, settings: Settings) -> ItemSettings:
    """Session settings and the test's markers together.

    Raises:
        pytest.UsageError: a marker has an unknown keyword, a bad unit or a bad value; the message names the test.
    """
    asked: dict[str, object] = {}
    for marker in item.iter_markers("energy"):  # the closest first
        for name, given in _keywords(item, marker, _ENERGY).items():
            asked.setdefault(name, given)
    own_time = None if "max_time" in settings.fixed else asked.get("max_time")
    effort = Effort(
        rounds=settings.rounds if "rounds" in settings.fixed else _get(asked, "rounds", settings.rounds),
        iterations=_get(asked, "iterations", 1),
        warmup=settings.warmup if "warmup" in settings.fixed else _get(asked, "warmup", settings.warmup),
        max_time=settings.max_time if "max_time" in settings.fixed else _get(asked, "max_time", settings.max_time),
        bound=f"max_time={own_time} of its marker" if own_time is not None else "",
    )
    return ItemSettings(
        effort,
        _get(asked, "skip", False),
        budget_of(item, settings),
        _count_budget(item),
        _variants_of(item, settings),
    )


_BUDGET: Mapping[str, Callable[[object], object]] = {"joules": joules, "instructions": instructions}


def _marked_budget(item: pytest.Item) -> dict[str, object]:
    marker = item.get_closest_marker("energy_budget")
    if marker is None:
        return {}
    given = _keywords(item, marker, _BUDGET)
    if not given:
        raise pytest.UsageError(
            f"{item.nodeid}: @pytest.mark.energy_budget needs joules=, such as joules=2.5 or joules='500 mJ', or "
            "instructions='20M'"
        )
    return given


def _count_budget(item: pytest.Item) -> CountBudget | None:
    given = _marked_budget(item)
    return CountBudget(_get(given, "instructions", 0), "marker energy_budget") if "instructions" in given else None


def budget_of(item: pytest.Item, settings: Settings) -> Budget | None:
    """The budget that holds for a test. Raises as :func:`item_settings` does."""
    given = _marked_budget(item)
    marked = Budget(_get(given, "joules", 0.0), "marker energy_budget") if "joules" in given else None
    rule = most_specific(settings.budgets, item.nodeid)
    if rule is not None:
        return Budget(rule.joules, f"--energy-budget {rule.pattern}")
    if marked is not None:
        return marked
    rule = most_specific(settings.ini_budgets, item.nodeid)
    return Budget(rule.joules, f"ini energy_budgets {rule.pattern}") if rule is not None else None


_VARIANTS: Mapping[str, Callable[[object], object]] = {"parameter": name_of, "reference": id_of, "load": choice("auto", "block")}


def _variants_of(item: pytest.Item, settings: Settings) -> VariantsOf | None:
    """Whose values are variants, where this test has that parameter. The command line beats the marker."""
    known = getattr(getattr(item, "callspec", None), "params", {})
    marker = item.get_closest_marker("energy_variants")
    marked = _marked_variants(item, marker, known) if marker is not None else None
    if settings.variants is None or settings.variants[0] not in known:
        return marked
    parameter, reference = settings.variants
    if marked is not None and marked.parameter == parameter:
        return replace(marked, reference=reference or marked.reference)
    return VariantsOf(parameter, reference)


def _marked_variants(item: pytest.Item, marker: pytest.Mark, known: Collection[str]) -> VariantsOf:
    where = f"{item.nodeid}: @pytest.mark.energy_variants"
    positional = dict(zip(_VARIANTS, marker.args, strict=False))
    if len(marker.args) > 2 or (twice := positional.keys() & marker.kwargs.keys()):
        what = f"{min(twice)}= twice" if len(marker.args) <= 2 else f"{len(marker.args)} values"
        raise pytest.UsageError(f"{where} has {what}: write energy_variants('model', reference='fp32')")
    given = _parsed(where, {**positional, **marker.kwargs}, _VARIANTS)
    if "parameter" not in given:
        raise pytest.UsageError(f"{where} needs the name of a parameter: energy_variants('model', reference='fp32')")
    parameter = str(given["parameter"])
    if parameter not in known:
        has = f"its parameters are {', '.join(known)}" if known else "it has none: add @pytest.mark.parametrize"
        raise pytest.UsageError(f"{where}: the test has no parameter {parameter!r}; {has}")
    return VariantsOf(parameter, _get(given, "reference", None), _get(given, "load", "auto"), "@pytest.mark.energy_variants")


def _keywords(item: pytest.Item, marker: pytest.Mark, known: Mapping[str, Callable[[object], object]]) -> dict[str, object]:
    where = f"{item.nodeid}: @pytest.mark.{marker.name}"
    if marker.args:
        raise pytest.UsageError(
            f"{where} takes keywords only ({', '.join(f'{name}=' for name in known)}), not {marker.args[0]!r}"
        )
    return _parsed(where, marker.kwargs, known)


def _parsed(where: str, asked: Mapping[str, object], known: Mapping[str, Callable[[object], object]]) -> dict[str, object]:
    result = {}
    for name, given in asked.items():
        if name not in known:
            raise pytest.UsageError(f"{where} does not know {name!r}; it takes {', '.join(f'{name}=' for name in known)}")
        try:
            result[name] = known[name](given)
        except SettingError as error:
            raise pytest.UsageError(f"{where}: {name}={error}") from None
    return result


def _get(asked: Mapping[str, object], name: str, default: T) -> T:
    return asked.get(name, default)  # type: ignore[return-value]  # each keyword's parser returns its field's type


SETTINGS = pytest.StashKey[ItemSettings]()
#: Of a block that others follow: its rounds are not traced.
UNTRACED = pytest.StashKey[bool]()
