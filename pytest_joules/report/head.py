"""What a reader must know before any number: what was read, how far it can be trusted, on what machine, of which code."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_joules.model import Report
from pytest_joules.report import comparison, findings, prediction, quantity
from pytest_joules.report.quantity import median_of

_PROVENANCES = {
    "measured": "read from a counter of the machine",
    "shared": "read from a counter while other processes used the machine, which count too",
    "attributed": "this process tree's own share of a counter that others used too",
    "estimated": "estimated from CPU time by a power model: good for comparing on one machine, not as an absolute value",
}


def headline(report: Report) -> str:
    """One line: how many tests have which verdict; what one pass costs where nothing was judged."""
    told = findings.verdicts(report)
    words = ", ".join(f"{count} {word}" for word, count in told.items())
    return words or totals(report) or "nothing was measured"


def totals(report: Report) -> str:
    """What one pass over the tests costs; empty where nothing is known."""
    energies = [value for test in report.tests if (value := median_of(test["energy"])) is not None]
    counts = [counted["count"] for test in report.tests if (counted := test["instructions"]) is not None]
    parts = [f"{len(energies)} {_tests(energies)}, one pass {quantity.joules(math.fsum(energies))}"] if energies else []
    parts += [f"{len(counts)} {_tests(counts)} counted, one pass {quantity.instructions(sum(counts))}"] if counts else []
    return "; ".join(parts)


def _tests(values: list[float] | list[int]) -> str:
    return "test" if len(values) == 1 else "tests"


def since(report: Report) -> str:
    """What the run was compared with; empty where with nothing."""
    return comparison.named(report.comparison, 10) if report.comparison is not None else ""


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """Names and what there is to say, in words."""
    machine = report.machine
    yield "created", report.created.replace("T", " ")
    commit = report.commit
    if commit is not None and commit["id"]:
        yield "commit", commit["id"] + (", with changes that are not committed" if commit["dirty"] else "")
    where = [machine["cpu"], f"{machine['cores']} CPUs" if machine["cores"] else None, machine["os"]]
    where.append("virtual" if machine["virtual"] else None)
    yield "machine", ", ".join(text for text in where if text) + (f" ({machine['id'][:12]})" if machine["id"] else "")
    if machine["python"]:
        yield "Python", machine["python"]
    for source in report.sources:
        if source["name"] == "tsc":
            continue
        read = _PROVENANCES.get(source["provenance"], source["provenance"])
        doubt = f", ±{100 * source['uncertainty']:.0f} %" if source["uncertainty"] is not None else ""
        domains = f" ({', '.join(source['domains'])})" if source["domains"] else ""
        yield "source", f"{source['name']}{domains}: {read}{doubt}"
    if found := sorted({test["provenance"] for test in report.tests if test["energy"] is not None}):
        yield "provenance", ", ".join(found)
    if counters := sorted({counted["counter"] for test in report.tests if (counted := test["instructions"]) is not None}):
        yield "instructions", f"counted by {', '.join(counters)}; a measure of its own, no joules"
    if any(test["energy"] is not None for test in report.tests):
        yield "numbers", "medians of the rounds, per iteration; ± is half of the 95 % interval of the median"
    if compared := since(report):
        yield "compared with", compared
    if (predicting := report.session.get("predicting")) is not None and (said := prediction.left_out(predicting)):
        yield "left out", said
    if labels := report.settings.get("labels"):
        yield "labels", ", ".join(f"{key}={value}" for key, value in labels.items())
