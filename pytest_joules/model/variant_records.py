"""The records of scores and of variants, as they stand in the report of a test."""

from __future__ import annotations

from typing import Literal, TypedDict

#: Of a variant against the reference: in joules beyond the threshold, within it, or not known.
VariantVerdict = Literal["reference", "cheaper", "dearer", "same within threshold", "cannot tell"]

#: Whether another variant is both cheaper and better.
Front = Literal["front", "dominated", "cannot tell"]


class ScoreRecord(TypedDict):
    """Of a name given to ``energy.score``; made by :mod:`pytest_joules.measure.scores`."""

    value: float
    """The mean over the rounds."""
    ci95: list[float] | None
    """Of the mean: over the values of the list; of single values that differ, over the rounds."""
    higher_is_better: bool | None
    """``None``: not declared."""
    samples: list[float]
    """A value a round."""
    spread: list[float] | None
    """The least and the greatest of the rounds, where they differ."""
    items: list[float] | None
    """The list itself, its entries averaged over the rounds; ``None`` for a single number."""


class VariantRecord(TypedDict):
    """A variant beside the others; made by :func:`pytest_joules.judge.variants.compare`."""

    parameter: str
    """Whose values are the variants."""
    variant: str
    reference: str
    group: str
    """The test without this parameter: those of one group stand in one table."""
    in_turn: bool
    """Blocks of rounds of all variants alternated."""
    blocks: int
    """In which this one and the reference were measured; 0 where not in turn."""
    needed: int
    """Blocks without which no difference can be significant among so many variants."""
    friedman: float | None
    """p of Friedman's test over the blocks: that all variants cost the same."""
    ratio: float | None
    """Joules over those of the reference."""
    ci95: list[float] | None
    """Of the ratio."""
    p: float | None
    """Of the ratio, by Holm's correction."""
    verdict: VariantVerdict
    why: str | None
    score: str | None
    """Its name, where all that is below is of a score."""
    score_difference: float | None
    """Its value minus that of the reference."""
    score_ci95: list[float] | None
    """Of the difference."""
    front: Front | None
    """``None`` without a score that has a direction."""
    dominated_by: list[str]
    """Variants that are cheaper and better, the cheapest first."""
    unit: str | None
    """Of work done."""
    joules_per_unit: float | None
    units_per_second: float | None
    remarks: list[str]
    """On the table as a whole."""
