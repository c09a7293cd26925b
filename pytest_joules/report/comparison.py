"""What came of a comparison, for a terminal: the regressed tests one by one, the others in few words, the counts last."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from pytest_joules.model import Record, Report
from pytest_joules.report import quantity
from pytest_joules.report.text import sentence, whole

#: Improved tests, and reasons why nothing can be told, that are shown at most; the regressed ones follow ``rows``.
_FEW = 8

#: Names in a list before "and N more".
_NAMES = 3

_FIGURES = re.compile(r"<?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?")


def lines(
    report: Report, width: int, rows: int | None = 20, encoding: str = "utf-8", all_with: str = "--energy-top=0"
) -> list[str]:
    """The comparison of a run, no line wider than ``width``; empty where nothing was compared.

    ``rows`` is how many regressed tests are shown at most (``None`` or 0: all), the worst first; ``all_with`` is the option that
    shows all.
    """
    facts = report.comparison
    compared = [record for record in report.tests if record["comparison"] is not None]
    if facts is None:
        return []
    result: list[str] = []
    regressed = sorted(_of(compared, "regressed"), key=lambda record: (-_ratio(record), record["nodeid"]))
    shown = regressed[:rows] if rows else regressed
    for record in shown:
        result += sentence(f"REGRESSED {whole(record['nodeid'])} {_since(record)}", width, encoding)
    if len(shown) < len(regressed):
        text = f"… and {len(regressed) - len(shown)} more regressed, each by less: {all_with} shows all"
        result += sentence(text, width, encoding)
    improved = sorted(_of(compared, "improved"), key=lambda record: (_ratio(record), record["nodeid"]))
    for record in improved[:_FEW]:
        result += sentence(f"IMPROVED {whole(record['nodeid'])} {_since(record)}", width, encoding)
    if len(improved) > _FEW:
        result += sentence(f"… and {len(improved) - _FEW} more improved, each by less", width, encoding)
    for text in (*_undecided(_of(compared, "cannot tell")), *_held(facts), *_others(facts), *facts.get("notes", ())):
        result += sentence(text, width, encoding)
    if any(record["provenance"] == "estimated" and record["comparison"]["ratio"] is not None for record in compared):
        text = "estimates: on one machine and one estimate model the systematic error cancels in the ratio"
        result += sentence(text, width, encoding)
    return result + sentence(_outcome(facts, compared), width, encoding)


def brief(report: Report) -> list[str]:
    """The same where tables are hidden: what regressed and fails nobody, of whom nothing can be told, the counts."""
    facts = report.comparison
    if facts is None:
        return []
    compared = [record for record in report.tests if record["comparison"] is not None]
    spared = [record for record in _of(compared, "regressed") if record["outcome"] == "passed"]
    found = []
    if spared:
        told = [f"{whole(record['nodeid'])} {quantity.ratio(record['comparison']['ratio'])}×" for record in spared]
        found.append(f"REGRESSED {some(told)}, and nothing fails: this run accepts it, or --energy-fail-on leaves it out")
    return [*found, *_undecided(_of(compared, "cannot tell"))[:1], *_held(facts), _outcome(facts, compared)]


def headline(comparison: Record) -> str:
    """A regression in one line: ``regressed 1.34× since main; changed in its path: shop.cart.total, shop.tax.rate``."""
    return "; ".join((f"{comparison['verdict']} {ratio(comparison)}", *changed(comparison)))


def ratio(comparison: Record) -> str:
    """``1.34× since main``."""
    return f"{quantity.ratio(comparison['ratio'])}× since {comparison['baseline']}"


def moved(comparison: Record) -> str:
    """``3.10 J -> 4.15 J``; empty where that is not known."""
    before, now = comparison.get("before"), comparison.get("now")
    return f"{quantity.joules(before)} -> {quantity.joules(now)}" if before is not None and now is not None else ""


def changed(comparison: Record) -> list[str]:
    """What is to blame, if that is known."""
    return [f"changed in its path: {some([dotted(place) for place in comparison['changed']])}"] if comparison["changed"] else []


def _since(record: Record) -> str:
    """By how much a test has changed, and how sure that is: ``1.34× since main (1.30 to 1.39; 20 rounds); changed …``."""
    comparison = record["comparison"]
    interval, blocks = comparison["ci95"], comparison["blocks"]
    facts = [whole(text)] if (text := moved(comparison)) else []
    facts += [f"{quantity.ratio(interval[0])} to {quantity.ratio(interval[1])}"] if interval else []
    facts.append(f"{record['rounds']} rounds" + (f", {blocks} processes" if blocks > 1 else ""))
    return "; ".join((f"{ratio(comparison)} ({'; '.join(facts)})", *changed(comparison)))


def dotted(place: str) -> str:
    """``src/shop/cart.py::Cart.total`` as ``shop.cart.Cart.total``, as an installed copy's; what binds a name of a module by that
    name."""
    path, colons, name = place.partition("::")
    if not colons:
        return place
    parts = path.removesuffix(".py").split("/")
    if len(parts) > 1 and parts[0] in ("src", "installed"):
        del parts[0]
    elif "src" in parts[:-1]:
        del parts[: len(parts) - parts[-2::-1].index("src") - 1]
    if parts[-1] == "__init__":
        del parts[-1]
    name = name.removeprefix("<module>").strip().replace(".<locals>", "")
    return ".".join(part for part in (*parts, name) if part)


def _undecided(records: Sequence[Record]) -> list[str]:
    """A sentence for each reason; reasons that differ only in their figures are one."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_FIGURES.sub("0", _why(record)), []).append(record)
    ordered = sorted(groups.values(), key=lambda group: -len(group))
    found = []
    for group in ordered[:_FEW]:
        which = f"{len(group)} tests, such as " if len(group) > 1 else ""
        found.append(f"cannot tell of {which}{whole(group[0]['nodeid'])}: {_why(group[0])}")
    rest = sum(map(len, ordered[_FEW:]))
    if rest:
        found.append(f"… and of {rest} more, for {len(ordered) - _FEW} other reasons: the JSON has them all")
    return found


