"""``joules history --changes``: since when tests are dearer."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

from pytest_joules.cli.output import print_json, say
from pytest_joules.settings.values import COUNT_THRESHOLD, THRESHOLD

if TYPE_CHECKING:
    from pytest_joules.judge.change_points import Change
    from pytest_joules.model import Code, CommitRecord, Provenance
    from pytest_joules.store import Store
    from pytest_joules.store.entries import Within
    from pytest_joules.store.series import PastSession, Series

#: Counts of a test part of whose work is none of its own thread.
_DOUBTFUL = 0.25
#: Instructions that the same work may differ by: a collision in a dict, a path of another length.
_SLACK = 2000
#: Tests of a session from which on they show what all of them moved by.
_TOGETHER = 10


class SideRecord(TypedDict):
    """The session beside a change."""

    session: int
    """Its number in the history."""
    created: str
    commit: CommitRecord | None


class ChangeRecord(TypedDict):
    """A point where a test's level changed; of ``joules history --changes --json``."""

    nodeid: str
    verdict: Literal["nominated"]
    quantity: Literal["joules", "instructions"]
    ratio: float
    """After over before."""
    before: float
    """Medians of the sessions on both sides."""
    after: float
    sessions: list[int]
    """How many sessions they are of."""
    last_before: SideRecord
    first_after: SideRecord
    machine_id: str | None
    """``None`` of instructions."""
    source: str
    provenance: Provenance | None
    together: float
    """What all tests of the machine moved by between the same sessions, which is taken off: a ratio."""
    same_code: bool | None
    """Whether the test executed the same code on both sides, all of it known; ``None``: its code was not recorded."""
    changed: list[str] | None
    """What has another text in its path, the most telling first; ``None``: not known."""
    convict: list[str]
    """The command that measures both revisions in turn; of instructions, two that count the one, then the other. Empty where the
    commit of the session before is not known."""


class SharedRecord(TypedDict):
    """A point where all tests of a machine moved together."""

    machine_id: str | None
    source: str
    provenance: Provenance | None
    tests: int
    ratio: float
    last_before: SideRecord
    first_after: SideRecord


class ChangesRecord(TypedDict):
    """What ``joules history --changes --json`` prints."""

    changes: list[ChangeRecord]
    left_out: int
    """Changes beyond ``--limit``."""
    shared: list[SharedRecord]
    tests: int
    """That were looked at."""
    too_few: int
    """Tests that have too few comparable sessions for any change to be told."""


def show(store: Store, given: argparse.Namespace, within: Within, nodeid: str | None) -> int:
    """Print the changes of a test or of all.

    Raises:
        StoreError: the history cannot be read.
    """
    found = _found(store, within, nodeid, given.threshold, given.limit)
    if given.json:
        print_json(found)
    else:
        _print(found)
    return 0


# Finding


def _found(store: Store, within: Within, nodeid: str | None, threshold: float | None, limit: int | None) -> ChangesRecord:
    from pytest_joules.judge.change_points import FEWEST

    sessions = store.past_sessions(within)
    # One test alone does not show what all moved by: the others are read as well.
    joules = store.joules_over_time(sessions)
    counts = store.instructions_over_time(sessions, nodeid)
    by_number = {session.number: session for session in sessions}
    changes: list[tuple[Series, ChangeRecord]] = []
    shared: list[SharedRecord] = []
    groups: dict[tuple[object, ...], list[Series]] = {}
    for series in joules:
        groups.setdefault((series.machine_id, series.source, series.provenance), []).append(series)
    for group in groups.values():
        found, together = _of_machine(group, sessions, THRESHOLD if threshold is None else threshold)
        changes += found
        shared += together
    changes += _of_counts(counts, by_number, COUNT_THRESHOLD if threshold is None else threshold)
    looked = [series for series in (*joules, *counts) if nodeid is None or series.nodeid == nodeid]
    told = {series.nodeid for series in looked if len(series.values) >= FEWEST}
    worst = sorted((pair for pair in changes if nodeid is None or pair[1]["nodeid"] == nodeid), key=_order)
    kept = worst[:limit]
    _explain(store, by_number, kept)
    tests = {series.nodeid for series in looked}
    return {
        "changes": [change for _, change in kept],
        "left_out": len(worst) - len(kept),
        "shared": shared,
        "tests": len(tests),
        "too_few": len(tests - told),
    }


def _order(pair: tuple[Series, ChangeRecord]) -> tuple[bool, float, str, str]:
    """Regressions before improvements, the largest first."""
    change = pair[1]
    ratio = change["ratio"]
    return ratio < 1, -ratio if ratio >= 1 else ratio, change["nodeid"], change["first_after"]["created"]


