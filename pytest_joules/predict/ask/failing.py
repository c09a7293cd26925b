"""``--energy-fail-on=predicted``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from pytest_joules.predict.ask.predicting import Predicting


def fail_if_predicted(item: pytest.Item, report: pytest.TestReport) -> None:
    """Make the passed call report of a flagged test that of a failure, where that was asked for."""
    predicting = cast("Predicting | None", item.config.pluginmanager.get_plugin("joules-predicting"))
    if predicting is None or "predicted" not in predicting.settings.fail_on:
        return
    prediction = predicting.foretold.predictions.get(report.nodeid)
    if prediction is None or not prediction["flagged"] or not report.passed or hasattr(report, "wasxfail"):
        return
    from pytest_joules.breach import fail
    from pytest_joules.report.prediction import details, headline
    from pytest_joules.report.quantity import joules

    numbers = f"{joules(prediction['joules'])} > {joules(prediction['limit'])}"
    said = headline(prediction)
    fail(report, "predicted", text=said, numbers=numbers, because=said, section=("energy prediction", details(prediction)))
