"""Options, ini keys and markers become frozen settings with units; every bad value ends here, in one message.

The command line beats the marker, the marker beats the ini file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from pathlib import Path
from typing import TypeVar

import pytest

from pytest_joules.model import Record

T = TypeVar("T")

#: Joules in one of each unit that a budget may be written in.
UNITS = {
    "nJ": 1e-9,
    "µJ": 1e-6,
    "μJ": 1e-6,
    "uJ": 1e-6,
    "mJ": 1e-3,
    "J": 1.0,
    "kJ": 1e3,
    "MJ": 1e6,
    "mWh": 3.6,
    "Wh": 3600.0,
    "kWh": 3.6e6,
}

#: What a baseline may be called.
BASELINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_QUANTITY = re.compile(
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)(?![a-z]))\s*([^\d\s]*)\s*", re.IGNORECASE
)


class SettingError(ValueError):
    """A value that a person wrote is wrong; the message says which, where and what is right."""


def joules(value: object) -> float:
    """``2.5``, ``"500 mJ"``, ``"2 J"``, ``"0.1 Wh"`` in joules. Raises :class:`SettingError`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise SettingError(f"{value!r} is not an energy: write joules as a number, or a text such as '500 mJ'")
    unit = "J"
    number: float
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None:
            raise SettingError(f"{value!r} is not an energy: write a number and a unit, such as '500 mJ' or '2.5 J'")
        number, unit = float(match[1]), match[2] or "J"
    else:
        number = _float(value)
    if unit not in UNITS:
        raise SettingError(f"{value!r}: {unit!r} is not a unit of energy; known are {', '.join(u for u in UNITS if u != 'μJ')}")
    result = number * UNITS[unit]
    if not math.isfinite(result) or result <= 0:
        raise SettingError(f"{value!r}: an energy budget must be above 0 J and finite")
    return result


