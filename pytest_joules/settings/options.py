"""Options and ini keys become frozen settings with units; every bad value ends here, in one message.

The command line beats the marker (:mod:`pytest_joules.settings.markers`), the marker beats the ini file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pytest_joules.settings.budgets import BudgetRule, budget_rules
from pytest_joules.settings.ini import ini
from pytest_joules.settings.places import stay_at_home
from pytest_joules.settings.values import (
    BASELINE_NAME,
    COUNT_THRESHOLD,
    COUNTERS,
    FAILURES,
    NO,
    POWERCAP,
    ROWS,
    SESSIONS,
    SYSTEMS,
    THRESHOLD,
    YES,
    SettingError,
    choice,
    failures,
    file_name,
    labels,
    part,
    revision,
    rounds,
    seconds,
    source_names,
    text_of,
    threshold,
    truth,
    variants,
    watts,
    whole,
    whole_warmups,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, for the whole session."""

    sources: tuple[str, ...] = ("auto",)
    powercap: Path = POWERCAP
    rounds: int | None = None
    warmup: int = 1
    max_time: float = 10.0
    fixed: frozenset[str] = frozenset()
    """Which of rounds, warmup and max_time the command line set: those beat the markers."""
    quick: bool = False
    """A first look: few rounds, and what tests execute is not recorded."""
    measure_idle: bool = False
    budgets: tuple[BudgetRule, ...] = ()
    ini_budgets: tuple[BudgetRule, ...] = ()
    trust_estimates: bool = False
    idle_watts: float | None = None
    max_watts: float | None = None
    json: Path | None = None
    csv: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    ci: str = "auto"
    """The CI system that is told, or ``off``; ``auto``: the one that says it is there."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the session."""
    store: str | None = None
    history_sessions: int = SESSIONS
    """Of this machine, that a history keeps; 0: all."""
    top: int | None = ROWS
    save: str | None = None
    """Name of the baseline to write; an empty one: to be made up."""
    compare: str | None = None
    """Name of the baseline to judge against; an empty one: the latest."""
    update: bool = False
    count: str | None = None
    """What counts instructions; ``None``: nothing does."""
    count_threshold: float = COUNT_THRESHOLD
    """The smallest relative change of instructions that can be one."""
    trace: str | None = None
    """What joules inside a test are shared out to: ``functions`` or ``modules``."""
    own_share: bool = False
    """Of the counters, only what this process tree drew."""
    variants: tuple[str, str | None] | None = None
    """The parameter whose values are variants to be measured in turn, and the one to compare with."""
    against: str | None = None
    """The git revision to measure in turn with this tree."""
    threshold: float = THRESHOLD
    """The smallest relative change that can be a regression."""
    fail_on: frozenset[str] = frozenset(("budget", "regression"))
    changed_only: bool = False
    predict: str | None = None
    """The model that predicts, a file or a name; an empty one: what ``joules train`` made."""
    predict_only: bool = False
    predict_share: float | None = None
    """Of the affected joules, that ``predict_only`` may spend; ``None``: what the chances of tests come to."""
    predict_first: bool = False
    trust_model: str | None = None
    """SHA-256 of the one model file whose code may be run."""
    repeat_failures: str = "note"
    """What a failure that only a repeat of a test has comes to: a ``note``, or to ``fail``."""
    watch_others: bool = False
    """Note what other processes do also where only estimates are made, since they are to be compared."""

    @property
    def keeps(self) -> bool:
        """Whether what is measured is held against other measurements, now or later: then every test is worth its precision."""
        return self.watch_others or self.update or self.changed_only or self.against is not None

    def as_record(self) -> dict[str, Any]:
        """For the report."""
        return {
            "source": ",".join(self.sources),
            "powercap": str(self.powercap),
            "rounds": self.rounds if self.rounds is not None else "auto",
            "warmup": self.warmup,
            "max_time": self.max_time,
            "quick": self.quick,
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
            "predict_share": self.predict_share,
            "predict_first": self.predict_first,
            "repeat_failures": self.repeat_failures,
            "count": self.count,
            "count_threshold": self.count_threshold,
            "labels": dict(self.labels),
            "trace": self.trace,
            "share": "own" if self.own_share else None,
            "variants": self.variants[0] if self.variants is not None else None,
        }

    @property
    def files(self) -> dict[str, Path]:
        """The reports that are asked for, by what is behind ``--energy-`` in their options."""
        named = {"json": self.json, "csv": self.csv, "html": self.html, "markdown": self.markdown}
        return {name: path for name, path in named.items() if path is not None}


