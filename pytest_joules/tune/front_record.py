"""Judged points as the file has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_joules.tune.configurations import CONSTANT
from pytest_joules.tune.distilling import LEAST_GAIN, MOST_JOULES
from pytest_joules.tune.front import Lesson, Point, knee, lesson
from pytest_joules.tune.front_file import SCHEMA, FrontRecord, LessonRecord, PointRecord, finite, quantity
from pytest_joules.tune.problem import TARGET, Problem


def record(points: Sequence[Point], targets: Sequence[str], given: Problem, folds: int) -> FrontRecord:
    """All that follows from the points, in their order; the rest of the file is for the caller to fill in."""
    found = knee(points, targets, given.seed)
    return {
        "schema": SCHEMA,
        "created": "",
        "plugin": "",
        "target": TARGET,
        "targets": list(targets),
        "dataset": {"path": "", "digest": "", "tests": 0, "packages": 0, "unlabelled": 0},
        "machine": "",
        "seed": given.seed,
        "budget": 0.0,
        "spent": 0.0,
        "complete": False,
        "folds": folds,
        "held_out": len(np.unique(given.groups[given.fold < folds])),
        "sources": [],
        "provenance": "unavailable",
        "notes": [],
        "points": [_point(number, one) for number, one in enumerate(points, 1)],
        "knee": {"number": found.place + 1, "tied": [place + 1 for place in found.tied], "why": found.why} if found else None,
        "distilled": _lessons(points),
    }


def _point(number: int, one: Point) -> PointRecord:
    taken = one.taken
    joules, seconds = (taken.joules, taken.seconds) if taken is not None else (None, None)
    return {
        "number": number,
        "label": one.configuration.label,
        "configuration": one.configuration.as_record(),
        "description": one.description,
        "error": quantity(one.error.median, one.error.interval),
        "bytes": one.bytes,
        "seconds": quantity(seconds["median"], seconds["ci95"]) if seconds is not None else None,
        "joules": quantity(joules["median"], joules["ci95"]) if joules is not None else None,
        "net_joules": taken.net if taken is not None else None,
        "blocks": len(taken.blocks) if taken is not None else 0,
        "half_width": finite(taken.half_width) if taken is not None and joules is not None else None,
        "verdict": one.verdict,
        "by": [place + 1 for place in one.by],
    }


def _lessons(points: Sequence[Point]) -> list[LessonRecord]:
    places = {point.configuration: place for place, point in enumerate(points)}
    found = []
    for student, place in places.items():
        # Moved by measured tests, a student is no longer what was taught alone.
        if student.teacher is not None and not student.adapted and student.teacher in places:
            found.append(_lesson(lesson(points, place, places[student.teacher], places[CONSTANT])))
    return found


def _lesson(one: Lesson) -> LessonRecord:
    return {
        "student": one.student + 1,
        "teacher": one.teacher + 1,
        "gain": finite(one.gain),
        "gain_ci95": list(one.gain_interval) if one.gain_interval is not None else None,
        "joules": finite(one.joules),
        "joules_ci95": list(one.joules_interval) if one.joules_interval is not None else None,
        "met": bool(one.joules is not None and one.gain >= LEAST_GAIN and one.joules <= MOST_JOULES),
    }
