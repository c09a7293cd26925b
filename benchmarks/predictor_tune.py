"""The bars of ``joules tune``, on the fronts of two searches with different seeds.

    joules tune --dataset=DIR --seed=0 --json=front-0.json
    joules tune --dataset=DIR --seed=1 --json=front-1.json
    python benchmarks/predictor_tune.py front-0.json front-1.json

``calls``      the model of call counts is on each front, and every point that is dominated says by whom
``joules``     half the width of the 95 % interval of each point's joules: at most 5 % of them
``knee``       both searches take the same point as their knee, or each says that it is a tie, with a point in common
``student``    at least 90 % of its teacher's gain over the constant, at no more than 5 % of its joules

Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pytest_joules.tune.configurations import CALLS
from pytest_joules.tune.front_file import load
from pytest_joules.tune.measuring import WANTED


class Bars:
    def __init__(self, fronts: list[Any]) -> None:
        self.fronts = fronts
        self.missed = 0

    def line(self, what: str, found: str, *, met: bool) -> None:
        self.missed += not met
        print(f"{what:34}{found:70}{'met' if met else 'MISSED'}")

    def all(self) -> None:
        for front in self.fronts:
            name = f"seed {front['seed']}"
            points = front["points"]
            calls = next((one for one in points if one["configuration"]["text"] == CALLS.text), None)
            self.line(f"{name}: calls on the front", calls["verdict"] if calls else "not there", met=_on_front(calls))
            shown = all(one["by"] for one in points if one["verdict"] == "dominated")
            count = sum(one["verdict"] == "dominated" for one in points)
            self.line(f"{name}: dominated ones shown", f"{count} of {len(points)}", met=shown)
            widths = [one["half_width"] for one in points if one["half_width"] is not None]
            worst, blocks = max(widths, default=float("inf")), min(one["blocks"] for one in points)
            within = sum(width <= WANTED for width in widths)
            found = (
                f"{within} of {len(points)} points within, worst ±{100 * worst:.1f} %, {blocks} blocks ({front['provenance']})"
            )
            self.line(f"{name}: joules ± 5 %", found, met=worst <= WANTED and len(widths) == len(points))
            for lesson in front["distilled"]:
                student = points[lesson["student"] - 1]["label"]
                gain, joules = lesson["gain"] or 0.0, lesson["joules"]
                part = "unavailable" if joules is None else f"{100 * joules:.2g} %"
                self.line(
                    f"{name}: student", f"{student}: {100 * gain:.0f} % of the gain at {part} of the joules", met=lesson["met"]
                )
        knees = [_knee(front) for front in self.fronts]
        same = len({taken for taken, _ in knees}) == 1
        tied = all(among for _, among in knees) and bool(set.intersection(*({taken, *among} for taken, among in knees)))
        found = "; ".join(f"{taken}" + (f" (a tie with {len(among)})" if among else "") for taken, among in knees)
        self.line("the same knee, or a tie", found, met=same or tied)


def _on_front(point: Any) -> bool:  # noqa: ANN401 - out of a file
    return point is not None and point["verdict"] == "front"


def _knee(front: Any) -> tuple[str, list[str]]:  # noqa: ANN401 - out of a file
    labels = {one["number"]: one["label"] for one in front["points"]}
    knee = front["knee"]
    return labels[knee["number"]], [labels[number] for number in knee["tied"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fronts", type=Path, nargs="+", metavar="FRONT.json")
    given = parser.parse_args()
    for path in given.fronts:
        load(path)  # which says what is wrong with it
    bars = Bars([json.loads(path.read_text("utf-8")) for path in given.fronts])
    bars.all()
    return int(bars.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