def read_settings(config: pytest.Config) -> Settings:
    """All options and ini keys. Raises ``pytest.UsageError`` (exit 4) that names the option, the value and what is right."""

    def value(name: str, parse: Callable[[object], T], default: T) -> T:
        given = config.getoption(f"energy_{name}", None)
        origin = f"--energy-{name.replace('_', '-')}"
        if given is None:
            given, origin = ini(config, f"energy_{name}"), f"ini energy_{name}"
            if given is None or given == "":
                return default
        try:
            return parse(given)
        except SettingError as error:
            raise pytest.UsageError(f"{origin}: {error}") from None

    def rules(given: object, origin: str) -> tuple[BudgetRule, ...]:
        try:
            return budget_rules(given)
        except SettingError as error:
            raise pytest.UsageError(f"{origin}: {error}") from None

    here = config.invocation_params.dir
    typed = config.getoption("energy_predict_only", None) is not None
    never: tuple[bool, float | None] = (False, None)
    predict_only, predict_share = value("predict_only", lambda given: _only(given, typed=typed), never)
    predict_first = value("predict_first", truth, False)
    settings = Settings(
        sources=value("source", source_names, ("auto",)),
        powercap=value("powercap", lambda path: here / text_of(path), POWERCAP),
        rounds=value("rounds", rounds, None),
        warmup=value("warmup", whole_warmups, 1),
        max_time=value("max_time", seconds, 10.0),
        fixed=frozenset(
            name for name in ("rounds", "warmup", "max_time") if config.getoption(f"energy_{name}", None) is not None
        ),
        quick=value("quick", truth, False),
        measure_idle=value("idle", choice("measure", "off"), "off") == "measure",
        budgets=rules(config.getoption("energy_budget", None) or (), "--energy-budget"),
        ini_budgets=rules(ini(config, "energy_budgets") or (), "ini energy_budgets"),
        trust_estimates=value("trust_estimates", truth, False),
        idle_watts=value("estimate_idle_watts", watts, None),
        max_watts=value("estimate_max_watts", watts, None),
        json=value("json", lambda path: here / file_name(path), None),
        csv=value("csv", lambda path: here / file_name(path), None),
        html=value("html", lambda path: here / file_name(path), None),
        markdown=value("markdown", lambda path: here / file_name(path), None),
        ci=value("ci", choice("auto", *SYSTEMS, "off"), "auto"),
        labels=_labels(config),
        store=value("store", text_of, None),
        history_sessions=value("history_sessions", whole(0, "sessions"), SESSIONS),
        top=value("top", whole(0, "rows"), ROWS) or None,
        save=_name(config, "save"),
        compare=_name(config, "compare"),
        update=value("update", truth, False),
        count=_counter(value("count", choice(*COUNTERS, "true", "off"), None)),
        count_threshold=value("count_threshold", threshold, COUNT_THRESHOLD),
        trace=_unless_off(value("trace", choice("functions", "modules", "off"), None)),
        own_share=value("share", choice("own", "off"), "off") == "own",
        variants=value("variants", variants, None),
        against=value("against", revision, None),
        threshold=value("threshold", threshold, THRESHOLD),
        fail_on=value("fail_on", failures, frozenset(FAILURES[:2])),
        changed_only=value("changed_only", truth, False),
        predict=_model(config, implied=predict_only or predict_first),
        predict_only=predict_only,
        predict_share=predict_share,
        predict_first=predict_first,
        trust_model=_trusted(config),
        repeat_failures=value("repeat_failures", choice("note", "fail"), "note"),
        watch_others=any(config.getoption(f"energy_{name}", None) is not None for name in ("save", "compare")),
    )
    settings = _quick(config, settings)
    _fit_together(settings)
    stay_at_home(config, settings.files, settings.store)
    if settings.predict is None and "predicted" in settings.fail_on and config.getoption("energy_fail_on", None):
        raise pytest.UsageError("--energy-fail-on=predicted needs --energy-predict")
    return settings


