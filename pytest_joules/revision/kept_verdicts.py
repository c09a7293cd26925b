"""What a bisection has found out so far, in a file: it goes on from there after Ctrl-C, or when it was killed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, TextIO, TypeAlias, TypedDict

from pytest_joules.files import atomic, checked, reading, strict_json
from pytest_joules.model import Code

_SCHEMA = "pytest-joules/bisect/1"
_MOST_BYTES = 64 * 2**20
Verdict: TypeAlias = Literal["dearer", "not dearer", "cannot tell"]
_VERDICTS: tuple[Verdict, ...] = ("dearer", "not dearer", "cannot tell")


class Judged(TypedDict):
    """What came of holding one commit against another."""

    verdict: Verdict
    ratio: float | None
    ci95: list[float] | None
    """Of the ratio, where it was measured; a count has none."""
    why: str
    changed: list[str]
    """What is changed and can be the cause, the likeliest first, as a run says it."""
    same: str | None
    """The commit whose code is this one's: nothing was run."""
    runs: int
    """Comparisons that it took."""
    code: Code | None
    """What the test executes there."""


class Saved(TypedDict):
    """The counts of a commit, as a baseline."""

    text: str
    root: str


class Kept(TypedDict):
    """What the file holds."""

    by: Literal["joules", "instructions"] | None
    why: str
    """Why it is not by instructions."""
    judged: dict[str, Judged]
    """By ``commit..commit``."""
    counted: dict[str, Saved]
    """By commit."""
    code: dict[str, Code]
    """What the test executes at the good commit."""


class Verdicts:
    """The file, and what is in it. Use :meth:`save` after each change."""

    def __init__(self, cache: Path, key: object, *, restart: bool = False) -> None:
        """``cache``: pytest's cache folder; ``key``: all that decides a verdict."""
        name = hashlib.sha256(strict_json.text(key).encode("utf-8", "backslashreplace")).hexdigest()[:24]
        self.path = cache / "d" / "joules" / "bisect" / f"{name}.json"
        self._cache = cache
        self.trouble: str | None = None
        """Why what was kept is of no use."""
        self.kept: Kept = {"by": None, "why": "", "judged": {}, "counted": {}, "code": {}}
        if not restart:
            self._load()
        self.found = len(self.kept["judged"])
        """Verdicts that were there."""

    def _load(self) -> None:
        try:
            data = checked.decode(reading.read_text(self.path, _MOST_BYTES))
            self.kept = _checked(data)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.trouble = f"what an earlier run has kept cannot be used, so this one begins anew: {self.path}: {error}"

    def save(self) -> None:
        """Raises :class:`~pytest_joules.files.atomic.ReportPathError`."""
        if not self._cache.exists():
            # As pytest makes it: git does not see it.
            try:
                self._cache.mkdir(parents=True)
                (self._cache / ".gitignore").write_text("# Created by pytest automatically.\n*\n", "utf-8")
            except OSError as error:
                raise atomic.ReportPathError(
                    f"cannot keep verdicts in {self._cache}: {error}: name another --cache-dir"
                ) from None
        text = strict_json.text({"schema": _SCHEMA, **self.kept})

        def write(file: TextIO) -> None:
            file.write(text)

        atomic.atomically(self.path, write, "verdicts")


def _checked(data: checked.Object) -> Kept:
    checked.one_of(data, "schema", _SCHEMA)
    by: Literal["joules", "instructions"] | None = checked.one_of(data, "by", None, "joules", "instructions")
    judged: dict[str, Judged] = {}
    for pair, entry in checked.required(data, "judged", dict).items():
        with checked.within(pair):
            judged[pair] = _judged(entry)
    counted: dict[str, Saved] = {}
    for commit, entry in checked.required(data, "counted", dict).items():
        with checked.within(commit):
            counted[commit] = {
                "text": checked.required(_object(entry), "text", str),
                "root": checked.required(entry, "root", str),
            }
    codes = {commit: _code(entry) for commit, entry in checked.required(data, "code", dict).items()}
    return {"by": by, "why": checked.required(data, "why", str), "judged": judged, "counted": counted, "code": codes}


def _object(entry: object) -> checked.Object:
    if not isinstance(entry, dict):
        raise checked.Bad(f"is {checked.shown(entry)}")
    return entry


def _judged(value: object) -> Judged:
    entry = _object(value)
    ratio, code = entry.get("ratio"), entry.get("code")
    verdict: Verdict = checked.one_of(entry, "verdict", *_VERDICTS)
    return {
        "verdict": verdict,
        "ratio": None if ratio is None else checked.number(ratio, "ratio", above=0.0),
        "ci95": checked.interval(entry.get("ci95")),
        "why": checked.required(entry, "why", str),
        "changed": checked.list_of(entry, "changed", str),
        "same": checked.optional(entry, "same", str),
        "runs": checked.count(entry, "runs", 0),
        "code": None if code is None else _code(code),
    }


def _code(value: object) -> Code:
    entry = _object(value)
    functions = checked.required(entry, "functions", dict)
    if not all(isinstance(hashed, str) for hashed in functions.values()):
        raise checked.Bad("'functions' holds what is no hash")
    return {
        "fingerprint": checked.optional(entry, "fingerprint", str),
        "functions": functions,
        "unknown": checked.list_of(entry, "unknown", str),
    }
