"""Variants of a parametrised test in turn: over a counter whose truth is known."""

import os

import pytest
from inner import sentences
from two_revisions import PLUG

MODELS = """
@pytest.fixture
def model(request):
    log("load", request.param)
    yield request.param
    log("drop", request.param)

def log(*words):
    with open({log!r}, "a") as file:
        print(*words, os.getpid(), file=file)

COST = {{"fp32": 1_000_000, "int8": 2_000_000, "pruned": 500_000}}
"""

TEST = """
@pytest.mark.energy_variants("model", reference="fp32")
@pytest.mark.parametrize("model", ["fp32", "int8", "pruned"], indirect=True)
def test_it(model, energy):
    log("run", model)
    draw(COST[model])
    energy.work(tokens=10)
    energy.score(top1=[1, 0] * 10 if model != "pruned" else [1, 0, 0, 0] * 5, higher_is_better=True)

def test_plain():
    draw(3_000_000)
"""


@pytest.fixture
def models(inner):
    inner.conftest(PLUG.format(path=str(inner.tree.path("package-0"))))
    inner.log = inner.path / "log.txt"
    inner.head = MODELS.format(log=str(inner.log))
    inner.file(test_m=inner.head + TEST)
    inner.subprocess = False
    return inner


def test_each_has_its_share_of_the_reference(models):
    result = models.run("--energy-junitxml=x" if False else "-v")
    result.assert_outcomes(passed=4)
    tests = models.tests()
    found = {name[8:-1]: test["variants"] for name, test in tests.items() if "[" in name}
    assert found["fp32"]["verdict"] == "reference"
    assert found["int8"]["verdict"] == "dearer" and found["int8"]["ratio"] == pytest.approx(2)
    assert found["pruned"]["verdict"] == "cheaper" and found["pruned"]["ratio"] == pytest.approx(0.5)
    assert found["int8"]["in_turn"] and found["int8"]["blocks"] == 13
    assert found["int8"]["joules_per_unit"] == pytest.approx(0.2)
    assert tests["test_plain"]["variants"] is None and models.median("test_plain") == pytest.approx(3)
    rounds = {test["rounds"] for name, test in tests.items() if "[" in name}
    assert len(rounds) == 1
    print(result.stdout.str())