def _float(value: float) -> float:
    """Also of whole numbers beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _number(least: float, what: str, *, above: bool = False) -> Callable[[object], float]:
    def parse(value: object) -> float:
        try:
            if isinstance(value, bool):
                raise TypeError
            number = _float(value)  # type: ignore[arg-type]  # whatever a person wrote; the error is caught
        except (TypeError, ValueError):
            raise SettingError(f"{value!r} is not a number of {what}") from None
        if not math.isfinite(number) or number < least or (above and number == least):
            raise SettingError(f"{value!r}: must be finite and {'above' if above else 'at least'} {least:g} {what}")
        return number

    return parse


def _whole(least: int, what: str) -> Callable[[object], int]:
    def parse(value: object) -> int:
        try:
            if isinstance(value, bool | float):
                raise TypeError
            number = int(value)  # type: ignore[call-overload]  # whatever a person wrote; the error is caught
        except (TypeError, ValueError):
            raise SettingError(f"{value!r} is not a whole number of {what}") from None
        if number < least:
            raise SettingError(f"{value!r}: must be at least {least} {what}")
        return int(number)

    return parse


seconds = _number(0, "seconds", above=True)
watts = _number(0, "watts", above=True)
whole_rounds = _whole(1, "rounds")
whole_warmups = _whole(0, "rounds")
whole_iterations = _whole(1, "iterations")


def rounds(value: object) -> int | None:
    """``auto`` (``None``) or a whole number from 1."""
    if isinstance(value, str) and value.strip() == "auto":
        return None
    try:
        return whole_rounds(value)
    except SettingError as error:
        raise SettingError(f"{error}; or write auto") from None


@dataclass(frozen=True, slots=True)
class Budget:
    """An upper limit that a person wrote."""

    joules: float
    where: str
    """For the report: who set it."""


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """``PATTERN = JOULES`` for all node ids that the pattern matches."""

    pattern: str
    joules: float

    @property
    def specificity(self) -> int:
        return sum(character not in "*?[]" for character in self.pattern)

    def matches(self, nodeid: str) -> bool:
        # Node ids have brackets of their own: besides a set of letters a pair of them also means itself, as in test_it[*].
        patterns = (self.pattern, self.pattern.replace("[", "[[]"))
        return self.pattern == nodeid or any(re.match(translate(pattern), nodeid) for pattern in patterns)


def budget_rule(text: str) -> BudgetRule:
    """Parse ``PATTERN=JOULES``. Raises :class:`SettingError`."""
    pattern, sign, amount = text.rpartition("=")
    pattern = pattern.strip()
    if not sign or not pattern or not amount.strip():
        raise SettingError(f"{text!r} is not PATTERN=JOULES, such as 'tests/test_io.py::*=2 J'")
    if pattern.count("[") != pattern.count("]"):
        raise SettingError(f"{pattern!r} is a malformed pattern: a bracket is not closed (for a literal one write '[[]')")
    try:
        re.compile(translate(pattern))
    except re.error as error:
        raise SettingError(f"{pattern!r} is a malformed pattern: {error}") from None
    return BudgetRule(pattern, joules(amount))


def most_specific(rules: Sequence[BudgetRule], nodeid: str) -> BudgetRule | None:
    """The rule that matches with the most letters of its own; of equals the last one; an exact node id beats all."""
    matching = [rule for rule in rules if rule.matches(nodeid)]
    return max(
        enumerate(matching), key=lambda entry: (entry[1].pattern == nodeid, entry[1].specificity, entry[0]), default=(0, None)
    )[1]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, for the whole session."""

    sources: tuple[str, ...] = ("auto",)
    powercap: Path = Path("/sys/class/powercap")
    rounds: int | None = None
    warmup: int = 1
    max_time: float = 10.0
    fixed: frozenset[str] = frozenset()
    """Which of rounds, warmup and max_time the command line set: those beat the markers."""
    measure_idle: bool = False
    budgets: tuple[BudgetRule, ...] = ()
    ini_budgets: tuple[BudgetRule, ...] = ()
    trust_estimates: bool = False
    idle_watts: float | None = None
    max_watts: float | None = None
    json: Path | None = None
    csv: Path | None = None
    store: str | None = None
    top: int | None = 20
    save: str | None = None
    """Name of the baseline to write; an empty one: to be made up."""
    compare: str | None = None
    """Name of the baseline to judge against; an empty one: the latest."""
    update: bool = False
    against: str | None = None
    """The git revision to measure in turn with this tree."""
    threshold: float = 0.05
    """The smallest relative change that can be a regression."""
    fail_on: frozenset[str] = frozenset(("budget", "regression"))
    changed_only: bool = False
    watch_others: bool = False
    """Note what other processes do also where only estimates are made, since they are to be compared."""

    def as_record(self) -> Record:
        """For the report."""
        return {
            "source": ",".join(self.sources),
            "powercap": str(self.powercap),
            "rounds": self.rounds if self.rounds is not None else "auto",
            "warmup": self.warmup,
            "max_time": self.max_time,
            "idle": "measure" if self.measure_idle else "off",
            "trust_estimates": self.trust_estimates,
            "estimate_idle_watts": self.idle_watts,
            "estimate_max_watts": self.max_watts,
            "budgets": {rule.pattern: rule.joules for rule in (*self.ini_budgets, *self.budgets)},
            "threshold": self.threshold,
            "fail_on": sorted(self.fail_on),
            "changed_only": self.changed_only,
        }


