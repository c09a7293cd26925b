"""The front as a JSON file, and back: what ``joules train --like`` reads may have been edited by anybody."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO, TypedDict

from pytest_joules.files import atomic, reading
from pytest_joules.files.checked import Bad, count, decode, interval, list_of, number, one_of, optional, required, shown, within
from pytest_joules.model import SourceRecord
from pytest_joules.tune.configurations import Configuration

SCHEMA = "pytest-joules-front/1"

#: Bytes that are read.
_MOST = 16 * 2**20


class FrontError(ValueError):
    """A front that cannot be used: one sentence with the file, what is wrong, and what to do."""


class Quantity(TypedDict):
    """A median with its 95 % interval."""

    median: float
    ci95: list[float] | None


class PointRecord(TypedDict):
    """A finalist."""

    number: int
    label: str
    configuration: dict[str, object]
    description: str
    error: Quantity
    """Median of |truth - prediction|, log10 joules, held-out packages."""
    bytes: int
    """Of the stored model."""
    seconds: Quantity | None
    """CPU seconds a prediction."""
    joules: Quantity | None
    """A prediction, idle power included."""
    net_joules: float | None
    """A prediction, above idle."""
    blocks: int
    half_width: float | None
    """Of the joules' interval, relative."""
    verdict: str
    by: list[int]
    """Numbers of the points that it is dominated by or tied with."""


class KneeRecord(TypedDict):
    """The point that is taken where nobody says otherwise."""

    number: int
    tied: list[int]
    why: str


class LessonRecord(TypedDict):
    """A student and its teacher, as numbers of points."""

    student: int
    teacher: int
    gain: float | None
    gain_ci95: list[float] | None
    joules: float | None
    joules_ci95: list[float] | None
    met: bool


class DatasetRecord(TypedDict):
    """What it was found on."""

    path: str
    digest: str
    tests: int
    packages: int
    unlabelled: int


class FrontRecord(TypedDict):
    """The file."""

    schema: str
    created: str
    plugin: str
    target: str
    """What is predicted."""
    targets: list[str]
    """What points are held against each other by."""
    dataset: DatasetRecord
    machine: str
    seed: int
    budget: float
    spent: float
    """Seconds."""
    complete: bool
    """The search was not ended by its budget."""
    folds: int
    held_out: int
    """Packages that were held out, each once."""
    sources: list[SourceRecord]
    provenance: str
    notes: list[str]
    points: list[PointRecord]
    knee: KneeRecord | None
    distilled: list[LessonRecord]


class Chosen(NamedTuple):
    """One point out of a file, with what its configuration was found on."""

    number: int
    label: str
    configuration: Configuration
    dataset: Path
    seed: int


@dataclass(frozen=True, slots=True)
class Front:
    """A front that was read."""

    points: Mapping[int, tuple[str, Configuration]]
    knee: int | None
    dataset: Path
    seed: int

    def point(self, number_: int | None, path: Path) -> Chosen:
        """The point of this number, ``None``: the knee.

        Raises:
            FrontError: there is none.
        """
        if number_ is None and self.knee is None:
            raise FrontError(f"--like={path}: the front has no knee: name a point, --like={path}#1")
        number_ = self.knee if number_ is None else number_
        if number_ not in self.points:
            there = ", ".join(map(str, self.points))
            raise FrontError(f"--like={path}#{number_}: the front has no point {number_}, but {there}")
        assert number_ is not None
        return Chosen(number_, *self.points[number_], self.dataset, self.seed)


def write(path: str | os.PathLike[str], record: FrontRecord) -> None:
    """Write the file, whole or not at all.

    Raises:
        pytest_joules.files.atomic.ReportPathError: it cannot be written.
    """

    def writer(file: TextIO) -> None:
        file.write(json.dumps(record, indent=1, allow_nan=False) + "\n")

    atomic.atomically(path, writer, "front")


def load(path: Path) -> Front:
    """The front in a file.

    Raises:
        FrontError: there is none, or it is none that this version reads.
    """
    try:
        text = reading.read_text(path, _MOST)
        if not text.lstrip().startswith("{"):
            raise Bad("is no file of joules tune")
        return _front(decode(text))
    except FileNotFoundError:
        raise FrontError(f"there is no front {path}: make one with joules tune --json={path}") from None
    except OSError as error:
        raise FrontError(f"the front {path} cannot be read: {error.strerror or error}") from None
    except (Bad, UnicodeDecodeError) as error:
        what = str(error) if isinstance(error, Bad) else "is no text"
        raise FrontError(f"the front {path} {what}: make a new one with joules tune") from None


def _front(data: Mapping[str, object]) -> Front:
    if data.get("schema") != SCHEMA:
        raise Bad(f"has the schema {shown(data.get('schema'))}, and this version reads {SCHEMA}")
    dataset = required(data, "dataset", dict)
    points: dict[int, tuple[str, Configuration]] = {}
    for record in list_of(data, "points", dict):
        with within(f"point {shown(record.get('number'))}"):
            number_ = count(record, "number", 1)
            if number_ in points:
                raise Bad("is there twice")
            configuration = Configuration.from_record(required(record, "configuration", dict))
            if required(record, "label", str) != configuration.label:
                raise Bad(f"'label' is not what its configuration says: {configuration.label}")
            number(required(record, "error", dict).get("median"), "error")
            interval(required(record, "error", dict).get("ci95"))
            count(record, "bytes", 0)
            one_of(record, "verdict", "front", "dominated", "tied")
            points[number_] = configuration.label, configuration
    if not points:
        raise Bad("has no points")
    knee = optional(data, "knee", dict)
    place = count(knee, "number", 1) if knee is not None else None
    if place is not None and place not in points:
        raise Bad(f"has a knee, {place}, that is no point")
    return Front(points, place, Path(required(dataset, "path", str)), count(data, "seed", 0))


def quantity(median: float, ci95: Sequence[float] | None) -> Quantity:
    """As it stands in the file."""
    return {"median": median, "ci95": [float(end) for end in ci95] if ci95 is not None else None}


def finite(value: float | None) -> float | None:
    """JSON has no infinity."""
    return float(value) if value is not None and math.isfinite(value) else None
