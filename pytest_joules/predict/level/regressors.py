"""The level models: what a test costs by what its code looks like, scored with numpy from plain arrays.

Features come as names with amounts; amounts as their signed logarithm, sign(x) log(1 + |x|), so that a function called ten times
as often is one step further, whether that is 100 or 1,000 times. All targets are log10: of joules, of seconds, of TSC ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np

from pytest_joules.files.checked import Bad
from pytest_joules.predict.scoring.arrays import Array, floats, one_float, pack, unpack
from pytest_joules.predict.scoring.trees import Trees

#: More columns in one table than this are no table of ours.
_MOST_DENSE = 20_000

#: Values of a table that are in memory at a time.
_MOST_VALUES = 2_000_000


class Entries(NamedTuple):
    """A sparse table of features: ``values[i]`` stands in row ``rows[i]`` and column ``columns[i]``."""

    rows: Array
    columns: Array
    values: Array
    """As logarithms."""
    shape: tuple[int, int]

    def dense(self) -> Array:
        """The same as an array."""
        table = np.zeros(self.shape)
        table[self.rows, self.columns] = self.values
        return table

    def scored(self, score: Callable[[Array], Array]) -> Array:
        """What ``score`` makes of the rows, given some of them at a time as an array: all at once may be more than fits."""
        rows, columns = self.shape
        step = max(1, _MOST_VALUES // max(columns, 1))
        found = [np.zeros(0)]
        for begin in range(0, rows, step):
            inside = (self.rows >= begin) & (self.rows < begin + step)
            part = Entries(
                self.rows[inside] - begin, self.columns[inside], self.values[inside], (min(step, rows - begin), columns)
            )
            found.append(score(part.dense()))
        return np.concatenate(found)


def logarithm(values: Array) -> Array:
    """sign(x) log(1 + |x|)."""
    result: Array = np.sign(values) * np.log1p(np.abs(values))
    return result


def entries(features: Sequence[Mapping[str, float]], columns: Mapping[str, int]) -> Entries:
    """The features of each row that have a column; all others are left out."""
    rows: list[int] = []
    places: list[int] = []
    values: list[float] = []
    for row, given in enumerate(features):
        before = len(places)
        for name, value in given.items():
            if (column := columns.get(name)) is not None:
                places.append(column)
                values.append(value)
        rows += [row] * (len(places) - before)
    amounts = logarithm(np.array(values, dtype=float))
    shape = (len(features), len(columns))
    return Entries(np.array(rows, dtype=np.intp), np.array(places, dtype=np.intp), amounts, shape)


def chosen(table: Entries, places: Array) -> Entries:
    """The entries whose column has a place (0 and up; -1: none), there."""
    columns = places[table.columns]
    kept = columns >= 0
    shape = (table.shape[0], int(places.max(initial=-1)) + 1)
    return Entries(table.rows[kept], columns[kept], table.values[kept], shape)


@dataclass(frozen=True, slots=True)
class Constant:
    """The median of all tests: what every other model must beat."""

    kind: ClassVar[str] = "constant"
    value: float
    names: Sequence[str] = ()

    def score(self, table: Entries) -> Array:
        """The same for each."""
        return np.full(table.shape[0], self.value)

    def arrays(self) -> dict[str, Array]:
        return {"value": np.array(self.value)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Constant:
        return cls(one_float(arrays, "value"))


@dataclass(frozen=True, slots=True)
class Linear:
    """Ridge regression on standardised logarithms; the standardisation is part of the weights."""

    kind: ClassVar[str] = "linear"
    names: Sequence[str]
    weights: Array
    intercept: float
    low: Array
    """Of each column, the least and the most that training saw: beyond it a straight line is a guess."""
    high: Array

    def score(self, table: Entries) -> Array:
        """Weighted sums, each column held within what was seen."""
        return table.scored(lambda part: np.clip(part, self.low, self.high) @ self.weights + self.intercept)

    def arrays(self) -> dict[str, Array]:
        one = {"names": pack(self.names), "weights": self.weights, "intercept": np.array(self.intercept)}
        return one | {"low": self.low, "high": self.high}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Linear:
        names = _names(arrays)
        weights, low, high = (floats(arrays, key, 1, len(names)) for key in ("weights", "low", "high"))
        return cls(names, weights, one_float(arrays, "intercept"), low, high)


@dataclass(frozen=True, slots=True)
class Words:
    """A bag of words: term frequencies (logarithms) times inverse document frequencies, rows of length 1, ridge regression."""

    kind: ClassVar[str] = "bow"
    names: Sequence[str]
    idf: Array
    weights: Array
    intercept: float

    def score(self, table: Entries) -> Array:
        """Weighted sums over each row's words."""
        values = table.values * self.idf[table.columns]
        rows = table.shape[0]
        length = np.sqrt(np.bincount(table.rows, values**2, rows))
        sums = np.bincount(table.rows, values * self.weights[table.columns], rows)
        result: Array = sums / np.where(length > 0, length, 1) + self.intercept
        return result

    def arrays(self) -> dict[str, Array]:
        one = {"names": pack(self.names), "idf": self.idf, "weights": self.weights}
        return one | {"intercept": np.array(self.intercept)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Words:
        names = unpack(arrays, "names")
        idf, weights = (floats(arrays, key, 1, len(names)) for key in ("idf", "weights"))
        return cls(names, idf, weights, one_float(arrays, "intercept"))


@dataclass(frozen=True, slots=True)
class Boosted:
    """Gradient-boosted regression trees on the logarithms."""

    kind: ClassVar[str] = "boosted"
    names: Sequence[str]
    trees: Trees

    def score(self, table: Entries) -> Array:
        """The trees' sums."""
        return table.scored(self.trees.score)

    def arrays(self) -> dict[str, Array]:
        return {"names": pack(self.names), **self.trees.arrays()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Boosted:
        names = _names(arrays)
        return cls(names, Trees.from_arrays(arrays, len(names)))


@dataclass(frozen=True, slots=True)
class Additive:
    """What ran adds up: each operation, each call of a name, each call of other code has a cost of its own, and a test a base."""

    kind: ClassVar[str] = "additive"
    names: Sequence[str]
    costs: Array
    """Of one of each, in the target's unit; above 0."""
    base: float

    def score(self, table: Entries) -> Array:
        """The logarithms of the sums."""
        amounts = np.expm1(np.maximum(table.values, 0))
        sums = np.bincount(table.rows, amounts * self.costs[table.columns], table.shape[0])
        result: Array = np.log10(sums + self.base)
        return result

    def arrays(self) -> dict[str, Array]:
        return {"names": pack(self.names), "costs": self.costs, "base": np.array(self.base)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Additive:
        names = unpack(arrays, "names")
        costs, base = floats(arrays, "costs", 1, len(names)), one_float(arrays, "base")
        if base <= 0 or np.any(costs < 0):
            raise Bad("has costs below 0")
        return cls(names, costs, base)


#: From features to log10 of the target: ``kind``, the ``names`` of the features it looks at in the order of its columns,
#: ``score(table)`` for each row, ``arrays()`` for the file.
Regressor: TypeAlias = Constant | Linear | Words | Boosted | Additive

#: By what they are called; ``last`` and ``change`` need no level, or a model of their own.
KINDS: Mapping[str, type[Regressor]] = {kind.kind: kind for kind in (Constant, Linear, Words, Boosted, Additive)}


def _names(arrays: Mapping[str, Array]) -> list[str]:
    names = unpack(arrays, "names")
    if len(names) > _MOST_DENSE:
        raise Bad(f"looks at {len(names)} features, more than any of ours")
    return names
