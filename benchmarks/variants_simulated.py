"""How often variants that cost the same are told apart, and how often a 10 % difference is found.

    .venv/bin/python benchmarks/variants_simulated.py [--sessions 200] [--threshold 0]

Sessions of six variants, measured in turn as a run does it (``session/variant_turns.py``): 20 rounds in blocks, whose order turns
round each time. Every round scatters (2 %, with a spike of up to 50 % in one of fifty), every block of a variant as its process's
own state does (1 %), the machine drifts (a random walk and a trend), and midway, anywhere in a turn, a neighbour comes and stays,
which adds 5 to 40 %.

Bars: with equal variants at most 2 % of the sessions have any difference (``--threshold 0``: however small); with one variant
10 % dearer it is found in at least 95 %, and its interval covers the truth in at least 93 %. Exit status 1 where one is missed.
"""

from __future__ import annotations

import argparse
import math
import random
import sys

from pytest_joules import stats
from pytest_joules.judge.variants import Group, compare, planned
from pytest_joules.model import Record, SampleRecord, empty_record

NAMES = ["fp32", "int8", "bf16", "pruned-1", "pruned-2", "short"]
ROUNDS = 20


def session(draw: random.Random, dearer: float) -> dict[str, Record]:
    """One session's records; the last variant costs ``dearer`` times what the others do."""
    blocks = planned(len(NAMES))
    samples: dict[str, list[SampleRecord]] = {name: [] for name in NAMES}
    begins, adds = draw.uniform(0.25, 0.75), draw.uniform(0.05, 0.4)
    trend, walk, done = draw.gauss(0, 0.05), 0.0, 0
    total = ROUNDS * len(NAMES)
    for block in range(blocks):
        first = block // 2 % len(NAMES)
        order = NAMES[first:] + NAMES[:first]
        for name in order if block % 2 == 0 else order[::-1]:
            own = draw.gauss(0, 0.01)
            for _ in range(ROUNDS // blocks + (block < ROUNDS % blocks)):
                walk += draw.gauss(0, 0.003)
                noise = own + draw.gauss(0, 0.02) + (draw.uniform(0, 0.4) if draw.random() < 0.02 else 0.0)
                cost = (dearer if name == NAMES[-1] else 1.0) * math.exp(noise + walk + trend * done / total)
                cost *= 1 + adds if done / total > begins else 1.0
                samples[name].append({"energy": cost, "duration": 0.1, "tsc": None, "domains": {}, "block": block + 1})
                done += 1
    records: dict[str, Record] = {}
    for name, found in samples.items():
        record = records[name] = empty_record(name)
        record["source"], record["provenance"], record["resolution"] = "simulated", "measured", "ok"
        record["rounds"], record["samples"] = len(found), found
        record["energy"] = stats.summarise([one["energy"] for one in found if one["energy"] is not None])
        record["duration"] = stats.summarise([one["duration"] for one in found])
    return records


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--threshold", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    false = found = covered = wrong = 0
    for _ in range(given.sessions):
        equal = compare(Group("t", "model", NAMES[0], session(draw, 1.0)), given.threshold)
        false += any(one["verdict"] in ("cheaper", "dearer") for one in equal.values())
        differs = compare(Group("t", "model", NAMES[0], session(draw, 1.1)), given.threshold)
        last = differs[NAMES[-1]]
        found += last["verdict"] == "dearer"
        ends = last["ci95"] or [0.0, 0.0]
        covered += ends[0] <= 1.1 <= ends[1]
        wrong += any(one["verdict"] in ("cheaper", "dearer") for name, one in differs.items() if name != NAMES[-1])
    share = 100 / given.sessions
    print(
        f"{given.sessions} sessions of {len(NAMES)} variants, {planned(len(NAMES))} blocks, threshold {100 * given.threshold:g} %"
    )
    print(f"equal: any difference in {false * share:.1f} % (bar 2 %)")
    print(f"one 10 % dearer: found in {found * share:.1f} % (bar 95 %), another one told in {wrong * share:.1f} %")
    print(f"its 95 % interval covers the truth in {covered * share:.1f} % (bar 93 %)")
    return int(false * share > 2 or found * share < 95 or covered * share < 93)


if __name__ == "__main__":
    sys.exit(main())