def read_settings(config: pytest.Config) -> Settings:
    """All options and ini keys. Raises ``pytest.UsageError`` (exit 4) that names the option, the value and what is right."""

    def value(name: str, parse: Callable[[object], T], default: T) -> T:
        given = config.getoption(f"energy_{name}", None)
        origin = f"--energy-{name.replace('_', '-')}"
        if given is None:
            given, origin = config.getini(f"energy_{name}"), f"ini energy_{name}"
            if given is None or given == "":
                return default
        try:
            return parse(given)
        except SettingError as error:
            raise pytest.UsageError(f"{origin}: {error}") from None

    def rules(given: Sequence[str], origin: str) -> tuple[BudgetRule, ...]:
        try:
            return tuple(budget_rule(text) for text in given)
        except SettingError as error:
            raise pytest.UsageError(f"{origin}: {error}") from None

    here = config.invocation_params.dir
    settings = Settings(
        sources=value("source", _sources, ("auto",)),
        powercap=value("powercap", lambda path: here / _text(path), Path("/sys/class/powercap")),
        rounds=value("rounds", rounds, None),
        warmup=value("warmup", whole_warmups, 1),
        max_time=value("max_time", seconds, 10.0),
        fixed=frozenset(
            name for name in ("rounds", "warmup", "max_time") if config.getoption(f"energy_{name}", None) is not None
        ),
        measure_idle=value("idle", _choice("measure", "off"), "off") == "measure",
        budgets=rules(config.getoption("energy_budget", None) or (), "--energy-budget"),
        ini_budgets=rules(config.getini("energy_budgets"), "ini energy_budgets"),
        trust_estimates=value("trust_estimates", _truth, False),
        idle_watts=value("estimate_idle_watts", watts, None),
        max_watts=value("estimate_max_watts", watts, None),
        json=value("json", lambda path: here / _file(path), None),
        csv=value("csv", lambda path: here / _file(path), None),
        store=value("store", _text, None),
        top=value("top", _whole(0, "rows"), 20) or None,
        save=_name(config, "save"),
        compare=_name(config, "compare"),
        update=value("update", _truth, False),
        against=value("against", _revision, None),
        threshold=value("threshold", threshold, 0.05),
        fail_on=value("fail_on", _failures, frozenset(_FAILURES)),
        changed_only=value("changed_only", _truth, False),
        watch_others=any(config.getoption(f"energy_{name}", None) is not None for name in ("save", "compare")),
    )
    _fit_together(settings)
    return settings


def _fit_together(settings: Settings) -> None:
    if settings.idle_watts is not None and settings.max_watts is not None and settings.idle_watts >= settings.max_watts:
        raise pytest.UsageError(
            f"energy_estimate_idle_watts ({settings.idle_watts:g} W) must be below energy_estimate_max_watts "
            f"({settings.max_watts:g} W)"
        )
    if settings.json is not None and settings.json == settings.csv:
        raise pytest.UsageError(f"--energy-json and --energy-csv both name {settings.json}: give each a file of its own")
    if settings.against is not None and (settings.compare is not None or settings.save is not None):
        other = "compare" if settings.compare is not None else "save"
        raise pytest.UsageError(f"--energy-against and --energy-{other} do not go together: each is a session of its own")
    if settings.against is not None and settings.changed_only:
        raise pytest.UsageError("--energy-against and --energy-changed-only do not go together: the one measures every test anew")
    if settings.update and settings.compare is None:
        raise pytest.UsageError("--energy-update needs --energy-compare=NAME: it changes that baseline")
    if settings.save is not None and settings.update:
        raise pytest.UsageError("--energy-save and --energy-update do not go together: one writes a baseline, one mends it")


def _name(config: pytest.Config, option: str) -> str | None:
    """The name of a baseline; empty where the option stands without one."""
    given = config.getoption(f"energy_{option}", None)
    if not given:
        return None if given is None else ""
    if (config.invocation_params.dir / given).exists():
        raise pytest.UsageError(
            f"--energy-{option}: {given!r} is a file or a folder here, not the name of a baseline: write --energy-{option}=NAME, "
            f"or put --energy-{option} last to leave the name out"
        )
    if not BASELINE_NAME.fullmatch(given):
        raise pytest.UsageError(
            f"--energy-{option}: {given!r} is not the name of a baseline: write letters, digits, '.', '_' and '-'"
        )
    return str(given)


def _revision(value: object) -> str:
    text = _text(value)
    if text.startswith("-"):
        raise SettingError(f"{text!r} is not a git revision: write a branch, a tag or a commit, such as origin/main")
    return text


def threshold(value: object) -> float:
    """``5%`` or ``0.05`` as a share."""
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise SettingError(f"{value!r} is not a share: write 5% or 0.05") from None
    if not 0 <= share <= 10:
        raise SettingError(f"{value!r}: must be from 0% to 1000%")
    if share >= 1 and not text.endswith("%"):
        raise SettingError(f"{value!r} would mean {100 * share:g} %: write {text}% or {share / 100:g}")
    return share


_FAILURES = ("budget", "regression")


