"""The records of an account: as a tree, flat, and with alike parts as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pytest_joules.account.intervals import Floats
from pytest_joules.account.pooled import Flat, Pooled
from pytest_joules.account.shares import Shares
from pytest_joules.account.timeline import NOT_OF_TEST
from pytest_joules.account.totals import Per, Totals
from pytest_joules.model.account_records import NodeRecord, PartRecord

#: What lies deeper in the tree is part of what is above it.
MOST_DEPTH = 150
_NUMBER = re.compile(r"(?<![^./_])\d+(?![^./])")


def tree_of(pooled: Pooled, totals: Totals, shares: Shares, per: Per) -> list[NodeRecord]:
    """The top parts, each with all below it; the dearest first. Without recursion: call chains are deeper than Python's limit.

    Args:
        pooled: the traced rounds
        totals: of the same
        shares: joules by part
        per: what makes sums of all traced rounds those of one iteration
    """
    count = len(pooled.parts)
    node = totals.pairs[:, 0]
    own = np.bincount(node, weights=shares.pairs, minlength=count)
    joules, seconds = own.copy(), np.bincount(node, weights=totals.pair_seconds, minlength=count) * per.seconds
    deep = _too_deep(pooled)
    for index in range(count - 1, -1, -1):
        above = pooled.parts[index].parent
        if above is not None:
            if deep[index]:
                own[above] += own[index]
            joules[above] += joules[index]
            seconds[above] += seconds[index]
    nodes = [
        NodeRecord(
            name=part.name,
            direction=part.direction,
            joules=float(joules[index]),
            own=float(own[index]),
            seconds=float(seconds[index]),
            calls=float(pooled.calls[index] * per.calls),
            children=[],
        )
        for index, part in enumerate(pooled.parts)
    ]
    tops: list[NodeRecord] = []
    for index in sorted(range(count), key=lambda index: (-joules[index], -seconds[index], index)):
        above = pooled.parts[index].parent
        if pooled.parts[index].name not in NOT_OF_TEST and not deep[index]:
            (tops if above is None else nodes[above]["children"]).append(nodes[index])
    return tops


def _too_deep(pooled: Pooled) -> list[bool]:
    """By part, whether it is its parent's in the tree: whoever writes or reads JSON goes down step by step."""
    depth: list[int] = []
    for part in pooled.parts:
        depth.append(0 if part.parent is None else depth[part.parent] + 1)
    return [each >= MOST_DEPTH for each in depth]


def flat_records(pooled: Pooled, totals: Totals, shares: Shares, joules: float, per: Per) -> list[PartRecord]:
    """Each part wherever it ran, the dearest first; parts that cannot be told apart as one, by the name of the busiest."""
    busy = totals.busy.sum(axis=0)
    own = _of_test(pooled)
    told = [kept for group in shares.groups if (kept := tuple(index for index in group if index in own))]
    grouped = {index for group in told for index in group}
    groups = [*told, *((index,) for index in own if index not in grouped)]
    calls = _calls(pooled, totals)
    records = []
    for group in groups:
        first, *others = sorted(group, key=lambda index: (-busy[index], index))
        same = [_said(pooled.flats[index], pooled.flats[first]) for index in others]
        records.append(
            _record(pooled.flats[first], group, same, totals=totals, shares=shares, calls=calls, joules=joules, per=per)
        )
    return sorted(records, key=lambda record: (-record["joules"], -record["seconds"], record["name"]))


def summarised(pooled: Pooled, totals: Totals, shares: Shares, joules: float, per: Per) -> list[PartRecord]:
    """Modules and operations whose names differ in numbers only as one: ``layer.0.x`` and ``layer.1.x`` are ``layer.*.x``."""
    alike: dict[Flat, list[int]] = {}
    own = _of_test(pooled)
    for index in own:
        flat = pooled.flats[index]
        name = flat.name if flat.kind == "function" else _NUMBER.sub("*", flat.name)
        alike.setdefault(flat._replace(name=name), []).append(index)
    if all(len(group) == 1 for group in alike.values()):
        return []
    calls = _calls(pooled, totals)
    records = []
    for pattern, group in alike.items():
        flat = pattern if len(group) > 1 else pooled.flats[group[0]]
        beyond = {other for one in shares.groups if set(one) & set(group) for other in one if other in own} - set(group)
        same = [_said(pooled.flats[index], flat) for index in sorted(beyond)]
        records.append(_record(flat, group, same, totals=totals, shares=shares, calls=calls, joules=joules, per=per))
    return sorted(records, key=lambda record: (-record["joules"], -record["seconds"], record["name"]))


def unattributed_record(pooled: Pooled, totals: Totals, shares: Shares, joules: float, per: Per) -> PartRecord:
    """What no part accounts for."""
    used = sorted(set(totals.pairs[:, 1].tolist())) or [0]
    kind: Literal["function", "module", "operation"] = pooled.flats[0].kind if pooled.flats else "function"
    seconds = float(totals.nobody_idle[:, used[0]].sum()) * per.seconds
    return PartRecord(
        name="unattributed",
        kind=kind,
        direction="",
        device=pooled.devices[used[0]] if len(used) == 1 else "",
        joules=shares.unattributed,
        ci95=_interval(shares.draws, [len(pooled.flats)], shares.unattributed),
        share=shares.unattributed / joules if joules > 0 else 0.0,
        seconds=seconds,
        busy=float(totals.nobody_busy.sum()) * per.seconds,
        watts=shares.unattributed / seconds if seconds > 0 else None,
        calls=0.0,
        same=[],
    )


def _record(
    flat: Flat,
    group: Sequence[int],
    same: list[str],
    *,
    totals: Totals,
    shares: Shares,
    calls: Floats,
    joules: float,
    per: Per,
) -> PartRecord:
    chosen = list(group)
    own, seconds = float(shares.flats[chosen].sum()), float(totals.seconds[chosen].sum()) * per.seconds
    return PartRecord(
        name=flat.name,
        kind=flat.kind,
        direction=flat.direction,
        device=flat.device,
        joules=own,
        ci95=_interval(shares.draws, chosen, own),
        share=own / joules if joules > 0 else 0.0,
        seconds=seconds,
        busy=float(totals.busy[:, chosen].sum()) * per.seconds,
        watts=own / seconds if seconds > 0 else None,
        calls=float(calls[chosen].sum()) * per.calls,
        same=same,
    )


def _of_test(pooled: Pooled) -> list[int]:
    """Indices of the flat parts that are the test's."""
    return [index for index, flat in enumerate(pooled.flats) if flat.name not in NOT_OF_TEST]


def _calls(pooled: Pooled, totals: Totals) -> Floats:
    """By flat part; a part that ran on several devices was entered as often for each."""
    return np.bincount(totals.pair_flat, weights=pooled.calls[totals.pairs[:, 0]], minlength=len(pooled.flats)).astype(np.float64)


def _interval(draws: Floats | None, columns: Sequence[int], joules: float) -> list[float] | None:
    if draws is None:
        return None
    low, high = np.quantile(draws[:, list(columns)].sum(axis=1), [0.025, 0.975])
    return [float(min(low, joules)), float(max(high, joules))]


def _said(flat: Flat, beside: Flat) -> str:
    """A part's name, with what tells it from the one beside it."""
    more = [word for word, other in ((flat.direction, beside.direction), (flat.device, beside.device)) if word and word != other]
    return f"{flat.name} ({', '.join(more)})" if more else flat.name
