"""Predictions where tests run in workers."""

from __future__ import annotations

import pytest
from foretold import double, predict, section
from inner import Inner

pytestmark = pytest.mark.inner_plugins("xdist")

# Workers


def remeasure(inner: Inner) -> None:
    """In a process of its own, which looks for distributions where the workers do."""
    inner.run("--energy-rounds=1", subprocess=True)


RANDOM = """
import random
class Random:
    name = "times"
    def predict(self, questions):
        from pytest_joules.predict.protocol import Answer
        with open(".times", "a") as file:
            file.write("asked\\n")
        return [Answer(1.0, (1.0, 2.0)) if random.random() < 0.5 else Answer(0.0, (0.0, 0.0)) for _ in questions]
def pytest_joules_predictors(config):
    return [Random()]
"""


def test_workers_agree(shop):
    pytest.importorskip("xdist")
    shop.file(
        test_many="import shop\n"
        "@pytest.mark.parametrize('n', range(20))\n"
        "def test_many(n): draw(1000); assert shop.total(n) >= 0\n"
    )
    remeasure(shop)
    double(shop)
    shop.conftest(RANDOM)
    result = predict(shop, "-n2", "--energy-predict-only", subprocess=True)
    assert result.ret == pytest.ExitCode.OK
    said = result.stdout.str()
    assert said.count("energy: predicted") == 1
    # One worker asked, the others and the controller read what it was told.
    assert (shop.path / ".times").read_text() == "asked\n"
    flagged = int(section(result).partition(" changed (")[2].split(" ")[0])
    result.assert_outcomes(passed=flagged)


def test_workers_fail_and_report(shop):
    pytest.importorskip("xdist")
    remeasure(shop)
    double(shop)
    result = predict(shop, "-n2", "--energy-fail-on=predicted", energy=True, subprocess=True)
    result.assert_outcomes(passed=2, failed=2)
    assert "PREDICTED test_shop.py::test_total[3]" in result.stdout.str()
    tests = shop.tests()
    assert tests["test_total[3]"]["prediction"]["flagged"] and tests["test_total[3]"]["prediction"]["failed"]
    assert shop.report()["session"]["predicting"]["flagged"] == 2


def test_workers_with_nothing_left(shop):
    pytest.importorskip("xdist")
    remeasure(shop)
    result = predict(shop, "-n2", "--energy-predict-only", subprocess=True)
    assert result.ret == pytest.ExitCode.OK
    assert "none is left to run" in section(result)
