"""Budgets and measurements -> verdicts."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_joules.model import WOULD_BE, BudgetRecord, BudgetVerdict, Measurement
from pytest_joules.report.quantity import joules as show
from pytest_joules.settings.budgets import Budget


@dataclass(frozen=True, slots=True)
class JudgedBudget:
    """What a budget says of a measurement."""

    budget: Budget
    verdict: BudgetVerdict
    why: str | None = None
    """For ``over budget`` the whole sentence, for ``cannot tell`` the reason and the remedy."""
    details: str = ""

    def as_record(self) -> BudgetRecord:
        return {"joules": self.budget.joules, "verdict": self.verdict, "why": self.why}


def excess(ratio: float) -> str:
    """How far above its limit something is: ``28 % over``, from twice on ``157 times the limit``."""
    if ratio >= 2:
        return f"{float(f'{ratio:.3g}'):,.15g} times the limit"
    percent = 100 * (ratio - 1)
    if percent < 0.1:
        return "less than 0.1 % over"
    return f"{percent:.0f} % over" if percent >= 9.95 else f"{percent:.1f} % over"


def judge_budget(measurement: Measurement, budget: Budget, *, trust_estimates: bool, random: bool) -> JudgedBudget:
    """Over budget is what costs more than the limit even at the lower end of its 95 % interval.

    What is not a quiet counter's reading (an estimate, a shared machine) can be over budget only if the user trusts it; what
    has no number, too few rounds or random examples cannot be judged.
    """

    def cannot(why: str) -> JudgedBudget:
        return JudgedBudget(budget, "cannot tell", why)

    summary = measurement.energy
    if measurement.resolution == "below":
        return cannot("below the counter's resolution: @pytest.mark.energy(iterations=N) makes the work longer")
    if summary is None:
        reason = "; ".join(measurement.notes) or "nothing was measured"
        return cannot(f"no energy to hold against the budget: {reason}")
    limit = budget.joules
    if summary["ci95"] is None:
        if summary["median"] <= limit:
            return JudgedBudget(budget, "ok")
        return cannot(f"{show(summary['median'])} in a single round has no interval: allow more rounds or time")
    low, high = summary["ci95"]
    if low <= limit:
        return JudgedBudget(budget, "ok")
    numbers = f"{show(summary['median'])} > {show(limit)}"
    facts = (
        f"{excess(summary['median'] / limit)} (95 % interval {show(low)} to {show(high)}, {measurement.rounds} rounds, "
        f"{measurement.source})"
    )
    if random:
        return cannot(f"{WOULD_BE}over energy budget: {numbers}, {facts}; its examples are random: derandomize or seed it")
    if measurement.provenance != "measured" and not trust_estimates:
        remedy = f"{measurement.provenance}, so it fails only with --energy-trust-estimates"
        return cannot(f"{WOULD_BE}over energy budget: {numbers}, {facts}; {remedy}")
    details = "\n".join(
        (
            f"limit     {show(limit)}  ({budget.where})",
            f"measured  {show(summary['median'])}  median of {len(measurement.samples)} samples",
            f"interval  {show(low)} to {show(high)}  (95 %)",
            f"rounds    {measurement.rounds}",
            f"source    {measurement.source}, {measurement.provenance}, resolution {measurement.resolution}",
            f"over by   {show(summary['median'] - limit)}  ({excess(summary['median'] / limit)})",
        )
    )
    return JudgedBudget(budget, "over budget", f"{numbers}: over energy budget, {facts}", details)
