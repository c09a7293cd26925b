"""What a test is judged by, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_joules.model import ComparisonRecord, Verdict

#: A suspect is measured again until it is none any more or has this many blocks.
MOST_BLOCKS = 6

#: Earlier sessions of the same code from which on the noise floor is the test's own.
LEARNT_FROM = 5

#: What helps beside other processes, where a stored baseline is compared with.
WAY_OUT = "use a quiet machine, or --energy-against, which measures both sides in turn"


#: Both ends, in joules.
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Case:
    """One test's two sides, in joules per iteration."""

    nodeid: str
    before: tuple[tuple[float, ...], ...]
    """One tuple a block (the rounds measured in one process), its samples in measured order."""
    now: tuple[tuple[float, ...], ...]
    sessions: tuple[float, ...] = ()
    """Medians of earlier sessions of the same code as ``before``, on this machine and source; ``before`` not among them."""
    paired: bool = False
    """Block k of both sides was measured in turn, so that what a session does to the cost cancels."""
    same_code: bool = False
    """All that the test executes is known, and is the same on both sides: what differs is the machine."""
    disturbed: bool = False
    """An estimate, while other processes used the machine: they make the same work take up to twice the CPU time."""
    cached: bool = False
    """``now`` is an earlier session's (``--energy-changed-only``): it tells nothing of this run, and is not measured again."""
    own: float = 0.0
    """What of ``now`` reading the meter itself costs, relative: it hides as much of a change."""
    iterations: int = 1
    shares: tuple[Interval, Interval] | None = None
    """Where joules are a share of a counter, the 95 % intervals of both sides, before and now."""
    cannot: str | None = None
    """Why this test cannot be judged, and what to do, where that is known beforehand."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of a case."""

    verdict: Verdict
    ratio: float | None
    """Now over before; where there are earlier sessions of the same code, over the level of them all."""
    ci95: tuple[float, float] | None
    """Of the ratio, from the scatter within the sessions compared; what sessions differ by is in ``floor``."""
    p: float | None
    """One-sided, in the direction of the ratio, before correction for the number of tests."""
    why: str
    before: float | None
    """Joules: the level that the ratio is over."""
    now: float | None
    """Joules: ``before`` times the ratio; of all blocks, those measured again included."""
    floor: float | None
    """Relative. The lower bound of an unchanged test's ratio passes it about once in 1000 comparisons; ``None`` when paired."""
    sessions: int
    """Earlier sessions that the floor was learnt from; 0 where it is assumed."""
    blocks: int
    """Processes that the tests ran in now."""
    suspect: bool
    """Looks dearer: one more block, in a fresh process (paired: on both sides), before it may fail."""
    held: float | None = None
    """Relative: what the threshold is held at, where the noise of the run does not carry the one that was asked for."""

    def as_record(self, baseline: str, changed: Sequence[str] = ()) -> ComparisonRecord:
        return {
            "baseline": baseline,
            "ratio": self.ratio,
            "ci95": list(self.ci95) if self.ci95 else None,
            "p": self.p,
            "before": self.before,
            "now": self.now,
            "verdict": self.verdict,
            "why": self.why,
            "floor": self.floor,
            "held": self.held,
            "sessions": self.sessions,
            "blocks": self.blocks,
            "changed": list(changed),
        }