def _of_machine(
    group: Sequence[Series], sessions: Sequence[PastSession], threshold: float
) -> tuple[list[tuple[Series, ChangeRecord]], list[SharedRecord]]:
    """Changes of joules, of tests measured in the same way on one machine; and those that all of them had."""
    import numpy as np

    from pytest_joules.judge.change_points import changes, without_shared

    by_number = {session.number: session for session in sessions}
    met = {number for series in group for number in series.sessions}
    order = [session.number for session in sessions if session.number in met]
    column = {number: place for place, number in enumerate(order)}
    places = [[column[number] for number in series.sessions] for series in group]
    values = np.full((len(group), len(order)), np.nan)
    for row, columns, series in zip(values, places, group, strict=True):
        row[columns] = np.log(series.values)
    moved, alone = without_shared(values, _TOGETHER)
    series_alone = [row[columns] for row, columns in zip(alone, places, strict=True)]
    found = []
    for series, columns, points in zip(group, places, changes(series_alone, [threshold] * len(group)), strict=True):
        for change in points:
            between = moved[columns]
            before, after = (float(np.median(between[begin:end])) for begin, end in (change.before, change.after))
            together = after - before
            found.append((series, _change(series, by_number, change, together)))
    (whole,) = changes([moved], [threshold])
    first = group[0]
    shared: list[SharedRecord] = [
        {
            "machine_id": first.machine_id,
            "source": first.source,
            "provenance": first.provenance,
            "tests": len(group),
            "ratio": float(np.exp(change.medians[1] - change.medians[0])),
            "last_before": _side(by_number[order[change.first - 1]]),
            "first_after": _side(by_number[order[change.first]]),
        }
        for change in whole
    ]
    return found, shared


def _of_counts(
    group: Sequence[Series], by_number: dict[int, PastSession], threshold: float
) -> Iterator[tuple[Series, ChangeRecord]]:
    """Changes of instructions: machines do not move them, so nothing is taken off."""
    import numpy as np

    from pytest_joules.judge.change_points import changes

    logs = [np.log(series.values) for series in group]
    least = [max(threshold, _DOUBTFUL if series.doubts else 0.0, _SLACK / float(np.median(series.values))) for series in group]
    for series, points in zip(group, changes(logs, least, steady=True), strict=True):
        for change in points:
            yield series, _change(series, by_number, change, 0.0)


def _change(series: Series, by_number: dict[int, PastSession], change: Change, together: float) -> ChangeRecord:
    from math import exp

    before, after, medians = change.before, change.after, change.medians
    last_before, first_after = (by_number[series.sessions[place]] for place in (change.first - 1, change.first))
    return {
        "nodeid": series.nodeid,
        "verdict": "nominated",
        "quantity": "joules" if series.identity is None else "instructions",
        "ratio": exp(medians[1] - medians[0]),
        "before": exp(medians[0]),
        "after": exp(medians[1]),
        "sessions": [before[1] - before[0], after[1] - after[0]],
        "last_before": _side(last_before),
        "first_after": _side(first_after),
        "machine_id": series.machine_id,
        "source": series.source,
        "provenance": series.provenance,
        "together": exp(together),
        "same_code": None,
        "changed": None,
        "convict": _commands(series, last_before.commit),
    }


def _side(session: PastSession) -> SideRecord:
    return {"session": session.number, "created": session.created, "commit": session.commit}


def _commands(series: Series, commit: CommitRecord | None) -> list[str]:
    if commit is None or not commit["id"]:
        return []
    test, there = f"pytest {shlex.quote(series.nodeid)}", commit["id"][:12]
    if series.identity is None:
        return [f"{test} --energy-against={there}"]
    return [
        f"git switch --detach {there} && {test} --energy-count --energy-save={there}",
        f"git switch - && {test} --energy-count --energy-compare={there}",
    ]


