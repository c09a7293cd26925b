"""Options and ini keys become frozen settings with units; every bad value ends here, in one message.

The command line beats the marker (:mod:`pytest_joules.markers`), the marker beats the ini file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import TypeVar

import pytest

from pytest_joules.model import Record
from pytest_joules.plugin import NO

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

#: What an ini key may say that means yes; :data:`pytest_joules.plugin.NO` means no.
YES = ("1", "yes", "true", "on")

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
    predict: str | None = None
    """The model that predicts, a file or a name; an empty one: what ``joules train`` made."""
    predict_only: bool = False
    trust_model: str | None = None
    """SHA-256 of the one model file whose code may be run."""
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
            "predict": self.predict,
            "predict_only": self.predict_only,
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
    predict_only = value("predict_only", truth, False)
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
        trust_estimates=value("trust_estimates", truth, False),
        idle_watts=value("estimate_idle_watts", watts, None),
        max_watts=value("estimate_max_watts", watts, None),
        json=value("json", lambda path: here / _file(path), None),
        csv=value("csv", lambda path: here / _file(path), None),
        store=value("store", _text, None),
        top=value("top", _whole(0, "rows"), 20) or None,
        save=_name(config, "save"),
        compare=_name(config, "compare"),
        update=value("update", truth, False),
        against=value("against", _revision, None),
        threshold=value("threshold", threshold, 0.05),
        fail_on=value("fail_on", _failures, frozenset(_FAILURES[:2])),
        changed_only=value("changed_only", truth, False),
        predict=_model(config, predict_only=predict_only),
        predict_only=predict_only,
        trust_model=_trusted(config),
        watch_others=any(config.getoption(f"energy_{name}", None) is not None for name in ("save", "compare")),
    )
    _fit_together(settings)
    if settings.predict is None and "predicted" in settings.fail_on and config.getoption("energy_fail_on", None):
        raise pytest.UsageError("--energy-fail-on=predicted needs --energy-predict")
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


def _model(config: pytest.Config, *, predict_only: bool) -> str | None:
    """What predicts; ``None``: nothing does."""
    given = config.getoption("energy_predict", None)
    if given is None and (text := config.getini("energy_predict")) is not None:
        known = text.strip().lower()
        given = None if known in NO else "" if known in YES else text.strip()
    if given is None:
        return "" if predict_only else None
    return str(given)


def _trusted(config: pytest.Config) -> str | None:
    """The hash of a model that the user trusts: typed by the user, not by whoever wrote the files under test."""
    given = config.getoption("energy_trust_model", None)
    if given is None:
        return None
    typed = config.invocation_params.args
    # Of a worker of xdist these are not the user's; its controller has looked.
    if not hasattr(config, "workerinput") and not any(str(word) in (given, f"--energy-trust-model={given}") for word in typed):
        raise pytest.UsageError(
            "--energy-trust-model is taken from the command line only, not from addopts, PYTEST_ADDOPTS or a file of arguments: "
            "it lets a file run code"
        )
    if re.fullmatch(r"[0-9a-fA-F]{64}", given) is None:
        raise pytest.UsageError(f"--energy-trust-model: {given!r} is not a SHA-256 (64 hexadecimal digits): sha256sum MODEL")
    return str(given).lower()


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


#: What a run can fail on; the first two by default.
_FAILURES = ("budget", "regression", "predicted")


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


def truth(value: object) -> bool:
    """``true`` or ``false``, in any of the usual words. Raises :class:`SettingError`."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in YES:
        return True
    if str(value).lower() in NO[1:]:
        return False
    raise SettingError(f"{value!r}: write true or false")