def _why(record: Record) -> str:
    return (record["comparison"]["why"] or "no reason given").rstrip(".")


def _held(facts: Record) -> list[str]:
    """That smaller changes than the threshold that was asked for would be taken from noise."""
    if facts.get("held") is None:
        return []
    held, asked = 100 * facts["held"], 100 * facts["threshold"]
    return [f"threshold held at {held:.2g} %, not {asked:.3g} %: by less, a machine's drift may move unchanged tests"]


def _others(facts: Record) -> list[str]:
    """Tests that only one of the two sides has."""
    found = [f"{word} since {facts['baseline']}: {some([*map(whole, facts[word])])}" for word in ("new", "gone") if facts[word]]
    if facts["renamed"]:
        found.append(f"renamed: {some([f'{whole(before)} -> {whole(now)}' for before, now in facts['renamed'].items()])}")
    return found


def _outcome(facts: Record, compared: Sequence[Record]) -> str:
    counts = Counter(record["comparison"]["verdict"] for record in compared)
    verdicts = [f"{counts[word]} {word}" for word in ("ok", "improved", "regressed", "cannot tell") if counts[word]]
    one_sided = [f"{len(facts[word])} {word}" for word in ("new", "gone") if facts[word]]
    others = [f"{len(facts['renamed'])} renamed"] if facts["renamed"] else []
    others += [f"not compared: {', '.join(one_sided)}"] if one_sided else []
    # The name of a revision says already which commit it is.
    commit = (facts["commit"] or "")[:8]
    about = [text for text in ((facts["created"] or "")[:10], commit if commit[:7] not in facts["baseline"] else "") if text]
    said = f" ({', '.join(about)})" if about else ""
    # Tests without a verdict do not mean that something went wrong: say what did.
    nothing = "nothing was compared" + (f"; {facts['why']}" if facts["why"] else "")
    return f"compared with {facts['baseline']}{said}: " + "; ".join((", ".join(verdicts) or nothing, *others))


def _of(records: Sequence[Record], verdict: str) -> list[Record]:
    return [record for record in records if record["comparison"]["verdict"] == verdict]


def _ratio(record: Record) -> float:
    return float(record["comparison"]["ratio"] or 1.0)


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def indented(text: str, width: int, encoding: str) -> list[str]:
    """A sentence below what it is about."""
    if width < 20:
        return sentence(text, width, encoding)
    first, *rest = sentence(text, width - 2, encoding)
    return [f"  {first}", *(f"  {line.lstrip()}" for line in rest)]
