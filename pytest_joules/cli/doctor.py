"""``joules doctor``: what this machine can measure, what it cannot, why, and the remedy."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from pytest_joules import machine
from pytest_joules.clock import CLOCKS
from pytest_joules.count import callgrind, perf
from pytest_joules.count.choose import Kind
from pytest_joules.count.counter import NoCounter
from pytest_joules.measure.other_load import LIMIT, OtherLoad
from pytest_joules.model import Counters, MachineRecord, Provenance
from pytest_joules.sources import choose
from pytest_joules.sources.base import Source
from pytest_joules.sources.tsc import open_counter

#: What one JSON object of findings is called.
SCHEMA = "pytest-joules-doctor/1"
#: Two readers of the same counters agree when they differ by no more than one update of the counter and this share.
_AGREEMENT = 0.01


class DomainFinding(TypedDict):
    name: str
    counts: bool
    """Towards the total."""
    joules: float | None
    watts: float | None
    trouble: str | None


class SourceFinding(TypedDict):
    name: str
    available: bool
    provenance: Provenance
    domains: list[DomainFinding]
    resolution_s: float | None
    """Seconds between two updates of the counter."""
    uncertainty: float | None
    """Relative."""
    why: str | None
    """How it measures."""
    reason: str | None
    """Why it is not available."""
    remedy: str | None


class DomainAgreement(TypedDict):
    rapl: float
    """Joules, as the next two."""
    pyrapl: float
    tolerance: float
    agree: bool


class Agreement(TypedDict):
    agree: bool | None
    """``None`` where they could not be compared."""
    why: str
    domains: dict[str, DomainAgreement]


class ClockFinding(TypedDict):
    name: str
    is_tsc: bool
    overhead_ns: float
    """Of one reading."""
    why: str


class CounterFinding(TypedDict):
    """What can count instructions."""

    name: str
    available: bool
    why: str
    """What it is, or why there is none."""
    remedy: str | None


class Findings(TypedDict):
    """What one machine can measure, and what it cannot."""

    schema: str
    machine: MachineRecord
    powercap: str
    sources: list[SourceFinding]
    auto: list[str]
    """What ``--energy-source=auto`` takes."""
    agreement: Agreement
    """Of rapl and pyrapl."""
    counters: list[CounterFinding]
    """What ``--energy-count`` can take."""
    foreign_load: float | None
    """The share of the machine that others use now; ``None``: the window was too short."""
    clock: ClockFinding
    window_s: float


def examine(
    powercap: Path,
    idle_watts: float | None,
    max_watts: float | None,
    *,
    seconds: float = 0.5,
    candidates: Sequence[Source] | None = None,
) -> Findings:
    """Try every source and read those that work over one window of work; JSON types only.

    Args:
        powercap: root of the powercap tree
        idle_watts: the user's figure for the estimate, watts
        max_watts: the same under full load
        seconds: length of the window, in which one processor is kept busy
        candidates: the sources to try; our own where not given
    """
    if candidates is None:
        candidates = choose.builtin(powercap, idle_watts, max_watts)
    refused = {source.name: failure for source in candidates if (failure := choose.attempt(source)) is not None}
    working = [source for source in candidates if source.name not in refused]
    try:
        load = OtherLoad(_own_seconds)
        begun, before = CLOCKS.wall(), [source.read() for source in working]
        _spin(seconds)
        ended, after = CLOCKS.wall(), [source.read() for source in working]
        window = (ended - begun) / 1e9
        share = load.share(begun) if window >= 0.2 else None
        joules = {
            source.name: source.between(first, last, window) for source, first, last in zip(working, before, after, strict=True)
        }
        sources = [_source(source, joules.get(source.name), window, refused.get(source.name)) for source in candidates]
    finally:
        for source in working:
            source.close()
    return {
        "schema": SCHEMA,
        "machine": machine.fingerprint(),
        "powercap": str(powercap),
        "sources": sources,
        "auto": _auto(working),
        "agreement": _agreement(sources, window),
        "counters": [_counter("callgrind", callgrind.find), _counter("perf", perf.find)],
        "foreign_load": share,
        "clock": _clock(),
        "window_s": window,
    }


def render(findings: Findings, width: int) -> str:
    """The findings of :func:`examine` for a terminal of so many columns."""
    machine = findings["machine"]
    kind = {True: "virtual machine", False: "bare metal", None: "virtual or not: cannot tell"}[machine["virtual"]]
    lines = _wrapped(f"{machine['cpu']}, {machine['cores']} CPUs, {kind}, {machine['os']}, {machine['python']}", "", width)
    taken = findings["auto"]
    lines += [
        "",
        *_wrapped(f"--energy-source=auto takes: {' + '.join(taken) if taken else 'nothing: no source works'}", "  ", width),
    ]
    for source in findings["sources"]:
        lines.append("")
        lines += _source_lines(source, width)
    lines.append("")
    agreement = findings["agreement"]
    verdict = {True: "agree", False: "DISAGREE", None: "not compared"}[agreement["agree"]]
    lines += _wrapped(f"rapl and pyrapl: {verdict} ({agreement['why']})", "  ", width)
    for counter in findings["counters"]:
        word = "counts instructions" if counter["available"] else "counts no instructions"
        lines += _wrapped(f"{counter['name']}: {word}: {counter['why']}", "  ", width)
        lines += choose.remedy_lines(counter["remedy"] or "", "  ", width)
    share = findings["foreign_load"]
    if share is None:
        lines += _wrapped("others on this machine: the window was too short to tell", "  ", width)
    else:
        effect = ": samples would be marked shared" if share > LIMIT else ""
        lines += _wrapped(f"others on this machine use {share:.1%} of it now{effect}".replace("%", " %"), "  ", width)
    clock = findings["clock"]
    lines += _wrapped(f"{clock['why']}; {clock['overhead_ns']:.0f} ns a read", "  ", width)
    return "\n".join(lines)


def _source(source: Source, joules: Counters | None, seconds: float, refused: choose.Refused | None) -> SourceFinding:
    return {
        "name": source.name,
        "available": refused is None,
        "provenance": source.provenance,
        "domains": [
            {
                "name": domain.name,
                "counts": source.in_total(domain),
                "joules": value,
                "watts": None if value is None else value / seconds,
                "trouble": source.trouble.get(domain.name),
            }
            for domain, value in zip(source.domains if joules else (), joules or (), strict=True)
        ],
        "resolution_s": None if refused else source.tick,
        "uncertainty": None if refused else source.uncertainty,
        "why": None if refused else source.facts().why,
        "reason": refused.reason if refused else None,
        "remedy": (refused.remedy or None) if refused else None,
    }


def _auto(working: Sequence[Source]) -> list[str]:
    ranked = sorted((source for source in working if source.rank is not None), key=lambda source: -(source.rank or 0))
    best = [source.name for source in ranked if not source.beside][:1]
    return best + [source.name for source in ranked if source.beside]


def _agreement(sources: Sequence[SourceFinding], seconds: float) -> Agreement:
    """Whether ``rapl`` and ``pyrapl`` saw the same joules in one window: within one update of the counter and 1 %."""
    by_name = {source["name"]: source for source in sources}
    missing = [name for name in ("rapl", "pyrapl") if name not in by_name or not by_name[name]["available"]]
    if missing:
        return {"agree": None, "why": f"{' and '.join(missing)} not available", "domains": {}}
    values = [{domain["name"]: domain["joules"] for domain in by_name[name]["domains"]} for name in ("rapl", "pyrapl")]
    compared: dict[str, DomainAgreement] = {}
    for name in values[0]:
        ours, theirs = values[0][name], values[1].get(name)
        if ours is None or theirs is None:
            continue
        tolerance = max(ours, theirs) * ((by_name["rapl"]["resolution_s"] or 0.0) / seconds + _AGREEMENT)
        agree = abs(ours - theirs) <= tolerance
        compared[name] = {"rapl": ours, "pyrapl": theirs, "tolerance": tolerance, "agree": agree}
    if not compared:
        return {"agree": None, "why": "no counter that both read moved", "domains": {}}
    shown = ", ".join(f"{name} {each['rapl']:.4g} J and {each['pyrapl']:.4g} J" for name, each in compared.items())
    return {
        "agree": all(each["agree"] for each in compared.values()),
        "why": f"{shown} over {seconds:.2g} s",
        "domains": compared,
    }


def _counter(name: str, find: Callable[[], Kind]) -> CounterFinding:
    try:
        return {"name": name, "available": True, "why": find().name, "remedy": None}
    except NoCounter as error:
        return {"name": name, "available": False, "why": error.reason, "remedy": error.remedy or None}


def _clock() -> ClockFinding:
    counter = open_counter()
    return {"name": counter.name, "is_tsc": counter.is_tsc, "overhead_ns": _overhead(counter.read), "why": counter.describe()}


def _overhead(read: Callable[[], int]) -> float:
    """Nanoseconds of one reading, the least of several batches, loop included."""
    best = float("inf")
    for _ in range(7):
        begun = CLOCKS.wall()
        for _ in range(1000):
            read()
        best = min(best, (CLOCKS.wall() - begun) / 1000)
    return best


def _spin(seconds: float) -> None:
    until = CLOCKS.wall() + int(seconds * 1e9)
    while CLOCKS.wall() < until:
        pass


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _source_lines(source: SourceFinding, width: int) -> list[str]:
    if not source["available"]:
        lines = _wrapped(f"{source['name']}: not available: {source['reason']}", "  ", width)
        return lines + choose.remedy_lines(source["remedy"] or "", "  ", width)
    lines = _wrapped(f"{source['name']}: works: {source['why']}", "  ", width)
    for domain in source["domains"]:
        if domain["watts"] is None:
            told = f"unavailable just now: {domain['trouble'] or 'no reading'}"
        else:
            told = f"{domain['watts']:.3g} W just now"
        lines += _wrapped(f"  {domain['name']}: {told}{', counts towards the total' if domain['counts'] else ''}", "    ", width)
    return lines


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
