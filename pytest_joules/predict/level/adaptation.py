"""A model of other projects, corrected by a few tests measured in this one.

What the model leaves over is taken for a Gaussian process whose covariance has parts that training estimated: what all tests of
a project share, what those of a file share, and what tests share whose features point the same way. The best linear prediction
of a test's rest from the measured tests' rests then shrinks by itself: one measured test moves the others little, twenty move
them as far as they agree (Rasmussen and Williams, 2006, chapter 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_joules.files.checked import Bad
from pytest_joules.predict.level.regressors import Entries, chosen
from pytest_joules.predict.scoring.arrays import Array, floats, one_float
from pytest_joules.predict.scoring.conformal import Conformal

#: How sharply the cosine of two tests' features is taken: the first power of these is nearly what a project shares.
POWERS = (2, 8, 32)


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a set of tests is compared by."""

    vectors: Array
    """Features as rows of length 1 (or 0)."""
    files: Array
    """A number for each test's file."""

    @classmethod
    def of(cls, table: Array, files: Sequence[str]) -> Kernels:
        """From a dense table of features (tests x columns)."""
        length = np.sqrt((table**2).sum(axis=1, keepdims=True))
        return cls(table / np.where(length > 0, length, 1), np.array([hash(file) for file in files], dtype=np.int64))

    def part(self, rows: Array) -> Kernels:
        """Some of the tests."""
        return Kernels(self.vectors[rows], self.files[rows])

    def with_(self, other: Kernels) -> list[Array]:
        """The parts' kernels: project, file, and one for each of ``POWERS``; each (tests x others)."""
        cosine = np.clip(self.vectors @ other.vectors.T, 0, 1)
        same = (self.files[:, None] == other.files[None, :]).astype(float)
        return [np.ones_like(same), same, *(cosine**power for power in POWERS)]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """The covariance of what a level model leaves over in a project that it has not seen."""

    parts: Array
    """Variances, in the order of :meth:`Kernels.with_`."""
    noise: float
    """Variance of what no part explains."""
    scale: Array
    """What each of the model's columns weighs when tests are compared; 0: not looked at."""
    conformal: Conformal
    """Of corrected predictions, in standard deviations."""

    def kernels(self, table: Entries, files: Sequence[str]) -> Kernels:
        """Tests with the model's own columns as features, each in a file."""
        looked = np.flatnonzero(self.scale)
        places = np.full(len(self.scale), -1, dtype=np.intp)
        places[looked] = np.arange(len(looked))
        return Kernels.of(chosen(table, places).dense() * self.scale[looked], files)

    def correct(self, asked: Kernels, measured: Kernels, residuals: Array) -> tuple[Array, Array]:
        """What to add to the model's prediction of each test that is asked about, and the standard deviation then.

        ``residuals``: of the measured tests, truth minus prediction.
        """
        own = _sum(self.parts, measured.with_(measured)) + self.noise * np.eye(len(residuals))
        across = _sum(self.parts, asked.with_(measured))
        solved = np.linalg.solve(own, np.column_stack((residuals, across.T)))
        left = self.parts.sum() + self.noise - np.einsum("ij,ji->i", across, solved[:, 1:])
        return across @ solved[:, 0], np.sqrt(np.maximum(left, self.noise))

    def arrays(self) -> dict[str, Array]:
        own = {"parts": self.parts, "noise": np.array(self.noise), "scale": self.scale}
        return own | {f"conformal_{name}": array for name, array in self.conformal.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], columns: int) -> Adaptation:
        """From the file.

        Raises:
            Bad: it is none.
        """
        parts, noise = floats(arrays, "parts", 1, 2 + len(POWERS)), one_float(arrays, "noise")
        if np.any(parts < 0) or noise <= 0:
            raise Bad("has a variance below zero")
        within = {name.removeprefix("conformal_"): array for name, array in arrays.items() if name.startswith("conformal_")}
        return cls(parts, noise, floats(arrays, "scale", 1, columns), Conformal.from_arrays(within))


def _sum(parts: Array, kernels: Sequence[Array]) -> Array:
    result: Array = sum((part * kernel for part, kernel in zip(parts, kernels, strict=True)), np.zeros_like(kernels[0]))
    return result