def _labels(config: pytest.Config) -> dict[str, str]:
    """The command line's beat the ini file's."""
    origin = "ini energy_label"
    try:
        found = labels(ini(config, "energy_label") or ())
        origin = "--energy-label"
        return found | labels(config.option.energy_label or ())
    except SettingError as error:
        raise pytest.UsageError(f"{origin}: {error}") from None


def _unless_off(said: str | None) -> str | None:
    return None if said == "off" else said


def _counter(said: str | None) -> str | None:
    return "auto" if said == "true" else _unless_off(said)


#: What ``--energy-quick`` comes to.
QUICK_ROUNDS = 3


def _quick(config: pytest.Config, settings: Settings) -> Settings:
    """The settings of a first look, where one is asked for and nothing asks for more."""
    if not settings.quick:
        return settings
    given = {"save": settings.save, "compare": settings.compare, "against": settings.against}
    more = [option for option, value in given.items() if value is not None]
    more += ["changed-only"] if settings.changed_only else []
    typed = config.getoption("energy_quick", None) is not None
    if more and not typed:
        return replace(settings, quick=False)  # the ini file's wish for every run; this one's is another
    if more:
        raise pytest.UsageError(
            f"--energy-quick and --energy-{more[0]} do not go together: three rounds decide nothing, and what tests execute is "
            "not recorded. Leave --energy-quick out"
        )
    if settings.rounds is not None:
        return settings  # somebody said how many
    if not typed:
        return replace(settings, rounds=QUICK_ROUNDS)
    return replace(settings, rounds=QUICK_ROUNDS, fixed=settings.fixed | {"rounds"})


def _fit_together(settings: Settings) -> None:
    if settings.idle_watts is not None and settings.max_watts is not None and settings.idle_watts >= settings.max_watts:
        raise pytest.UsageError(
            f"energy_estimate_idle_watts ({settings.idle_watts:g} W) must be below energy_estimate_max_watts "
            f"({settings.max_watts:g} W)"
        )
    options: dict[Path, str] = {}
    for name, path in settings.files.items():
        if (other := options.setdefault(path, name)) != name:
            raise pytest.UsageError(f"--energy-{other} and --energy-{name} both name {path}: give each a file of its own")
    if settings.against is not None and (settings.compare is not None or settings.save is not None):
        other = "compare" if settings.compare is not None else "save"
        raise pytest.UsageError(f"--energy-against and --energy-{other} do not go together: each is a session of its own")
    if settings.against is not None and settings.count is not None:
        raise pytest.UsageError(
            "--energy-against and --energy-count do not go together: save the counts of that revision there "
            "(--energy-count --energy-save=NAME), and compare with them here"
        )
    if settings.against is not None and settings.changed_only:
        raise pytest.UsageError("--energy-against and --energy-changed-only do not go together: the one measures every test anew")
    if settings.variants is not None:
        others = {"against": settings.against, "compare": settings.compare, "count": settings.count, "trace": settings.trace}
        given = [name for name, value in others.items() if value is not None]
        given += ["changed-only"] if settings.changed_only else []
        given += ["share=own"] if settings.own_share else []
        if given:
            raise pytest.UsageError(
                f"--energy-variants and --energy-{given[0]} do not go together: the one measures variants in turn, in processes "
                "of their own, the other each test by itself. Run them one after another"
            )
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


def _only(given: object, *, typed: bool) -> tuple[bool, float | None]:
    """Whether to run only what may have become dearer, and the share of the affected joules that may be spent on it.

    1 is a share, and so is 0 where it is ``typed``, which is wrong; an ini file says no with it.
    """
    text = str(given).strip().lower()
    if text in {*YES, *NO} - {"1"} and not (typed and text in ("", "0")):
        return text in YES, None
    return True, part(given)


def _model(config: pytest.Config, *, implied: bool) -> str | None:
    """What predicts; ``None``: nothing does. ``implied``: another option asks for predicting."""
    given = config.getoption("energy_predict", None)
    if given is None and (said := ini(config, "energy_predict")) is not None:
        if not isinstance(said, str | bool | int):
            raise pytest.UsageError(f"ini energy_predict: {said!r}: write true, false or a MODEL in quotes")
        text = str(said).strip()
        given = None if text.lower() in NO else "" if text.lower() in YES else text
    if given is None:
        return "" if implied else None
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
