"""The account of a test: joules from its measured rounds, shares from its traced ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from pytest_joules.account.pooled import Pooled, pool
from pytest_joules.account.power import Power
from pytest_joules.account.rates import intervals_of, rates_of, with_idle
from pytest_joules.account.shares import DomainShares, shares_of
from pytest_joules.account.similarity import similarity
from pytest_joules.account.totals import Totals, add_up, per_iteration
from pytest_joules.account.traced_round import TracedRound
from pytest_joules.account.tree import flat_records, summarised, tree_of, unattributed_record
from pytest_joules.model.account_records import AccountRecord, SharedBy

What = Literal["functions", "modules", "operations"]


def account(
    rounds: Sequence[TracedRound],
    joules: float,
    ci95: Sequence[float] | None,
    *,
    what: What,
    iterations: int = 1,
    seconds: float | None = None,
    domains_joules: Mapping[str, float] | None = None,
    idle_watts: Mapping[str, float] | None = None,
) -> AccountRecord:
    """Share out the joules of one iteration of a test to its parts.

    Args:
        rounds: the traced ones, at least one
        joules: of one iteration, as the measured rounds have it
        ci95: both ends of its 95 % interval
        what: what the parts are
        iterations: calls of the body in each traced round
        seconds: that an iteration takes when nothing is recorded: those of the parts are brought to its measure
        domains_joules: joules of one iteration by domain, of those that are added to the total; without it the total is split as
            the counters of the traced rounds were
        idle_watts: of domains whose joules come from a model that has them, where no counter tells

    Raises:
        ValueError: there is no round, a number is none, or a timeline or a counter's readings contradict themselves.
    """
    _check(rounds, joules, ci95, iterations, domains_joules)
    pooled = pool(rounds)
    totals = add_up(pooled)
    bodies = sum(each.bodies for each in rounds)
    per = per_iteration(pooled, totals, bodies * iterations, seconds)
    powers = _by_domain(rounds)
    split, notes = _split(pooled, totals, powers, joules, domains_joules)
    domains = []
    for (domain, device), own in split.items():
        if device is None:
            domains.append(DomainShares(domain, None, own, None, None))
            continue
        intervals = intervals_of(pooled, totals, powers.get(domain, [()] * len(rounds)), device)
        known = (idle_watts or {}).get(domain)
        if known is None or intervals.why is None:
            rates = rates_of(totals, intervals, device)
        else:
            rates = with_idle(pooled, totals, intervals, device, watts=known, joules=own / per.seconds)
        domains.append(DomainShares(domain, device, own, rates, intervals))
    shares = shares_of(pooled, totals, domains, joules, ci95)
    shared_by, why, more = _how(domains, joules)
    flat = flat_records(pooled, totals, shares, joules, per)
    unattributed = unattributed_record(pooled, totals, shares, joules, per)
    tree = tree_of(pooled, totals, shares, per)
    idle = [each.rates.idle for each in domains if each.rates is not None and each.rates.idle_known]
    regressed = [each.rates for each in domains if each.rates is not None and each.rates.explained is not None]
    counted = math.fsum(rates.counted for rates in regressed)
    explained = math.fsum(rates.counted * (rates.explained or 0.0) for rates in regressed)
    by_flat = math.fsum([*(record["joules"] for record in flat), unattributed["joules"]])
    by_tree = math.fsum([*(record["joules"] for record in tree), unattributed["joules"]])
    off = max(abs(by_flat - joules), abs(by_tree - joules))
    if not pooled.flats:
        notes.append("no part ran within the body of a traced round: nothing was recorded, or its clock is another one")
    return AccountRecord(
        what=what,
        joules=joules,
        shared_by=shared_by,
        why=why,
        idle_watts=math.fsum(idle) if idle and len(idle) == len(domains) else None,
        rounds=bodies,
        tree=tree,
        flat=flat,
        summarised=summarised(pooled, totals, shares, joules, per),
        unattributed=unattributed,
        conservation=off / joules if joules > 0 else off,
        against_counter=explained / counted if counted > 0 else None,
        similarity=similarity(pooled, totals, domains),
        grown=[],
        notes=notes + more,
    )


def _check(
    rounds: Sequence[TracedRound],
    joules: float,
    ci95: Sequence[float] | None,
    iterations: int,
    domains_joules: Mapping[str, float] | None,
) -> None:
    if not rounds:
        raise ValueError("no traced round: an account needs at least one")
    if iterations < 1:
        raise ValueError(f"{iterations} iterations: there is at least one call of the body")
    for what, value in (
        ("the test's joules", joules),
        *((f"joules of {name}", own) for name, own in (domains_joules or {}).items()),
    ):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{what}: {value} is no number of joules")
    if ci95 is not None and (len(ci95) != 2 or not all(map(math.isfinite, ci95)) or ci95[0] > ci95[1]):
        raise ValueError(f"{list(ci95)} is no interval of the test's joules: give its lower and its upper end")


def _by_domain(rounds: Sequence[TracedRound]) -> dict[str, list[list[Power]]]:
    """Readings by domain and round."""
    found: dict[str, list[list[Power]]] = {}
    for number, each in enumerate(rounds):
        for power in each.powers:
            found.setdefault(power.domain, [[] for _ in rounds])[number].append(power)
    return found


def _split(
    pooled: Pooled,
    totals: Totals,
    powers: Mapping[str, Sequence[Sequence[Power]]],
    joules: float,
    domains_joules: Mapping[str, float] | None,
) -> tuple[dict[tuple[str, int | None], float], list[str]]:
    """Joules by domain and by the device whose lanes it pays (``None``: nobody's), adding up to ``joules``; and notes."""
    notes: list[str] = []
    if domains_joules is None:
        domains_joules = {
            domain: math.fsum(float(power.joules[-1] - power.joules[0]) for each in given for power in each if len(power.joules))
            for domain, given in powers.items()
        }
    total = math.fsum(domains_joules.values())
    if not (math.isfinite(total) and total > 0):
        domains_joules, total = {next(iter(domains_joules)) if len(domains_joules) == 1 else "": joules}, joules
    ran = {pooled.devices[device] for device in range(len(pooled.devices)) if (totals.pairs[:, 1] == device).any()}
    result: dict[tuple[str, int | None], float] = {}
    for domain, own in domains_joules.items():
        share = joules * (own / total) if total > 0 else 0.0
        named = next((power.device for each in powers.get(domain, ()) for power in each), None)
        device = named or (domain if domain in ran or domain.startswith("gpu-") else "cpu")
        if device == "cpu" and not domain and "cpu" not in ran and ran:
            # nothing says which device drew it: all that ran
            if len(ran) > 1:
                notes.append(f"{', '.join(sorted(ran))} have no counter of their own: their work is shared out alike")
            busy = {one: _worked(pooled, totals, one) for one in sorted(ran)}
            whole = math.fsum(busy.values())
            for one, worked in busy.items():
                result[domain, pooled.devices.index(one)] = share * (worked / whole if whole > 0 else 1 / len(busy))
            continue
        if device not in ran and share > 0 and ran:
            notes.append(f"nothing was recorded on {device}: the joules of {domain or device} are unattributed")
        result[domain, pooled.devices.index(device) if device in ran else None] = share
    return result, notes


def _worked(pooled: Pooled, totals: Totals, device: str) -> float:
    mine = totals.pairs[:, 1] == pooled.devices.index(device)
    return float(totals.pair_busy[mine].sum() or totals.pair_seconds[mine].sum())


def _how(domains: Sequence[DomainShares], joules: float) -> tuple[SharedBy, str | None, list[str]]:
    """How the dearest domain was shared out, why so, and notes on the others."""
    shared = [each for each in domains if each.rates is not None]
    if not shared:
        return "seconds", "nothing was recorded that the joules could go to", []
    first = max(shared, key=lambda each: each.joules)
    assert first.rates is not None
    notes = [
        f"{each.domain}: by {each.rates.shared_by}" + (f", because {each.rates.why}" if each.rates.why else "")
        for each in shared
        if each is not first and each.rates is not None and each.rates.shared_by != first.rates.shared_by
    ]
    return first.rates.shared_by, first.rates.why, notes