def _explain(store: Store, by_number: dict[int, PastSession], found: Sequence[tuple[Series, ChangeRecord]]) -> None:
    """What has changed in the paths of tests. The point is right within a session: where the code is the same on both sides,
    and changed a session earlier or later, the sides are that much farther apart."""
    from pytest_joules.code.blame import blame

    places = [series.sessions.index(change["first_after"]["session"]) for series, change in found]
    wanted = {
        number for (series, _), place in zip(found, places, strict=True) for number in series.codes[max(0, place - 2) : place + 2]
    }
    codes = store.executed(wanted)
    for (series, change), place in zip(found, places, strict=True):
        around = [(place - 1, place), (place - 2, place), (place - 1, place + 1)]
        sides = [(first, last) for first, last in around if first >= 0 and last < len(series.codes)]
        pairs = [(codes.get(series.codes[first] or -1), codes.get(series.codes[last] or -1)) for first, last in sides]
        known = [
            (then, now, side)
            for (then, now), side in zip(pairs, sides, strict=True)
            if then is not None and now is not None and then["functions"] and now["functions"]
        ]
        if not known or known[0][2] != sides[0]:
            continue
        other = [one for one in known if not _same(one[0], one[1])]
        then, now, (first, last) = (other or known)[0]
        before, after = (by_number[series.sessions[number]] for number in (first, last))
        nodeid = change["nodeid"]
        change["last_before"], change["first_after"] = _side(before), _side(after)
        change["convict"] = _commands(series, before.commit)
        change["same_code"] = not other
        change["changed"] = blame({nodeid: then["functions"]}, {nodeid: now["functions"]}, [nodeid])[nodeid]


def _same(then: Code, now: Code) -> bool:
    known = then["fingerprint"] is not None and not then["unknown"] and not now["unknown"]
    return known and then["fingerprint"] == now["fingerprint"]


# Saying


def _print(found: ChangesRecord) -> None:
    from pytest_joules.report.text import encoding_of, printable

    tests = "1 test" if found["tests"] == 1 else f"{found['tests']} tests"
    if not found["changes"]:
        say(f"no change of level nominated: {tests} looked at.")
    for change in found["changes"]:
        say("\n".join(_lines(change)))
        for command in change["convict"]:
            print(f"    {printable(command, encoding_of(sys.stdout))}")  # on one line, however long: it is to be copied
    if found["left_out"]:
        say(f"{found['left_out']} more left out (--limit).")
    for shared in found["shared"]:
        say(_together(shared))
    if found["too_few"]:
        from pytest_joules.judge.change_points import FEWEST

        say(f"too few sessions that can be compared (fewer than {FEWEST}): {found['too_few']} of {tests}.")
    if found["changes"]:
        say(
            "A history only nominates: its sessions follow each other in time, and a machine drifts. Two revisions measured in "
            "turn convict or acquit: the command of each, run where the newer one is checked out."
        )


def _lines(change: ChangeRecord) -> Iterator[str]:
    from pytest_joules.report import quantity
    from pytest_joules.report.text import printable, whole

    unit = quantity.joules if change["quantity"] == "joules" else quantity.instructions
    before, after = whole(unit(change["before"])), whole(unit(change["after"]))
    yield printable(change["nodeid"])
    word = "dearer" if change["ratio"] > 1 else "cheaper"
    counts = " and ".join(map(str, change["sessions"]))
    ratio = quantity.change(change["ratio"])
    yield f"  nominated: {word}, {ratio} ({before} then, {after} after: medians of {counts} sessions)"
    yield f"  between {_session(change['last_before'])} and {_session(change['first_after'])}"
    yield f"  {_where(change['machine_id'], change['source'], change['provenance'])}"
    if abs(change["together"] - 1) >= 0.01:
        yield f"  all tests there moved by {quantity.change(change['together'])} meanwhile, which is taken off"
    if change["same_code"]:
        yield "  its code is the same on both sides: look for the machine, data files, services"
    elif change["changed"]:
        yield f"  changed in its path: {', '.join(whole(printable(name)) for name in change['changed'][:5])}"
    elif change["changed"] is None:
        yield "  what changed in its path is not known: its code was not recorded on both sides"
    else:
        yield "  nothing that is known of its path changed"
    yield (
        "  to convict:"
        if change["convict"]
        else "  to convict: pytest --energy-against=COMMIT (that of the session before is not known)"
    )


def _session(side: SideRecord) -> str:
    commit = side["commit"]
    name = f"{commit['id'][:10]}{'+' if commit['dirty'] else ''}" if commit and commit["id"] else "commit not known"
    return f"{side['created'][:16].replace('T', ' ')} ({name})"


def _where(machine_id: str | None, source: str, provenance: str | None) -> str:
    if provenance is None:
        return f"instructions by {source}"
    return f"joules by {source}, {provenance}, machine {machine_id[:16] if machine_id else 'not known'}"


def _together(shared: SharedRecord) -> str:
    from pytest_joules.report import quantity

    where = _where(shared["machine_id"], shared["source"], shared["provenance"])
    between = f"{_session(shared['last_before'])} and {_session(shared['first_after'])}"
    return (
        f"all {shared['tests']} tests together: {quantity.change(shared['ratio'])} between {between} ({where}): "
        "the machine, or what all of them run. It is taken off each test."
    )
