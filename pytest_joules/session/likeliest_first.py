"""``--energy-predict-first``: the tests that are likeliest to cost more run first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pytest_joules.model import PredictionRecord
from pytest_joules.predict import ranking
from pytest_joules.rounds import order


def likeliest_first(
    config: pytest.Config, items: Sequence[pytest.Item], predictions: Mapping[str, PredictionRecord]
) -> tuple[Sequence[pytest.Item], str | None]:
    """Tests in the order in which they are to run, the same in every process that collected the same; and why not, where they
    stay as they are.

    With ``--ff`` those that failed last come before all others. Tests that share a fixture wider than a test stay together.
    """
    if (marker := order.ordered_by_marker(items)) is not None:
        return items, f"some tests have the marker {marker}"
    failed = order.failed_first(config)
    ranks = {item.nodeid: (item.nodeid not in failed, *ranking.key(predictions.get(item.nodeid))) for item in items}
    ordered = ranking.in_groups(items, lambda item: ranks[item.nodeid], order.groups(items))
    return order.with_parameters_together(ordered), None
