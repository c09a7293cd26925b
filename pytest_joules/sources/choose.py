"""Which sources a run reads: the best that works, or those the user named; and what is said of the others."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_joules.sources.base import Source, Unavailable

#: Sources of ours that read or model the processor's energy: no two of them belong in one total.
_PROCESSOR = ("rapl", "pyrapl", "perf", "estimate")
_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Refused:
    """A source that was not taken."""

    name: str
    reason: str
    remedy: str = ""
    """What the user can do: where there is a command it is the first line alone."""
    quiet: bool = False
    """Nothing is missing (no such hardware here): not worth a line in the header of a run."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The sources in use, opened: the processor's first, then those beside it; and the better ones that were not taken."""

    sources: tuple[Source, ...]
    refused: tuple[Refused, ...] = ()


def builtin(powercap: Path, idle_watts: float | None, max_watts: float | None) -> list[Source]:
    """Our own sources, unopened.

    Args:
        powercap: root of the powercap tree
        idle_watts: the user's figure for the processors doing nothing, watts
        max_watts: the same under full load

    Raises:
        ValueError: the watts make no sense.
    """
    from pytest_joules.sources.estimate import Estimate
    from pytest_joules.sources.nvml import Nvml
    from pytest_joules.sources.perf import Perf
    from pytest_joules.sources.pyrapl import PyRapl
    from pytest_joules.sources.rapl import Rapl
    from pytest_joules.sources.tsc import Tsc

    return [Rapl(powercap), PyRapl(powercap), Perf(), Nvml(), Tsc(), Estimate(idle_watts, max_watts)]


def choose(candidates: Sequence[Source], wanted: tuple[str, ...]) -> Choice:
    """Open what the user wants.

    Args:
        candidates: every source there is, unopened
        wanted: ``("auto",)``: the one of highest rank that opens, and all that stand beside it; or names, each of which must open

    Raises:
        ValueError: a name is unknown, ``auto`` is mixed with names, or two sources would count the same energy.
        Unavailable: a source that was named does not work here.
    """
    known: dict[str, Source] = {}
    for source in candidates:
        if known.setdefault(source.name, source) is not source:
            raise ValueError(f"two energy sources are named {source.name!r}: rename yours")
    names = tuple(dict.fromkeys(wanted))
    if names == ("auto",):
        return _best(candidates)
    if not names:
        raise ValueError(f"no energy source named: write auto, or one or more of {', '.join(known)}")
    if "auto" in names:
        others = ",".join(name for name in names if name != "auto")
        raise ValueError(f"auto chooses by itself: write auto alone, or only {others}")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"unknown energy source {name!r}{hint} (there are: auto, {', '.join(known)})")
    _refuse_twice([name for name in names if name in _PROCESSOR])
    return _named([known[name] for name in names])


def header_lines(choice: Choice) -> list[str]:
    """What the header of a run says: the sources in use, then each better one that was not taken, why, and the remedy."""
    used = " + ".join(_described(source) for source in choice.sources) or "unavailable: no source works here"
    lines = wrapped(f"energy: {used}", "  ")
    for source in choice.sources:
        if mirrored := source.mirrored():
            lines += wrapped(f"  {mirrored}", "    ")
    for refused in choice.refused:
        if not refused.quiet:
            lines += wrapped(f"  {refused.name} not taken: {refused.reason}", "    ")
            lines += remedy_lines(refused.remedy, "    ")
    return lines


def remedy_lines(remedy: str, indent: str, width: int = _WIDTH) -> list[str]:
    """A remedy for the terminal: the command on a line of its own, unbroken to be copied; then what to know of it."""
    if not remedy:
        return []
    command, *notes = remedy.splitlines()
    lines = [f"{indent}remedy: {command}"]
    for note in notes:
        lines += wrapped(f"{indent}({note})", f"{indent} ", width)
    return lines


def attempt(source: Source) -> Refused | None:
    """Open a source; why it does not work, or ``None``. One that fails by a bug of its author does not end the run."""
    try:
        source.open()
    except Unavailable as error:
        return Refused(source.name, error.reason, error.remedy, quiet=bool(getattr(error, "quiet", False)))
    except Exception as error:
        return Refused(source.name, f"it failed to open: {type(error).__name__}: {error}")
    return None


def _best(candidates: Sequence[Source]) -> Choice:
    ranked = sorted((source for source in candidates if source.rank is not None), key=lambda source: -(source.rank or 0))
    taken: list[Source] = []
    refused: list[Refused] = []
    for source in (source for source in ranked if not source.beside):
        failure = attempt(source)
        if failure is None:
            taken.append(source)
            break
        refused.append(failure)
    for source in (source for source in ranked if source.beside):
        failure = attempt(source)
        if failure is None:
            try:
                _refuse_one_name([*taken, source])
            except ValueError as error:
                failure = Refused(source.name, str(error))
                source.close()
        if failure is None:
            taken.append(source)
        else:
            refused.append(failure)
    return Choice(tuple(taken), tuple(refused))


def _named(sources: Sequence[Source]) -> Choice:
    ordered = sorted(sources, key=lambda source: source.beside)
    try:
        for source in ordered:
            failure = attempt(source)
            if failure is not None:
                raise Unavailable(f"{source.name}: {failure.reason}", failure.remedy)
        _refuse_twice(
            [source.name for source in ordered if not source.beside and any(domain.counts for domain in source.domains)]
        )
        _refuse_one_name(ordered)
    except (Unavailable, ValueError):
        for source in ordered:
            source.close()
        raise
    return Choice(tuple(ordered))


def _refuse_twice(names: Sequence[str]) -> None:
    if len(names) > 1:
        raise ValueError(
            f"{' and '.join(names)} count the same energy and would be added up twice: name one of them "
            "(a source of your own that counts something else sets beside = True)"
        )


def _refuse_one_name(sources: Sequence[Source]) -> None:
    owners: dict[str, str] = {}
    for source in sources:
        for domain in source.domains:
            owner = owners.setdefault(domain.name, source.name)
            if owner != source.name:
                raise ValueError(f"{owner} and {source.name} both have a domain {domain.name!r}: name one of them")


def _described(source: Source) -> str:
    counted = [domain.name for domain in source.domains if source.in_total(domain)]
    parts = [", ".join(domain.name for domain in source.domains)] if source.domains else ["no joules"]
    if counted and len(source.domains) > 1:
        parts.append(f"total: {' + '.join(counted)}")
    if source.uncertainty is not None:
        parts.append(f"±{source.uncertainty * 100:.0f} %")
    return f"{source.name} ({'; '.join(parts)})"


def wrapped(text: str, indent: str, width: int = _WIDTH) -> list[str]:
    """The text in lines of so many columns, the second and later ones indented; commands and paths stay whole."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
