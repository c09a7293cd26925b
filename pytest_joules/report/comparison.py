"""What came of a comparison, for a terminal: the regressed tests one by one, the others in few words, the counts last."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pytest_joules.model import ComparisonRecord, Record, Report, RunComparisonRecord, Verdict
from pytest_joules.report import quantity
from pytest_joules.report.account_growth import headline as headline_of_growth
from pytest_joules.report.instructions import counted_only
from pytest_joules.report.text import sentence, whole

#: Improved tests, and reasons why nothing can be told, that are shown at most; the regressed ones follow ``rows``.
_FEW = 8

#: Names in a list before "and N more".
_NAMES = 3

_FIGURES = re.compile(r"<?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?")


class _Compared(NamedTuple):
    """A test, and what came of comparing it."""

    record: Record
    comparison: ComparisonRecord

    @property
    def nodeid(self) -> str:
        return whole(self.record["nodeid"])

    @property
    def ratio(self) -> float:
        return self.comparison["ratio"] or 1.0


def lines(
    report: Report, width: int, rows: int | None = None, encoding: str = "utf-8", all_with: str = "--energy-top=0"
) -> list[str]:
    """The comparison of a run, no line wider than ``width``; empty where nothing was compared.

    ``rows`` is how many regressed tests are shown at most (``None`` or 0: all), the worst first; ``all_with`` is the option that
    shows all.
    """
    facts = report.comparison
    if facts is None:
        return []
    if counted_only(report):
        return [line for text in (*_others(facts), *facts["notes"]) for line in sentence(text, width, encoding)]
    compared = _compared(report)
    regressed = sorted(_of(compared, "regressed"), key=lambda test: (-test.ratio, test.nodeid))
    shown = regressed[:rows] if rows else regressed
    said = [f"REGRESSED {test.nodeid} {_since(test)}" for test in shown]
    if len(shown) < len(regressed):
        said.append(f"… and {len(regressed) - len(shown)} more regressed, each by less: {all_with} shows all")
    improved = sorted(_of(compared, "improved"), key=lambda test: (test.ratio, test.nodeid))
    said += [f"IMPROVED {test.nodeid} {_since(test)}" for test in improved[:_FEW]]
    if len(improved) > _FEW:
        said.append(f"… and {len(improved) - _FEW} more improved, each by less")
    said += [*_undecided(_of(compared, "cannot tell")), *_held(facts), *_others(facts), *facts.get("notes", ())]
    if any(test.record["provenance"] == "estimated" and test.comparison["ratio"] is not None for test in compared):
        said.append("estimates: on one machine and one estimate model the systematic error cancels in the ratio")
    return [line for text in (*said, _outcome(facts, compared)) for line in sentence(text, width, encoding)]


def brief(report: Report) -> list[str]:
    """The same where tables are hidden: what regressed and fails nobody, of whom nothing can be told, the counts."""
    facts = report.comparison
    if facts is None or counted_only(report):
        return []
    compared = _compared(report)
    spared = [test for test in _of(compared, "regressed") if test.record["outcome"] == "passed"]
    found = []
    if spared:
        told = [f"{test.nodeid} {quantity.ratio(test.comparison['ratio'])}×" for test in spared]
        found.append(f"REGRESSED {some(told)}, and nothing fails: this run accepts it, or --energy-fail-on leaves it out")
    return [*found, *_undecided(_of(compared, "cannot tell"))[:1], *_held(facts), _outcome(facts, compared)]


def headline(comparison: ComparisonRecord) -> str:
    """A regression in one line: ``regressed 1.34× since main; changed in its path: shop.cart.total, shop.tax.rate``."""
    return "; ".join((f"{comparison['verdict']} {ratio(comparison)}", *changed(comparison)))


def ratio(comparison: ComparisonRecord) -> str:
    """``1.34× since main``."""
    return f"{quantity.ratio(comparison['ratio'])}× since {comparison['baseline']}"


def moved(comparison: ComparisonRecord) -> str:
    """``3.10 J -> 4.15 J``; empty where that is not known."""
    before, now = comparison.get("before"), comparison.get("now")
    return f"{quantity.joules(before)} -> {quantity.joules(now)}" if before is not None and now is not None else ""


def changed(comparison: ComparisonRecord) -> list[str]:
    """What is to blame, if that is known."""
    return [f"changed in its path: {some([dotted(place) for place in comparison['changed']])}"] if comparison["changed"] else []


def _since(test: _Compared) -> str:
    """By how much a test has changed, and how sure that is: ``1.34× since main (1.30 to 1.39; 20 rounds); changed …``."""
    comparison = test.comparison
    interval, blocks = comparison["ci95"], comparison["blocks"]
    facts = [whole(text)] if (text := moved(comparison)) else []
    facts += [f"{quantity.ratio(interval[0])} to {quantity.ratio(interval[1])}"] if interval else []
    facts.append(f"{test.record['rounds']} rounds" + (f", {blocks} processes" if blocks > 1 else ""))
    account = test.record["account"]
    grew = [text] if account is not None and (text := headline_of_growth(account["grown"])) else []
    return "; ".join((f"{ratio(comparison)} ({'; '.join(facts)})", *changed(comparison), *grew))


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


def _undecided(tests: Sequence[_Compared]) -> list[str]:
    """A sentence for each reason; reasons that differ only in their figures are one."""
    groups: dict[str, list[_Compared]] = {}
    for test in tests:
        groups.setdefault(_FIGURES.sub("0", _why(test)), []).append(test)
    ordered = sorted(groups.values(), key=lambda group: -len(group))
    found = []
    for group in ordered[:_FEW]:
        which = f"{len(group)} tests, such as " if len(group) > 1 else ""
        found.append(f"cannot tell of {which}{group[0].nodeid}: {_why(group[0])}")
    rest = sum(map(len, ordered[_FEW:]))
    if rest:
        found.append(f"… and of {rest} more, for {len(ordered) - _FEW} other reasons: the JSON has them all")
    return found


def _why(test: _Compared) -> str:
    return (test.comparison["why"] or "no reason given").rstrip(".")


def _held(facts: RunComparisonRecord) -> list[str]:
    """That smaller changes than the threshold that was asked for would be taken from noise."""
    held, asked = facts.get("held"), facts["threshold"]
    if held is None:
        return []
    return [f"threshold held at {100 * held:.2g} %, not {100 * asked:.3g} %: by less, a machine's drift may move unchanged tests"]


def _one_sided(facts: RunComparisonRecord) -> list[tuple[str, list[str]]]:
    return [(word, nodeids) for word, nodeids in (("new", facts["new"]), ("gone", facts["gone"])) if nodeids]


def _others(facts: RunComparisonRecord) -> list[str]:
    """Tests that only one of the two sides has."""
    found = [f"{word} since {facts['baseline']}: {some([*map(whole, nodeids)])}" for word, nodeids in _one_sided(facts)]
    if facts["renamed"]:
        found.append(f"renamed: {some([f'{whole(before)} -> {whole(now)}' for before, now in facts['renamed'].items()])}")
    return found


def _outcome(facts: RunComparisonRecord, compared: Sequence[_Compared]) -> str:
    counts = Counter[str](test.comparison["verdict"] for test in compared)
    verdicts = [f"{counts[word]} {word}" for word in ("ok", "improved", "regressed", "cannot tell") if counts[word]]
    one_sided = [f"{len(nodeids)} {word}" for word, nodeids in _one_sided(facts)]
    others = [f"{len(facts['renamed'])} renamed"] if facts["renamed"] else []
    others += [f"not compared: {', '.join(one_sided)}"] if one_sided else []
    # Tests without a verdict do not mean that something went wrong: say what did.
    nothing = "nothing was compared" + (f"; {facts['why']}" if facts["why"] else "")
    return f"compared with {named(facts, 8)}: " + "; ".join((", ".join(verdicts) or nothing, *others))


def named(facts: RunComparisonRecord, digits: int) -> str:
    """What was compared with, when that was made, and so many digits of its commit."""
    # The name of a revision says already which commit it is.
    commit = (facts["commit"] or "")[:digits]
    about = [text for text in ((facts["created"] or "")[:10], commit if commit[:7] not in facts["baseline"] else "") if text]
    return facts["baseline"] + (f" ({', '.join(about)})" if about else "")


def _compared(report: Report) -> list[_Compared]:
    return [_Compared(record, found) for record in report.tests if (found := record["comparison"]) is not None]


def _of(tests: Sequence[_Compared], verdict: Verdict) -> list[_Compared]:
    return [test for test in tests if test.comparison["verdict"] == verdict]


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
