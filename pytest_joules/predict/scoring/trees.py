"""An ensemble of regression trees as flat arrays, scored with numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_joules.files.checked import Bad
from pytest_joules.predict.scoring.arrays import Array, floats, indices, one_float

#: No tree that scikit-learn grew here is deeper.
_DEEPEST = 64

#: Nodes and trees of an ensemble: ours have 4,350 and 150.
_MOST_NODES = 500_000
_MOST_TREES = 1_000

#: Rows scored at a time: rows x trees places in memory.
_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class Trees:
    """All nodes of all trees, one after the other; a node's children stand behind it, and a leaf is its own child."""

    feature: Array
    """The column that a node looks at."""
    threshold: Array
    """At most that: to the left."""
    left: Array
    right: Array
    value: Array
    """Of leaves; the sum over the trees and ``base`` is the prediction."""
    roots: Array
    base: float

    def score(self, matrix: Array) -> Array:
        """The prediction for each row of ``matrix`` (rows x columns, without NaN)."""
        result = np.empty(len(matrix))
        for begin in range(0, len(matrix), _CHUNK):
            part = matrix[begin : begin + _CHUNK]
            flat, start = part.ravel(), np.arange(len(part))[:, None] * part.shape[1]
            node = np.broadcast_to(self.roots, (len(part), len(self.roots)))
            while True:
                amount = flat.take(start + self.feature.take(node)) if len(flat) else np.zeros(node.shape)
                goes = np.where(amount <= self.threshold.take(node), self.left.take(node), self.right.take(node))
                if np.array_equal(goes, node):
                    break
                node = goes
            result[begin : begin + _CHUNK] = self.base + self.value.take(node).sum(axis=1)
        return result

    def arrays(self) -> dict[str, Array]:
        names = ("feature", "threshold", "left", "right", "value", "roots")
        return {**{name: getattr(self, name) for name in names}, "base": np.array(self.base)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], columns: int) -> Trees:
        """The trees in a file, which look at ``columns`` columns.

        Raises:
            Bad: a shape does not fit, a child or column is not there, or following the children would not end.
        """
        threshold = floats(arrays, "threshold", 1)
        nodes = len(threshold)
        value = floats(arrays, "value", 1, nodes)
        feature = indices(arrays, "feature", max(columns, 1), nodes)
        left, right = (indices(arrays, name, nodes, nodes) for name in ("left", "right"))
        roots = indices(arrays, "roots", nodes)
        if nodes > _MOST_NODES or len(roots) > _MOST_TREES:
            raise Bad(f"has {len(roots)} trees of {nodes} nodes, more than any of ours")
        own = np.arange(nodes)
        leaf = left == own
        if not np.array_equal(leaf, right == own) or np.any(left[~leaf] <= own[~leaf]) or np.any(right[~leaf] <= own[~leaf]):
            raise Bad("has a tree that goes in a circle")
        if columns < 1 and not leaf.all():
            raise Bad("has a tree that looks at what is not there")
        reached = np.unique(roots)
        for _ in range(_DEEPEST):
            reached = reached[~leaf[reached]]
            reached = np.unique(np.concatenate((left[reached], right[reached])))
        if len(reached):
            raise Bad(f"has a tree deeper than {_DEEPEST}")
        return cls(feature, threshold, left, right, value, roots, one_float(arrays, "base"))

    @classmethod
    def of_scikit_learn(cls, model: Any) -> Trees:  # noqa: ANN401 - scikit-learn has no types
        """The trees of a fitted ``HistGradientBoostingRegressor`` without categories.

        Its nodes are no public interface: whoever calls this compares predictions.
        """
        parts: dict[str, list[Array]] = {name: [] for name in ("feature", "threshold", "left", "right", "value")}
        roots, offset = [], 0
        for (tree,) in model._predictors:
            nodes = tree.nodes
            own = np.arange(len(nodes))
            leaf = nodes["is_leaf"].astype(bool)
            parts["feature"].append(np.where(leaf, 0, nodes["feature_idx"]))
            parts["threshold"].append(np.where(leaf, 0.0, nodes["num_threshold"]))
            for side in ("left", "right"):
                parts[side].append(np.where(leaf, own, nodes[side]) + offset)
            parts["value"].append(np.where(leaf, nodes["value"], 0.0))
            roots.append(offset)
            offset += len(nodes)
        joined = {name: np.concatenate(values) for name, values in parts.items()}
        whole = {name: joined[name].astype(np.int32) for name in ("feature", "left", "right")}
        return cls(
            whole["feature"],
            joined["threshold"].astype(float),
            whole["left"],
            whole["right"],
            joined["value"].astype(float),
            np.array(roots, dtype=np.int32),
            float(np.ravel(model._baseline_prediction)[0]),
        )