def _failures(value: object) -> frozenset[str]:
    words = [word.strip() for word in str(value).split(",")]
    if words == ["none"]:
        return frozenset()
    for word in words:
        if word not in _FAILURES:
            raise SettingError(f"{word!r}: choose from {', '.join(_FAILURES)} with commas between them, or none")
    return frozenset(words)


def _text(value: object) -> str:
    text = str(value).strip()
    if not text:
        raise SettingError("is empty")
    return text


def _file(value: object) -> str:
    text = _text(value)
    if text.endswith(("/", os.sep)):  # a Path forgets that
        raise SettingError(f"{text!r} names a folder, not a file")
    return text


def _sources(value: object) -> tuple[str, ...]:
    names = tuple(name.strip() for name in str(value).split(","))
    if not all(names):
        raise SettingError(f"{value!r}: write auto, or source names with commas between them, such as rapl,nvml")
    return names


def _choice(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in allowed:
            raise SettingError(f"{value!r}: choose from {', '.join(allowed)}")
        return str(value)

    return parse


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("1", "yes", "true", "on"):
        return True
    if str(value).lower() in ("0", "no", "false", "off"):
        return False
    raise SettingError(f"{value!r}: write true or false")


# Markers


@dataclass(frozen=True, slots=True)
class Effort:
    """How much measuring a test is worth."""

    rounds: int | None = None
    """``None`` for auto."""
    iterations: int = 1
    warmup: int = 1
    max_time: float = 10.0
    """Seconds, warm-up included."""

    def within(self, seconds: float) -> Effort:
        """The same in no more than ``seconds``."""
        return replace(self, max_time=min(self.max_time, seconds))


@dataclass(frozen=True, slots=True)
class ItemSettings:
    """What holds for one test."""

    effort: Effort = field(default_factory=Effort)
    skip: bool = False
    budget: Budget | None = None


_ENERGY: Mapping[str, Callable[[object], object]] = {
    "rounds": rounds,
    "iterations": whole_iterations,
    "warmup": whole_warmups,
    "max_time": seconds,
    "skip": _truth,
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
    effort = Effort(
        rounds=settings.rounds if "rounds" in settings.fixed else _get(asked, "rounds", settings.rounds),
        iterations=_get(asked, "iterations", 1),
        warmup=settings.warmup if "warmup" in settings.fixed else _get(asked, "warmup", settings.warmup),
        max_time=settings.max_time if "max_time" in settings.fixed else _get(asked, "max_time", settings.max_time),
    )
    return ItemSettings(effort, _get(asked, "skip", False), _budget(item, settings))


def _budget(item: pytest.Item, settings: Settings) -> Budget | None:
    marked = None
    marker = item.get_closest_marker("energy_budget")
    if marker is not None:
        given = _keywords(item, marker, {"joules": joules})
        if "joules" not in given:
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.energy_budget needs joules=, such as joules=2.5 or joules='500 mJ'"
            )
        marked = Budget(_get(given, "joules", 0.0), "marker energy_budget")
    rule = most_specific(settings.budgets, item.nodeid)
    if rule is not None:
        return Budget(rule.joules, f"--energy-budget {rule.pattern}")
    if marked is not None:
        return marked
    rule = most_specific(settings.ini_budgets, item.nodeid)
    return Budget(rule.joules, f"ini energy_budgets {rule.pattern}") if rule is not None else None


def _keywords(item: pytest.Item, marker: pytest.Mark, known: Mapping[str, Callable[[object], object]]) -> dict[str, object]:
    where = f"{item.nodeid}: @pytest.mark.{marker.name}"
    if marker.args:
        raise pytest.UsageError(
            f"{where} takes keywords only ({', '.join(f'{name}=' for name in known)}), not {marker.args[0]!r}"
        )
    result = {}
    for name, given in marker.kwargs.items():
        if name not in known:
            raise pytest.UsageError(f"{where} does not know {name!r}; it takes {', '.join(f'{name}=' for name in known)}")
        try:
            result[name] = known[name](given)
        except SettingError as error:
            raise pytest.UsageError(f"{where}: {name}={error}") from None
    return result


def _get(asked: Mapping[str, object], name: str, default: T) -> T:
    return asked.get(name, default)  # type: ignore[return-value]  # each keyword's parser returns its field's type
