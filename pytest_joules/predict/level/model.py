"""A level model whole: which features it looks at, what it makes of them, how sure it is, and what it has seen.

It says "unknown" of a test that is unlike what it was trained on, by two rules. *Strange*: of the test's features (weighted by
the logarithm of their amounts) a larger share has names that training never met than of 99 in 100 held-out tests, and more than
a tenth. *Too large*: one of the features that count everything (``total:``) is more than twice the largest in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pytest_joules.files.checked import Bad, shown
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.level.adaptation import Adaptation
from pytest_joules.predict.level.regressors import KINDS, Entries, Regressor, chosen, entries, logarithm
from pytest_joules.predict.scoring.arrays import Array, floats, one_float, pack, unpack
from pytest_joules.predict.scoring.conformal import Conformal

#: What a feature's name begins with that counts everything of a kind.
TOTAL = "total:"

#: How far beyond the largest in training a total may be, as a factor.
BEYOND = 2.0

#: No test is strange for a smaller share of unknown features than this.
STRANGE = 0.1

#: Measured tests below which a project's own offset is not looked for.
FEWEST_MEASURED = 3


class Levels(NamedTuple):
    """What is expected of some tests, as log10."""

    values: Array
    low: Array
    high: Array
    why: list[str]
    """Why it is unknown; ``""`` where it is not."""


def features_of(facts: TestFacts, representations: Sequence[str]) -> dict[str, float]:
    """The features of one test in some representations; of several, their names are told apart.

    Raises:
        KeyError: there is no such representation.
    """
    from pytest_joules.predict.facts.features import REPRESENTATIONS

    found = {name: REPRESENTATIONS[name](facts) for name in representations}
    if len(found) == 1:
        return found[representations[0]]
    return {
        f"{total}{representation}:{name.removeprefix(TOTAL)}": value
        for representation, own in found.items()
        for name, value in own.items()
        for total in (TOTAL if name.startswith(TOTAL) else "",)
    }


def file_of(facts: TestFacts) -> str:
    """The test file."""
    return facts.nodeid.partition("::")[0]


@dataclass(frozen=True, slots=True)
class Seen:
    """What training met."""

    names: Sequence[str]
    """Of all features."""
    largest: Array
    """Logarithms of the largest amounts; only those of totals are asked about."""
    strange: float
    """The largest share of unknown features that is not strange."""
    costs: tuple[float, float] = (-np.inf, np.inf)
    """The least and the most that a test cost: no model of ours knows of anything beyond."""

    def table(self, features: Sequence[Mapping[str, float]]) -> tuple[Entries, list[str]]:
        """The features as entries over ``names`` and, for each row, why the model cannot know (``""``: it can)."""
        columns = {name: column for column, name in enumerate(self.names)}
        table = entries(features, columns)
        unknown = [[value for name, value in row.items() if name not in columns] for row in features]
        strange = np.array([np.abs(logarithm(np.array(values, dtype=float))).sum() for values in unknown])
        known = np.bincount(table.rows, np.abs(table.values), len(features))
        shares = strange / np.maximum(known + strange, 1e-12)
        why = [f"{share:.0%} of what it does was never seen in training" if share > self.strange else "" for share in shares]
        total = np.array([name.startswith(TOTAL) for name in self.names], dtype=bool)
        over = table.values > self.largest[table.columns] + np.log(BEYOND)
        for entry in np.flatnonzero(over & total[table.columns]) if len(table.columns) else ():
            column = int(table.columns[entry])
            why[int(table.rows[entry])] = (
                f"{self.names[column].removeprefix(TOTAL)} {_amount(table.values[entry])} times: "
                f"training saw {_amount(self.largest[column])} at most"
            )
        empty = "nothing of its code is known"
        return table, [reason if any(row.values()) else empty for row, reason in zip(features, why, strict=True)]

    def arrays(self) -> dict[str, Array]:
        costs = np.clip(self.costs, -300, 300)
        return {"names": pack(self.names), "largest": self.largest, "strange": np.array(self.strange), "costs": costs}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Seen:
        names = unpack(arrays, "names")
        low, high = floats(arrays, "costs", 1, 2)
        return cls(names, floats(arrays, "largest", 1, len(names)), one_float(arrays, "strange"), (float(low), float(high)))


@dataclass(frozen=True, slots=True)
class LevelModel:
    """From a test's code to what it costs."""

    representations: tuple[str, ...]
    regressor: Regressor
    conformal: Conformal
    seen: Seen
    adaptation: Adaptation | None = None

    def predict(self, facts: Sequence[TestFacts], measured: Sequence[tuple[TestFacts, float]] = ()) -> Levels:
        """What these tests cost.

        ``measured``: tests of this project with the log10 of what they cost, for a model of other projects; a model that was
        trained on a single project has no use for them.
        """
        table, why = self._table(facts)
        values = np.clip(self.regressor.score(table), *self.seen.costs)
        if self.adaptation is None or len(measured) < FEWEST_MEASURED:
            return Levels(values, *self.conformal.interval(values), why)
        known, _ = self._table([one for one, _ in measured])
        residuals = np.array([value for _, value in measured]) - np.clip(self.regressor.score(known), *self.seen.costs)
        asked = self.adaptation.kernels(table, [file_of(one) for one in facts])
        there = self.adaptation.kernels(known, [file_of(one) for one, _ in measured])
        shift, deviation = self.adaptation.correct(asked, there, residuals)
        values = values + shift
        low, high = self.adaptation.conformal.interval(values)
        return Levels(values, values + (low - values) * deviation, values + (high - values) * deviation, why)

    def _table(self, facts: Sequence[TestFacts]) -> tuple[Entries, list[str]]:
        """The regressor's own columns of what was seen."""
        table, why = self.seen.table([features_of(one, self.representations) for one in facts])
        return chosen(table, places_of(self.regressor.names, self.seen.names)), why

    def arrays(self) -> dict[str, Array]:
        parts = {name: getattr(self, name).arrays() for name in ("regressor", "conformal", "seen")}
        if self.adaptation is not None:
            parts["adaptation"] = self.adaptation.arrays()
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, kind: str, representations: Sequence[str], arrays: Mapping[str, Array]) -> LevelModel:
        """From the file.

        Raises:
            Bad: it is none, or looks at what this version does not have.
        """
        from pytest_joules.predict.facts.features import REPRESENTATIONS

        if kind not in KINDS:
            raise Bad(f"is of a kind {shown(kind)} that is not known here")
        if not representations or set(representations) - REPRESENTATIONS.keys():
            raise Bad(f"looks at representations that are not known here: {shown(', '.join(representations))}")
        regressor = KINDS[kind].from_arrays(within(arrays, "regressor"))
        adaptation = within(arrays, "adaptation")
        seen = Seen.from_arrays(within(arrays, "seen"))
        if set(regressor.names) - set(seen.names):
            raise Bad("looks at features that it has not seen")
        return cls(
            tuple(representations),
            regressor,
            Conformal.from_arrays(within(arrays, "conformal")),
            seen,
            Adaptation.from_arrays(adaptation, len(regressor.names)) if adaptation else None,
        )


def within(arrays: Mapping[str, Array], part: str) -> dict[str, Array]:
    """The arrays whose names begin with ``part`` and a dot, without these."""
    return {name[len(part) + 1 :]: array for name, array in arrays.items() if name.startswith(f"{part}.")}


def places_of(names: Sequence[str], among: Sequence[str]) -> Array:
    """For each of ``among``, its place in ``names``, or -1."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places.get(name, -1) for name in among], dtype=np.intp)


def _amount(value: float) -> str:
    return f"{np.expm1(value):.3g}"
