"""Verdicts in colour, where a terminal shows any."""

from __future__ import annotations

import re
from collections.abc import Callable

#: Words of a verdict, where a line may have them: at its beginning, as a note at a row's end, or counted at the end of a run.
_WORDS = re.compile(
    r"^(?:energy: )?(?P<first>OVER BUDGET|REGRESSED|IMPROVED|CANNOT TELL|cannot tell|not judged)\b"
    r"|(?<=[ ,])(?P<count>\d+ (?:ok|improved|regressed|cannot tell))(?=[,;]|$)"
    r"|  (?P<note>(?:over budget|failed|error|regressed|predicted|improved)(?:, [a-z ]+)*)$"
)
_RED = ("over budget", "regressed", "failed", "error", "predicted")
_GREEN = ("improved", "ok")


def painted(line: str, markup: Callable[..., str]) -> str:
    """The line with its verdicts marked up: red what fails or costs more, green what costs less or the same, yellow what nobody
    can tell. ``markup`` is that of pytest's terminal writer, which does nothing where there are no colours."""

    def paint(found: re.Match[str]) -> str:
        group = next(name for name, text in found.groupdict().items() if text is not None)
        text = found[group]
        word = text.lower().lstrip("0123456789 ")
        colour = "red" if word.startswith(_RED) else "green" if word.startswith(_GREEN) else "yellow"
        return found[0].replace(text, markup(text, **{colour: True, "bold": group == "first"}))

    return _WORDS.sub(paint, line)
