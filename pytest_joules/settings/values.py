"""What a person wrote of one option, ini key or marker becomes a value in its unit; a bad one ends in one message."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path

#: What holds where nobody says otherwise: in a run, for the command, and in their help.
POWERCAP = Path("/sys/class/powercap")
THRESHOLD = 0.05
"""The smallest relative change that can be a regression."""
COUNT_THRESHOLD = 0.01
"""The smallest relative change of instructions that can be one."""
COUNTERS = ("auto", "callgrind", "perf")
"""What can count instructions."""
SYSTEMS = ("github", "gitlab")
"""Of CI, that are told what came of a run."""
ROWS = 20
"""Of a table."""
SESSIONS = 200
"""Of a machine, that a history keeps."""
#: The folder of the baselines, in the project.
BASELINES = ".joules"
#: What a baseline may be called.
BASELINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

#: What an option or ini key may say that means: not, and what it may say that means: yes.
NO = ("", "0", "no", "false", "off")
YES = ("1", "yes", "true", "on")
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

#: What a run can fail on; the first two by default.
FAILURES = ("budget", "regression", "predicted")

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


#: Instructions in one of each unit that a budget may be written in.
_INSTRUCTIONS = {
    f"{prefix}{unit}": 10.0**power for prefix, power in (("", 0), ("k", 3), ("M", 6), ("G", 9)) for unit in ("", "instr")
}


def instructions(value: object) -> int:
    """``20000000``, ``"20M"``, ``"1.5 Ginstr"`` in instructions. Raises :class:`SettingError`."""
    match = None if isinstance(value, bool) else _QUANTITY.fullmatch(str(value))
    if match is None or match[2] not in _INSTRUCTIONS:
        raise SettingError(f"{value!r} is not a number of instructions: write one, such as 20000000, '20M' or '20 Minstr'")
    number = float(match[1]) * _INSTRUCTIONS[match[2]]
    if not 1 <= number < 1e18:
        raise SettingError(f"{value!r}: a budget must be at least 1 instruction and finite")
    return round(number)


def _float(value: float) -> float:
    """Also of whole numbers beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def number_of(least: float, what: str, *, above: bool = False) -> Callable[[object], float]:
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


def whole(least: int, what: str) -> Callable[[object], int]:
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


seconds = number_of(0, "seconds", above=True)
watts = number_of(0, "watts", above=True)
whole_rounds = whole(1, "rounds")
whole_warmups = whole(0, "rounds")
whole_iterations = whole(1, "iterations")


def rounds(value: object) -> int | None:
    """``auto`` (``None``) or a whole number from 1."""
    if isinstance(value, str) and value.strip() == "auto":
        return None
    try:
        return whole_rounds(value)
    except SettingError as error:
        raise SettingError(f"{error}; or write auto") from None


def revision(value: object) -> str:
    text = text_of(value)
    if text.startswith("-"):
        raise SettingError(f"{text!r} is not a git revision: write a branch, a tag or a commit, such as origin/main")
    return text


def variants(value: object) -> tuple[str, str | None]:
    """``model`` or ``model:fp32``: a parameter's name, and the id of the value to compare with. Raises :class:`SettingError`."""
    name, colon, reference = text_of(value).partition(":")
    if not name.isidentifier() or (colon and not reference):
        raise SettingError(f"{value!r}: write the name of a parameter, or NAME:REFERENCE, such as model:fp32")
    return name, reference or None


def name_of(value: object) -> str:
    """A parameter's name. Raises :class:`SettingError`."""
    if not isinstance(value, str) or not value.isidentifier():
        raise SettingError(f"{value!r}: write the name of a parameter, such as 'model'")
    return value


def id_of(value: object) -> str:
    """The id of a parameter's value. Raises :class:`SettingError`."""
    if not isinstance(value, str | int | float) or value == "":
        raise SettingError(f"{value!r}: write the id of a value, as it stands in the brackets of the node id, such as 'fp32'")
    return str(value)


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


def part(value: object) -> float:
    """``30%`` or ``0.3`` as a share, above 0 and at most 1. Raises :class:`SettingError`."""
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = math.nan
    if math.isnan(share):
        tests = bool(text) and Path(text.partition("::")[0]).exists()
        hint = "; tests to run are named before this option" if tests else ""
        raise SettingError(f"{value!r}: write true or false, or a share such as 30% or 0.3{hint}")
    if not 0 < share <= 1:
        hint = f": write {text}%" if 1 < share <= 100 and not text.endswith("%") else ""
        raise SettingError(f"{value!r}: must be above 0% and at most 100%{hint}")
    return share


def _words(value: object) -> list[str]:
    """Of a text with commas, or of a list."""
    given = value if isinstance(value, list) else str(value).split(",")
    return [str(word).strip() for word in given]


def failures(value: object) -> frozenset[str]:
    """``budget,regression`` or ``none``. Raises :class:`SettingError`."""
    words = _words(value)
    if words in (["none"], []):
        return frozenset()
    for word in words:
        if word not in FAILURES:
            raise SettingError(f"{word!r}: choose from {', '.join(FAILURES)} with commas between them, or none")
    return frozenset(words)


def text_of(value: object) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise SettingError(f"{value!r} is not a text: write it in quotes")
    text = str(value).strip()
    if not text:
        raise SettingError("is empty")
    return text


def file_name(value: object) -> str:
    text = text_of(value)
    if text.endswith(("/", os.sep)):  # a Path forgets that
        raise SettingError(f"{text!r} names a folder, not a file")
    return text


def source_names(value: object) -> tuple[str, ...]:
    """``rapl,nvml``. Raises :class:`SettingError`."""
    names = tuple(_words(value))
    if not names or not all(names):
        raise SettingError(f"{value!r}: write auto, or source names with commas between them, such as rapl,nvml")
    return names


def choice(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        value = "off" if str(value).lower() in NO[1:] else value  # TOML's false
        if value not in allowed:
            tests = Path(str(value).partition("::")[0]).exists()
            hint = "; tests to run are named before this option" if tests else ""
            raise SettingError(f"{value!r}: choose from {', '.join(allowed)}{hint}")
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


#: A label's key; its value is any text of one line.
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")


def labels(given: object) -> dict[str, str]:
    """``["os=linux", "runner=hosted"]`` by key, the last of one key. Raises :class:`SettingError`."""
    found: dict[str, str] = {}
    for text in [given] if isinstance(given, str) else given if isinstance(given, list | tuple) else [given]:
        key, sign, value = str(text).partition("=")
        key, value = key.strip(), value.strip()
        if not sign or not _LABEL.fullmatch(key) or not value.isprintable() or not 0 < len(value) <= 200:
            raise SettingError(f"{text!r} is not a label: write KEY=VALUE on one line, such as runner=hosted")
        found[key] = value
    return found
