"""The table of public CPU power figures: which model has which TDP."""

from __future__ import annotations

import re

_MARKS = re.compile(r"\((?:r|tm|c)\)|[®™©\u200b]")
_PARENTHESES = re.compile(r"\([^)]*\)")
_GRAPHICS = re.compile(r"\s(?:with|w/)\s.*|\bradeon r\d.*|\br\d,? +\d+ compute cores.*")
_GENERATION = re.compile(r"\b\d+(?:st|nd|rd|th) gen\b")
_CORE_COUNT = re.compile(r"\b(?:\d+|dual|triple|quad|six|eight|twelve|sixteen)-core\b")
_FILLERS = frozenset({"cpu", "processor", "apu"})


def normalise(name: str) -> str:
    """The tokens of a CPU's name that tell its model, in lower case.

    ``"Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"`` becomes ``"intel xeon e5 2680 v4"``. Trade marks, clock frequency, core count,
    generation and graphics are left out: systems and lists write them differently. Model numbers and suffixes stay: they decide.
    """
    text = _MARKS.sub(" ", name.lower()).partition("@")[0]
    for pattern in (_PARENTHESES, _GRAPHICS, _GENERATION, _CORE_COUNT):
        text = pattern.sub(" ", text)
    tokens: list[str] = []
    for token in re.split(r"[\s,-]+", text):
        if token and token not in _FILLERS and not (token == "amd" and "amd" in tokens):
            tokens.append(token)
    # Intel's first E5 generation: "E5-2670 0" where later ones have "v2".
    if len(tokens) > 2 and tokens[-1] == "0":
        tokens.pop()
    return " ".join(tokens)


def tdp(model: str) -> float | None:
    """Watts of thermal design power of one package of this CPU, or ``None`` when the table does not list exactly this model."""
    import csv
    from importlib import resources

    key = normalise(model)
    with resources.files("pytest_joules.data").joinpath("cpu_power.csv").open(encoding="utf-8") as file:
        return next((float(row["tdp_watts"]) for row in csv.DictReader(file) if row["key"] == key), None)
